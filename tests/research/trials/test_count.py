"""How many trials a result is the best of, and what that does to its Sharpe ratio."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from quantcore.finance.overfitting import expected_max_sharpe
from quantcore.finance.sharpe import probabilistic_sharpe
from quantcore.frames import resample_bars
from quantcore.research.trials import (
    Ledger,
    Market,
    Occasion,
    Recorded,
    TrialCount,
    count_trials,
    open_ledger,
    record_run,
    record_sets,
)
from quantcore.research.trials.count import SPREAD_MIN
from quantcore.types import FloatArray
from tests.research.trials.cases import START, daily, days_us, hashes, occasion, walk

DAYS = 360
HERE = occasion()


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    opened = open_ledger(str(tmp_path / "trials.jsonl"))
    assert opened is not None
    return opened


def noise(seed: int, n_days: int = DAYS, *, z: float | None = None) -> FloatArray:
    """Return normal returns; with a Sharpe ratio of `z` standard errors where it is given."""
    drawn: FloatArray = np.random.default_rng(seed).standard_normal(n_days)
    if z is not None:
        drawn = (drawn - drawn.mean()) / drawn.std(ddof=1) + z / math.sqrt(n_days)
    return 0.01 * drawn


def tried(
    ledger: Ledger | None,
    seed: int,
    *,
    start: str = START,
    n_days: int = DAYS,
    where: Occasion = HERE,
    z: float | None = None,
) -> Recorded:
    """Record the run whose settings are told by the seed."""
    returns = daily(noise(seed, n_days, z=z), start)
    return record_run(ledger, where, trial=hashes(1, since=seed)[0], daily=returns)


# --- the count ----------------------------------------------------------------------------------


def test_the_first_trial_is_one(ledger: Ledger) -> None:
    count = count_trials(tried(ledger, 0), declared=None)
    assert (count.found, count.effective, count.used, count.spread) == (1, 1.0, 1, 1.0)


def test_the_same_trial_counts_once_and_a_changed_one_twice(ledger: Ledger) -> None:
    for seed, found in ((0, 1), (0, 1), (1, 2), (0, 2), (1, 2)):
        assert count_trials(tried(ledger, seed), declared=None).found == found


def test_independent_trials_count_all_and_copies_do_not(ledger: Ledger) -> None:
    for seed in range(11):
        tried(ledger, seed)
    copies = noise(3)[:, np.newaxis] + 0.001 * np.random.default_rng(0).standard_normal((DAYS, 50))
    record_sets(ledger, HERE, trials=hashes(50, since=100), daily=copies, days_us=days_us(DAYS))
    count = count_trials(tried(ledger, 11), declared=9)
    assert count.found == 62
    assert count.effective == pytest.approx(12.0, rel=0.1)
    assert count.used == math.ceil(count.effective or 0.0)


@pytest.mark.parametrize("declared", [None, 1, 5, 40])
def test_the_larger_of_declared_and_independent_is_used(
    ledger: Ledger, declared: int | None
) -> None:
    for seed in range(5):
        tried(ledger, seed)
    count = count_trials(tried(ledger, 0), declared=declared)
    assert count.used == max(declared or 1, 5)


def test_with_the_ledger_off_only_what_is_declared_counts() -> None:
    count = count_trials(tried(None, 0), declared=9)
    assert (count.found, count.effective, count.used, count.place) == (None, None, 9, "off")
    assert count_trials(tried(None, 0), declared=None).used is None


def test_the_sets_of_a_sweep_count_even_with_the_ledger_off() -> None:
    sets = np.stack([noise(seed) for seed in range(12)], axis=1)
    done = record_sets(None, HERE, trials=hashes(12), daily=sets, days_us=days_us(DAYS))
    count = count_trials(done, declared=3)
    assert count.found == 12
    assert count.effective == pytest.approx(12.0, rel=0.1)
    assert count.used == math.ceil(count.effective or 0.0)
    assert count.sentence == (
        "The ledger of trials is off (ledger=off): the strategy files declare 3 variants, the 12 sets tried here make "
        f"{count.used} effectively independent, nothing else was counted. The larger number, {count.used}, deflates."
    )


def test_a_run_that_never_traded_is_a_trial_without_luck(ledger: Ledger) -> None:
    tried(ledger, 1)
    still = record_run(ledger, HERE, trial=hashes(1)[0], daily=daily(np.zeros(DAYS)))
    count = count_trials(still, declared=None)
    assert (count.found, count.effective) == (2, 1.0)


# --- what counts --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("start", "n_days", "counts"),
    [
        ("2023-01-20", DAYS, True),
        ("2022-12-01", 32, True),
        ("2022-12-01", 31, False),
        ("2023-12-26", 100, True),
        ("2023-12-27", 100, False),
    ],
)
def test_trials_on_overlapping_days_count(
    ledger: Ledger, start: str, n_days: int, counts: bool
) -> None:
    tried(ledger, 1, start=start, n_days=n_days)
    assert count_trials(tried(ledger, 0), declared=None).found == 1 + counts


def test_trials_on_the_same_market_count_whatever_the_bars(ledger: Ledger) -> None:
    bars = walk()
    tried(
        ledger, 1, where=replace(HERE, market=Market.of(resample_bars(bars, "4h")), interval="4h")
    )
    tried(ledger, 2, where=replace(HERE, market=Market.of(bars.rows(24 * 10, bars.n_bars))))
    tried(ledger, 3, where=replace(HERE, interval="4h", command="sweep", experiment="carry"))
    tried(ledger, 4, where=replace(HERE, market=Market.of(walk(seed=9))))
    assert count_trials(tried(ledger, 0), declared=None).found == 4
    elsewhere = replace(HERE, market=Market.of(walk(seed=9)))
    assert count_trials(tried(ledger, 0, where=elsewhere), declared=None).found == 2


def test_the_same_settings_over_several_spans_are_trials_but_one_idea(ledger: Ledger) -> None:
    whole = noise(0)
    for first in (0, 30, 60, 90):
        part = daily(whole[first:], str(np.datetime64(START) + first))
        done = record_run(ledger, HERE, trial=hashes(1)[0], daily=part)
    count = count_trials(done, declared=None)
    assert (count.found, count.effective) == (4, 1.0)


def test_a_part_of_the_span_counts_for_that_part(ledger: Ledger) -> None:
    half = np.stack([noise(seed, DAYS // 2) for seed in range(1, 21)], axis=1)
    record_sets(ledger, HERE, trials=hashes(20, since=1), daily=half, days_us=days_us(DAYS // 2))
    count = count_trials(tried(ledger, 0), declared=None)
    assert count.found == 21
    assert count.effective == pytest.approx((21 + 1) / 2, rel=0.1)


def test_twelve_folds_of_the_same_sets_are_about_as_many_as_the_sets(ledger: Ledger) -> None:
    sets = np.stack([noise(seed) for seed in range(1, 9)], axis=1)
    length = DAYS // 12
    for fold in range(12):
        rows = slice(fold * length, (fold + 1) * length)
        record_sets(
            ledger, HERE, trials=hashes(8, since=1), daily=sets[rows], days_us=days_us(DAYS)[rows]
        )
    count = count_trials(tried(ledger, 0), declared=None)
    assert count.found == 8 * 12 + 1
    assert count.effective == pytest.approx(9.0, rel=0.1)


def test_there_are_never_more_ideas_than_settings(ledger: Ledger) -> None:
    """On overlapping spans with other returns, as after a correction of the data, the same settings stay one."""
    for seed in range(1, 6):
        returns = daily(noise(seed, DAYS - seed))
        record_run(ledger, HERE, trial=hashes(1, since=1)[0], daily=returns)
    for copy in range(10):  # of this run, under other settings
        record_run(ledger, HERE, trial=hashes(1, since=20 + copy)[0], daily=daily(noise(0)))
    count = count_trials(tried(ledger, 0), declared=None)
    assert count.found == 16
    assert count.effective == pytest.approx(2.0, rel=0.05)


def test_sets_of_which_no_record_was_kept_are_no_more_ideas_on_another_span(
    ledger: Ledger,
) -> None:
    sets = 0.01 * np.random.default_rng(5).standard_normal((DAYS, 300))
    for rows in (slice(0, DAYS), slice(10, DAYS), slice(20, DAYS)):
        stamps = days_us(DAYS)[rows]
        record_sets(ledger, HERE, trials=hashes(300, since=1), daily=sets[rows], days_us=stamps)
    count = count_trials(tried(ledger, 0), declared=None)
    assert count.found == 901
    assert count.effective == 301.0


def test_the_longest_record_of_an_idea_leads(ledger: Ledger) -> None:
    """Three short records share too few days to be compared, and are alike because the whole one is like each."""
    whole = noise(0)
    for trial, (first, last) in enumerate([(0, DAYS), (0, 110), (250, DAYS), (100, 260)]):
        part = daily(whole[first:last], str(np.datetime64(START) + first))
        done = record_run(ledger, HERE, trial=hashes(1, since=trial)[0], daily=part)
    count = count_trials(done, declared=None)
    assert (count.found, count.effective) == (4, 1.0)


def test_independent_sets_of_which_no_record_was_kept_count(ledger: Ledger) -> None:
    sets = 0.01 * np.random.default_rng(5).standard_normal((DAYS, 300))
    for trials in (hashes(300, since=1), hashes(300, since=151)):  # half of them known
        record_sets(ledger, HERE, trials=trials, daily=sets, days_us=days_us(DAYS))
    count = count_trials(tried(ledger, 0), declared=None)
    assert count.found == 451
    first = ledger.read().entries[0]
    beyond = first.effective - first.effective_kept
    assert beyond > 200.0
    assert count.effective == pytest.approx(1.0 + first.effective_kept + 1.5 * beyond, rel=0.05)


# --- how far luck reaches -----------------------------------------------------------------------


def test_deflation_grows_with_the_trials(ledger: Ledger) -> None:
    chances = []
    for seed in range(1, 13):
        count = count_trials(tried(ledger, seed), declared=None)
        chances.append(count.deflated(0.1, DAYS, skew=0.0, kurtosis=3.0))
    known = [chance for chance in chances if chance is not None]
    assert len(known) == 12
    assert known == sorted(known, reverse=True)
    assert known[0] == probabilistic_sharpe(0.1, DAYS, skew=0.0, kurtosis=3.0, benchmark=0.0)
    assert known[-1] < known[0] - 0.2


def test_the_deflated_ratio_is_that_of_the_paper() -> None:
    """Bailey and López de Prado (2014), section "A numerical example": 0.9004."""
    count = TrialCount(
        declared=None, found=100, effective=100.0, spread=math.sqrt(0.5 / 250 * 1250)
    )
    ratio = 2.5 / math.sqrt(250)
    found = count.deflated(ratio, 1250, skew=-3.0, kurtosis=10.0)
    assert found == pytest.approx(0.9004, abs=5e-5)


def test_nothing_deflates_what_is_not_known() -> None:
    unknown = TrialCount(declared=None, found=None, effective=None)
    assert unknown.deflated(0.1, DAYS, skew=0.0, kurtosis=3.0) is None
    one = TrialCount(declared=1, found=None, effective=None)
    assert one.deflated(0.1, 1, skew=0.0, kurtosis=3.0) is None
    assert math.isnan(one.deflated(math.nan, DAYS, skew=0.0, kurtosis=3.0) or 0.0)


def spread_of(ledger: Ledger, ratios: list[float]) -> TrialCount:
    """Count trials with these Sharpe ratios, in standard errors."""
    for seed, z in enumerate(ratios):
        done = tried(ledger, seed, z=z)
    return count_trials(done, declared=None)


def test_trials_that_are_nearly_the_same_deflate_as_luck_does(ledger: Ledger) -> None:
    count = spread_of(ledger, [0.5] * 20)
    assert count.effective == pytest.approx(20.0, rel=0.1)
    assert count.spread == 1.0


def test_trials_that_scatter_as_luck_does_raise_nothing(ledger: Ledger) -> None:
    drawn = np.random.default_rng(4).standard_normal(20)
    assert spread_of(ledger, list(drawn / drawn.std(ddof=1) * 1.15)).spread == 1.0


def test_trials_that_scatter_wider_raise_the_bar(ledger: Ledger) -> None:
    drawn = np.random.default_rng(4).standard_normal(20)
    drawn = (drawn - drawn.mean()) / drawn.std(ddof=1)
    count = spread_of(ledger, list(2.0 * drawn + 0.5))
    assert count.spread == pytest.approx(2.0, rel=1e-3)
    assert "Their Sharpe ratios scatter 2.0 times as wide as luck alone." in count.sentence


def test_trials_that_lie_low_raise_it_by_what_reaches_up(ledger: Ledger) -> None:
    """The expected best of n is mean + deviation times that of n standard normals (eq. 1 of the paper)."""
    drawn = np.random.default_rng(4).standard_normal(20)
    drawn = (drawn - drawn.mean()) / drawn.std(ddof=1)
    count = spread_of(ledger, list(3.0 * drawn - 2.0))
    reach = expected_max_sharpe(count.used or 1, variance=1.0)
    assert count.spread * reach == pytest.approx(-2.0 + 3.0 * reach, rel=1e-3)


def test_losers_do_not_raise_the_bar(ledger: Ledger) -> None:
    drawn = np.random.default_rng(4).standard_normal(20)
    assert spread_of(ledger, list(3.0 * drawn - 20.0)).spread == 1.0


def test_a_handful_of_trials_says_nothing_of_their_spread(ledger: Ledger) -> None:
    assert spread_of(ledger, [-5.0, 5.0] * (SPREAD_MIN // 2 - 1)).spread == 1.0


def test_records_of_any_length_scatter_alike(ledger: Ledger) -> None:
    """A short record's ratio is noisier by itself: that is no spread."""
    drawn = np.random.default_rng(6).standard_normal(20)
    drawn = (drawn - drawn.mean()) / drawn.std(ddof=1)
    for seed, z in enumerate(drawn.tolist()):
        done = tried(ledger, seed, z=z, n_days=60 if seed % 2 else DAYS)
    assert count_trials(done, declared=None).spread == 1.0


