"""What Prometheus is told: counted once, after it was written down, and documented by name."""

from __future__ import annotations

import json
import re
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from socket import socket
from urllib.error import URLError

import pytest
from prometheus_client import CollectorRegistry

from live.broker.interface import Outcome
from live.journal import (
    AnsweredBy,
    Difference,
    Latency,
    Note,
    NoteKind,
    Recorded,
    Resolution,
    open_journal,
)
from live.metrics import Endpoint, MeteredJournal, Metrics
from quantcore.errors import ConfigError
from tests.journal.entries import (
    HOUR_US,
    Loop,
    answered,
    fill,
    health,
    income,
    intent,
    session,
    url_of,
)

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
def journal(tmp_path: Path, metrics: Metrics) -> Iterator[MeteredJournal]:
    with open_journal(
        url_of(tmp_path), make=lambda database, redact: MeteredJournal(database, redact, metrics)
    ) as journal:
        assert isinstance(journal, MeteredJournal)
        journal.begin(session(), now_us=0)
        yield journal


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(f"quantcore_{name}", labels)


def test_steps_orders_and_decisions_are_counted(metrics: Metrics, journal: MeteredJournal) -> None:
    loop = Loop(journal)
    loop.step()
    loop.step([intent(1), intent(2)], extras=True)
    assert value(metrics, "steps_total", kind="start") == 1
    assert value(metrics, "steps_total", kind="close") == 1
    assert value(metrics, "requests_total", action="send") == 2
    assert value(metrics, "decisions_total", outcome="taken") == 1
    assert value(metrics, "reasons_total", stage="planner", rule="min_notional") == 1
    assert value(metrics, "equity_usdt") == 1010.0
    assert value(metrics, "position_usdt", symbol="BTCUSDT") == 0.01 * 50000.0
    assert value(metrics, "last_step_timestamp_seconds") == 2 * HOUR_US / 1e6
    assert value(metrics, "commit_seconds_count") == 2


def test_what_is_known_already_counts_once(metrics: Metrics, journal: MeteredJournal) -> None:
    loop = Loop(journal)
    loop.step()
    loop.step()
    (number,) = loop.step([intent(1)])
    fast = Latency(sent_after_us=2_000, answered_after_us=30_000)
    for recorded in (Recorded.NEW, Recorded.KNOWN):
        assert journal.answer(answered(number, latency=fast)) is recorded
        assert journal.hear([fill(), income()], heard_us=1) == (recorded, recorded)
    assert value(metrics, "answers_total", outcome="accepted", by="request") == 1
    assert value(metrics, "sent_seconds_sum") == pytest.approx(0.002)
    assert value(metrics, "answered_seconds_sum") == pytest.approx(0.03)
    assert value(metrics, "fills_total", liquidity="taker") == 1
    assert value(metrics, "fees_usdt_total") == pytest.approx(0.2500005)
    assert value(metrics, "events_total", kind="income") == 1


def test_what_a_query_finds_out_is_no_latency_of_a_request(
    metrics: Metrics, journal: MeteredJournal
) -> None:
    loop = Loop(journal)
    loop.step()
    loop.step()
    (number,) = loop.step([intent(1)])
    journal.answer(answered(number, Outcome.REFUSED, by=AnsweredBy.QUERY))
    assert value(metrics, "answers_total", outcome="refused", by="query") == 1
    assert value(metrics, "sent_seconds_count") == 0


def test_notes_differences_and_heartbeats_are_told(
    metrics: Metrics, journal: MeteredJournal
) -> None:
    journal.note(Note(ts_us=1, kind=NoteKind.INTERVENTION, source="operator", message="freeze"))
    journal.difference(
        Difference(ts_us=1, subject="order", expected="a", found="b", rule=Resolution.CANCEL)
    )
    journal.health(health(1, stopped="frozen", copy_behind=7))
    assert value(metrics, "notes_total", kind="intervention", source="operator") == 1
    assert value(metrics, "differences_total", subject="order", rule="cancel") == 1
    assert value(metrics, "stopped") == 1
    assert value(metrics, "copy_behind_steps") == 7
    assert value(metrics, "stream_age_seconds", kind="book") == 0.25
    assert value(metrics, "clock_offset_seconds") == pytest.approx(-0.003)


def names(registry: CollectorRegistry) -> set[str]:
    return {family.name for family in registry.collect()}


def test_every_name_is_documented_and_drawn(metrics: Metrics) -> None:
    text = (DOCS / "metrics.md").read_text(encoding="utf-8")
    documented = set(re.findall(r"^\| `(quantcore_\w+)`", text, flags=re.MULTILINE))
    assert documented == names(metrics.registry)
    panels = json.loads((DOCS / "grafana.json").read_text(encoding="utf-8"))["panels"]
    asked = " ".join(target["expr"] for panel in panels for target in panel.get("targets", ()))
    drawn = {
        re.sub(r"_(total|bucket|count|sum)$", "", n) for n in re.findall(r"quantcore_\w+", asked)
    }
    assert drawn == names(metrics.registry)


def test_the_endpoint_serves_this_machine_and_ends(metrics: Metrics) -> None:
    endpoint = Endpoint(metrics, 0)
    with urllib.request.urlopen(f"http://127.0.0.1:{endpoint.port}/metrics", timeout=5) as answer:
        text = answer.read().decode()
    endpoint.close()
    assert "# HELP quantcore_equity_usdt Wallet and unrealised profit." in text
    with pytest.raises(URLError, match="refused"):
        urllib.request.urlopen(f"http://127.0.0.1:{endpoint.port}/metrics", timeout=1)


def test_a_taken_port_is_refused_in_one_line(metrics: Metrics) -> None:
    with socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=rf"^metrics port must be free, {port} is not: "):
            Endpoint(metrics, port)
