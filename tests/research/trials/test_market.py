"""Bars are of the same market if they share symbols whose closes agree."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from quantcore.errors import SchemaMismatch
from quantcore.frames import Bars, resample_bars
from quantcore.research.trials import Market
from tests.research.trials.cases import SYMBOLS, walk

WHOLE = walk()


def columns(bars: Bars, *kept: int) -> Bars:
    fields = {name: values[:, kept] for name, values in bars.fields.items()}
    return replace(bars, symbols=tuple(bars.symbols[k] for k in kept), fields=fields)


def corrected(share: float) -> Bars:
    close = WHOLE.array("close").copy()
    close[: int(share * len(close))] *= 1.001
    return replace(WHOLE, fields={"close": close})


SAME = {
    "a later beginning": WHOLE.rows(24 * 20, WHOLE.n_bars),
    "an earlier end": WHOLE.rows(0, 24 * 40),
    "another interval": resample_bars(WHOLE, "4h"),
    "days": resample_bars(WHOLE, "1d"),
    "fewer symbols": columns(WHOLE, 1),
    "a few corrected closes": corrected(0.3),
}
OTHER = {
    "other prices under the same names": walk(seed=1),
    "the same prices under other names": replace(WHOLE, symbols=("XXX", "YYY", "ZZZ")),
    "mostly other closes": corrected(0.9),
}


@pytest.mark.parametrize("name", SAME)
def test_other_bars_of_the_same_market_overlap(name: str) -> None:
    whole, other = Market.of(WHOLE), Market.of(SAME[name])
    assert other.fingerprint != whole.fingerprint
    assert whole.overlaps(other)
    assert other.overlaps(whole)


@pytest.mark.parametrize("name", OTHER)
def test_another_market_does_not(name: str) -> None:
    whole, other = Market.of(WHOLE), Market.of(OTHER[name])
    assert not whole.overlaps(other)
    assert not other.overlaps(whole)


def test_a_symbol_that_both_lack_at_the_time_says_nothing() -> None:
    close = np.full_like(WHOLE.array("close"), np.nan)
    unlisted = Market.of(replace(WHOLE, fields={"close": close}))
    other = Market.of(replace(WHOLE, interval="1h", fields={"close": close + 1.0}))
    assert not unlisted.overlaps(replace(other, fingerprint="other"))


def test_spans_without_a_common_monday_are_not_told_to_overlap() -> None:
    early, late = WHOLE.rows(0, 24 * 20), WHOLE.rows(24 * 40, WHOLE.n_bars)
    assert not Market.of(early).overlaps(Market.of(late))


def test_the_same_bars_overlap_however_short_they_are() -> None:
    short = WHOLE.rows(24 * 2, 24 * 4)  # a Wednesday and a Thursday
    assert len(Market.of(short).marks) == 0
    assert Market.of(short).overlaps(Market.of(short))


def test_two_markets_without_anything_in_common_agree_by_chance_in_one_mark_of_255() -> None:
    one, other = (Market.of(walk(seed=s, days=700)) for s in (2, 3))
    assert np.mean(one.marks == other.marks) < 0.03
    assert one.marks.min() >= 1


def test_a_market_is_the_same_after_writing_and_reading() -> None:
    market = Market.of(WHOLE)
    back = Market.from_json(json.loads(json.dumps(market.to_json())))
    assert back.fingerprint == market.fingerprint == WHOLE.fingerprint()
    assert (back.symbols, back.first_week) == (SYMBOLS, market.first_week)
    np.testing.assert_array_equal(back.marks, market.marks)
    assert Market.of(WHOLE, "known").fingerprint == "known"


def test_marks_that_are_no_whole_weeks_are_refused() -> None:
    with pytest.raises(SchemaMismatch, match="marks must be whole weeks of 2 symbols, were 27"):
        Market.from_json({**Market.of(WHOLE).to_json(), "symbols": ["AAA", "BBB"]})
