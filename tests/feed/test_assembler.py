from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from live.feed.assembler import Assembler, AssemblerSettings
from live.feed.messages import Event, KlineEvent, MarkEvent
from live.feed.rows import Row, RowForm, Skipped
from live.simulator.market import Tape
from quantcore.errors import ConfigError
from quantcore.frames import Bars, Settlements, funding_rows
from quantcore.timegrid import MINUTE_US
from tests.feed.replayed import SECOND_US, Played, messages
from tests.simulator.conftest import FIRST_US, make_bars, make_tape

N_ROWS = 5
CHANNELS = ("kline_1m", "markPrice@1s")
_CLOSING: dict[tuple[int, int], list[Event]] = {}


@pytest.fixture(scope="module")
def tape() -> Tape:
    """Four hours that settle hourly; the second symbol is listed after 30 minutes and has a hole at 120, at an hour."""
    bars = make_bars()
    times = FIRST_US + 60 * MINUTE_US * np.arange(4)
    settlements = Settlements(
        time_us=np.repeat(times, 2),
        symbol=np.tile([0, 1], 4),
        rate=np.linspace(-1e-3, 1e-3, 8),
        mark_price=np.linspace(40_000.0, 41_000.0, 8),
    )
    return make_tape(replace(bars, settlements=settlements))


def form_of(tape: Tape) -> RowForm:
    bars = tape.bars
    fields = (*bars.fields, "funding_rate")
    return RowForm(symbols=bars.symbols, interval=bars.interval, fields=fields)


def source(tape: Tape, row: int) -> Bars:
    """Return a row of the source, with the sum of its settlements as a field."""
    bars = tape.bars.rows(row, row + 1)
    return replace(
        bars, fields={**bars.fields, "funding_rate": funding_rows(bars, bars.settlements)}
    )


def made(tape: Tape, row: int, **changes: Any) -> Assembler:
    """Return an assembler that begins with a row, with somebody waiting from its open on."""
    after_us = int(tape.bars.ts_us[row]) - tape.bar_us
    spans = {"settle_s": 0.5, "grace_s": 2.0, "absent_s": 5.0, "deadline_s": 15.0}
    config = AssemblerSettings(form=form_of(tape), **{**spans, **changes})
    return Assembler(config, after_us, after_us, {})


def closing(tape: Tape, row: int, n_rows: int = N_ROWS) -> list[Event]:
    """Return the closed klines of some rows and the mark prices around their closes."""
    if (row, n_rows) in _CLOSING:
        return _CLOSING[row, n_rows]
    from_us = int(tape.bars.ts_us[row]) - tape.bar_us
    heard = messages(tape, CHANNELS, from_us, from_us + n_rows * tape.bar_us + SECOND_US)
    _CLOSING[row, n_rows] = [
        event
        for event in heard
        if (isinstance(event, KlineEvent) and event.closed)
        or (isinstance(event, MarkEvent) and event.time_us % MINUTE_US in (0, 59 * SECOND_US))
    ]
    return _CLOSING[row, n_rows]


def check_order(told: Iterable[Row | Skipped], born_us: int = 0) -> list[Row]:
    """Return the rows: each follows the one before, and is in time unless it was skipped, or over at the start."""
    rows: list[Row] = []
    skipped: set[int] = set()
    for one in told:
        if isinstance(one, Skipped):
            assert one.close_us not in skipped
            assert all(row.close_us != one.close_us for row in rows)
            skipped.add(one.close_us)
            continue
        assert not rows or one.close_us == rows[-1].close_us + MINUTE_US
        assert one.in_time == (one.close_us not in skipped and one.close_us > born_us)
        rows.append(one)
    return rows


def check_rows(
    tape: Tape,
    row: int,
    told: Iterable[Row | Skipped],
    n_rows: int = N_ROWS,
    *,
    born_us: int = 0,
) -> None:
    rows = check_order(told, born_us)
    assert len(rows) >= n_rows
    for at, one in enumerate(rows[:n_rows], start=row):
        assert one.close_us == tape.bars.ts_us[at]
        assert one.bars.fingerprint() == source(tape, at).fingerprint()


