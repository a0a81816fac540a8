"""What the exchange says of a symbol: filters, fees, brackets; from committed facts or the exchange's own JSON."""

from __future__ import annotations

import itertools
import json
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from quantcore.errors import ConfigError
from quantcore.types import FloatArray, IntArray

_PACKAGE = Path(__file__).resolve().parents[1]
_BESIDE = _PACKAGE.parent / "data" / "instruments"
FACTS = _BESIDE if _BESIDE.is_dir() else _PACKAGE / "_instruments"
"""The committed facts: one JSON file per symbol, described in `data/README.md`."""

_LISTED_FOR_EVER_MS = 4_133_404_800_000
"""The `deliveryDate` that exchangeInfo gives a perpetual without a delisting date (2100-12-25)."""

_CUM_TOLERANCE = 1e-6
_LARGEST_DENOMINATOR = 10**22
"""The largest power of ten that a float64 holds exactly."""


@dataclass(frozen=True, kw_only=True)
class Bracket:
    """One row of a symbol's leverage and maintenance-margin table (DESIGN.md 1, BINANCE.md).

    Parameters
    ----------
    floor, cap : float
        Notional range in USDT, ``floor <= notional < cap``.
    maintenance_margin_rate : float
        Fraction of notional.
    cum : float
        USDT subtracted from ``notional * maintenance_margin_rate``, so that margin is continuous at the floor.
    leverage_max : int
        Highest initial leverage in this bracket.
    """

    floor: float
    cap: float
    maintenance_margin_rate: float
    cum: float
    leverage_max: int


@dataclass(frozen=True, kw_only=True)
class Instrument:
    """Rules and fees of one USDT-M perpetual.

    Sizes are decimal text, as the exchange writes them, so that integer lots and ticks are exact.

    Parameters
    ----------
    symbol : str
        Such as ``"BTCUSDT"``.
    tick_size, step_size : str
        Price and quantity steps, USDT per coin and coins.
    min_qty, market_max_qty, limit_max_qty : str
        Coins per order.
    min_notional : float
        USDT; reduce-only and close-position orders are exempt.
    maker_fee, taker_fee, liquidation_fee : float
        Fractions of notional; a negative maker fee is a rebate.
    funding_interval_hours : int
        The regular interval; settlements that happened override it.
    brackets : tuple of Bracket
        Sorted by floor, contiguous from 0.
    ends : str or None
        UTC time at which trading ends and positions settle; None while listed.
    origin : str
        Where the facts come from, with date; several parts are joined by ``"; "``.
    defaulted : bool
        True where conservative defaults stand in for facts that are not known.

    Raises
    ------
    ConfigError
        If a size is not a positive decimal, an order limit is off the step or out of order, a fee is not a
        fraction, or the brackets have holes, fall in rate or rise in leverage.
    """

    symbol: str
    tick_size: str
    step_size: str
    min_qty: str
    market_max_qty: str
    limit_max_qty: str
    min_notional: float
    maker_fee: float
    taker_fee: float
    liquidation_fee: float
    funding_interval_hours: int
    brackets: tuple[Bracket, ...] = field(repr=False)
    ends: str | None = None
    origin: str = ""
    defaulted: bool = False

    def __post_init__(self) -> None:
        _check_sizes(self)
        _check_rates(self)
        _check_brackets(self.symbol, self.brackets)

    @property
    def leverage_max(self) -> int:
        """Highest leverage of any bracket."""
        return max(b.leverage_max for b in self.brackets)


def _decimal(symbol: str, name: str, text: str) -> Decimal:
    try:
        value = Decimal(text)
    except (InvalidOperation, TypeError, ValueError) as error:
        raise ConfigError(f"{symbol}: {name} must be a decimal number, was {text!r}") from error
    if not (value.is_finite() and value > 0):
        raise ConfigError(f"{symbol}: {name} must be > 0, was {text}")
    return value


