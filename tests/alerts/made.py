"""What the tests of alerts look at: news made by hand, a rule with its memory, and receivers on this machine."""

from __future__ import annotations

import contextlib
import functools
import json
import math
import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from aiohttp import web

from live.alerts.alert import Alert, Severity
from live.alerts.news import HealthRow, News, Run
from live.alerts.rules.rule import Rule, judge_all
from live.alerts.settings import AlertSettings
from quantcore.config import build, compose

SECOND_US = 1_000_000
NOW_US = 1_700_000_000 * SECOND_US
"""2023-11-14 22:13:20 UTC."""
RUN = Run(
    session_id=1,
    mode="sim",
    started_us=NOW_US,
    ended_us=None,
    why_ended="",
    wants_stops=True,
)


def news(at_s: float = 0.0, **found: Any) -> News:
    """A look so many seconds after the tests' now, on a run that trades."""
    seen_us = NOW_US + int(at_s * SECOND_US)
    given: dict[str, Any] = {"absent_us": seen_us - 100_000, "seen_us": seen_us, "run": RUN}
    return News(**given | found)


def alert(severity: Severity = Severity.WARNING, key: str = "BTCUSDT", **changed: Any) -> Alert:
    said = {"rule": "stops", "title": f"{key} is not well", "advice": "Look at it.", "key": key}
    return Alert(**{"severity": severity, "event_us": NOW_US} | said | changed)


@functools.lru_cache
def settings(*overrides: str) -> AlertSettings:
    """The settings of `conf/alerts.yaml`, changed."""
    return build(compose("alerts", list(overrides)).alerts, AlertSettings)


class Judge:
    """One rule of the settings, with its memory kept as the queue keeps it."""

    def __init__(self, name: str) -> None:
        self.rules: dict[str, Rule] = {name: settings().rules[name]}
        self.memories: dict[str, Any] = {}

    def __call__(self, found: News) -> list[Alert]:
        memories, alerts = judge_all(self.rules, found, self.memories)
        self.memories = json.loads(json.dumps(memories))
        return alerts


def titles(alerts: list[Alert]) -> list[str]:
    return [alert.title for alert in alerts]


def beat(at_s: float, **changed: Any) -> HealthRow:
    """A heartbeat on which all is well, changed."""
    at_us = NOW_US + int(at_s * SECOND_US)
    row = HealthRow(
        ts_us=at_us,
        wall_us=at_us,
        late_us=1_000,
        clock_off_ms=math.nan,
        requests=0,
        failures=0,
        account_stream=True,
        sockets=4,
        connected=4,
        doubtful=0,
        halted=0,
        stopped=None,
        copy_behind=None,
    )
    return row._replace(**changed)


@contextlib.contextmanager
def webhook(answers: Sequence[int] = (200,)) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """A receiver in a thread of its own: its URL for Apprise, and what it got, with the time."""
    import time

    got: list[dict[str, Any]] = []
    codes = list(answers)

    class Hook(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            code = codes.pop(0) if len(codes) > 1 else codes[0]
            if code == 200:
                got.append(json.loads(body) | {"got_us": time.time_ns() // 1000, "path": self.path})
            self.send_response(code)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Hook)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"json://127.0.0.1:{server.server_address[1]}", got
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class BotServer:
    """Stands in for Telegram's bot API: updates are held back until they are confirmed by an offset."""

    def __init__(self, token: str) -> None:
        self.token = token
        self.updates: list[dict[str, Any]] = []
        self.sent: list[tuple[int, str]] = []
        self.offsets: list[int | None] = []
        self.fails = 0
        self.url = ""

    def write(
        self, text: str, *, chat: int = 7, sender: int = 70, sent_s: float | None = None
    ) -> None:
        """Let somebody write into a chat."""
        import time

        number = self.updates[-1]["update_id"] + 1 if self.updates else 500
        self.updates.append(
            update(number, text, chat=chat, sender=sender, sent_s=sent_s or time.time())
        )

    async def answer(self, request: web.Request) -> web.Response:
        if request.match_info["bot"] != f"bot{self.token}":
            return web.json_response({"ok": False, "error_code": 404}, status=404)
        asked = await request.json()
        if self.fails:
            self.fails -= 1
            return web.Response(status=502, text="<html>bad gateway</html>")
        if request.match_info["method"] == "sendMessage":
            self.sent.append((asked["chat_id"], asked["text"]))
            return web.json_response({"ok": True, "result": {}})
        offset = asked.get("offset")
        self.offsets.append(offset)
        found = [each for each in self.updates if offset is None or each["update_id"] >= offset]
        return web.json_response({"ok": True, "result": found})


@contextlib.asynccontextmanager
async def bot_server(token: str = "123:MARKER") -> AsyncIterator[BotServer]:
    server = BotServer(token)
    app = web.Application()
    app.router.add_post("/{bot}/{method}", server.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    server.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield server
    finally:
        await runner.cleanup()


def update(
    number: int, text: str, *, chat: int = 7, sender: int = 70, sent_s: float
) -> dict[str, Any]:
    return {
        "update_id": number,
        "message": {
            "message_id": number,
            "date": int(sent_s),
            "text": text,
            "chat": {"id": chat, "type": "private"},
            "from": {"id": sender, "is_bot": False, "username": "anna"},
        },
    }
