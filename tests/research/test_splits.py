"""Combinatorial purged splits: agreement with skfolio, gaps against a slow count, paths that cover everything once."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from quantcore.research import splits


@pytest.mark.parametrize(
    ("n_rows", "n_groups", "n_test_groups", "purge", "embargo"),
    [(20, 4, 2, 1, 1), (53, 6, 2, 0, 0), (61, 5, 3, 2, 3), (100, 6, 4, 5, 0), (47, 6, 2, 0, 4)],
)
def test_the_splits_are_those_of_skfolio(
    n_rows: int, n_groups: int, n_test_groups: int, purge: int, embargo: int
) -> None:
    from skfolio.model_selection import CombinatorialPurgedCV

    theirs = CombinatorialPurgedCV(n_groups, n_test_groups, purge, embargo)
    ours = list(
        splits.combinatorial_splits(
            n_rows, n_groups=n_groups, n_test_groups=n_test_groups, purge=purge, embargo=embargo
        )
    )
    assert len(ours) == theirs.n_splits == splits.count_splits(n_groups, n_test_groups)
    for split, (train, tests) in zip(ours, theirs.split(np.zeros((n_rows, 1))), strict=True):
        np.testing.assert_array_equal(split.train, train)
        for rows, expected in zip(split.tests, tests, strict=True):
            np.testing.assert_array_equal(rows, expected)
    np.testing.assert_array_equal(
        splits.combinatorial_paths(n_groups, n_test_groups), theirs.recombined_paths.T
    )


@given(
    n_rows=st.integers(6, 60),
    n_groups=st.integers(2, 6),
    data=st.data(),
    purge=st.integers(0, 4),
    embargo=st.integers(0, 4),
)
def test_no_training_row_is_within_the_gaps_of_a_test_row_and_no_other_is_left_out(
    n_rows: int, n_groups: int, data: st.DataObject, purge: int, embargo: int
) -> None:
    n_test_groups = data.draw(st.integers(1, n_groups - 1))
    # The middle group needs rows left between two gaps.
    assume(2 * purge + embargo < n_rows // n_groups)
    for split in splits.combinatorial_splits(
        n_rows, n_groups=n_groups, n_test_groups=n_test_groups, purge=purge, embargo=embargo
    ):
        test = np.concatenate(split.tests)
        expected = [
            row
            for row in range(n_rows)
            if not any(-purge <= row - other <= purge + embargo for other in test)
        ]
        assert split.train.tolist() == expected


@pytest.mark.parametrize(("n_groups", "n_test_groups"), [(6, 2), (10, 8), (5, 1), (7, 3)])
def test_the_paths_use_every_test_group_of_every_split_once(
    n_groups: int, n_test_groups: int
) -> None:
    paths = splits.combinatorial_paths(n_groups, n_test_groups)
    assert paths.shape == (splits.count_paths(n_groups, n_test_groups), n_groups)
    n_splits = splits.count_splits(n_groups, n_test_groups)
    assert len(paths) == n_test_groups * n_splits // n_groups
    chosen = list(itertools.combinations(range(n_groups), n_test_groups))
    used = {(int(split), group) for path in paths for group, split in enumerate(path)}
    assert used == {(k, group) for k, groups in enumerate(chosen) for group in groups}
    assert len(used) == paths.size


def test_one_test_group_is_plain_purged_cross_validation() -> None:
    found = list(splits.combinatorial_splits(12, n_groups=3, n_test_groups=1, purge=0, embargo=2))
    assert [s.tests[0].tolist() for s in found] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]
    assert found[1].train.tolist() == [0, 1, 2, 3, 10, 11]
    assert splits.count_paths(3, 1) == 1
    assert math.comb(3, 1) == splits.count_splits(3, 1)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"n_groups": 1, "n_test_groups": 1}, "n_groups must be >= 2, was 1"),
        ({"n_test_groups": 0}, r"n_test_groups must be in \[1, 3\], was 0"),
        ({"n_test_groups": 4}, r"n_test_groups must be in \[1, 3\], was 4"),
        ({"purge": -1}, "purge must be >= 0, was -1"),
        ({"embargo": -2}, "embargo must be >= 0, was -2"),
        ({"purge": 3, "embargo": 2}, "purge \\+ embargo must be < 5, .* was 5"),
        ({"n_rows": 3}, "n_rows must be >= n_groups = 4, was 3"),
    ],
)
def test_bad_arguments_are_refused_at_once(changed: dict[str, int], message: str) -> None:
    given = {"n_rows": 20, "n_groups": 4, "n_test_groups": 2, "purge": 1, "embargo": 1} | changed
    with pytest.raises(ValueError, match=message):
        splits.combinatorial_splits(given.pop("n_rows"), **given)


def test_a_split_without_training_rows_is_refused() -> None:
    found = splits.combinatorial_splits(15, n_groups=3, n_test_groups=2, purge=2, embargo=1)
    with pytest.raises(ValueError, match=r"leave training rows beside groups \(0, 2\)"):
        list(found)
