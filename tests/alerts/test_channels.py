"""Messages go out as they were written: over a webhook and over mail, to receivers on this machine."""

from __future__ import annotations

import asyncio
import email
import email.policy
import logging
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiosmtpd.smtp import SMTP

from live.alerts.alert import Severity
from live.alerts.channels import apprise_channel
from live.alerts.outbox import Due
from live.alerts.process import called
from live.alerts.queue import ALERT
from quantcore.errors import ConfigError
from tests.alerts.made import webhook

pytestmark = pytest.mark.filterwarnings(
    "ignore:'imghdr' is deprecated:DeprecationWarning"  # Apprise imports it for mail
)

SUBJECT = "CRITICAL prod: Drawdown −10.2 %, past the step of 9 %"
BODY = "Equity 6,914.60 USDT.\nLook at <b>positions</b> & limits.\n\n#12 · 2026-11-26 13:02:11 UTC · answer /ack 12"
MARKER = "SECRETMARKER9"


def due(severity: Severity = Severity.CRITICAL) -> Due:
    return Due(message_id=12, kind=ALERT, severity=severity, subject=SUBJECT, body=BODY, attempts=0)


def test_a_webhook_gets_the_message_as_it_was_written(monkeypatch: pytest.MonkeyPatch) -> None:
    with webhook() as (url, got):
        monkeypatch.setenv("HOOK", f"{url}/hook")
        assert apprise_channel("main", "HOOK")(due()) == ""
    (message,) = got
    assert (message["title"], message["message"], message["type"]) == (SUBJECT, BODY, "failure")
    assert message["path"] == "/hook"


async def test_mail_has_subject_and_text(monkeypatch: pytest.MonkeyPatch) -> None:
    envelopes: list[Any] = []

    class Handler:
        async def handle_DATA(self, server: object, session: object, envelope: object) -> str:
            envelopes.append(envelope)
            return "250 OK"

    server = await asyncio.get_running_loop().create_server(lambda: SMTP(Handler()), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    monkeypatch.setenv(
        "MAIL",
        f"mailto://127.0.0.1:{port}/?from=quantcore@example.org&to=anna@example.org&mode=insecure",
    )
    async with server:
        assert await asyncio.to_thread(apprise_channel("mail", "MAIL"), due()) == ""
    (envelope,) = envelopes
    assert envelope.rcpt_tos == ["anna@example.org"]
    mail = email.message_from_bytes(envelope.content, policy=email.policy.default)
    assert mail["subject"] == SUBJECT
    parts = {
        part.get_content_type(): part.get_content()
        for part in mail.walk()
        if not part.is_multipart()
    }
    assert "<b>positions</b>" not in parts.get("text/html", "")
    shown = parts.get("text/plain", parts.get("text/html", ""))
    assert "6,914.60 USDT" in shown
    assert "#12" in shown


@pytest.mark.parametrize(("code", "says"), [(401, "answered 401"), (503, "answered 503")])
def test_a_refusal_is_told_by_its_number_alone(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, code: int, says: str
) -> None:
    caplog.set_level(logging.DEBUG)
    with webhook((code,)) as (url, got):
        monkeypatch.setenv(
            "HOOK",
            url.replace("json://", f"json://user:{MARKER}@") + f"/{MARKER}?+X-Token={MARKER}",
        )
        assert apprise_channel("main", "HOOK")(due()) == says
    assert got == []
    assert MARKER not in caplog.text


def test_a_receiver_that_is_not_there_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOOK", f"json://127.0.0.1:9/{MARKER}")
    assert apprise_channel("main", "HOOK")(due()) == "no answer, or a refusal"


@pytest.mark.parametrize(
    "url", ["", f"nonsense://{MARKER}", f"json://a json://b/{MARKER}, json://c"]
)
def test_a_channel_without_one_url_is_refused_without_showing_it(
    monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    monkeypatch.setenv("HOOK", url)
    with pytest.raises(ConfigError, match=r"channels\.main\.url") as refused:
        apprise_channel("main", "HOOK")
    assert MARKER not in str(refused.value)


async def test_the_heartbeats_url_is_called_and_never_told(tmp_path: Path) -> None:
    calls = []

    async def beat(request: web.Request) -> web.Response:
        calls.append(request.path)
        return web.Response(status=200 if len(calls) == 1 else 500)

    app = web.Application()
    app.router.add_get("/{token}", beat)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}/{MARKER}"
    async with aiohttp.ClientSession() as session:
        assert await called(session, url) == ""
        assert await called(session, url) == "answered 500"
        await runner.cleanup()
        failure = await called(session, url)
        assert failure.startswith("cannot be reached")
        assert MARKER not in failure
        assert MARKER not in await called(session, f"nonsense {MARKER}")
    assert calls == [f"/{MARKER}"] * 2
