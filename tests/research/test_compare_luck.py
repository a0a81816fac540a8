"""Whether runs can be told apart, and in which words."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest

from quantcore.finance import paired
from quantcore.research.compare_luck import (
    CompareSettings,
    against_base,
    differences_table,
    marks,
    part_told,
    verdicts,
)
from quantcore.research.compare_metrics import COMMON, OWN
from quantcore.research.compare_span import Span, common_span
from quantcore.types import FloatArray
from tests.research.recorded import curve

JUDGE = CompareSettings(confidence=0.95, paths=1000)


def spanned(*columns: FloatArray) -> Span:
    return common_span(curve({str(k): column for k, column in enumerate(columns)}))


def judged(*columns: FloatArray) -> list[dict[str, Any]]:
    span = spanned(*columns)
    return verdicts(span, differences_table(span, JUDGE, seed=7), JUDGE)


@pytest.fixture(scope="module")
def noise() -> FloatArray:
    return np.random.default_rng(5).normal(0.0, 0.01, (300, 3))


def test_the_same_run_twice_is_the_same(noise: FloatArray) -> None:
    (said,) = judged(noise[:, 0], noise[:, 0].copy())
    assert (said["label"], said["base"], said["kind"]) == ("B", "A", "same")
    assert said["text"] == "B is the same as A: no day's return differs."


def test_twice_the_leverage_is_a_multiple(noise: FloatArray) -> None:
    (said,) = judged(noise[:, 0], 2.0 * noise[:, 0])
    assert said["kind"] == "multiple"


def test_noise_cannot_be_told_apart_and_the_sentence_holds_the_interval(noise: FloatArray) -> None:
    span = spanned(noise[:, 0], noise[:, 1])
    table = differences_table(span, JUDGE, seed=7)
    (said,) = verdicts(span, table, JUDGE)
    row = table[table["statistic"] == "sharpe"].iloc[0]
    assert said["kind"] == "undecided"
    low, high = (f"{row[end]:.2f}".replace("-", "\u2212") for end in ("low", "high"))
    assert (
        f"B cannot be told apart from A: 95 % interval of the difference of Sharpe ratios {low} to {high} (p = "
        in said["text"]
    )
    assert "adjusted" not in said["text"]
    half = row["high"] - row["estimate"]
    years = 300 / 365 * (half / row["estimate"]) ** 2
    told = f"{years:,.0f} years" if years >= 2.0 else f"{365 * years:,.0f} days"
    assert f"would show after some {told}." in said["text"]


@pytest.mark.parametrize(
    ("edge", "kind", "word"), [(0.002, "better", "higher"), (-0.002, "worse", "lower")]
)
def test_an_edge_on_shared_noise_is_told(
    noise: FloatArray, edge: float, kind: str, word: str
) -> None:
    run = noise[:, 0] + 0.1 * noise[:, 1] + edge
    (said,) = judged(noise[:, 0], run)
    assert said["kind"] == kind
    assert said["text"].startswith(
        f"B differs from A by more than luck: its Sharpe ratio is {word} by "
    )


def test_a_record_too_short_or_without_variation_is_not_judged(noise: FloatArray) -> None:
    (short,) = judged(noise[:80, 0], noise[:80, 1])
    assert short["kind"] == "short"
    assert short["text"].endswith("80 common days are too few, 90 are needed.")
    idle, other = judged(noise[:, 0], np.zeros(300), noise[:, 1])
    assert idle["kind"] == "no_ratio"
    assert "the returns of B do not vary" in idle["text"]
    assert other["kind"] == "undecided"


def test_several_comparisons_are_adjusted_and_said_to_be() -> None:
    rng = np.random.default_rng(2)
    span = spanned(*rng.normal(0.0, 0.01, (4, 200)))
    table = differences_table(span, JUDGE, seed=7)
    assert len(table) == 3 * 6
    for _, tests in table.groupby("statistic"):
        first = tests[tests["base"] == "A"]
        np.testing.assert_allclose(first["p_base"], paired.holm(first["p_value"]))
        np.testing.assert_allclose(tests["p_all"], paired.holm(tests["p_value"]))
        assert tests.loc[tests["base"] != "A", "p_base"].isna().all()
    assert all(
        "adjusted for 3 comparisons" in said["text"] for said in verdicts(span, table, JUDGE)
    )


def test_what_counts_alone_and_not_among_many_is_said() -> None:
    rng = np.random.default_rng(2)
    span = spanned(*rng.normal(0.0, 0.01, (3, 100)))
    rows = [("B", 0.9, 0.1, 1.7, 0.03, 0.06), ("C", 0.1, -0.5, 0.7, 0.7, 0.7)]
    table = pd.DataFrame(
        [(label, "A", "sharpe", e, low, high, p, base, 1.0) for label, e, low, high, p, base in rows],
        columns=["label", "base", "statistic", "estimate", "low", "high", "p_value", "p_base", "p_all"],
    )  # fmt: skip
    first, second = verdicts(span, table, JUDGE)
    assert first["kind"] == second["kind"] == "undecided"
    assert "p = 0.03, p = 0.06 adjusted for 2 comparisons" in first["text"]
    assert "Alone the difference would count" in first["text"]
    assert "Alone" not in second["text"]


def test_beside_the_base_stand_mean_tracking_error_and_correlation(noise: FloatArray) -> None:
    found = against_base(spanned(noise[:, 0], noise[:, 1], np.zeros(300))).set_index("label")
    apart = noise[:, 1] - noise[:, 0]
    assert found.loc["B", "mean"] == pytest.approx(365 * apart.mean())
    assert found.loc["B", "tracking_error"] == pytest.approx(math.sqrt(365) * apart.std(ddof=1))
    assert found.loc["B", "correlation"] == pytest.approx(
        np.corrcoef(noise[:, 0], noise[:, 1])[0, 1]
    )
    assert np.isnan(found["correlation"].loc["C"])


def metrics(**rows: tuple[float, ...]) -> pd.DataFrame:
    labels = ["A", "B", "C"]
    table = [(name, COMMON, *values) for name, values in rows.items()]
    table.append(("sharpe", OWN, 0.0, 0.0, 9.0))
    return pd.DataFrame(table, columns=["metric", "basis", *labels])


def p_values_of(statistic: str, **p_values: float) -> pd.DataFrame:
    rows = [(pair[0], pair[1], statistic, p) for pair, p in p_values.items()]
    return pd.DataFrame(rows, columns=["label", "base", "statistic", "p_all"])


def test_only_what_differs_from_every_other_run_is_marked() -> None:
    table = metrics(sharpe=(0.1, 0.2, 3.0), max_drawdown=(-0.5, -0.5, -0.01))
    apart = p_values_of("sharpe", BA=0.9, CA=0.01, CB=0.02)
    assert marks(apart, table, JUDGE) == ["C", "", ""]
    near = p_values_of("sharpe", BA=0.9, CA=0.01, CB=0.06)
    assert marks(near, table, JUDGE) == ["", "", ""]
    untested = p_values_of("sharpe", BA=0.9, CA=math.nan, CB=math.nan)
    assert marks(untested, table, JUDGE) == ["", "", ""]


def test_of_volatilities_the_lowest_is_marked() -> None:
    table = metrics(annual_volatility=(0.1, 0.2, 0.3))
    assert marks(p_values_of("log_volatility", BA=0.01, CA=0.01, CB=0.9), table, JUDGE) == ["A", ""]


def test_the_parts_of_a_difference_are_told_by_size() -> None:
    told = part_told("B", "A", {"price": -0.03, "fees": 0.01, "funding": 0.0, "slippage": -0.04})
    assert told == (
        "B earned 6.0 % of the opening equity less than A: slippage \u22124.0 %, price \u22123.0 %, fees +1.0 %."
    )
    assert (
        part_told("B", "A", {"price": 0.0}) == "B earned 0.0 % of the opening equity more than A."
    )


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"confidence": 1.0}, r"confidence must be in \(0, 1\), was 1.0"),
        ({"paths": 999}, "paths must be >= 1,000, was 999"),
        ({"confidence": 0.9999}, r"paths must be >= 1 / \(1 - confidence\), was 1000"),
    ],
)
def test_settings_out_of_range_are_refused(changed: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        CompareSettings(**{"confidence": 0.95, "paths": 1000, **changed})