# --- what is said -------------------------------------------------------------------------------


def test_a_report_says_what_was_declared_found_and_used(ledger: Ledger) -> None:
    alone = count_trials(tried(ledger, 0), declared=9)
    assert alone.sentence == (
        f"The strategy files declare 9 variants; the ledger {ledger.place} holds no other trial of this market and "
        "span. The larger number, 9, deflates."
    )
    tried(ledger, 1)
    count = count_trials(tried(ledger, 2), declared=1)
    assert count.sentence == (
        f"The strategy files declare 1 variant; the ledger {ledger.place} holds 3 trials of this market and span with "
        "this one, 3 of them effectively independent. The larger number, 3, deflates."
    )
    none = count_trials(tried(ledger, 2), declared=None)
    assert none.sentence.startswith("The strategy files declare no number of variants; the ledger")


def test_a_report_says_that_the_ledger_is_off() -> None:
    assert count_trials(tried(None, 0), declared=9).sentence == (
        "The ledger of trials is off (ledger=off): the strategy files declare 9 variants, nothing else was counted."
    )
    assert count_trials(tried(None, 0), declared=None).sentence == (
        "The ledger of trials is off (ledger=off): the strategy files declare no number of variants, so the Sharpe "
        "ratio is not deflated."
    )
    unasked = TrialCount(declared=2, found=None, effective=None)
    assert unasked.sentence.startswith("The ledger of trials was not asked: the strategy files")