@pytest.mark.parametrize("row", [1, 28, 118, 235])
def test_messages_in_time_give_the_rows_of_the_source(tape: Tape, row: int) -> None:
    played = Played(tape, made(tape, row, settle_s=0.1))
    from_us = int(tape.bars.ts_us[row]) - MINUTE_US
    arrivals = [(event.time_us + 100_000, event) for event in closing(tape, row)]
    told = played.play(arrivals, from_us, from_us + (N_ROWS + 1) * MINUTE_US, SECOND_US // 4)
    check_rows(tape, row, told)
    assert all(isinstance(one, Row) and one.in_time for one in told)


COPIES = st.lists(
    st.tuples(st.integers(0, 10**6), st.integers(0, 240 * 4)), max_size=60
)  # which message, and how many quarters of a second later it comes


@settings(max_examples=80)
@given(
    row=st.sampled_from([1, 28, 118, 200]),
    copies=COPIES,
    fails=st.lists(st.booleans(), max_size=40),
    answer_quarters=st.integers(0, 12),
)
def test_any_permutation_duplication_and_loss_gives_the_rows_of_the_source(
    tape: Tape,
    row: int,
    copies: list[tuple[int, int]],
    fails: list[bool],
    answer_quarters: int,
) -> None:
    heard = closing(tape, row)
    arrivals = [
        (heard[which % len(heard)].time_us + late * SECOND_US // 4, heard[which % len(heard)])
        for which, late in copies
    ]
    played = Played(tape, made(tape, row), answer_us=answer_quarters * SECOND_US // 4, fails=fails)
    from_us = int(tape.bars.ts_us[row]) - MINUTE_US
    told = played.play(arrivals, from_us, from_us + (N_ROWS + 3) * MINUTE_US, SECOND_US // 2)
    check_rows(tape, row, told)


def test_without_any_message_rest_gives_the_rows_in_time(tape: Tape) -> None:
    played = Played(tape, made(tape, 60))
    from_us = int(tape.bars.ts_us[60]) - MINUTE_US
    told = played.play([], from_us, from_us + (N_ROWS + 1) * MINUTE_US, SECOND_US // 4)
    check_rows(tape, 60, told)
    assert all(isinstance(one, Row) and one.in_time for one in told)
    assert played.assembler.counts["rest_repairs"] >= 2 * N_ROWS


def test_without_rest_the_decision_is_skipped_and_its_row_follows(tape: Tape) -> None:
    played = Played(tape, made(tape, 60), fails=[True] * 150)
    from_us = int(tape.bars.ts_us[60]) - MINUTE_US
    told = played.play([], from_us, from_us + (N_ROWS + 3) * MINUTE_US, SECOND_US // 4)
    check_rows(tape, 60, told)
    first = told[0]
    assert isinstance(first, Skipped)
    assert first.reason == (
        "no klines of BTCUSDT, ETHUSDT; marks of BTCUSDT, ETHUSDT within 15 s; HTTP 503: Service Unavailable"
    )


def test_a_row_that_waits_for_the_one_before_it_is_skipped_too(tape: Tape) -> None:
    """The first bar never comes: those after it are complete, but rows follow each other without a gap."""
    played = Played(tape, made(tape, 60), fails=[True] * 10_000)
    heard = closing(tape, 60)
    from_us = int(tape.bars.ts_us[60]) - MINUTE_US
    later = [(e.time_us, e) for e in heard if e.time_us > from_us + MINUTE_US]
    told = played.play(later, from_us, from_us + (N_ROWS + 1) * MINUTE_US, SECOND_US // 4)
    assert [type(one) for one in told] == [Skipped] * N_ROWS
    assert [one.close_us for one in told] == tape.bars.ts_us[60 : 60 + N_ROWS].tolist()


def test_bars_that_had_closed_before_anybody_waited_are_not_in_time_and_not_skipped(
    tape: Tape,
) -> None:
    after_us = int(tape.bars.ts_us[60]) - MINUTE_US
    config = AssemblerSettings(form=form_of(tape))
    born_us = after_us + 3 * MINUTE_US + SECOND_US
    played = Played(tape, Assembler(config, after_us, born_us, {}))
    told = played.play([], born_us, born_us + 2 * MINUTE_US, SECOND_US // 4)
    check_rows(tape, 60, told, 4, born_us=born_us)
    assert [one.in_time for one in cast(list[Row], told)][:4] == [False, False, False, True]


def test_a_symbol_that_has_no_bar_is_waited_for_once(tape: Tape) -> None:
    """The second symbol is not listed: nothing tells so at first; from the second row on nobody waits."""
    played = Played(tape, made(tape, 1))
    from_us = int(tape.bars.ts_us[1]) - MINUTE_US
    arrivals = [(event.time_us, event) for event in closing(tape, 1)]
    told: list[tuple[int, Row | Skipped]] = []
    for now_us in range(from_us, from_us + 4 * MINUTE_US, SECOND_US // 4):
        told += [(now_us, one) for one in played.play(arrivals, now_us, now_us, 1)]
        played.told.clear()
        arrivals = [one for one in arrivals if one[0] > now_us]
    waited = [now_us - one.close_us for now_us, one in told]
    assert waited[0] >= 5 * SECOND_US > 2 * SECOND_US > max(waited[1:])


def test_a_declared_span_is_not_waited_for(tape: Tape) -> None:
    assembler = made(tape, 1)
    listed_us = FIRST_US + 30 * MINUTE_US
    assembler.trades("ETHUSDT", listed_us, listed_us + 10**18)
    from_us = int(tape.bars.ts_us[1]) - MINUTE_US
    played = Played(tape, assembler)
    arrivals = [(event.time_us, event) for event in closing(tape, 1)]
    told = played.play(arrivals, from_us, from_us + 2 * MINUTE_US + 3 * SECOND_US, SECOND_US // 4)
    check_rows(tape, 1, told, 2)
    assert not any(ask.symbol == "ETHUSDT" for _, ask in played.asks)


def test_streams_that_contradict_themselves_are_decided_by_rest(tape: Tape) -> None:
    heard = closing(tape, 60)
    wrong = [
        event._replace(bar=event.bar._replace(volume=event.bar.volume + 1.0))
        for event in heard
        if isinstance(event, KlineEvent)
    ]
    for first in ([*heard, *wrong], [*wrong, *heard]):
        played = Played(tape, made(tape, 60))
        from_us = int(tape.bars.ts_us[60]) - MINUTE_US
        arrivals = [(event.time_us, event) for event in first]
        told = played.play(arrivals, from_us, from_us + (N_ROWS + 1) * MINUTE_US, SECOND_US // 4)
        check_rows(tape, 60, told)
        assert played.assembler.counts["conflicts"] >= N_ROWS


@pytest.mark.parametrize("factor", [1.5, 0.5, 1.05])
def test_an_implausible_bar_is_used_only_as_rest_has_it(tape: Tape, factor: float) -> None:
    """A jump against the bar before, or against the mark; the first row has no bar before it."""
    heard = [
        event._replace(
            bar=event.bar._replace(
                open=event.bar.open * factor,
                high=event.bar.high * factor,
                low=event.bar.low * factor,
                close=event.bar.close * factor,
            )
        )
        if isinstance(event, KlineEvent) and event.symbol == "BTCUSDT"
        else event
        for event in closing(tape, 60)
    ]
    played = Played(tape, made(tape, 60))
    from_us = int(tape.bars.ts_us[60]) - MINUTE_US
    arrivals = [(event.time_us, event) for event in heard]
    told = played.play(arrivals, from_us, from_us + (N_ROWS + 1) * MINUTE_US, SECOND_US // 4)
    check_rows(tape, 60, told)
    assert all(any("BTCUSDT" in n for n in one.notes) for one in told if isinstance(one, Row))


def test_impossible_bars_of_the_stream_are_left_to_rest(tape: Tape) -> None:
    heard = [
        event._replace(bar=event.bar._replace(high=event.bar.low / 2))
        for event in closing(tape, 60)
        if isinstance(event, KlineEvent)
    ]
    played = Played(tape, made(tape, 60))
    from_us = int(tape.bars.ts_us[60]) - MINUTE_US
    arrivals = [(event.time_us, event) for event in heard]
    told = played.play(arrivals, from_us, from_us + (N_ROWS + 1) * MINUTE_US, SECOND_US // 4)
    check_rows(tape, 60, told)
    assert played.assembler.counts["malformed"] == len(heard)


def test_a_bar_that_rest_shows_before_it_settled_is_not_final(tape: Tape) -> None:
    played = Played(tape, made(tape, 60, settle_s=4.0, grace_s=4.0), answer_us=0)
    from_us = int(tape.bars.ts_us[60]) - MINUTE_US
    played.play([], from_us, from_us + MINUTE_US + 3 * SECOND_US, SECOND_US // 4)
    assert played.told == []
    assert {ask.kind for _, ask in played.asks} <= {"funding"}


@pytest.mark.parametrize("heard_of", [True, False])
def test_a_settlement_that_mark_prices_have_shown_is_waited_for(tape: Tape, heard_of: bool) -> None:
    """REST tells it 50 s after the hour, and the row is otherwise complete when its first answer comes."""
    heard = [e for e in closing(tape, 59) if heard_of or isinstance(e, KlineEvent)]
    from_us = int(tape.bars.ts_us[59]) - MINUTE_US
    assembler = made(tape, 59, funding_after_s=0.0)
    played = Played(tape, assembler, settles_us=from_us + MINUTE_US + 50 * SECOND_US)
    arrivals = [(event.time_us, event) for event in heard]
    told = played.play(arrivals, from_us, from_us + 2 * MINUTE_US + 10 * SECOND_US, SECOND_US // 4)
    row = check_order(told)[1]
    assert (row.bars.fingerprint() == source(tape, 60).fingerprint()) == heard_of


def test_a_row_waits_for_the_answer_about_the_settlements_of_its_hour(tape: Tape) -> None:
    """No mark price has shown that there was one."""
    from_us = int(tape.bars.ts_us[60]) - MINUTE_US
    answers_us = from_us + MINUTE_US + 8 * SECOND_US
    played = Played(tape, made(tape, 60), funding_us=answers_us)
    arrivals = [(e.time_us, e) for e in closing(tape, 60) if isinstance(e, KlineEvent)]
    assert played.play(arrivals, from_us, answers_us - 1, SECOND_US // 4) == []
    told = played.play([], answers_us, answers_us + 3 * SECOND_US, SECOND_US // 4)
    check_rows(tape, 60, told, 1)


def test_a_settlement_that_rest_never_has_does_not_stop_the_rows(tape: Tape) -> None:
    from_us = int(tape.bars.ts_us[59]) - MINUTE_US
    assembler = made(tape, 59, funding_after_s=0.0, funding_absent_s=90.0)
    played = Played(tape, assembler, settles_us=10**18)
    arrivals = [(event.time_us, event) for event in closing(tape, 59)]
    told = played.play(arrivals, from_us, from_us + (N_ROWS + 1) * MINUTE_US, SECOND_US // 4)
    rows = check_order(told)
    assert len(rows) >= N_ROWS
    assert not rows[1].in_time
    assert len(rows[1].bars.settlements) == 0


def test_sampled_marks_do_not_depend_on_the_order_of_messages(tape: Tape) -> None:
    from_us = int(tape.bars.ts_us[60]) - MINUTE_US
    heard = messages(tape, CHANNELS, from_us - SECOND_US, from_us + 2 * MINUTE_US + SECOND_US)
    fingerprints = set()
    for seed in range(3):
        rng = np.random.default_rng(seed)
        arrivals = [
            (event.time_us + int(rng.integers(0, 900_000)), event) for event in heard for _ in "ab"
        ]
        played = Played(tape, made(tape, 60, marks="stream", settle_s=0.2))
        told = played.play(arrivals, from_us, from_us + 2 * MINUTE_US + 10 * SECOND_US, 250_000)
        rows = check_order(told)
        assert len(rows) == 2
        assert not any(ask.kind == "mark" for _, ask in played.asks)
        assert all("BTCUSDT: mark of 60 samples" in row.notes for row in rows)
        fingerprints.add(tuple(row.bars.fingerprint() for row in rows))
        for k, row in enumerate(rows):
            samples = [
                e.mark
                for e in heard
                if isinstance(e, MarkEvent)
                and e.symbol == "BTCUSDT"
                and e.time_us // MINUTE_US * MINUTE_US == from_us + k * MINUTE_US
            ]
            ohlc = [samples[0], max(samples), min(samples), samples[-1]]
            names = ("mark_open", "mark_high", "mark_low", "mark_price")
            assert [float(row.bars.array(name)[0, 0]) for name in names] == ohlc
    assert len(fingerprints) == 1


def test_too_few_samples_of_a_mark_are_replaced_by_rest(tape: Tape) -> None:
    from_us = int(tape.bars.ts_us[60]) - MINUTE_US
    heard = [
        e
        for e in messages(tape, CHANNELS, from_us, from_us + MINUTE_US + SECOND_US)
        if isinstance(e, KlineEvent) or e.time_us % (2 * SECOND_US) == 0
    ]
    played = Played(tape, made(tape, 60, marks="stream"))
    arrivals = [(event.time_us, event) for event in heard]
    told = played.play(arrivals, from_us, from_us + MINUTE_US + 10 * SECOND_US, SECOND_US // 4)
    check_rows(tape, 60, told, 1)


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"marks": "both"}, "marks must be one of stream, rest, was 'both'"),
        ({"grace_s": -1.0}, "grace_s must be >= 0, was -1.0"),
        ({"deadline_s": 1.0}, "deadline_s must be > grace_s, was 1.0"),
        ({"coverage": 0.0}, "coverage must be in \\(0, 1\\], was 0.0"),
        ({"jump": 0.0}, "jump must be > 0, was 0.0"),
        ({"horizon": 0}, "horizon must be >= 1, was 0"),
    ],
)
def test_settings_out_of_range_are_refused(tape: Tape, changes: dict[str, Any], rule: str) -> None:
    with pytest.raises(ConfigError, match=rule):
        AssemblerSettings(form=form_of(tape), **changes)


def test_a_start_off_the_grid_is_refused(tape: Tape) -> None:
    with pytest.raises(ConfigError, match="after_us must be on the grid of 1m, was 1"):
        Assembler(AssemblerSettings(form=form_of(tape)), 1, 0, {})
