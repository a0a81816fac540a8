"""Parameters as sent, API keys, timestamps and signatures."""

from __future__ import annotations

from urllib.parse import quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from live.simulator.security import (
    check_key,
    check_parameters,
    check_signed,
    read_request,
    sign,
)
from live.simulator.wire import Refused
from tests.simulator.requests_sent import KEY, NOW_MS, NOW_US, SECRET, digest, signed

# The example of the exchange's documentation for signed endpoints: key, secret, payload and its signature.
DOC_SECRET = "2b5eb11e18796d12d88f13dc27dbbd02c2cc51ff7059765ed9821957d82bb4d9"
DOC_PAYLOAD = (
    "symbol=BTCUSDT&side=BUY&type=LIMIT&quantity=1&price=9000&timeInForce=GTC&recvWindow=5000"
    "&timestamp=1591702613943"
)
DOC_SIGNATURE = "3c661234138461fcc7a7d8746c6558c9842d4e10870d2ecbedf7777cad694af9"


def code(query: str, body: bytes = b"", *, secret: str = SECRET, now_us: int = NOW_US) -> int:
    """The code of the refusal, 0 if none."""
    try:
        request = read_request(query, body)
        check_parameters(request.params, ())
        check_signed(request, secret, now_us)
    except Refused as refused:
        return refused.code
    return 0


def test_signature_is_the_one_of_the_documentation() -> None:
    assert sign(DOC_SECRET, DOC_PAYLOAD) == DOC_SIGNATURE


def test_signature_is_over_query_then_body_without_a_joint() -> None:
    query, body = "symbol=BTCUSDT&side=BUY", f"quantity=1&timestamp={NOW_MS}"
    good = f"{body}&signature={digest(query + body)}".encode()
    assert code(query, good) == 0
    joined = f"{body}&signature={digest(query + '&' + body)}".encode()
    assert code(query, joined) == -1022


def test_signature_in_the_query_also_covers_the_body() -> None:
    body = f"quantity=1&timestamp={NOW_MS}"
    query = f"symbol=BTCUSDT&signature={digest('symbol=BTCUSDT' + body)}"
    assert code(query, body.encode()) == 0
    assert code(query, body.replace("=1&", "=2&").encode()) == -1022


def test_signature_may_be_in_capitals_and_anywhere() -> None:
    text = f"symbol=BTCUSDT&timestamp={NOW_MS}"
    assert code(f"{text}&signature={digest(text).upper()}") == 0
    assert code(f"signature={digest(text)}&{text}") == 0


def test_payload_is_taken_as_it_was_sent_before_decoding() -> None:
    text = f"batchOrders=%5B%7B%22a%22%3A%20%221%22%7D%5D&timestamp={NOW_MS}"
    assert code(f"{text}&signature={digest(text)}") == 0
    assert read_request(text, b"").params["batchOrders"] == '[{"a": "1"}]'


@given(st.dictionaries(st.sampled_from(["a", "b", "c", "d"]), st.text("xyzé~ +&=%/", min_size=1)))
def test_whatever_is_sent_comes_out_and_its_signature_holds(params: dict[str, str]) -> None:
    query = signed(params)
    assert code(query) == 0
    assert {k: v for k, v in read_request(query, b"").params.items() if k in params} == params
    other = "0" * 64 if not query.endswith("0" * 64) else "1" * 64
    assert code(query[:-64] + other) == -1022


def test_another_secret_does_not_sign() -> None:
    assert code(signed({}), secret="other") == -1022


@pytest.mark.parametrize(
    ("late_ms", "recv_window", "expected"),
    [
        (5000, None, 0),
        (5001, None, -1021),
        (100, "100", 0),
        (101, "100", -1021),
        (60_000, "60000", 0),
        (0, "60001", -1131),
        (-999, None, 0),
        (-1000, None, -1021),
    ],
)
def test_timestamp_must_be_recent(late_ms: int, recv_window: str | None, expected: int) -> None:
    params = {} if recv_window is None else {"recvWindow": recv_window}
    assert code(signed(params, at_ms=NOW_MS - late_ms)) == expected


def test_too_old_and_too_new_have_different_words() -> None:
    for at_ms, words in (
        (NOW_MS - 9000, "outside of the recvWindow"),
        (NOW_MS + 9000, "1000ms ahead of the server"),
    ):
        with pytest.raises(Refused, match=words):
            check_signed(read_request(signed({}, at_ms=at_ms), b""), SECRET, NOW_US)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("symbol=BTCUSDT", -1102),
        (f"timestamp={NOW_MS}", -1102),
        (f"signature={'a' * 64}", -1102),
        (f"timestamp=&signature={'a' * 64}", -1105),
        (f"timestamp=soon&signature={'a' * 64}", -1100),
        (f"timestamp=-1&signature={'a' * 64}", -1100),
        (f"timestamp={'9' * 20}&signature={'a' * 64}", -1021),
        (f"timestamp={'9' * 21}&signature={'a' * 64}", -1100),
        (f"timestamp={NOW_MS}&signature=xyz", -1100),
        ("quantity=1e-05", -1100),
        ("quantity=NaN", -1100),
        ("limit=１２", -1100),
        ("symbol=BTC USDT", -1100),
        ("a=%FF", -1100),
        ("a=%00", -1100),
        ("a=\udcff", -1100),
        ("a=1&a=2", -1101),
        ("&".join(f"p{i}=1" for i in range(300)), -1101),
    ],
)
def test_what_cannot_be_is_refused_with_its_code(query: str, expected: int) -> None:
    assert code(query) == expected


def test_query_outranks_body_and_unknown_parameters_pass() -> None:
    request = read_request("side=BUY&nobody=knows", b"side=SELL&type=MARKET")
    check_parameters(request.params, ("side", "type"))
    assert request.params == {"side": "BUY", "type": "MARKET", "nobody": "knows"}


def test_body_that_is_no_text_is_refused() -> None:
    with pytest.raises(Refused, match="-1100: Illegal characters"):
        read_request("", b"\xff\xfe")


def test_missing_parameter_is_named() -> None:
    with pytest.raises(Refused, match="Mandatory parameter 'side' was not sent"):
        check_parameters({"symbol": "BTCUSDT"}, ("symbol", "side"))


@pytest.mark.parametrize(
    ("key", "expected"),
    [(None, -2014), ("", -2014), ("short", -2014), ("é" * 64, -2014), ("x" * 64, -2015)],
)
def test_unknown_keys_are_refused_with_401(key: str | None, expected: int) -> None:
    with pytest.raises(Refused) as refused:
        check_key(key, {KEY})
    assert (refused.value.code, refused.value.status) == (expected, 401)


def test_known_key_passes_whatever_its_form() -> None:
    assert check_key("k", {"k"}) == "k"


@given(st.text(max_size=80), st.binary(max_size=80))
def test_reading_a_request_gives_text_or_a_refusal(query: str, body: bytes) -> None:
    try:
        request = read_request(query, body)
    except Refused as refused:
        outcome = refused.code
    else:
        quote_plus("".join((*request.params, *request.params.values())))
        outcome = 0
    assert outcome in (0, -1100, -1101)