def _check_sizes(instrument: Instrument) -> None:
    symbol = instrument.symbol
    _decimal(symbol, "tick_size", instrument.tick_size)
    step = _decimal(symbol, "step_size", instrument.step_size)
    smallest = _decimal(symbol, "min_qty", instrument.min_qty)
    if smallest % step:
        raise ConfigError(
            f"{symbol}: min_qty must be a whole multiple of step_size {instrument.step_size}, "
            f"was {instrument.min_qty}"
        )
    for name in ("market_max_qty", "limit_max_qty"):
        if _decimal(symbol, name, getattr(instrument, name)) < smallest:
            raise ConfigError(
                f"{symbol}: {name} must be >= min_qty {instrument.min_qty}, "
                f"was {getattr(instrument, name)}"
            )


def _check_rates(instrument: Instrument) -> None:
    symbol = instrument.symbol
    if not 0 <= instrument.min_notional < math.inf:
        raise ConfigError(f"{symbol}: min_notional must be >= 0, was {instrument.min_notional}")
    for name, lowest in (("maker_fee", -0.01), ("taker_fee", 0.0), ("liquidation_fee", 0.0)):
        value = getattr(instrument, name)
        if not lowest <= value < 1.0:
            raise ConfigError(f"{symbol}: {name} must be in [{lowest:g}, 1), was {value}")
    if instrument.funding_interval_hours < 1:
        raise ConfigError(
            f"{symbol}: funding_interval_hours must be >= 1, "
            f"was {instrument.funding_interval_hours}"
        )


def _check_brackets(symbol: str, brackets: tuple[Bracket, ...]) -> None:
    if not brackets or brackets[0].floor != 0.0:
        raise ConfigError(f"{symbol}: brackets must start at notional 0")
    for row in brackets:
        _check_bracket(symbol, row)
    for lower, upper in itertools.pairwise(brackets):
        if lower.cap != upper.floor:
            raise ConfigError(
                f"{symbol}: brackets must not have holes, {lower.cap} is followed by {upper.floor}"
            )
        if upper.maintenance_margin_rate < lower.maintenance_margin_rate:
            raise ConfigError(
                f"{symbol}: maintenance_margin_rate must not fall with notional, "
                f"was {upper.maintenance_margin_rate} at {upper.floor}"
            )
        if upper.leverage_max > lower.leverage_max:
            raise ConfigError(
                f"{symbol}: leverage_max must not rise with notional, "
                f"was {upper.leverage_max} at {upper.floor}"
            )


def _check_bracket(symbol: str, row: Bracket) -> None:
    if not row.cap > row.floor:
        raise ConfigError(
            f"{symbol}: a bracket's cap must be > its floor {row.floor}, was {row.cap}"
        )
    if not 0.0 < row.maintenance_margin_rate < 1.0:
        raise ConfigError(
            f"{symbol}: maintenance_margin_rate must be in (0, 1), was {row.maintenance_margin_rate}"
        )
    if row.leverage_max < 1:
        raise ConfigError(f"{symbol}: leverage_max must be >= 1, was {row.leverage_max}")
    if not row.cum >= 0.0:
        raise ConfigError(f"{symbol}: cum must be >= 0, was {row.cum}")


def maintenance_amounts(floors: Sequence[float], rates: Sequence[float]) -> list[float]:
    r"""Return `cum` of each bracket, so that maintenance margin is continuous in notional.

    .. math:: c_n = f_n (m_n - m_{n-1}) + c_{n-1}, \qquad c_0 = 0

    Parameters
    ----------
    floors : sequence of float
        Lower ends of the brackets in USDT, increasing.
    rates : sequence of float
        Maintenance margin rates, as fractions.

    Returns
    -------
    list of float
        USDT per bracket.

    References
    ----------
    Binance, *Leverage and Margin of USD-M Futures Contracts* (BINANCE.md).

    Examples
    --------
    >>> maintenance_amounts([0, 10_000], [0.005, 0.0065])[1]
    14.999999999999996
    """
    amounts = [0.0]
    for n in range(1, len(floors)):
        amounts.append(floors[n] * (rates[n] - rates[n - 1]) + amounts[n - 1])
    return amounts[: len(floors)]


