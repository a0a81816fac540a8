"""Only who may see the page reaches it: names, origins, sites, and the token beyond this machine."""

from __future__ import annotations

import asyncio
import hmac
from typing import Any
from urllib.parse import urlencode

import pytest

from live.dashboard import gate as gates
from live.dashboard.gate import COOKIE, LOOPBACK, Gate, Receive, Scope, Send
from quantcore.errors import ConfigError

TOKEN = "a-token-that-nobody-guesses"
NOW = 1_800_000_000.0


class Inside:
    """Stands for the page; counts who reached it."""

    def __init__(self) -> None:
        self.reached = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.reached += 1
        if scope["type"] == "http":
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"page"})
        elif scope["type"] == "websocket":
            await send({"type": "websocket.accept"})


class Caller:
    """Sends one request after another."""

    def __init__(self, token: str | None = None, hosts: tuple[str, ...] = LOOPBACK) -> None:
        self.inside = Inside()
        self.now = NOW
        self.gate = Gate(self.inside, hosts=hosts, token=token, now=lambda: self.now)

    def ask(
        self,
        *headers: tuple[str, str],
        kind: str = "http",
        path: str = "/",
        method: str = "GET",
        body: bytes = b"",
        host: str | None = "localhost:8080",
        scheme: str = "http",
    ) -> list[dict[str, Any]]:
        sent: list[dict[str, Any]] = []
        named = [("host", host)] if host is not None else []

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: Any) -> None:
            sent.append(message)

        scope = {
            "type": kind,
            "path": path,
            "method": method,
            "scheme": scheme,
            "headers": [(n.encode(), v.encode()) for n, v in (*named, *headers)],
        }
        before = self.inside.reached
        asyncio.run(self.gate(scope, receive, send))
        assert self.gate.admits(scope) is (self.inside.reached > before)
        return sent

    def status(self, *headers: tuple[str, str], **given: Any) -> int:
        return int(self.ask(*headers, **given)[0]["status"])

    def opens_socket(self, *headers: tuple[str, str], **given: Any) -> bool:
        first = self.ask(*headers, kind="websocket", path="/_nicegui_ws/", **given)[0]
        return bool(first["type"] == "websocket.accept")

    def log_in(self, token: str, **given: Any) -> list[dict[str, Any]]:
        body = urlencode({"token": token}).encode()
        return self.ask(method="POST", path="/login", body=body, **given)


def header(message: dict[str, Any], name: str) -> str:
    found: dict[str, str] = {n.decode(): v.decode() for n, v in message["headers"]}
    return found.get(name, "")


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gates, "_WRONG_SECONDS", 0.0)


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:1", "127.0.0.1:8080", "[::1]:8080", "[::1]"]
)
def test_this_machine_is_let_in_by_its_own_names(host: str) -> None:
    caller = Caller()
    assert caller.status(host=host) == 200
    assert caller.opens_socket(host=host)


@pytest.mark.parametrize(
    "host",
    [
        None,
        "",
        "evil.example",
        "evil.example:8080",
        "127.0.0.1.evil.example",
        "localhost.evil.example:80",
    ],
)
def test_a_name_that_was_pointed_at_this_machine_is_refused(host: str | None) -> None:
    caller = Caller()
    assert caller.status(host=host) == 403
    assert not caller.opens_socket(host=host)
    assert caller.inside.reached == 0


def test_two_hosts_are_refused() -> None:
    assert Caller().status(("host", "localhost:8080")) == 403


@pytest.mark.parametrize(
    "origin",
    [
        "http://evil.example",
        "null",
        "http://localhost:9999",
        "http://localhost",
        "file://",
        "localhost:8080",
    ],
)
def test_other_origins_are_refused_pages_and_sockets(origin: str) -> None:
    caller = Caller()
    for method in ("GET", "POST"):
        assert caller.status(("origin", origin), method=method) == 403
    assert not caller.opens_socket(("origin", origin))
    assert caller.inside.reached == 0


