"""The kinds of difference between two accounts of the same bars, and what each of them says."""

from __future__ import annotations

from enum import StrEnum


class Kind(StrEnum):
    """Where a difference comes from."""

    SIGNAL = "signal"
    ROUNDING = "rounding"
    PRICE = "price"
    FEE = "fee"
    FUNDING = "funding"
    TIMING = "timing"
    TERMS = "terms"
    ENDING = "ending"
    MISSING = "missing"
    EXTRA = "extra"
    LIQUIDATION = "liquidation"
    EQUITY = "equity"


MEANINGS = {
    Kind.SIGNAL: "the target weights differ: the signal plane saw other bars, or another state",
    Kind.ROUNDING: "the same target became another number of lots: equity, prices or filters differ",
    Kind.PRICE: "the same order has another price",
    Kind.FEE: "the same fill has another fee",
    Kind.FUNDING: "another rate, mark or position was settled",
    Kind.TIMING: "the same thing happened at another bar",
    Kind.TERMS: "the same order has other terms, or another reason",
    Kind.ENDING: "the same order ended otherwise",
    Kind.MISSING: "the backtest has it and the live side has not",
    Kind.EXTRA: "the live side has it and the backtest has not",
    Kind.LIQUIDATION: "the same liquidation has other terms",
    Kind.EQUITY: "the equity differs though nothing before it does",
}