def check_maintenance_amounts(instrument: Instrument) -> Instrument:
    """Return the instrument if its brackets' `cum` follow from floors and rates.

    Raises
    ------
    ConfigError
        If a `cum` differs from `maintenance_amounts` by more than 1e-6 relative.
    """
    expected = maintenance_amounts(
        [b.floor for b in instrument.brackets],
        [b.maintenance_margin_rate for b in instrument.brackets],
    )
    for row, amount in zip(instrument.brackets, expected, strict=True):
        if abs(row.cum - amount) > _CUM_TOLERANCE * max(1.0, amount):
            raise ConfigError(
                f"{instrument.symbol}: cum must be {amount:.6g} at {row.floor:g}, was {row.cum:g}"
            )
    return instrument


def decimal_fraction(text: str) -> tuple[int, int]:
    """Return a decimal step as ``(numerator, denominator)`` in lowest powers of ten.

    With both as integers, ``steps * numerator / denominator`` is one correctly rounded division of two numbers that
    float64 holds exactly, so it is the float of the decimal text of that many steps, as long as
    ``steps * numerator < 2**53``. Multiplying by ``float(text)`` does not have this property: ``3 * 0.1 != 0.3``.

    Parameters
    ----------
    text : str
        A positive decimal, such as ``"0.10"``, ``"1E-7"``, ``"5"``.

    Returns
    -------
    tuple of int
        Numerator and denominator, the latter a power of ten up to 10**22.

    Raises
    ------
    ConfigError
        If the text is not a positive decimal, or finer than 1e-22.

    Examples
    --------
    >>> decimal_fraction("0.10")
    (1, 10)
    >>> 3 * 1 / 10
    0.3
    """
    value = _decimal("step", "text", text)
    exponent = value.normalize().as_tuple().exponent
    if not isinstance(exponent, int) or 10 ** max(0, -exponent) > _LARGEST_DENOMINATOR:
        raise ConfigError(f"step: text must be >= 1e-22, was {text}")
    denominator = 10 ** max(0, -exponent)
    return int(value * denominator), denominator


def step_values(steps: IntArray | FloatArray, fraction: tuple[int, int]) -> FloatArray:
    """Return integer numbers of steps as floats, each the float of its decimal text.

    Parameters
    ----------
    steps : array of whole numbers, any shape
        Lots or ticks; NaN stays NaN.
    fraction : tuple of int
        From `decimal_fraction`.

    Returns
    -------
    float64 array
        Coins or USDT per coin.
    """
    numerator, denominator = fraction
    return np.asarray(steps, dtype=np.float64) * float(numerator) / float(denominator)


def load_instruments(
    symbols: Iterable[str],
    *,
    root: Path | None = None,
    prices: Mapping[str, float] | None = None,
) -> tuple[Instrument, ...]:
    """Return the committed facts of some symbols, with conservative defaults for those that have none.

    Parameters
    ----------
    symbols : iterable of str
        Wanted symbols; the result keeps their order.
    root : Path, optional
        Folder of ``<symbol>.json`` files; the repository's `data/instruments` if not given.
    prices : mapping of str to float, optional
        USDT per coin, read only for symbols without a file: their `default_instrument` is sized by it. Use the
        first known price of the data, not the last, so that no rule depends on the future.

    Returns
    -------
    tuple of Instrument
        `defaulted` is True for those without committed facts.

    Raises
    ------
    ConfigError
        If a file is malformed, or a symbol has neither a file nor a price.
    """
    folder = FACTS if root is None else root
    known = prices or {}
    found = []
    for symbol in symbols:
        path = folder / f"{symbol}.json"
        if path.is_file():
            found.append(_read_instrument(path))
        elif symbol in known:
            found.append(default_instrument(symbol, price=known[symbol]))
        else:
            raise ConfigError(
                f"prices must hold a price of {symbol}, which has no file in {folder.name}/"
            )
    return tuple(found)


