"""How the exchange writes: refusals with its codes, numbers as text, stamps in milliseconds."""

from __future__ import annotations

from decimal import Decimal
from functools import lru_cache


class Refused(Exception):
    """A request that the exchange refuses, in its own form.

    Parameters
    ----------
    code : int
        As the exchange has it, such as -1121.
    message : str
        Its text.
    status : int
        HTTP status.
    """

    def __init__(self, code: int, message: str, status: int = 400) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.status = status

    @property
    def body(self) -> dict[str, int | str]:
        """What is sent."""
        return {"code": self.code, "msg": self.message}


@lru_cache(maxsize=1024)
def digits_of(size: str) -> int:
    """Return the decimals of a tick or step, such as 2 for ``"0.01"`` and 0 for ``"1"``."""
    exponent = Decimal(size).normalize().as_tuple().exponent
    return max(-int(exponent), 0)


def text(value: float, digits: int) -> str:
    """Return a number with a fixed count of decimals, never in powers of ten; ``-0`` is ``0``."""
    written = f"{value:.{digits}f}"
    return written.removeprefix("-") if float(written) == 0.0 else written


def lots_text(lots: int, step_size: str) -> str:
    """Return a quantity of whole steps as exact text, with the step's decimals."""
    digits = digits_of(step_size)
    whole = lots * _last_places(step_size)
    if digits == 0:
        return str(whole)
    sign, whole = ("-", -whole) if whole < 0 else ("", whole)
    return f"{sign}{whole // 10**digits}.{whole % 10**digits:0{digits}d}"


@lru_cache(maxsize=1024)
def _last_places(size: str) -> int:
    """Return a step in units of its last decimal."""
    return int(Decimal(size).scaleb(digits_of(size)))


def milliseconds(time_us: int) -> int:
    """Return a stamp in microseconds as the exchange has it."""
    return time_us // 1000


def exact_text(value: float, digits: int) -> str:
    """Return a number with at least so many decimals, and with more where its float has them.

    Reading the text gives the float back, so that what a client rebuilds from prices and volumes is what was replayed.
    """
    written = text(value, digits)
    if float(written) == value:
        return written
    whole, _, part = format(Decimal(repr(float(value))), "f").partition(".")
    return f"{whole}.{part.ljust(digits, '0')}"
