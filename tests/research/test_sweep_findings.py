"""The best set, its neighbours and the plateau: hand-made surfaces, and a slow search for neighbours."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pandas as pd
import pytest

from quantcore.research.sweep_axes import axes_of
from quantcore.research.sweep_findings import NOBODY, Peak, findings, luck, neighbours, peak


def found(table: pd.DataFrame, values: list[float]) -> Peak | None:
    axes = axes_of(table, [*map(str, table)])
    return peak(np.array(values), neighbours(axes, len(values)))


def slowly_adjacent(table: pd.DataFrame, levels: dict[str, list[float]]) -> list[set[int]]:
    """Return for each row the rows that differ in one number only, by one step."""
    around = []
    rows = table.to_dict("records")
    for row in rows:
        near = set()
        for k, other in enumerate(rows):
            differing = [name for name in row if row[name] != other[name]]
            if len(differing) == 1 and differing[0] in levels:
                steps = levels[differing[0]]
                if abs(steps.index(row[differing[0]]) - steps.index(other[differing[0]])) == 1:
                    near.add(k)
        around.append(near)
    return around


def test_neighbours_on_a_grid_differ_by_one_step_in_one_number() -> None:
    levels = {"a": [1.0, 2.0, 5.0], "b": [0.1, 0.2, 0.4, 0.8]}
    table = pd.DataFrame(
        list(itertools.product(levels["a"], ["x", "y"], levels["b"])), columns=["a", "w", "b"]
    )
    table = table.sample(frac=0.8, random_state=1).reset_index(drop=True)
    around = neighbours(axes_of(table, [*map(str, table)]), len(table))
    assert around.adjacent
    ours = [{int(k) for k in row if k != NOBODY} for row in around.rows]
    assert ours == slowly_adjacent(table, levels)
    assert max(map(len, ours)) == 4


def test_a_word_among_numbers_is_no_step() -> None:
    table = pd.DataFrame({"a": ["null", "0.1", "0.2", "0.3"]})
    around = neighbours(axes_of(table, ["a"]), 4)
    assert [sorted(set(row) - {NOBODY}) for row in around.rows.tolist()] == [[], [2], [1, 3], [2]]


def test_neighbours_of_a_sample_are_the_nearest_with_the_same_words() -> None:
    rng = np.random.default_rng(2)
    table = pd.DataFrame(
        {"a": rng.random(60), "b": 10.0 ** rng.uniform(-5, 5, 60), "w": rng.choice(["x", "y"], 60)}
    )
    around = neighbours(axes_of(table, [*map(str, table)]), 60)
    assert not around.adjacent
    assert around.rows.shape == (60, 4)
    places = table[["a", "b"]].rank().to_numpy() / 59.0
    for k in range(60):
        distance = np.linalg.norm(places - places[k], axis=1)
        distance[(table.w != table.w[k]) | (np.arange(60) == k)] = np.inf
        ours = np.sort(distance[around.rows[k]])  # ranks are whole, so that several may be as near
        np.testing.assert_allclose(ours, np.sort(distance)[:4])


def test_one_drawn_parameter_and_two_options_are_a_sample_and_no_grid() -> None:
    drawn = np.random.default_rng(3).random(40)
    table = pd.DataFrame({"a": drawn, "w": ["x", "x", "y", "y"] * 10})
    around = neighbours(axes_of(table, ["a", "w"]), len(table))
    assert not around.adjacent
    for own, row in enumerate(around.rows.tolist()):
        assert NOBODY not in row
        assert {table["w"][k] for k in row} == {table["w"][own]}


def test_sets_in_the_same_place_are_neighbours_but_never_of_themselves() -> None:
    rng = np.random.default_rng(3)
    table = pd.DataFrame({"a": rng.random(50), "b": rng.random(50)})
    table.iloc[:10] = 0.5
    around = neighbours(axes_of(table, ["a", "b"]), 50)
    assert not (around.rows == np.arange(50)[:, None]).any()
    assert set(around.rows[0]) <= set(range(10))


def test_a_lone_peak_is_told_from_a_plateau() -> None:
    table = pd.DataFrame({"a": range(9)})
    lone = found(table, [0.0, 0.1, 2.0, 0.2, 0.5, 1.0, 1.2, 1.1, 0.4])
    assert lone is not None
    assert (lone.best, lone.value, lone.median, lone.around) == (2, 2.0, 0.5, 2)
    assert lone.around_median == pytest.approx(0.15)
    assert lone.kept == pytest.approx(0.075)
    assert (lone.centre, lone.centre_value, lone.adjacent) == (6, 1.2, True)
    assert lone.centre_mean == pytest.approx(1.1)
    assert lone.holds is False
    broad = found(table, [0.0, 0.1, 0.2, 0.3, 0.9, 1.0, 1.2, 1.1, 0.4])
    assert broad is not None
    assert (broad.best, broad.centre, broad.holds) == (6, 6, True)
    assert broad.kept == pytest.approx(1.05 / 1.2)


def test_the_best_set_need_not_be_the_centre_of_its_plateau() -> None:
    table = pd.DataFrame(list(itertools.product(range(5), range(5))), columns=["a", "b"])
    values = 1.0 - 0.1 * ((table.a - 2) ** 2 + (table.b - 2) ** 2)
    values[(table.a == 2) & (table.b == 3)] = 1.05
    said = found(table, values.tolist())
    assert said is not None
    assert said.best == 13
    assert said.centre == 12
    assert said.around == 4
    assert said.around_median == pytest.approx((0.8 + 0.8) / 2)


def test_a_set_beside_refused_ones_is_no_centre() -> None:
    table = pd.DataFrame(list(itertools.product(range(4), range(4))), columns=["a", "b"])
    values = np.full(16, np.nan)
    values[0] = 3.0
    values[[9, 10, 11, 13, 14, 15]] = 1.0, 1.1, 1.0, 1.0, 1.0, 1.0
    said = found(table, values.tolist())
    assert said is not None
    assert (said.best, said.around, said.holds) == (0, 0, None)
    assert said.centre in (9, 10, 11, 13, 14, 15)


def test_words_only_have_no_neighbours() -> None:
    table = pd.DataFrame({"w": ["x", "y", "z"]})
    said = found(table, [0.1, 0.5, 0.3])
    assert said is not None
    assert (said.best, said.centre, said.around) == (1, 1, 0)
    assert math.isnan(said.kept)


def test_no_value_at_all_has_no_peak() -> None:
    assert found(pd.DataFrame({"a": [1, 2]}), [math.nan, math.nan]) is None


def test_a_losing_best_set_has_no_plateau() -> None:
    said = found(pd.DataFrame({"a": [1, 2, 3]}), [-0.5, -0.1, -0.4])
    assert said is not None
    assert said.holds is None
    assert said.around_median == pytest.approx(-0.45)


def test_luck_is_the_expected_maximum_of_trials_that_scatter_as_the_sets() -> None:
    # Bailey and Lopez de Prado 2014, section 4: the expected maximum of 10 standard normals is about 1.57.
    values = np.array([1.0, -1.0, np.nan, 1.0, -1.0]) * math.sqrt(0.75)
    assert luck(values, 10.0) == pytest.approx(1.5746, abs=1e-4)
    assert luck(values, 10.0, 4.0) == pytest.approx(2.0 * 1.5746, abs=2e-4)
    assert luck(values, 0.4) == 0.0
    assert math.isnan(luck(values, math.nan))
    assert math.isnan(luck(np.array([1.0, np.nan]), 10.0))


def test_findings_of_a_table_join_what_is_known() -> None:
    table = pd.DataFrame(list(itertools.product(range(4), range(4), [7])), columns=["a", "b", "c"])
    table["sharpe"] = table.a.astype(float)
    table.loc[0, "sharpe"] = np.inf
    said = findings(table, ["a", "b", "c"], trials=3.0)
    assert [axis.path for axis in said.axes] == ["a", "b"]
    assert np.isnan(said.values[0])
    assert said.peak is not None
    assert said.peak.value == 3.0
    assert said.importance is not None
    assert said.importance.main[0] > 0.8
    assert said.luck > 0.0


def test_one_set_alone_is_found_too() -> None:
    said = findings(pd.DataFrame({"a": [1], "sharpe": [0.5]}), ["a"], trials=1.0)
    assert said.axes == ()
    assert said.importance is None
    assert said.peak is not None
    assert (said.peak.best, said.peak.around) == (0, 0)
