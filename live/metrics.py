"""What the loop tells Prometheus: counted where it is written down, so that nothing that trades knows of it.

`docs/metrics.md` has every name; `docs/grafana.json` draws them. Counters begin anew with each session.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import closing
from socket import AF_INET, SO_REUSEADDR, SOCK_STREAM, SOL_SOCKET, socket
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server

from live.broker.interface import Fill
from live.journal.codec import Redactor
from live.journal.database import Database
from live.journal.journal import Journal
from live.journal.records import (
    Answered,
    AnsweredBy,
    Difference,
    Health,
    Note,
    Recorded,
    Step,
)
from live.journal.told import Event, kind_of
from quantcore.errors import ConfigError
from quantcore.types import RiskLevel

HOST: Final = "127.0.0.1"
_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
_US = 1e-6


class Metrics:
    """Every metric, in a registry of its own.

    Attributes
    ----------
    registry : CollectorRegistry
        What is served.
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.equity = self._gauge("equity_usdt", "Wallet and unrealised profit")
        self.wallet = self._gauge("wallet_usdt", "Wallet balance")
        self.drawdown = self._gauge("drawdown_ratio", "Below the highest value per unit, <= 0")
        self.gross = self._gauge("gross_exposure_usdt", "Sum of the positions' sizes at the marks")
        self.net = self._gauge("net_exposure_usdt", "Long less short positions at the marks")
        self.margin = self._gauge("margin_ratio", "Maintenance margin over equity")
        self.position = self._gauge("position_usdt", "Signed size at the mark", "symbol")
        self.risk = self._gauge("risk_level", "Of the ladder: " + _levels())
        self.value_at_risk = self._gauge("daily_value_at_risk_ratio", "Of equity")
        self.liquidation = self._gauge("liquidation_probability", "Within 24 hours")
        self.decided_at = self._gauge("last_decision_timestamp_seconds", "On the exchange's clock")
        self.stepped_at = self._gauge("last_step_timestamp_seconds", "On the exchange's clock")
        self.decisions = self._counter("decisions", "Decision bars, taken or skipped", "outcome")
        self.steps = self._counter("steps", "Steps of the account", "kind")
        self.requests = self._counter("requests", "Orders and cancels committed", "action")
        self.answers = self._counter("answers", "Of the exchange to requests", "outcome", "by")
        self.reasons = self._counter("reasons", "What rules cut or refused", "stage", "rule")
        self.events = self._counter("events", "New events of the exchange", "kind")
        self.fills = self._counter("fills", "By who waited", "liquidity")
        self.fees = self._counter("fees_usdt", "Paid in USDT; rebates are not taken off")
        self.notes = self._counter("notes", "Interventions and errors", "kind", "source")
        self.differences = self._counter("differences", "From the exchange", "subject", "rule")
        self.committed = self._histogram("commit_seconds", "One step into the journal")
        self.sent = self._histogram("sent_seconds", "From the beginning of a step to sending")
        self.answered = self._histogram("answered_seconds", "From sending to the answer")
        self.sockets = self._gauge("sockets", "Of market data", "state")
        self.age = self._gauge("stream_age_seconds", "Of the oldest stream's newest event", "kind")
        self.weight = self._gauge("used_weight", "Of requests in the running minute")
        self.late = self._gauge(
            "late_seconds", "By which the event loop came late to its heartbeat"
        )
        self.stream = self._gauge("account_stream", "Whether the account's stream is open")
        self.clock = self._gauge("clock_offset_seconds", "Exchange's clock less this machine's")
        self.api_requests = self._gauge("api_requests", "Over REST in this session", "outcome")
        self.symbols = self._gauge("symbols", "By what keeps them from trading", "state")
        self.stopped = self._gauge("stopped", "Whether nothing may open")
        self.memory = self._gauge("memory_bytes", "Of the process")
        self.disk = self._gauge("disk_free_bytes", "Beside the journal")
        self.behind = self._gauge("copy_behind_steps", "Steps that the journal's copy lacks")

    def _gauge(self, name: str, words: str, *labels: str) -> Gauge:
        return Gauge(f"quantcore_{name}", f"{words}.", labels, registry=self.registry)

    def _counter(self, name: str, words: str, *labels: str) -> Counter:
        return Counter(f"quantcore_{name}", f"{words}.", labels, registry=self.registry)

    def _histogram(self, name: str, words: str) -> Histogram:
        return Histogram(f"quantcore_{name}", f"{words}.", registry=self.registry, buckets=_SECONDS)

    def step(self, step: Step, took_s: float) -> None:
        """Take notice of a step that was committed."""
        self.committed.observe(took_s)
        self.steps.labels(step.kind).inc()
        self.stepped_at.set(step.ts_us * _US)
        for intent in step.intents:
            self.requests.labels(intent.action).inc()
        for reason in step.reasons:
            self.reasons.labels(reason.stage, reason.rule).inc()
        if step.decision is not None:
            self.decisions.labels("skipped" if step.decision.skipped else "taken").inc()
            self.decided_at.set(step.ts_us * _US)
        if step.equity is not None:
            self.equity.set(step.equity.equity)
            self.wallet.set(step.equity.wallet_balance)
            self.drawdown.set(step.equity.drawdown)
            self.gross.set(step.equity.gross_exposure)
            self.net.set(step.equity.net_exposure)
            self.margin.set(step.equity.margin_ratio)
        if step.risk is not None:
            self.risk.set(step.risk.level.value)
            self.value_at_risk.set(step.risk.daily_var)
            self.liquidation.set(step.risk.liquidation_probability)
            self.position.clear()
            for held in step.positions:
                self.position.labels(held.symbol).set(held.qty * held.mark_price)

    def answer(self, answered: Answered) -> None:
        """Take notice of an answer that was new."""
        self.answers.labels(answered.answer.outcome.value, answered.by.value).inc()
        if answered.latency is not None and answered.by is AnsweredBy.REQUEST:
            self.sent.observe(answered.latency.sent_after_us * _US)
            self.answered.observe(answered.latency.answered_after_us * _US)

    def event(self, event: Event) -> None:
        """Take notice of an event that was new."""
        self.events.labels(kind_of(event)).inc()
        if isinstance(event, Fill):
            self.fills.labels("maker" if event.maker else "taker").inc()
            if event.fee_asset == "USDT":
                self.fees.inc(max(float(event.fee), 0.0))

    def health(self, health: Health) -> None:
        """Take notice of how the loop does."""
        self.sockets.labels("wanted").set(health.sockets)
        self.sockets.labels("connected").set(health.connected)
        for kind in ("book", "mark", "kline"):
            self.age.labels(kind).set(getattr(health, f"{kind}_age_s"))
        self.weight.set(health.used_weight)
        self.late.set(health.late_us * _US)
        self.stream.set(health.account_stream)
        self.clock.set(health.clock_off_ms * 1e-3)
        self.api_requests.labels("all").set(health.requests)
        self.api_requests.labels("failed").set(health.failures)
        self.symbols.labels("doubtful").set(health.doubtful)
        self.symbols.labels("halted").set(health.halted)
        self.stopped.set(health.stopped is not None)
        self.memory.set(health.memory_mb * 1e6)
        self.disk.set(health.disk_free_mb * 1e6)
        self.behind.set(float("nan") if health.copy_behind is None else health.copy_behind)


