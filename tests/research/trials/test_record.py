"""What a run, a sweep and a fold leave in the ledger."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from quantcore.finance import performance
from quantcore.research.trials import Ledger, Market, open_ledger, record_run, record_sets
from quantcore.research.trials.record import KEPT_MAX, make_entry, score
from tests.research.trials.cases import daily, days_us, hashes, occasion, walk


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    opened = open_ledger(str(tmp_path / "trials.jsonl"))
    assert opened is not None
    return opened


def test_a_run_is_written_with_its_market_and_once(
    ledger: Ledger, rng: np.random.Generator
) -> None:
    returns = daily(rng.normal(0.001, 0.01, 50))
    for _ in range(2):
        done = record_run(ledger, occasion(), trial=hashes(1)[0], daily=returns)
        assert done.fault == ""
    held = ledger.read()
    [entry] = held.entries
    assert (entry.command, entry.experiment, entry.interval) == ("backtest", "trend", "1h")
    assert entry.trials == (hashes(1)[0],)
    assert (entry.first_day, entry.last_day) == (19358, 19358 + 49)
    assert entry.best.days == 50
    assert entry.best.sharpe == pytest.approx(
        performance.sharpe(returns, periods_per_year=1.0), rel=1e-6
    )
    assert list(held.markets) == [Market.of(walk()).fingerprint]
    assert pd.Timestamp(entry.time).tzinfo is not None


def test_other_settings_spans_intervals_and_data_are_other_trials(
    ledger: Ledger, rng: np.random.Generator
) -> None:
    returns = rng.normal(0.001, 0.01, 50)
    other = occasion(Market.of(walk(seed=1)))
    for trial, where, values in (
        (hashes(1)[0], occasion(), daily(returns)),
        (hashes(2)[1], occasion(), daily(returns)),
        (hashes(1)[0], occasion(), daily(returns[:-1])),
        (hashes(1)[0], occasion(), daily(returns, "2023-01-02")),
        (hashes(1)[0], other, daily(returns)),
    ):
        record_run(ledger, where, trial=trial, daily=values)
    held = ledger.read()
    assert len(held.entries) == 5
    assert len(held.markets) == 2


def test_nothing_is_written_where_the_ledger_is_off(rng: np.random.Generator) -> None:
    done = record_run(None, occasion(), trial=hashes(1)[0], daily=daily(rng.normal(0, 1, 30)))
    assert (done.ledger, done.held, done.fault) == (None, None, "")
    assert done.entry.trials == (hashes(1)[0],)


def test_moments_are_those_of_scipy_and_of_the_report(rng: np.random.Generator) -> None:
    returns = rng.standard_t(4, (200, 5)) * 0.01 + 0.001
    returns[50:80, 2] = np.nan
    returns[:, 3] = 0.0
    returns[:, 4] = 0.1  # constant but for rounding
    for column, told in enumerate(score(hashes(5), returns)):
        known = returns[~np.isnan(returns[:, column]), column]
        assert told.days == len(known)
        if column < 3:
            assert told.sharpe == pytest.approx(known.mean() / known.std(ddof=1))
            assert told.skew == pytest.approx(stats.skew(known))
            assert told.kurtosis == pytest.approx(stats.kurtosis(known, fisher=False))
        np.testing.assert_allclose(
            [told.sharpe, told.skew, told.kurtosis],
            [
                performance.sharpe(known, periods_per_year=1.0),
                performance.skewness(known),
                performance.raw_kurtosis(known),
            ],
            rtol=1e-9,
        )


def test_sets_leave_one_line_with_every_hash_and_a_record_of_each_cluster(
    ledger: Ledger, rng: np.random.Generator
) -> None:
    ideas = rng.standard_normal((400, 3))
    returns = 0.01 * np.repeat(ideas, [6, 3, 1], axis=1)
    returns += 0.001 * rng.standard_normal(returns.shape)
    returns[:, 9] += 0.001
    record_sets(
        ledger, occasion(command="sweep"), trials=hashes(10), daily=returns, days_us=days_us(400)
    )
    [entry] = ledger.read().entries
    assert entry.trials == tuple(hashes(10))
    assert [kept.stands_for for kept in entry.kept] == [6, 3, 1]
    assert [kept.score.trial for kept in entry.kept] == [hashes(10)[k] for k in (0, 6, 9)]
    np.testing.assert_allclose(entry.kept[1].returns, returns[:, 6], rtol=2e-3, atol=1e-5)
    best = int((returns.mean(axis=0) / returns.std(axis=0)).argmax())
    assert entry.best.trial == hashes(10)[best]
    assert entry.clusters == 3
    assert entry.effective == entry.effective_kept == pytest.approx(3.0, rel=0.1)


def test_sets_that_are_known_are_not_written_again(
    ledger: Ledger, rng: np.random.Generator
) -> None:
    returns = rng.normal(0.0, 0.01, (60, 8))
    where = {"days_us": days_us(60)}
    record_sets(ledger, occasion(), trials=hashes(8), daily=returns, **where)
    record_sets(ledger, occasion(), trials=hashes(8)[2:5], daily=returns[:, 2:5], **where)
    record_run(ledger, occasion(), trial=hashes(8)[7], daily=daily(returns[:, 7]))
    assert len(ledger.read().entries) == 1
    record_sets(ledger, occasion(), trials=hashes(3, since=6), daily=returns[:, :3], **where)
    assert len(ledger.read().entries) == 2


def test_refused_sets_and_repetitions_are_left_out(rng: np.random.Generator) -> None:
    returns = rng.normal(0.0, 0.01, (60, 5))
    returns[:, 1] = np.nan
    names = [*hashes(4), hashes(1)[0]]
    entry = make_entry(occasion(), trials=names, daily=returns, days_us=days_us(60))
    assert entry.trials == (hashes(4)[0], *hashes(4)[2:])


def test_sets_that_never_traded_and_ruined_ones_are_trials(rng: np.random.Generator) -> None:
    returns = rng.normal(0.0, 0.01, (60, 4))
    returns[:, :2] = 0.0
    returns[20:, 3] = np.nan
    entry = make_entry(occasion(), trials=hashes(4), daily=returns, days_us=days_us(60))
    assert len(entry.trials) == 4
    assert entry.clusters == 2
    assert [kept.score.days for kept in entry.kept] == [60, 20]
    assert np.isnan(entry.kept[1].returns[20:]).all()
    idle = make_entry(occasion(), trials=hashes(2), daily=np.zeros((60, 2)), days_us=days_us(60))
    assert (idle.clusters, idle.effective, idle.kept[0].stands_for) == (1, 1.0, 2)
    assert np.isnan(idle.best.sharpe)


def test_days_without_a_return_keep_their_place(rng: np.random.Generator) -> None:
    weekly = days_us(70)[::7]
    returns = rng.normal(0.0, 0.01, (len(weekly), 1))
    entry = make_entry(occasion(), trials=hashes(1), daily=returns, days_us=weekly)
    assert (entry.last_day - entry.first_day) == 63
    assert entry.best.days == 10
    np.testing.assert_array_equal(entry.kept[0].returns[::7], returns[:, 0])
    assert np.isnan(entry.kept[0].returns[1:7]).all()


def test_more_clusters_than_are_kept_are_counted_all_the_same(rng: np.random.Generator) -> None:
    n = 3 * KEPT_MAX
    returns = 0.01 * rng.standard_normal((300, n))
    best = n - 5
    returns[:, best] += 0.01
    pairs = 0.01 * np.repeat(rng.standard_normal((300, 2)), 2, axis=1)
    whole = np.hstack([returns, pairs])
    entry = make_entry(occasion(), trials=hashes(n + 4), daily=whole, days_us=days_us(300))
    assert entry.clusters == n + 2
    assert len(entry.kept) == KEPT_MAX
    assert sum(kept.stands_for == 2 for kept in entry.kept) == 2  # the largest come first
    assert hashes(n)[best] in [kept.score.trial for kept in entry.kept]
    assert entry.best.trial == hashes(n)[best]
    assert entry.effective == pytest.approx(n + 2, rel=0.15)
    assert entry.effective_kept == pytest.approx(KEPT_MAX, rel=0.15)


def test_ten_thousand_sets_over_two_years_take_a_quarter_of_a_megabyte(
    ledger: Ledger, rng: np.random.Generator, tmp_path: Path
) -> None:
    returns = 0.01 * rng.standard_normal((731, 4)) @ rng.standard_normal((4, 10_000))
    begun = time.process_time()
    record_sets(ledger, occasion(), trials=hashes(10_000), daily=returns, days_us=days_us(731))
    assert time.process_time() - begun < 30.0
    assert (tmp_path / "trials.jsonl").stat().st_size < 250_000


def test_a_ledger_that_fails_meanwhile_loses_no_result(
    ledger: Ledger, rng: np.random.Generator, tmp_path: Path
) -> None:
    (tmp_path / "trials.jsonl").mkdir()
    done = record_run(ledger, occasion(), trial=hashes(1)[0], daily=daily(rng.normal(0, 1, 30)))
    assert done.held is None
    assert "could not be read: Is a directory" in done.fault
    assert done.entry.best.days == 30


@pytest.mark.parametrize(
    ("shape", "trials", "said"),
    [
        ((30, 2), 3, r"daily must have shape \(30, 3\), had \(30, 2\)"),
        ((29, 2), 2, r"daily must have shape \(30, 2\), had \(29, 2\)"),
        ((30, 0), 0, "daily must hold a return of at least one set, had 0 without"),
    ],
)
def test_returns_that_do_not_fit_are_refused(
    shape: tuple[int, int], trials: int, said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        make_entry(occasion(), trials=hashes(trials), daily=np.ones(shape), days_us=days_us(30))


def test_sets_without_any_return_are_refused() -> None:
    with pytest.raises(ValueError, match="daily must hold a return of at least one set, had 2"):
        make_entry(
            occasion(), trials=hashes(2), daily=np.full((30, 2), np.nan), days_us=days_us(30)
        )
