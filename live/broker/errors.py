"""What an answer that is no success means: certainly refused, or unknown; what may be done about it; which rule it is.

The HTTP status is looked at first, then the code, then the text (BINANCE.md, Unknown outcomes, and danger 10). What is
not known for certain to have been refused is unknown.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType
from typing import Final

from live.broker.interface import Outcome
from quantcore.types import Rule

TIMED_OUT: Final = -1007
OVERLOADED: Final = -1008
TOO_MANY_ORDERS: Final = -1015
OFF_CLOCK: Final = -1021
NO_LISTEN_KEY: Final = -1125
UNKNOWN_ORDER: Final = -2011
NO_SUCH_ORDER: Final = -2013
DUPLICATE_ID: Final = -4116
LIMITED: Final = (403, 418, 429)
"""HTTP statuses of too many requests: the firewall's, a ban, and a warning before it."""

_ALREADY_SET = frozenset({-4046, -4059, -4171})
"""Margin type, position mode and multi-assets mode: no need to change."""
_NEVER_CERTAIN = frozenset({-1000, -1001, -1006, TIMED_OUT, DUPLICATE_ID})
"""Codes whose outcome is unknown whatever the status; a duplicate id says that the order, or another, is open."""
_LIMITING_CODES = frozenset({-1003, TOO_MANY_ORDERS})
_NO_ENTRY = frozenset({-1002, -1022, -2014, -2015, -2008})
"""Codes of keys, permissions and signatures: nothing that is sent again will be taken."""

RULES = MappingProxyType(
    {
        -2018: Rule.MARGIN,
        -2019: Rule.MARGIN,
        -2021: Rule.WOULD_TRIGGER,
        -2022: Rule.REDUCE_ONLY,
        -2023: Rule.LIQUIDATION,
        -2024: Rule.REDUCE_ONLY,
        -2025: Rule.OPEN_ORDER_LIMIT,
        -2027: Rule.BRACKET_NOTIONAL,
        -2028: Rule.LEVERAGE,
        -4003: Rule.BELOW_STEP,
        -4004: Rule.BELOW_STEP,
        -4005: Rule.MARKET_MAX_QTY,
        -4023: Rule.BELOW_STEP,
        -4045: Rule.OPEN_ORDER_LIMIT,
        -4108: Rule.SYMBOL_ENDED,
        -4131: Rule.NO_PRICE,
        -4140: Rule.SYMBOL_ENDED,
        -4164: Rule.MIN_NOTIONAL,
        -4509: Rule.REDUCE_ONLY,
        -5021: Rule.FOK_NOT_FILLABLE,
        -5022: Rule.POST_ONLY_WOULD_CROSS,
    }
)
"""The account plane's rule behind a refusal's code."""
_RULE_WORDS = (
    ("insufficient", Rule.MARGIN),
    ("immediately trigger", Rule.WOULD_TRIGGER),
    ("reduceonly", Rule.REDUCE_ONLY),
    ("reduce only", Rule.REDUCE_ONLY),
    ("post only", Rule.POST_ONLY_WOULD_CROSS),
)
"""Words of -2010, which says only that an order was rejected."""
_REJECTED: Final = -2010


class Remedy(Enum):
    """What may be done about a request that has failed."""

    NONE = "none"
    """Asking again brings the same."""
    AGAIN = "again"
    """It was certainly not carried out, and may be sent again after a pause."""
    IF_EXEMPT = "if exempt"
    """The same, if it reduces, closes or cancels: those are exempt from the protection."""
    CLOCK = "clock"
    """The same, once the clock has been measured again."""
    WAIT = "wait"
    """The same, when the limits allow."""
    QUERY = "query"
    """It must be asked for before anything else."""
    NO_ENTRY = "no entry"
    """The key is not taken."""


