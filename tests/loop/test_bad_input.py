"""What goes wrong while a position is held: one clear line, no order, the state kept, and the protective stops stay."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from live.broker.errors import classify
from live.broker.requests import RequestFailed
from live.driver import Driver
from quantcore.errors import ConfigError, JournalError
from tests.broker.messages import account_update, algo_update, order_update, trade
from tests.loop.on_exchange import Ground, agreed, ground, trading, until, whole

pytestmark = [pytest.mark.integration, pytest.mark.slow]

USER = (
    "", "{", "[]", "7", "[" * 100_000, json.dumps(trade())[:-30], json.dumps({"e": "SOMETHING_NEW", "E": 1}),
    json.dumps(trade(l="nan")), json.dumps(trade(L="much")), json.dumps(trade(T=None)),
    json.dumps(trade(s="XYZUSDT")), json.dumps(order_update(s="XYZUSDT", X="CANCELED", x="CANCELED")),
    json.dumps(algo_update(aq=float("nan"))), json.dumps(account_update(B=[{"a": "USDT", "wb": "inf", "bc": "0"}])),
    json.dumps({"e": "ORDER_TRADE_UPDATE", "E": float("inf")}),
)  # fmt: skip
MARKET = (
    "", "{", "[" * 100_000, '{"stream": "btcusdt@kline_1m"}',
    '{"stream": "btcusdt@bookTicker", "data": {"e": "bookTicker", "E": 1, "s": "ETHUSDT", "u": 1, "b": "1", "a": "2", '
    '"B": "1", "A": "1"}}',
    '{"stream": "btcusdt@markPrice@1s", "data": {"e": "markPriceUpdate", "E": Infinity, "s": "BTCUSDT", "p": "NaN"}}',
    '{"stream": "btcusdt@kline_1m", "data": {"e": "kline", "E": 1, "s": "BTCUSDT", "k": {"t": "x"}}}',
)  # fmt: skip


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    """One simulator for all, with the journal of a loop that is ended and goes on."""
    with ground(tmp_path_factory.mktemp("ground")) as found:
        yield found


async def holding(where: Ground, driver: Driver) -> dict[str, Any]:
    """Wait until something is held and guarded, and return the exchange's books."""

    def is_guarded(books: dict[str, Any]) -> bool:
        guarded = {each["symbol"] for each in books["algo_orders"]}
        return bool(books["positions"]) and {p["symbol"] for p in books["positions"]} <= guarded

    await until(lambda: driver.loop.decisions >= 2, 60, "two decisions")
    async with asyncio.timeout(60):
        while not is_guarded(books := await asyncio.to_thread(where.books)):
            await asyncio.sleep(0.2)
    return books


async def still_guarded(where: Ground) -> None:
    books = await asyncio.to_thread(where.books)
    guarded = {each["symbol"] for each in books["algo_orders"]}
    assert {each["symbol"] for each in books["positions"]} <= guarded


async def test_messages_that_are_damaged_cost_nothing(there: Ground) -> None:
    async with trading(there) as driver:
        await holding(there, driver)
        broker: Any = driver.broker
        for text in USER:
            broker._socket._tell(text)
        streams: Any = driver.feed._streams
        for line in streams.lines:
            for text in MARKET:
                line._hear(line._socket, text)
        assert streams.counts["malformed"] >= len(MARKET)
        decided = driver.loop.decisions
        await until(lambda: driver.loop.decisions >= decided + 2, 60, "two decisions")
        await agreed(there, driver)
    whole(there)


