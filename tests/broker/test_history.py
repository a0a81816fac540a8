"""Trades and incomes page by page: no gap, nothing twice."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from live.broker.history import PAGE, REACH_MS, WINDOW_MS, Pages, Row, rows_since
from quantcore.errors import VenueError

NOW_MS = 1_704_182_280_000
DAY_MS = 86_400_000


class Kept:
    """Rows as an exchange keeps them, that refuses spans that are too long."""

    def __init__(self, times_ms: Sequence[int]) -> None:
        self.rows: list[Row] = [{"id": i, "time": t} for i, t in enumerate(sorted(times_ms))]
        self.requests = 0

    async def between(self, first_ms: int, last_ms: int) -> list[Row]:
        assert first_ms <= last_ms
        assert last_ms - first_ms <= WINDOW_MS
        self.requests += 1
        return [row for row in self.rows if first_ms <= row["time"] <= last_ms][:PAGE]

    async def after(self, last: Row) -> list[Row]:
        self.requests += 1
        return [row for row in self.rows if row["id"] > last["id"]][:PAGE]

    def pages(self, *, numbered: bool = True) -> Pages:
        return Pages(
            name="trades of BTCUSDT",
            between=self.between,
            after=self.after if numbered else None,
            identity=lambda row: row["id"],
        )


@settings(max_examples=40)
@given(
    bursts=st.lists(
        st.tuples(
            st.integers(0, 80 * DAY_MS),
            st.integers(1, 2 * PAGE + 7),
            st.sampled_from([0, 1, 3, 60_000]),
        ),
        max_size=6,
    ),
    since_ms=st.integers(0, 89 * DAY_MS),
)
async def test_every_row_comes_once_and_in_order(
    bursts: list[tuple[int, int, int]], since_ms: int
) -> None:
    times = [NOW_MS - 80 * DAY_MS + at + n * gap for at, many, gap in bursts for n in range(many)]
    kept = Kept([t for t in times if t <= NOW_MS])
    first_ms = NOW_MS - since_ms
    found = await rows_since(kept.pages(), first_ms, NOW_MS)
    assert found == [row for row in kept.rows if row["time"] >= first_ms]


async def test_a_page_that_is_exactly_full_ends_without_a_gap() -> None:
    kept = Kept([NOW_MS - 1000 + n for n in range(PAGE)])
    assert len(await rows_since(kept.pages(), NOW_MS - DAY_MS, NOW_MS)) == PAGE


async def test_a_millisecond_with_more_rows_than_a_page_is_counted_on_by_number() -> None:
    kept = Kept([NOW_MS - 5] * (3 * PAGE) + [NOW_MS - 4])
    assert len(await rows_since(kept.pages(), NOW_MS - DAY_MS, NOW_MS)) == 3 * PAGE + 1
    with pytest.raises(VenueError, match=rf"of one millisecond must fit on a page of {PAGE}"):
        await rows_since(kept.pages(numbered=False), NOW_MS - DAY_MS, NOW_MS)


async def test_quiet_weeks_cost_one_request_each() -> None:
    kept = Kept([])
    assert await rows_since(kept.pages(), NOW_MS - 80 * DAY_MS, NOW_MS) == []
    assert kept.requests == 12


async def test_what_the_exchange_no_longer_keeps_is_refused_instead_of_left_out() -> None:
    kept = Kept([])
    assert await rows_since(kept.pages(), NOW_MS - REACH_MS, NOW_MS) == []
    with pytest.raises(
        VenueError, match=r"trades of BTCUSDT must be asked for within 90 days, was 91\.0 days ago"
    ):
        await rows_since(kept.pages(), NOW_MS - REACH_MS - DAY_MS, NOW_MS)