_NAMES = tuple(f.name for f in fields(Instrument))
_BRACKET_NAMES = tuple(f.name for f in fields(Bracket))


def _read_instrument(path: Path) -> Instrument:
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
        facts["brackets"] = tuple(
            Bracket(
                floor=float(row["floor"]),
                cap=float(row["cap"]),
                maintenance_margin_rate=float(row["maintenance_margin_rate"]),
                cum=float(row["cum"]),
                leverage_max=int(row["leverage_max"]),
            )
            for row in facts["brackets"]
        )
        facts["origin"] = "; ".join(facts["origin"])
        instrument = Instrument(**facts)
    except (json.JSONDecodeError, KeyError, TypeError, ValueError) as error:
        raise ConfigError(
            f"{path.name} must hold the fields of an Instrument, was malformed: {error}"
        ) from error
    if instrument.symbol != path.stem:
        raise ConfigError(f"{path.name}: symbol must be {path.stem}, was {instrument.symbol}")
    return check_maintenance_amounts(instrument)


def write_instruments(instruments: Iterable[Instrument], root: Path) -> list[Path]:
    """Write one ``<symbol>.json`` per instrument, each atomically; return the paths.

    The layout has one fact per line and one bracket per line, so that a change is a short diff.
    """
    root.mkdir(parents=True, exist_ok=True)
    paths = []
    for instrument in instruments:
        path = root / f"{instrument.symbol}.json"
        partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
        partial.write_text(_to_json(instrument), encoding="utf-8")
        partial.replace(path)
        paths.append(path)
    return paths


def _to_json(instrument: Instrument) -> str:
    lines = []
    for name in _NAMES:
        value: Any = getattr(instrument, name)
        if name == "brackets":
            rows = [json.dumps({k: getattr(b, k) for k in _BRACKET_NAMES}) for b in value]
            text = "[\n    " + ",\n    ".join(rows) + "\n  ]"
        elif name == "origin":
            parts = [json.dumps(p, ensure_ascii=False) for p in value.split("; ")]
            text = "[\n    " + ",\n    ".join(parts) + "\n  ]"
        else:
            text = json.dumps(value)
        lines.append(f'  "{name}": {text}')
    return "{\n" + ",\n".join(lines) + "\n}\n"


DEFAULT_BRACKETS: tuple[tuple[float, float, float, int], ...] = (
    (0.0, 5_000.0, 0.03, 20),
    (5_000.0, 10_000.0, 0.03, 10),
    (10_000.0, 25_000.0, 0.05, 10),
    (25_000.0, 100_000.0, 0.05, 8),
    (100_000.0, 250_000.0, 0.1, 5),
    (250_000.0, 1_000_000.0, 0.125, 2),
    (1_000_000.0, 2_000_000.0, 0.5, 1),
)
"""Floor, cap, rate, leverage: at each notional the highest rate and lowest leverage among the 43 USDT-M symbols that
allowed 20x at most in the leverageBracket of 2024-10, up to the smallest of their last caps."""

_DEFAULT_MIN_NOTIONAL = 20.0
_DEFAULT_LIQUIDATION_FEE = 0.04
_DEFAULT_MARKET_MAX_NOTIONAL = 100_000.0