class MeteredJournal(Journal):
    """A journal that counts what it has committed.

    Parameters
    ----------
    database, redact
        See `Journal`.
    metrics : Metrics
        Told of what is new.
    """

    def __init__(self, database: Database, redact: Redactor, metrics: Metrics) -> None:
        super().__init__(database, redact)
        self._metrics = metrics

    def commit_step(self, step: Step) -> tuple[int, ...]:
        """See `Journal.commit_step`."""
        began_s = time.perf_counter()
        numbers = super().commit_step(step)
        self._metrics.step(step, time.perf_counter() - began_s)
        return numbers

    def answer(self, answered: Answered) -> Recorded:
        """See `Journal.answer`."""
        recorded = super().answer(answered)
        if recorded is Recorded.NEW:
            self._metrics.answer(answered)
        return recorded

    def hear(self, events: Sequence[Event], *, heard_us: int) -> tuple[Recorded, ...]:
        """See `Journal.hear`."""
        told = super().hear(events, heard_us=heard_us)
        for event, recorded in zip(events, told, strict=True):
            if recorded is Recorded.NEW:
                self._metrics.event(event)
        return told

    def note(self, note: Note) -> None:
        """See `Journal.note`."""
        super().note(note)
        self._metrics.notes.labels(note.kind.value, note.source).inc()

    def health(self, health: Health) -> None:
        """See `Journal.health`."""
        super().health(health)
        self._metrics.health(health)

    def difference(self, difference: Difference) -> None:
        """See `Journal.difference`."""
        super().difference(difference)
        self._metrics.differences.labels(difference.subject, difference.rule.value).inc()


class Endpoint:
    """Serves the metrics at ``http://127.0.0.1:port/metrics``, in a thread of its own; ended by `close`.

    Parameters
    ----------
    metrics : Metrics
        Served.
    port : int
        0 for any that is free.

    Raises
    ------
    ConfigError
        If the port is taken.
    """

    def __init__(self, metrics: Metrics, port: int) -> None:
        _check_free(port)
        self._server, self._thread = start_http_server(port, HOST, metrics.registry)
        self.port = int(self._server.server_port)

    def close(self) -> None:
        """End it."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _check_free(port: int) -> None:
    with closing(socket(AF_INET, SOCK_STREAM)) as trial:
        trial.setsockopt(SOL_SOCKET, SO_REUSEADDR, 1)
        try:
            trial.bind((HOST, port))
        except (OSError, OverflowError) as error:
            raise ConfigError(f"metrics port must be free, {port} is not: {error}") from error


def _levels() -> str:
    return ", ".join(f"{level.value} {level.name.lower()}" for level in RiskLevel)