def test_a_report_says_what_it_could_not_read(ledger: Ledger, tmp_path: Path) -> None:
    tried(ledger, 0)
    with (tmp_path / "trials.jsonl").open("ab") as file:
        file.write(b'{"version":1,"kind":"tri')
    count = count_trials(tried(ledger, 1), declared=1)
    assert (count.found, count.damaged) == (2, 1)
    assert count.sentence.endswith("deflates. 1 line of it cannot be read.")


def test_a_report_says_that_the_ledger_failed(ledger: Ledger, tmp_path: Path) -> None:
    (tmp_path / "trials.jsonl").mkdir()
    count = count_trials(tried(ledger, 0), declared=3)
    assert count.used == 3
    assert count.sentence == (
        f"The ledger of trials says nothing (ledger {ledger.place} could not be read: Is a directory): the strategy "
        "files declare 3 variants, nothing else was counted."
    )


def test_a_report_says_that_this_run_could_not_be_written(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried(ledger, 0)

    def full(number: int, raw: memoryview) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.write", full)
    count = count_trials(tried(ledger, 1), declared=None)
    assert (count.found, count.used) == (2, 2)
    assert count.sentence.endswith(
        f"This run is not in it: ledger {ledger.place} could not be written: No space left on device."
    )


@pytest.mark.parametrize(("effective", "used"), [(1.0, 1), (1.3, 2), (2.0, 2), (17.01, 18)])
def test_a_part_of_a_trial_counts_as_one(effective: float, used: int) -> None:
    """Between one and two trials the paper's approximation sees no luck at all."""
    count = TrialCount(declared=None, found=30, effective=effective, place="here", alone=False)
    assert count.used == used
    assert f"{used} of them effectively independent. The larger number, {used}," in count.sentence