def default_instrument(symbol: str, *, price: float) -> Instrument:
    """Return conservative rules for a symbol whose facts are not known.

    Sizes are derived from a price: the tick is the power of ten at or below 1 bp of it; the step is the power of ten
    at or above 1 USDT worth of coins, so it is worth 1 to 10 USDT, and 1 coin where a coin costs less than 1 USDT.
    Minimum notional 20 USDT (most symbols have 5, ETHUSDT 20), market orders up to about 100,000 USDT and limit
    orders up to ten times that, liquidation fee 4 % (the highest in the stored exchangeInfo), fees of the base
    tier, brackets `DEFAULT_BRACKETS`.

    Parameters
    ----------
    symbol : str
        Such as ``"NEWUSDT"``.
    price : float
        USDT per coin, > 0.

    Returns
    -------
    Instrument
        With ``defaulted=True``.

    Raises
    ------
    ConfigError
        If `price` is not a positive number.

    Examples
    --------
    >>> rules = default_instrument("NEWUSDT", price=8.7)
    >>> rules.tick_size, rules.step_size
    ('0.0001', '1')
    """
    if not 0.0 < price < math.inf:
        raise ConfigError(f"{symbol}: price must be > 0, was {price}")
    magnitude = Decimal(repr(float(price))).adjusted()
    cheap = price < 1.0
    step = Decimal(1) if cheap else Decimal(1).scaleb(-magnitude)
    most = max(
        step, Decimal(1).scaleb(math.floor(math.log10(_DEFAULT_MARKET_MAX_NOTIONAL / price)))
    )
    amounts = maintenance_amounts(
        [row[0] for row in DEFAULT_BRACKETS], [row[2] for row in DEFAULT_BRACKETS]
    )
    amounts = [round(amount, 6) for amount in amounts]
    return Instrument(
        symbol=symbol,
        tick_size=format(Decimal(1).scaleb(magnitude - 4), "f"),
        step_size=format(step, "f"),
        min_qty=format(step, "f"),
        market_max_qty=format(most, "f"),
        limit_max_qty=format(most * 10, "f"),
        min_notional=_DEFAULT_MIN_NOTIONAL,
        maker_fee=0.0002,
        taker_fee=0.0005,
        liquidation_fee=_DEFAULT_LIQUIDATION_FEE,
        funding_interval_hours=8,
        brackets=tuple(
            Bracket(
                floor=floor, cap=cap, maintenance_margin_rate=rate, cum=cum, leverage_max=leverage
            )
            for (floor, cap, rate, leverage), cum in zip(DEFAULT_BRACKETS, amounts, strict=True)
        ),
        origin=f"conservative defaults at a price of {price:g} USDT",
        defaulted=True,
    )


def instruments_from_exchange(
    exchange_info: Mapping[str, Any],
    leverage_brackets: Sequence[Mapping[str, Any]] | Mapping[str, Any],
    *,
    symbols: Iterable[str] | None = None,
    maker_fee: float = 0.0002,
    taker_fee: float = 0.0005,
    funding_hours: Mapping[str, int] | None = None,
    origin: str = "exchangeInfo and leverageBracket",
) -> tuple[Instrument, ...]:
    """Return the instruments that the exchange's own JSON describes.

    Parameters
    ----------
    exchange_info : mapping
        Answer of ``GET /fapi/v1/exchangeInfo``; only USDT perpetuals are read.
    leverage_brackets : sequence or mapping
        Answer of ``GET /fapi/v1/leverageBracket`` (a list of ``{symbol, brackets}``, or one such object), or the form
        in which ccxt publishes it (``{"BTC/USDT:USDT": [{"info": {...}}]}``).
    symbols : iterable of str, optional
        Wanted symbols; each must be described. By default every USDT perpetual that has brackets.
    maker_fee, taker_fee : float
        Fractions of notional, from ``commissionRate``; by default the base tier.
    funding_hours : mapping of str to int, optional
        ``fundingIntervalHours`` of ``GET /fapi/v1/fundingInfo`` by symbol; 8 where it says nothing.
    origin : str
        Host and date, written into each instrument.

    Returns
    -------
    tuple of Instrument
        Sorted by symbol; `ends` is set where the exchange gives a delivery date before 2100.

    Raises
    ------
    ConfigError
        If a wanted symbol or one of its filters or brackets is missing, or its facts contradict each other.
    """
    listed = {
        entry["symbol"]: entry
        for entry in exchange_info["symbols"]
        if entry["contractType"] == "PERPETUAL" and entry["quoteAsset"] == "USDT"
    }
    tables = _bracket_tables(leverage_brackets)
    wanted = sorted(set(listed) & set(tables)) if symbols is None else sorted(set(symbols))
    hours = funding_hours or {}
    result = []
    for symbol in wanted:
        if symbol not in listed:
            raise ConfigError(f"{symbol}: exchangeInfo must list the USDT perpetual, did not")
        if symbol not in tables:
            raise ConfigError(f"{symbol}: leverageBracket must have its brackets, did not")
        rules = _filters(listed[symbol])
        result.append(
            Instrument(
                symbol=symbol,
                maker_fee=maker_fee,
                taker_fee=taker_fee,
                funding_interval_hours=int(hours.get(symbol, 8)),
                brackets=tables[symbol],
                ends=_delivery(listed[symbol]),
                origin=origin,
                **rules,
            )
        )
    return tuple(check_maintenance_amounts(i) for i in result)