def test_the_own_origin_is_let_in_also_behind_a_proxy_with_https() -> None:
    caller = Caller(hosts=("desk.example",))
    assert caller.opens_socket(("origin", "https://desk.example"), host="desk.example")
    assert Caller().opens_socket(("origin", "http://localhost:8080"))


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_what_another_site_asks_for_is_refused_but_a_link_to_the_page_is_followed(
    site: str,
) -> None:
    caller = Caller()
    told = ("sec-fetch-site", site)
    opened = (("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "document"))
    assert caller.status(told) == 403
    assert caller.status(told, ("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "iframe")) == 403
    assert caller.status(told, *opened, method="POST") == 403
    assert not caller.opens_socket(told, *opened)
    assert caller.status(told, *opened) == 200


def test_every_answer_forbids_frames_and_foreign_sources() -> None:
    caller = Caller(TOKEN)
    for sent in (caller.ask(("accept", "text/html")), Caller().ask(), caller.ask(host="evil")):
        policy = header(sent[0], "content-security-policy")
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert header(sent[0], "x-content-type-options") == "nosniff"


def test_without_the_token_there_is_a_form_and_nothing_else() -> None:
    caller = Caller(TOKEN)
    sent = caller.ask(("accept", "text/html"))
    assert sent[0]["status"] == 401
    assert b'<form method="post" action="/login">' in sent[1]["body"]
    assert caller.status(path="/_nicegui/x.js") == 401
    assert caller.status(("accept", "text/html"), method="POST") == 401
    assert not caller.opens_socket()
    assert caller.inside.reached == 0


@pytest.mark.parametrize(
    "wrong", ["", TOKEN[:-1], f"{TOKEN} ", TOKEN.upper(), "é" * 20, TOKEN * 300]
)
def test_a_wrong_token_is_refused(wrong: str) -> None:
    caller = Caller(TOKEN)
    sent = caller.log_in(wrong)
    assert sent[0]["status"] == 401
    assert b"That is not the token." in sent[1]["body"]
    assert header(sent[0], "set-cookie") == ""
    assert caller.status(("authorization", f"Bearer x{wrong}")) == 401
    assert caller.inside.reached == 0


def test_the_token_opens_the_page_and_its_cookie_keeps_it_open_but_does_not_hold_it() -> None:
    caller = Caller(TOKEN)
    sent = caller.log_in(TOKEN)
    assert sent[0]["status"] == 303
    assert header(sent[0], "location") == "/"
    cookie = header(sent[0], "set-cookie")
    assert TOKEN not in cookie
    for flag in ("HttpOnly", "SameSite=Strict", "Path=/"):
        assert flag in cookie
    kept = ("cookie", f"other=1; {cookie.partition(';')[0]}")
    assert caller.status(kept) == 200
    assert caller.opens_socket(kept)
    assert caller.status(("authorization", f"Bearer {TOKEN}")) == 200
    caller.now += 29 * 86_400
    assert caller.status(kept) == 200
    caller.now += 2 * 86_400
    assert caller.status(kept) == 401


def test_a_cookie_over_https_is_for_https_alone() -> None:
    caller = Caller(TOKEN)
    assert "Secure" in header(caller.log_in(TOKEN, scheme="https")[0], "set-cookie")
    assert "Secure" not in header(caller.log_in(TOKEN)[0], "set-cookie")


@pytest.mark.parametrize(
    "forged",
    [
        "",
        "1800000000",
        "1800000000.",
        "1800000000.00",
        "x.y",
        "²³.1",
        f"{'9' * 400}.0",
        "-1.0",
        "1e9.0",
    ],
)
def test_a_forged_cookie_is_refused(forged: str) -> None:
    assert Caller(TOKEN).status(("cookie", f"{COOKIE}={forged}")) == 401


def test_the_cookie_of_another_token_or_time_is_refused() -> None:
    cookie = header(
        Caller("another-token-altogether").log_in("another-token-altogether")[0], "set-cookie"
    )
    caller = Caller(TOKEN)
    assert caller.status(("cookie", cookie.partition(";")[0])) == 401
    own = header(caller.log_in(TOKEN)[0], "set-cookie").partition(";")[0]
    issued, _, sign = own.partition("=")[2].partition(".")
    assert caller.status(("cookie", f"{COOKIE}={int(issued) + 1}.{sign}")) == 401


def test_token_and_cookie_are_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[tuple[int, int]] = []
    real = hmac.compare_digest

    def compare(one: bytes, other: bytes) -> bool:
        compared.append((len(one), len(other)))
        return real(one, other)

    monkeypatch.setattr(hmac, "compare_digest", compare)
    caller = Caller(TOKEN)
    caller.log_in("short")
    caller.log_in(TOKEN)
    assert compared == [(32, 32), (32, 32)]  # digests: not even the length tells
    caller.status(("cookie", f"{COOKIE}=1800000000.{'0' * 64}"))
    assert compared[2:] == [(64, 64)] * 2  # for its turn, and by the gate


def test_a_short_token_is_refused() -> None:
    with pytest.raises(ConfigError, match="must have 16 characters or more, had 5"):
        Caller("short")


def test_a_form_that_does_not_end_is_cut_off() -> None:
    caller = Caller(TOKEN)
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"x" * 1000, "more_body": True}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "path": "/login",
        "method": "POST",
        "headers": [(b"host", b"localhost")],
    }
    asyncio.run(caller.gate(scope, receive, send))
    assert sent[0]["status"] == 401