@dataclass(frozen=True, kw_only=True)
class Failure:
    """A request that was not answered with success.

    Parameters
    ----------
    outcome : Outcome
        ACCEPTED only where what was to be set is set already.
    remedy : Remedy
        What may be done.
    message : str
        The exchange's text, or what happened; never a key, a signature or an address.
    code : int or None
        The exchange's.
    status : int or None
        Of HTTP; None where there was no answer.
    rule : Rule or None
        Of the account plane.
    retry_after_s : float
        Seconds that the exchange asks to wait.
    """

    outcome: Outcome
    remedy: Remedy
    message: str
    code: int | None = None
    status: int | None = None
    rule: Rule | None = None
    retry_after_s: float = 0.0

    @property
    def is_of_exchange(self) -> bool:
        """Whether it could not be served or understood, or got no answer: not a refusal by the rules of trading."""
        if self.outcome is Outcome.UNKNOWN or self.status in LIMITED or (self.status or 0) >= 500:
            return True
        return self.code is not None and -1200 < self.code <= -1000

    def __str__(self) -> str:
        """Return code and text, as they stand in a message."""
        return self.message if self.code is None else f"{self.code} {self.message}"


def classify(
    status: int, code: int | None, text: str | None, *, retry_after_s: float = 0.0
) -> Failure:
    """Return what an answer without success means.

    Parameters
    ----------
    status : int
        HTTP status.
    code : int or None
        The exchange's; None or 0 where the answer had none.
    text : str or None
        The exchange's `msg`; None where the answer was not its JSON.
    retry_after_s : float
        The header of that name.
    """
    code = code or None
    outcome, remedy = _meaning(status, code, text or "")
    return Failure(
        outcome=outcome,
        remedy=remedy,
        message=text or f"HTTP {status} without an answer of the exchange's form",
        code=code,
        status=status,
        rule=_rule(code, text or "") if outcome is Outcome.REFUSED else None,
        retry_after_s=retry_after_s,
    )


def never_sent(why: str, remedy: Remedy = Remedy.AGAIN) -> Failure:
    """Return the failure of a request that did not leave, such as for want of a connection."""
    return Failure(outcome=Outcome.REFUSED, remedy=remedy, message=why)


def unanswered(why: str, status: int | None = None) -> Failure:
    """Return the failure of a request that left and was not answered, or not legibly: a timeout, a lost connection."""
    return Failure(outcome=Outcome.UNKNOWN, remedy=Remedy.QUERY, message=why, status=status)


def _meaning(status: int, code: int | None, text: str) -> tuple[Outcome, Remedy]:
    if status in LIMITED:
        return Outcome.REFUSED, Remedy.WAIT
    if status < 400 or status == 408:
        return Outcome.UNKNOWN, Remedy.QUERY
    if status >= 500:
        return _server_side(status, code, text)
    if code in _NEVER_CERTAIN:
        return Outcome.UNKNOWN, Remedy.QUERY
    if code in _ALREADY_SET:
        return Outcome.ACCEPTED, Remedy.NONE
    if code in _LIMITING_CODES:
        return Outcome.REFUSED, Remedy.WAIT
    if code == OFF_CLOCK:
        return Outcome.REFUSED, Remedy.CLOCK
    if code == OVERLOADED:
        return Outcome.REFUSED, Remedy.IF_EXEMPT
    if status == 401 or code in _NO_ENTRY:
        return Outcome.REFUSED, Remedy.NO_ENTRY
    return Outcome.REFUSED, Remedy.NONE


def _server_side(status: int, code: int | None, text: str) -> tuple[Outcome, Remedy]:
    """Return what a 5xx means; only two of the three kinds of 503 are certain failures."""
    said = text.lower()
    if status == 503 and code == OVERLOADED:
        return Outcome.REFUSED, Remedy.IF_EXEMPT
    if status == 503 and "system-level protection" in said:
        return Outcome.REFUSED, Remedy.IF_EXEMPT
    if status == 503 and said.startswith("service unavailable") and code != TIMED_OUT:
        return Outcome.REFUSED, Remedy.AGAIN
    return Outcome.UNKNOWN, Remedy.QUERY


def _rule(code: int | None, text: str) -> Rule | None:
    if code == _REJECTED:
        said = text.lower()
        return next((rule for words, rule in _RULE_WORDS if words in said), None)
    return None if code is None else RULES.get(code)