def _filters(entry: Mapping[str, Any]) -> dict[str, Any]:
    kinds = {f["filterType"]: f for f in entry["filters"]}
    try:
        return {
            "tick_size": _plain(kinds["PRICE_FILTER"]["tickSize"]),
            "step_size": _plain(kinds["LOT_SIZE"]["stepSize"]),
            "min_qty": _plain(kinds["LOT_SIZE"]["minQty"]),
            "market_max_qty": _plain(kinds["MARKET_LOT_SIZE"]["maxQty"]),
            "limit_max_qty": _plain(kinds["LOT_SIZE"]["maxQty"]),
            "min_notional": float(kinds["MIN_NOTIONAL"]["notional"]),
            "liquidation_fee": float(entry["liquidationFee"]),
        }
    except KeyError as error:
        raise ConfigError(f"{entry['symbol']}: exchangeInfo must have {error}, did not") from error


def _plain(text: str) -> str:
    """Return a decimal as the exchange writes it, without an exponent."""
    return format(Decimal(text), "f")


def _delivery(entry: Mapping[str, Any]) -> str | None:
    stamp = int(entry.get("deliveryDate", _LISTED_FOR_EVER_MS))
    if stamp >= _LISTED_FOR_EVER_MS:
        return None
    return pd.Timestamp(stamp, unit="ms", tz="UTC").isoformat()


def _bracket_tables(
    source: Sequence[Mapping[str, Any]] | Mapping[str, Any],
) -> dict[str, tuple[Bracket, ...]]:
    if isinstance(source, Mapping) and "brackets" in source:
        source = [source]
    if isinstance(source, Mapping):
        pairs = [
            (name.split(":")[0].replace("/", ""), [row["info"] for row in rows])
            for name, rows in source.items()
            if name.endswith("/USDT:USDT")
        ]
    else:
        pairs = [(entry["symbol"], entry["brackets"]) for entry in source]
    return {symbol: _brackets(symbol, rows) for symbol, rows in pairs}


def _brackets(symbol: str, rows: Iterable[Mapping[str, Any]]) -> tuple[Bracket, ...]:
    try:
        table = [
            Bracket(
                floor=float(row["notionalFloor"]),
                cap=float(row["notionalCap"]),
                maintenance_margin_rate=float(row["maintMarginRatio"]),
                cum=float(row["cum"]),
                leverage_max=int(row["initialLeverage"]),
            )
            for row in rows
        ]
    except KeyError as error:
        raise ConfigError(f"{symbol}: a bracket must have {error}, did not") from error
    return tuple(sorted(table, key=lambda b: b.floor))
