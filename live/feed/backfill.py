"""Rows by REST alone: the warm-up of a cold start, gaps, and each row in lock-step."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from live.feed.market_rest import Kind, MarketRest
from live.feed.rows import Parts, RowForm, bars_of, fault_of
from quantcore.data.checks import at_text
from quantcore.data.rest_rows import Candle, Settled
from quantcore.errors import QuantcoreError, SchemaMismatch
from quantcore.frames import Bars


async def backfill(
    rest: MarketRest, form: RowForm, first_close_us: int, last_close_us: int
) -> Bars:
    """Return the rows of a span that has closed.

    Parameters
    ----------
    rest : MarketRest
        Asked for all symbols at once; it paces itself.
    form : RowForm
        What the rows hold. Open interest is asked for the last row alone: the exchange tells only that of now.
    first_close_us, last_close_us : int
        Stamps of the first and the last row, on the grid, ``first <= last <= now``.

    Returns
    -------
    Bars
        All rows of the span; a symbol for which the exchange has no bar is NaN there.

    Raises
    ------
    VenueError
        If the exchange refuses or does not answer.
    SchemaMismatch
        If a bar is impossible.
    """
    length = form.length_us
    n_rows = (last_close_us - first_close_us) // length + 1
    first_us, last_us = first_close_us - length, last_close_us - length
    klines, marks, settled, interest = await _together(
        _bars(rest, form, "klines", first_us, last_us),
        _bars(rest, form, "mark", first_us, last_us),
        _settled(rest, form, first_us, last_close_us - 1, one_by_one=n_rows > 1),
        _interest(rest, form),
    )
    return bars_of(form, first_close_us, n_rows, Parts(klines, marks, settled, interest))


async def _bars(
    rest: MarketRest, form: RowForm, kind: Kind, first_us: int, last_us: int
) -> dict[str, list[Candle]]:
    if kind == "mark" and not form.has_marks:
        return {}
    found = await _together(
        *(rest.klines(kind, s, form.interval, first_us, last_us) for s in form.symbols)
    )
    for symbol, bars in zip(form.symbols, found, strict=True):
        for bar in bars:
            fault = fault_of(bar, form.length_us)
            if fault is not None:
                raise SchemaMismatch(f"{kind} {symbol}: {fault} at {at_text(bar.open_us)}")
    return dict(zip(form.symbols, found, strict=True))


async def _settled(
    rest: MarketRest, form: RowForm, first_us: int, last_us: int, *, one_by_one: bool
) -> list[Settled]:
    if not form.has_funding:
        return []
    if not one_by_one:
        return await rest.funding(None, first_us, last_us)
    found = await _together(*(rest.funding(s, first_us, last_us) for s in form.symbols))
    return [one for settlements in found for one in settlements]


async def _interest(rest: MarketRest, form: RowForm) -> dict[str, float]:
    if not form.has_interest:
        return {}
    found = await _together(*(rest.open_interest(s) for s in form.symbols))
    return dict(zip(form.symbols, found, strict=True))


async def _together(*asked: Coroutine[Any, Any, Any]) -> list[Any]:
    """Return what several requests answer; the first failure ends the others."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one) for one in asked]
    except* QuantcoreError as failures:
        raise _first(failures) from failures
    return [task.result() for task in tasks]


def _first(failures: BaseExceptionGroup[Any]) -> BaseException:
    first = failures.exceptions[0]
    return _first(first) if isinstance(first, BaseExceptionGroup) else first
