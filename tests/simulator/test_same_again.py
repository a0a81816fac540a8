"""The same seed, faults and requests give the same answers and messages in lock-step, byte for byte."""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.simulator.recorded_client import Action, RecordedClient
from tests.simulator.test_server import Running, running
from tests.simulator.test_whole_exchange import order_requests
from tests.simulator.whole import Whole

pytestmark = pytest.mark.integration

HOUR = 3600.0
FAULTS: list[dict[str, Any]] = [
    {"kind": "latency", "distribution": "exponential", "seconds": 0.001, "probability": 0.2},
    {"kind": "unknown_outcome", "requests": "POST /fapi/v1/order", "probability": 0.2},
    {"kind": "overload", "probability": 0.1},
    {"kind": "connection_drop", "requests": "POST /fapi/*rder", "probability": 0.1, "stage": "after"},
    {"kind": "rate_limit", "probability": 0.03, "seconds": 7},
    {"kind": "ban", "at_seconds": 19 * HOUR, "duration_seconds": 1.5 * HOUR},
    {"kind": "message_drop", "streams": "user:*", "probability": 0.1},
    {"kind": "message_duplicate", "probability": 0.1},
    {"kind": "message_delay", "distribution": "exponential", "seconds": 60, "probability": 0.02},
    {"kind": "account_reorder", "probability": 0.3, "seconds": 2 * HOUR},
    {"kind": "partial_fill", "duration_seconds": HOUR, "every_seconds": 3 * HOUR, "fraction": 0.3},
    {"kind": "stuck_triggering", "duration_seconds": 3 * HOUR, "every_seconds": 12 * HOUR},
    {"kind": "clock_drift", "at_seconds": 9 * HOUR, "duration_seconds": HOUR, "seconds": 3},
    {"kind": "disconnect", "at_seconds": 6.5 * HOUR, "every_seconds": 17 * HOUR, "duration_seconds": 1},
    {"kind": "maintenance", "at_seconds": 11 * HOUR, "every_seconds": 31 * HOUR, "duration_seconds": 2 * HOUR},
    {"kind": "listen_key_expiry", "at_seconds": 5 * HOUR, "every_seconds": 13 * HOUR},
    {"kind": "adl", "at_seconds": 26 * HOUR, "every_seconds": 40 * HOUR},
    {"kind": "liquidation", "at_seconds": 15 * HOUR, "every_seconds": 20 * HOUR},
    {"kind": "price_gap", "at_seconds": 21 * HOUR, "every_seconds": 50 * HOUR, "symbol": "BTCUSDT", "fraction": -0.05},
]  # fmt: skip
QUESTIONS = (
    "GET /fapi/v2/account", "GET /fapi/v3/positionRisk", "GET /fapi/v1/openOrders", "GET /fapi/v1/openAlgoOrders",
    "GET /fapi/v1/income", "GET /fapi/v1/forceOrders",
)  # fmt: skip
SYMBOL = {"symbol": "BTCUSDT"}
ACTIONS: st.SearchStrategy[Action] = st.one_of(
    order_requests(),
    order_requests(),
    st.integers(1, 2),
    st.sampled_from(QUESTIONS).map(lambda name: (name, {})),
    st.sampled_from([
        ("DELETE /fapi/v1/allOpenOrders", SYMBOL),
        ("DELETE /fapi/v1/algoOpenOrders", SYMBOL),
        ("POST /fapi/v1/leverage", SYMBOL | {"leverage": "50"}),
        ("GET /fapi/v1/userTrades", SYMBOL),
        ("GET /fapi/v1/depth", SYMBOL | {"limit": "20"}),
    ]),
)  # fmt: skip


