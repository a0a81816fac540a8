"""The control port moves the clock, shows the ledger, injects faults and goes back; and refuses in one line."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer

from live.simulator import control
from live.simulator.control import Controls, control_app
from live.simulator.scenario import Scenario, rule_of
from tests.simulator.stand_ins import BAR_US, account, controls


@pytest.fixture
def of() -> Controls:
    return controls(account("a", capital=7700.0), account("b"))


async def asked(of: Controls, *requests: tuple[str, str, Any]) -> list[tuple[int, Any]]:
    """Return status and JSON of some requests, one after the other; a body that is text is sent as it is."""
    answers = []
    async with TestClient(TestServer(control_app(of))) as client:
        for method, path, body in requests:
            text = body if isinstance(body, str | bytes | None) else json.dumps(body)
            data = io.BytesIO(text.encode()) if isinstance(text, str) else text
            async with client.request(method, path, data=data) as answer:
                answers.append((answer.status, await answer.json()))
    return answers


async def test_the_clock_moves_by_bars_or_to_a_time_and_not_past_the_end(of: Controls) -> None:
    first_us, end_us = of.tape.first_us, of.tape.end_us
    steps = [{"bars": 1}, {"bars": 2}, {"to": (first_us + 10 * BAR_US) // 1000}, {"bars": 5000}]
    answers = await asked(of, *(("POST", "/advance", step) for step in steps))
    times = [first_us + BAR_US, first_us + 3 * BAR_US, first_us + 10 * BAR_US, end_us]
    assert [(status, answer["time"]) for status, answer in answers] == [(200, t // 1000) for t in times]  # fmt: skip
    assert answers[-1][1] == {
        "time": end_us // 1000,
        "start": first_us // 1000,
        "end": end_us // 1000,
        "bar": BAR_US // 1000,
        "clock": "lock-step",
    }


async def test_the_clock_is_not_moved_where_it_runs_by_itself() -> None:
    running = controls(lock_step=False)
    ((status, answer),) = await asked(running, ("POST", "/advance", {"bars": 1}))
    assert status == 400
    assert answer == {"error": "advance must be asked in lock-step, the clock was real time"}


async def test_the_ledger_is_shown_with_null_for_what_is_missing() -> None:
    of = controls(account("a", equity=float("nan")))
    ((status, answer),) = await asked(of, ("GET", "/ledger", None))
    assert status == 200
    assert answer["time"] == of.tape.first_us // 1000
    assert answer["accounts"][0]["wallet"] == 7700.0
    assert answer["accounts"][0]["equity"] is None


async def test_an_injected_fault_happens_at_once_and_is_in_the_log(of: Controls) -> None:
    fault = {"kind": "liquidation", "symbol": "BTC*"}
    late = {"kind": "adl", "at_seconds": 7200}
    answers = await asked(
        of,
        ("POST", "/fault", fault),
        ("POST", "/fault", late),
        ("GET", "/faults", None),
        ("POST", "/advance", {"bars": 2}),
        ("GET", "/faults?since=1", None),
    )
    assert [status for status, _ in answers] == [200] * 5
    assert answers[0][1]["fault"]["symbol"] == "BTC*"
    first, second = answers[2][1], answers[4][1]
    assert first["log"] == [
        {
            "number": 1,
            "time": of.tape.first_us // 1000,
            "kind": "liquidation",
            "target": "symbol BTC* account *",
            "done": "positions liquidated",
        }
    ]
    assert [(f["kind"], f["happened"]) for f in first["faults"]] == [("liquidation", 1), ("adl", 0)]
    assert [(record["number"], record["kind"]) for record in second["log"]] == [(2, "adl")]
    assert second["log"][0]["time"] == of.tape.first_us // 1000 + 7_200_000
    assert second["counts"] == {"liquidation": 1, "adl": 1}


async def test_a_long_log_is_read_in_pieces(of: Controls, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "RECORDS", 3)
    of.faults.inject(rule_of({"kind": "latency"}), of.tape.first_us)
    for _ in range(5):
        of.faults.on_request("GET /fapi/v1/time", "", of.tape.first_us)
    answers = await asked(of, ("GET", "/faults", None), ("GET", "/faults?since=3", None))
    pieces = [([r["number"] for r in answer["log"]], answer["more"]) for _, answer in answers]
    assert pieces == [([1, 2, 3], 2), ([4, 5], 0)]


async def test_a_snapshot_brings_ledger_clock_and_faults_back(of: Controls) -> None:
    of.faults.inject(rule_of({"kind": "timeout", "nth": 2}), of.tape.first_us)
    ask = ("POST /fapi/v1/order", "a", of.tape.first_us)
    assert of.faults.on_request(*ask) is None
    answers = await asked(
        of,
        ("POST", "/snapshot", {"name": "before"}),
        ("POST", "/advance", {"bars": 3}),
        ("POST", "/fault", {"kind": "ban", "duration_seconds": 9}),
    )
    assert answers[0][1]["name"] == "before"
    assert of.faults.on_request(*ask) is not None
    ((status, answer),) = await asked(of, ("POST", "/restore", {"name": "before"}))
    assert (status, answer["time"]) == (200, of.tape.first_us // 1000)
    assert len(of.faults.schedules) == 1
    assert of.faults.on_request(*ask) is not None
    assert of.faults.on_request(*ask) is None


async def test_only_the_latest_snapshots_are_kept(
    of: Controls, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control, "SNAPSHOTS", 2)
    names = ("a", "b", "a", "c")
    await asked(of, *(("POST", "/snapshot", {"name": name}) for name in names))
    assert list(of.snapshots) == ["a", "c"]


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "error"),
    [
        ("POST", "/advance", {}, 400, 'body must be {"bars": n} or {"to": milliseconds}, was {}'),
        ("POST", "/advance", {"bars": 0}, 400, "bars must be a whole number in [1, 10000000], was 0"),
        ("POST", "/advance", {"bars": True}, 400, "bars must be a whole number in [1, 10000000], was true"),
        ("POST", "/advance", {"bars": "1"}, 400, 'bars must be a whole number in [1, 10000000], was "1"'),
        ("POST", "/advance", {"to": 5}, 400, "to must be a whole number in [1704499200000, 1704931200000], was 5"),
        ("POST", "/advance", "[1", 400, "body must be JSON, was not: "),
        ("POST", "/advance", "[" * 100_000, 400, "body must be JSON, was not: "),
        ("POST", "/advance", b"\xff", 400, "body must be JSON, was not: "),
        ("POST", "/advance", [1], 400, "body must be a mapping, was [1]"),
        ("POST", "/fault", {}, 400, "kind must be given, was missing"),
        ("POST", "/fault", {"kind": "banana"}, 400, "kind must be one of "),
        ("POST", "/fault", {"kind": "ban"}, 400, "duration_seconds must be given for kind ban, was missing"),
        (
            "POST",
            "/fault",
            {"kind": "delisting", "symbol": "XRPUSDT"},
            400,
            "symbol must be or match one of BTCUSDT, ETHUSDT, was XRPUSDT",
        ),
        ("POST", "/snapshot", {"name": 1}, 400, 'body must be {"name": text}, was {"name": 1}'),
        ("POST", "/restore", {"name": "x"}, 400, "name must be one of none yet, was x"),
        ("GET", "/faults?since=x", None, 400, "since must be a whole number, was x"),
        ("GET", "/nowhere", None, 404, "Not Found"),
        ("GET", "/advance", None, 405, "Method Not Allowed"),
        ("POST", "/fault", "x" * 2_000_000, 413, "Request Entity Too Large"),
    ],
)  # fmt: skip
async def test_what_is_refused_is_said_in_one_line(
    of: Controls, method: str, path: str, body: Any, status: int, error: str
) -> None:
    ((got, answer),) = await asked(of, (method, path, body))
    assert got == status
    assert answer["error"].startswith(error)
    assert "\n" not in answer["error"]
    assert of.faults.schedules == ()


async def test_pages_of_other_origins_may_not_use_the_port(of: Controls) -> None:
    async with TestClient(TestServer(control_app(of))) as client:
        own = f"http://{client.host}:{client.port}"
        for origin, status in (("http://evil.example", 403), ("null", 403), (own, 200)):
            answer = await client.post("/advance", data='{"bars":1}', headers={"Origin": origin})
            assert answer.status == status
    assert of.venue.ledger()["time"] == (of.tape.first_us + BAR_US) // 1000


async def test_the_page_and_its_refreshed_part_are_served(of: Controls) -> None:
    async with TestClient(TestServer(control_app(of))) as client:
        whole = await client.get("/", params={"symbol": "ETHUSDT"})
        part = await client.get("/", params={"symbol": "ETHUSDT", "part": "body"})
        text, refreshed = await whole.text(), await part.text()
    assert whole.status == part.status == 200
    assert text.startswith("<!doctype html>")
    assert refreshed in text
    assert "<h2>ETHUSDT</h2>" in refreshed
    assert "default-src 'none'" in whole.headers["Content-Security-Policy"]


async def test_scenario_faults_are_listed_before_anything_happened() -> None:
    of = controls(scenario=Scenario(faults=(rule_of({"kind": "adl", "at_seconds": 9}),)))
    ((_, answer),) = await asked(of, ("GET", "/faults", None))
    assert [fault["kind"] for fault in answer["faults"]] == ["adl"]
    assert answer["log"] == []
