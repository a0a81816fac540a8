"""Lent arrays and tuples are the caller's own, and inner kernels run interpreted where Python calls them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest
from numba import njit

from quantcore.kernels.compiled import inner
from quantcore.kernels.memory import lent, unsigned
from quantcore.types import FloatArray, IntArray


class Ledger(NamedTuple):
    balance: FloatArray
    paid: IntArray


@inner()
def pay(ledger: Ledger, k: int, amount: float) -> float:
    ledger.balance[k, 1] += amount
    ledger.paid[0] += 1
    return float(ledger.balance[k, 1])


@inner()
def pay_all(ledger: Ledger, amounts: FloatArray) -> float:
    last = 0.0
    for k in range(len(amounts)):
        last = pay(ledger, k, amounts[unsigned(k)])
    return last


@njit(cache=True, error_model="numpy")
def lend_and_pay(ledger: Ledger, amounts: FloatArray) -> float:
    """Lend both, write in this frame and in frames below it."""
    ledger, amounts = lent(ledger), lent(amounts)
    last = pay_all(ledger, amounts)
    first = ledger.paid[0]
    ledger.balance[0, 0] = float(first)
    return last + len(ledger.balance)


@inner(python_division=True)
def strict_share(part: float, whole: float) -> float:
    return part / whole


@inner()
def share(part: float, whole: float) -> float:
    return part / whole


@njit(cache=True)
def shares(part: float, whole: float, strict: bool) -> float:
    return strict_share(part, whole) if strict else share(part, whole)


def ledger() -> Ledger:
    return Ledger(np.arange(6.0).reshape(3, 2), np.zeros(1, dtype=np.int64))


AMOUNTS = np.array([1.0, 2.0, 4.0])
AFTER = [[3.0, 2.0], [2.0, 5.0], [4.0, 9.0]]


def test_what_is_written_through_a_lent_tuple_stays_written() -> None:
    mine = ledger()
    assert lend_and_pay(mine, AMOUNTS) == 9.0 + 3
    np.testing.assert_array_equal(mine.balance, AFTER)
    assert mine.paid[0] == 3


def test_read_only_arrays_can_be_lent() -> None:
    amounts = AMOUNTS.copy()
    amounts.flags.writeable = False
    assert lend_and_pay(ledger(), amounts) == 12.0


def test_the_interpreted_twin_does_the_same() -> None:
    mine = ledger()
    assert lend_and_pay.py_func(mine, AMOUNTS) == 12.0
    np.testing.assert_array_equal(mine.balance, AFTER)


def test_an_inner_kernel_runs_interpreted_where_python_calls_it() -> None:
    mine = ledger()
    assert pay(mine, 1, 0.5) == 3.5
    assert mine.paid[0] == 1
    assert not pay.signatures or all("lent" in str(s) for s in pay.signatures)


def test_division_by_zero_is_the_kernels_choice() -> None:
    assert np.isnan(shares(0.0, 0.0, strict=False))
    with pytest.raises(ZeroDivisionError):
        shares(1.0, 0.0, strict=True)