class Twin:
    """An exchange and its client, in an event loop of their own."""

    def __init__(self, root: Path) -> None:
        self.runner = asyncio.Runner()
        self.whole = Whole(self.runner, root, "lock_step")
        self.client = RecordedClient(
            rest=f"http://{self.whole.listener.address}",
            control=f"http://{self.whole.control.address}",
            key=self.whole.key,
            secret=self.whole.secret,
        )
        self.runner.run(self.client.start(FAULTS))

    def close(self) -> None:
        self.runner.run(self.client.stop())
        self.whole.close()
        self.runner.close()


@pytest.fixture(scope="module")
def twins(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Twin, Twin]]:
    root = tmp_path_factory.mktemp("market")
    made = Twin(root), Twin(root)
    yield made
    for twin in made:
        twin.close()


@pytest.mark.slow
@settings(
    max_examples=20, deadline=None, phases=(Phase.explicit, Phase.generate),
    suppress_health_check=[HealthCheck.too_slow],
)  # fmt: skip
@given(st.lists(ACTIONS, min_size=1, max_size=8))
def test_two_exchanges_answer_and_send_the_same(
    twins: tuple[Twin, Twin], actions: list[Action]
) -> None:
    for twin in twins:
        twin.runner.run(twin.client.play(actions))
        twin.runner.run(twin.client.settle())
    compare(*(twin.client for twin in twins))


def compare(one: RecordedClient, other: RecordedClient) -> None:
    """Demand the same answers and messages, and show the first that differ."""
    kept = [("answers", one.answers, other.answers)]
    kept += [(name, one.heard[name], other.heard[name]) for name in one.heard]
    for name, first, second in kept:
        for number, (ours, theirs) in enumerate(zip(first, second, strict=False)):
            assert ours == theirs, (name, number)
        assert len(first) == len(second), name


@pytest.mark.slow
def test_two_processes_answer_and_send_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the order of their sets: the hashes of text differ between processes."""
    clients = []
    for hash_seed in ("1", "2"):
        monkeypatch.setenv("PYTHONHASHSEED", hash_seed)
        with running(tmp_path, "clock=lock_step", f"state_file={tmp_path}/{hash_seed}") as made:
            clients.append(asyncio.run(lived(made)))
    compare(*clients)


async def lived(made: Running) -> RecordedClient:
    """Let a client trade for some days, until every fault has happened."""
    client = RecordedClient(
        rest=made.ready["rest"],
        control=made.ready["control"],
        key=made.ready["api_key"],
        secret=made.ready["api_secret"],
    )
    draw = random.Random(5)
    await client.start(FAULTS)
    for _ in range(45):
        await client.play([some_order(draw), some_order(draw), (draw.choice(QUESTIONS), {})])
    await client.settle()
    await client.stop()
    told = made.get("/faults", on="control")
    assert set(told["counts"]) == {rule["kind"] for rule in FAULTS}
    statuses = {told.split()[0] for told in client.answers}
    assert {"200", "400", "418", "429", "503", "ServerDisconnectedError"} <= statuses
    assert len(client.heard["market"]) > 4_000
    events = Counter(json.loads(told)["e"] for told in client.heard["user"])
    assert {
        "ORDER_TRADE_UPDATE", "ACCOUNT_UPDATE", "TRADE_LITE", "ALGO_UPDATE", "listenKeyExpired"
    } <= set(events)  # fmt: skip
    return client


def some_order(draw: random.Random) -> Action:
    order = {**SYMBOL, "side": draw.choice(["BUY", "SELL"]), "quantity": "0.01"}
    share = draw.choice([0.98, 0.999, 1.001, 1.02])
    kind = draw.randrange(3)
    if kind == 0:
        return "POST /fapi/v1/order", {**order, "type": "MARKET"}
    if kind == 1:
        limit = {"type": "LIMIT", "timeInForce": "GTC", "price": share}
        return "POST /fapi/v1/order", {**order, **limit}
    stop = {"type": "STOP_MARKET", "algoType": "CONDITIONAL", "triggerPrice": share}
    return "POST /fapi/v1/algoOrder", {**order, **stop}