async def test_a_key_that_is_refused_stops_orders_and_nothing_else(there: Ground) -> None:
    async with trading(there) as driver:
        await holding(there, driver)
        requests: Any = driver.broker._requests  # type: ignore[attr-defined]  # its one attempt
        perform = requests._perform

        async def refuse(*_: Any, **__: Any) -> Any:
            raise RequestFailed(
                classify(401, -2015, "Invalid API-key, IP, or permissions for action.")
            )

        def is_settled() -> bool:
            return not driver.sender.busy and not driver.loop.ledger.opening_orders()

        await until(is_settled, 60, "nothing on its way")  # or it would be filled after
        requests._perform = refuse
        before = await asyncio.to_thread(there.books)
        driver.doubt("a key that is refused")
        await asyncio.sleep(6.0)
        books = await asyncio.to_thread(there.books)
        assert {p["symbol"] for p in books["positions"]} <= {
            p["symbol"] for p in before["positions"]
        }
        await still_guarded(there)
        requests._perform = perform
        await agreed(there, driver)
        decided = driver.loop.decisions
        await until(lambda: driver.loop.decisions >= decided + 1, 60, "a decision")
    whole(there)


async def test_an_exchange_that_is_away_for_a_while_is_waited_for(there: Ground) -> None:
    async with trading(there) as driver:
        await holding(there, driver)
        await there.simulator.control("/fault", kind="maintenance", duration_seconds=150)
        await asyncio.sleep(2.0)
        driver.doubt("an exchange that is away")
        await asyncio.sleep(5.0)
        decided = driver.loop.decisions
        await until(lambda: driver.loop.decisions >= decided + 2, 60, "two decisions")
        await agreed(there, driver)
    whole(there)


async def fill_the_disk(there: Ground) -> None:
    async with trading(there) as driver:
        await holding(there, driver)
        sent = driver.sender.sent
        with driver.journal.transaction() as connection:
            pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
            connection.exec_driver_sql(f"PRAGMA max_page_count={pages}")
        await asyncio.sleep(6.0)
        assert driver.sender.sent <= sent + 3, "what is not committed is not sent"
        await still_guarded(there)


async def test_a_full_disk_ends_the_loop_and_the_next_one_goes_on(there: Ground) -> None:
    with pytest.raises(JournalError, match="said: database or disk is full"):
        await fill_the_disk(there)
    async with trading(there) as driver:
        await until(lambda: driver.loop.decisions >= 2, 60, "two decisions")
        await agreed(there, driver)
    whole(there)


async def take_the_journal_away(there: Ground, path: Path, *, replaced: bool) -> None:
    async with trading(there) as driver:
        await holding(there, driver)
        kept = path.rename(path.with_name("kept"))
        if replaced:
            path.write_bytes(kept.read_bytes())
        await asyncio.sleep(4.0)
        await still_guarded(there)


@pytest.mark.parametrize("replaced", [False, True])
async def test_a_journal_that_is_gone_ends_the_loop_and_nothing_is_sent(
    there: Ground, replaced: bool
) -> None:
    path = there.folder / "live" / "journal.sqlite"
    with pytest.raises(JournalError, match=r"journal\.sqlite was removed or replaced"):
        await take_the_journal_away(there, path, replaced=replaced)
    path.with_name("kept").replace(path)
    async with trading(there) as driver:
        await until(lambda: driver.loop.decisions >= 2, 60, "two decisions")
        await agreed(there, driver)
    whole(there)


async def test_a_symbol_that_does_not_trade_is_refused_and_nothing_is_touched(
    there: Ground,
) -> None:
    before = (there.folder / "live" / "journal.sqlite").read_bytes()
    with pytest.raises(
        ConfigError, match=r"data\.symbols must be perpetuals .*, NOPEUSDT does not"
    ):
        async with trading(there, "data.symbols=[NOPEUSDT]"):
            pass
    assert (there.folder / "live" / "journal.sqlite").read_bytes() == before


def test_a_command_whose_disk_is_full_says_so_in_one_line(there: Ground) -> None:
    most = Path(there.folder / "live" / "journal.sqlite").stat().st_size + 65_536

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))

    done = subprocess.run(
        [sys.executable, "-m", "live.run", *there.overrides()], capture_output=True, text=True, timeout=240,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}, preexec_fn=limit, check=False,
    )  # fmt: skip
    assert done.returncode == 2, done.stderr[-2000:]
    assert "Traceback" not in done.stderr
    last = done.stderr.strip().splitlines()[-1]
    assert "journal must be a database that works" in last
