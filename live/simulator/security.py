"""Who asks, and whether the request is what was signed: parameters, API keys, timestamps and HMAC signatures."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import unquote_plus

from live.simulator.wire import Refused, milliseconds

RECV_WINDOW_MS = 5000
RECV_WINDOW_MAX_MS = 60_000
AHEAD_MS = 1000
PARAMETERS_MAX = 200

_KEY = re.compile(r"[A-Za-z0-9]{64}", re.ASCII)
_INTEGER = re.compile(r"[0-9]{1,20}", re.ASCII)
_DECIMAL = re.compile(r"-?[0-9]{1,20}(\.[0-9]{1,20})?", re.ASCII)
_SYMBOL = re.compile(r"[\w.\-]{1,40}")
_SIGNATURE = re.compile(r"[A-Fa-f0-9]{64}", re.ASCII)
_FORBIDDEN = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")
_INTEGERS = (
    "timestamp", "recvWindow", "limit", "startTime", "endTime", "orderId", "fromId", "algoId", "leverage",
    "goodTillDate", "countdownTime", "page",
)  # fmt: skip
_DECIMALS = (
    "quantity", "price", "stopPrice", "triggerPrice", "activationPrice", "activatePrice", "callbackRate", "amount",
)  # fmt: skip
_LEGAL: Mapping[str, tuple[re.Pattern[str], str]] = {
    **dict.fromkeys(_INTEGERS, (_INTEGER, "^[0-9]{1,20}$")),
    **dict.fromkeys(_DECIMALS, (_DECIMAL, "^([0-9]{1,20})(\\.[0-9]{1,20})?$")),
    "symbol": (_SYMBOL, "^[A-Z0-9-_.]{1,20}$"),
    "signature": (_SIGNATURE, "^[A-Fa-f0-9]{64}$"),
}
"""Patterns of parameters, and the range as a refusal words it; a minus is left to the venue, which has codes for it."""


@dataclass(frozen=True)
class Request:
    """What a client sent.

    Parameters
    ----------
    params : mapping of str to str
        Query and body together, decoded; the query wins.
    payload : str
        What the signature is over: query and body as sent, one after the other, without the signature.
    """

    params: Mapping[str, str]
    payload: str


def read_request(query: str, body: bytes) -> Request:
    """Return a request's parameters and what its signature is over.

    Parameters
    ----------
    query : str
        As sent, percent-encoded.
    body : bytes
        Taken for a form whatever its declared type.

    Raises
    ------
    Refused
        -1100 if it is not text, -1101 if it has too many parameters or one twice.
    """
    try:
        parts = (query, body.decode())
    except UnicodeDecodeError:
        raise _illegal() from None
    if sum(part.count("&") for part in parts) > PARAMETERS_MAX:
        raise Refused(-1101, "Too many parameters sent for this endpoint.")
    asked, sent = ([piece for piece in part.split("&") if piece] for part in parts)
    payload = "".join(
        "&".join(p for p in pieces if not _is_signature(p)) for pieces in (asked, sent)
    )
    return Request(_parameters(sent) | _parameters(asked), payload)


def check_key(key: str | None, known: Collection[str]) -> str:
    """Return the API key of a known account.

    Raises
    ------
    Refused
        -2014 if it is none, -2015 if nobody has it; both 401.
    """
    if key is not None and key in known:
        return key
    if key is None or not _KEY.fullmatch(key):
        raise Refused(-2014, "API-key format invalid.", 401)
    raise Refused(-2015, "Invalid API-key, IP, or permissions for action", 401)


def check_parameters(params: Mapping[str, str], mandatory: Sequence[str]) -> None:
    """Refuse a parameter that is missing (-1102), empty (-1105) or of wrong characters (-1100); unknown ones pass."""
    for name in mandatory:
        if name not in params:
            raise missing(name)
    for name, value in params.items():
        if not value:
            raise Refused(-1105, f"Parameter '{name}' was empty.")
        pattern, legal = _LEGAL.get(name, (None, ""))
        if pattern is not None and not pattern.fullmatch(value):
            raise Refused(
                -1100, f"Illegal characters found in parameter '{name}'; legal range is '{legal}'."
            )


def missing(name: str) -> Refused:
    """Return the refusal for want of a parameter."""
    return Refused(
        -1102, f"Mandatory parameter '{name}' was not sent, was empty/null, or malformed."
    )


def check_signed(request: Request, secret: str, now_us: int) -> None:
    """Refuse a signed request that is too old, too new or signed otherwise.

    Parameters
    ----------
    request : Request
        Whose parameters have passed `check_parameters`.
    secret : str
        The account's.
    now_us : int
        Simulated time.

    Raises
    ------
    Refused
        -1102 for want of timestamp or signature, -1131 for a recvWindow too long, -1021 for a timestamp, -1022 for a
        signature.
    """
    params = request.params
    for name in ("timestamp", "signature"):
        if name not in params:
            raise missing(name)
    _check_timestamp(
        int(params["timestamp"]), int(params.get("recvWindow", RECV_WINDOW_MS)), now_us
    )
    if not hmac.compare_digest(sign(secret, request.payload), params["signature"].lower()):
        raise Refused(-1022, "Signature for this request is not valid.")


def sign(secret: str, payload: str) -> str:
    """Return the HMAC-SHA256 of a payload, as 64 hexadecimal digits."""
    return hmac.new(secret.encode(), payload.encode(), hashlib.sha256).hexdigest()


def _check_timestamp(timestamp: int, recv_window: int, now_us: int) -> None:
    server = milliseconds(now_us)
    if recv_window > RECV_WINDOW_MAX_MS:
        raise Refused(-1131, f"recvWindow must be less than {RECV_WINDOW_MAX_MS}")
    if timestamp >= server + AHEAD_MS:
        raise Refused(
            -1021, f"Timestamp for this request was {AHEAD_MS}ms ahead of the server's time."
        )
    if server - timestamp > recv_window:
        raise Refused(-1021, "Timestamp for this request is outside of the recvWindow.")


def _is_signature(piece: str) -> bool:
    return piece.partition("=")[0] == "signature"


def _parameters(pieces: Sequence[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for piece in pieces:
        name, value = (
            (_decoded(side) for side in piece.split("=", 1))
            if "=" in piece
            else (_decoded(piece), "")
        )
        if name in found:
            raise Refused(-1101, "Duplicate values for a parameter detected.")
        found[name] = value
    return found


def _decoded(text: str) -> str:
    try:
        decoded = unquote_plus(text, errors="strict")
    except UnicodeDecodeError:
        raise _illegal() from None
    if _FORBIDDEN.search(decoded):
        raise _illegal()
    return decoded


def _illegal() -> Refused:
    return Refused(-1100, "Illegal characters found in a parameter.")
