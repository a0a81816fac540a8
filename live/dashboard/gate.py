"""Who may see the page: checked of every request and every socket, before anything else hears of it.

A page on this machine can be reached by every site that its reader visits. So the name in ``Host`` must be one that
was allowed (a foreign name that was pointed at this machine is none), and what another site's page asks for is
refused. Beyond this machine a token is asked for as well; it is compared in constant time and never kept: the cookie
holds the time of the login and its HMAC under the token.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from html import escape
from pathlib import Path
from string import Template
from typing import Any, Final
from urllib.parse import parse_qs

from quantcore.errors import ConfigError
from quantcore.plots import PALETTES

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

COOKIE: Final = "quantcore_dashboard"
LOGIN: Final = "/login"
TOKEN_MIN: Final = 16
"""Characters of a token, so that it cannot be guessed over the network."""
LOOPBACK: Final = ("127.0.0.1", "localhost", "::1")
_KEPT_SECONDS: Final = 30 * 86_400
_FORM_BYTES: Final = 4_096
_WRONG_SECONDS: Final = 0.5
_TEMPLATES = Path(__file__).with_name("templates")

HEADERS: Final = (
    (
        b"content-security-policy",
        # The page's own framework compiles its templates in the browser and begins with an inline script.
        b"default-src 'none'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
        b"img-src 'self' data:; font-src 'self' data:; connect-src 'self'; manifest-src 'self'; base-uri 'none'; "
        b"form-action 'self'; frame-ancestors 'none'",
    ),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
)
"""Of every answer: nothing is loaded from elsewhere, and nobody puts the page into a frame."""


class Gate:
    """Lets through to an application what may reach it.

    Parameters
    ----------
    app : callable
        An ASGI application.
    hosts : iterable of str
        Names under which the page may be asked for, without a port.
    token : str or None
        What a reader must know; None: whoever reaches the port may read.
    now : callable
        Seconds since 1970.

    Raises
    ------
    ConfigError
        If the token is shorter than `TOKEN_MIN`.
    """

    def __init__(
        self,
        app: App,
        *,
        hosts: Iterable[str],
        token: str | None,
        now: Callable[[], float] = time.time,
    ) -> None:
        if token is not None and len(token) < TOKEN_MIN:
            raise ConfigError(
                f"the dashboard's token must have {TOKEN_MIN} characters or more, had {len(token)}"
            )
        self._app = app
        self._hosts = frozenset(host.lower() for host in hosts)
        self._token = token
        self._now = now

    def admits(self, scope: Scope) -> bool:
        """Return whether what is asked for will be answered by the application itself."""
        headers = _headers(scope)
        is_own = not self._foreign(scope, headers)
        return is_own and (self._token is None or self._is_known(headers))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request or socket."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        headers = _headers(scope)
        refused = self._foreign(scope, headers)
        if refused:
            await _refuse(scope, receive, send, 403, refused)
        elif self._token is None or self._is_known(headers):
            await self._app(scope, receive, _with_headers(send))
        elif scope["type"] == "http" and scope["path"] == LOGIN and scope["method"] == "POST":
            await self._log_in(scope, receive, send)
        elif scope["type"] == "http" and scope["method"] == "GET" and _is_page(headers):
            await _page(send, 401, _login_page(""))
        else:
            await _refuse(scope, receive, send, 401, "the token is asked for")

    def _foreign(self, scope: Scope, headers: Mapping[str, list[str]]) -> str:
        """Return why a request comes from elsewhere, empty where it does not."""
        hosts = headers.get("host", [])
        if len(hosts) != 1 or _name(hosts[0]) not in self._hosts:
            return "the host's name is not allowed"
        origins = headers.get("origin", [])
        if any(_place(origin) != hosts[0].lower() for origin in origins):
            return "requests of other origins are refused"
        site = headers.get("sec-fetch-site", ["none"])[0]
        opened = scope["type"] == "http" and scope["method"] == "GET" and _is_opened(headers)
        if site not in ("same-origin", "none") and not opened:
            return "requests of other sites are refused"
        return ""

    def _is_known(self, headers: Mapping[str, list[str]]) -> bool:
        """Return whether the reader has shown the token: with the request, or earlier and has its cookie."""
        for value in headers.get("authorization", []):
            kind, _, told = value.partition(" ")
            if kind.lower() == "bearer" and self._is_token(told.strip()):
                return True
        issued, _, sign = _cookie(headers).partition(".")
        if not (issued.isascii() and issued.isdecimal() and len(issued) <= 12):
            return False
        is_ours = hmac.compare_digest(self._sign(issued).encode(), sign.encode())
        return is_ours and 0.0 <= self._now() - int(issued) + 1.0 <= _KEPT_SECONDS

    def _is_token(self, told: str) -> bool:
        # Digests have one length, so that not even that of the token can be told from the time it takes.
        digests = [hashlib.sha256(text.encode()).digest() for text in (told, self._token or "")]
        return hmac.compare_digest(*digests)

    def _sign(self, issued: str) -> str:
        key = (self._token or "").encode()
        return hmac.new(key, f"{COOKIE} {issued}".encode(), hashlib.sha256).hexdigest()

    async def _log_in(self, scope: Scope, receive: Receive, send: Send) -> None:
        form = parse_qs((await _body(receive)).decode("utf-8", "replace"))
        if not self._is_token(form.get("token", [""])[0]):
            await asyncio.sleep(_WRONG_SECONDS)
            await _page(send, 401, _login_page("That is not the token."))
            return
        issued = str(int(self._now()))
        secure = "; Secure" if scope.get("scheme") == "https" else ""
        cookie = (
            f"{COOKIE}={issued}.{self._sign(issued)}; Path=/; Max-Age={_KEPT_SECONDS}; HttpOnly; "
            f"SameSite=Strict{secure}"
        )
        await _page(send, 303, "", (b"location", b"/"), (b"set-cookie", cookie.encode()))


def _headers(scope: Scope) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name, value in scope["headers"]:
        found.setdefault(name.decode("latin-1").lower(), []).append(value.decode("latin-1"))
    return found


def _name(host: str) -> str:
    """Return the name of a ``Host`` header, without its port and the brackets of an address."""
    if host.startswith("["):
        return host[1:].partition("]")[0].lower()
    return host.partition(":")[0].lower()


def _place(origin: str) -> str:
    """Return host and port of an ``Origin`` header, empty for ``null``."""
    return origin.partition("://")[2].lower()


def _cookie(headers: Mapping[str, list[str]]) -> str:
    """Return the value of the own cookie, empty without it; other ports of a host share their cookies."""
    for kept in ";".join(headers.get("cookie", [])).split(";"):
        name, _, value = kept.strip().partition("=")
        if name == COOKIE:
            return value
    return ""


def _is_page(headers: Mapping[str, list[str]]) -> bool:
    return any("text/html" in value for value in headers.get("accept", []))


def _is_opened(headers: Mapping[str, list[str]]) -> bool:
    """Return whether a person follows a link here, to see the page in a window of its own."""
    mode, kind = (headers.get(f"sec-fetch-{n}", [""])[0] for n in ("mode", "dest"))
    return mode == "navigate" and kind == "document"


def _with_headers(send: Send) -> Send:
    async def sent(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message.get("headers", ()), *HEADERS]
        await send(message)

    return sent


async def _body(receive: Receive) -> bytes:
    """Return a small form; what is longer than `_FORM_BYTES` is cut off."""
    found = b""
    while len(found) < _FORM_BYTES:
        message = await receive()
        found += message.get("body", b"")
        if message["type"] != "http.request" or not message.get("more_body"):
            break
    return found[:_FORM_BYTES]


async def _refuse(scope: Scope, receive: Receive, send: Send, status: int, why: str) -> None:
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.close", "code": 1008, "reason": why})
        return
    await _page(send, status, f"<!doctype html><title>Refused</title><p>{escape(why)}</p>")


async def _page(send: Send, status: int, html: str, *headers: tuple[bytes, bytes]) -> None:
    shown = ((b"content-type", b"text/html; charset=utf-8"), (b"cache-control", b"no-store"))
    await send(
        {
            "type": "http.response.start",
            "status": status,
            "headers": [*shown, *HEADERS, *headers],
        }
    )
    await send({"type": "http.response.body", "body": html.encode()})


def _login_page(said: str) -> str:
    text = (_TEMPLATES / "login.html").read_text("utf-8")
    return Template(text).substitute(colours=colours(), said=escape(said))


def colours() -> str:
    """Return the palettes as CSS: light, dark where the reader's system is, and either where the page says so."""
    light, dark = (
        "".join(f"--{token}:{colour};" for token, colour in PALETTES[theme].items())
        for theme in ("light", "dark")
    )
    return (
        f":root{{{light}}}\n"
        f"@media (prefers-color-scheme: dark){{:root:not([data-theme=light]){{{dark}}}}}\n"
        f":root[data-theme=dark]{{{dark}}}"
    )
