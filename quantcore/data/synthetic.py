"""A seeded synthetic market: invented prices with the statistics of real ones, a martingale without an edge in it.

Nothing here predicts a price: the expected return of every step is zero whatever happened before, so that a strategy
which makes money on synthetic data owes it to chance or to an error. Only funding, which follows the premium, can be
earned, as in the real market. `synthetic_model` holds the model of one symbol and its calibration.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import MappingProxyType

import numpy as np

from quantcore.data.assemble import without_ended
from quantcore.data.coverage import coverage_notes
from quantcore.data.instruments import Instrument, decimal_fraction, load_instruments, step_values
from quantcore.data.sources import INVENTED, MarketData, SourceSettings
from quantcore.data.synthetic_model import (
    OTHER,
    PROFILES,
    STEP_MAX_US,
    MarketModel,
    Rules,
    SymbolPath,
    draw_common,
    draw_symbol,
    lay_grid,
)
from quantcore.errors import ConfigError, DataGap, SchemaMismatch
from quantcore.frames import Bars, Settlements, funding_rows
from quantcore.timegrid import DAY_US, HOUR_US, interval_us, to_us
from quantcore.types import FloatArray, IntArray

GENERATOR_VERSION = 1
"""Raised with every change that alters the generated numbers; part of the cache folder's name."""

DEFAULT_SYMBOLS = tuple(PROFILES)
"""The default universe; `n_symbols` takes the first so many."""

_TICK_FIELDS = ("open", "high", "low", "close")
_STEP_FIELDS = ("volume", "taker_buy_volume")


@dataclass(frozen=True, kw_only=True)
class SyntheticMarket:
    """What to generate.

    Parameters
    ----------
    interval : str
        Of the bars; it divides a quarter of an hour, or is a multiple of it that divides a day.
    symbols : tuple of str
        Any names; those with a `Profile` behave like their namesakes. A symbol's path does not depend on which
        other symbols are asked for, nor on their order.
    first_day : str
        UTC date at which the first bar opens.
    days : int
        Length, >= 1.
    seed : int
        Of everything random, >= 0.
    late_listings : int
        How many of the last symbols are listed later, spread over the first half of the span, in
        [0, n_symbols).
    ends : mapping of str to str
        Symbol to the UTC time from which on it has no bars.
    model : MarketModel
        Parameters common to all symbols.
    """

    interval: str
    symbols: tuple[str, ...]
    first_day: str
    days: int
    seed: int
    late_listings: int = 2
    ends: Mapping[str, str] = field(default_factory=dict)
    model: MarketModel = field(default_factory=MarketModel)

    def __post_init__(self) -> None:
        object.__setattr__(self, "symbols", tuple(self.symbols))
        object.__setattr__(self, "ends", MappingProxyType(dict(self.ends)))
        length = interval_us(self.interval)
        divides = STEP_MAX_US % length == 0 or (length % STEP_MAX_US == 0 and DAY_US % length == 0)
        if not divides:
            raise ConfigError(
                f"interval must divide 15m, or be a multiple of it that divides a day, was {self.interval}"
            )
        if not self.symbols or len(set(self.symbols)) < len(self.symbols):
            raise ConfigError(f"symbols must be unique and at least one, were {self.symbols}")
        if to_us(self.first_day) % DAY_US:
            raise ConfigError(f"first_day must be a UTC date, was {self.first_day}")
        if self.days < 1:
            raise ConfigError(f"days must be >= 1, was {self.days}")
        if self.seed < 0:
            raise ConfigError(f"seed must be >= 0, was {self.seed}")
        if not 0 <= self.late_listings < len(self.symbols):
            raise ConfigError(
                f"late_listings must be in [0, {len(self.symbols)}), was {self.late_listings}"
            )
        unknown = sorted(set(self.ends) - set(self.symbols))
        if unknown:
            raise ConfigError(f"ends must name symbols of the market, was {unknown[0]}")


def generate(settings: SyntheticMarket) -> Bars:
    """Return a synthetic market: last and mark prices, volumes, trades, funding rates and settlements.

    Prices are whole ticks and volumes whole steps of the committed facts (`load_instruments`). Last and mark prices
    are a martingale apart from the white basis between them and rounding to the tick. The same settings give the same
    bytes, with one version of numpy on one kind of processor. Bars of different intervals are different draws: to
    look at one market on two grids, generate the finer bars and `resample_bars`.

    Parameters
    ----------
    settings : SyntheticMarket
        What to generate.

    Returns
    -------
    Bars
        All fields but `open_interest`; NaN before a listing and after an end. Funding settles every 8 hours, hourly
        once a rate reaches the cap, every 4 hours after a quiet spell of that.
    """
    model = settings.model
    length = interval_us(settings.interval)
    grid = lay_grid(to_us(settings.first_day), length, settings.days, model)
    common = draw_common(settings.seed, grid, model)
    symbols = tuple(sorted(settings.symbols))
    listed = _listing_days(settings)
    fields: dict[str, FloatArray] = {}
    n_bars = grid.steps // grid.steps_per_bar
    settled: list[tuple[int, SymbolPath]] = []
    for column, instrument in enumerate(_instruments(symbols)):
        rules = _rules(instrument)
        day = listed.get(instrument.symbol, 0)
        path = draw_symbol(
            instrument.symbol, settings.seed, grid, model, rules, common, listed_hour=24 * day
        )
        for name, values in _in_units(path.fields, rules).items():
            panel = fields.setdefault(name, np.full((n_bars, len(symbols)), np.nan))
            start = day * DAY_US // length
            panel[start:, column] = values[start:]
        settled.append((column, path))
    ts_us = grid.first_us + length * np.arange(1, n_bars + 1, dtype=np.int64)
    bars = Bars(interval=settings.interval, ts_us=ts_us, symbols=symbols, fields=fields)
    return _with_settlements(bars, _settlements(settled, grid.first_us), settings)


def _in_units(fields: Mapping[str, FloatArray], rules: Rules) -> dict[str, FloatArray]:
    """Return prices in USDT and volumes in coins, each the float of its decimal text."""
    result = dict(fields)
    for name in _TICK_FIELDS:
        result[name] = step_values(fields[name], rules.tick)
    for name in _STEP_FIELDS:
        result[name] = step_values(fields[name], rules.step)
    return result


def _with_settlements(bars: Bars, settlements: Settlements, settings: SyntheticMarket) -> Bars:
    fields = {**bars.fields, "funding_rate": funding_rows(bars, settlements)}
    whole = Bars(
        interval=bars.interval,
        ts_us=bars.ts_us,
        symbols=bars.symbols,
        fields=fields,
        settlements=settlements,
    )
    return without_ended(whole, {symbol: to_us(time) for symbol, time in settings.ends.items()})


def _settlements(settled: list[tuple[int, SymbolPath]], first_us: int) -> Settlements:
    columns: list[IntArray] = [
        np.full(len(path.rates), column, dtype=np.int64) for column, path in settled
    ]
    return Settlements(
        time_us=first_us + HOUR_US * np.concatenate([p.settlement_hours for _, p in settled]),
        symbol=np.concatenate(columns),
        rate=np.concatenate([p.rates for _, p in settled]),
        mark_price=np.concatenate([p.marks for _, p in settled]),
    )


def _listing_days(settings: SyntheticMarket) -> dict[str, int]:
    """Return the days after which the late symbols are listed, spread over the first half of the span."""
    late = settings.symbols[len(settings.symbols) - settings.late_listings :]
    return {
        symbol: settings.days * (k + 1) // (2 * (len(late) + 1)) for k, symbol in enumerate(late)
    }


def _instruments(symbols: tuple[str, ...]) -> tuple[Instrument, ...]:
    return load_instruments(symbols, prices={s: PROFILES.get(s, OTHER).price for s in symbols})


def _rules(instrument: Instrument) -> Rules:
    return Rules(
        tick=decimal_fraction(instrument.tick_size), step=decimal_fraction(instrument.step_size)
    )


def settings_hash(settings: SyntheticMarket) -> str:
    """Return the name of the folder that holds a generated market: a hash of all that its numbers depend on."""
    content = {
        "version": GENERATOR_VERSION,
        "interval": settings.interval,
        "symbols": settings.symbols,
        "first_day": settings.first_day,
        "days": settings.days,
        "seed": settings.seed,
        "late_listings": settings.late_listings,
        "ends": dict(settings.ends),
        "model": asdict(settings.model),
        "rules": [[i.tick_size, i.step_size] for i in _instruments(settings.symbols)],
    }
    text = json.dumps(content, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def load_or_generate(settings: SyntheticMarket, cache: Path) -> Bars:
    """Return the bars of some settings, from the cache folder or generated and put there.

    Fields are read lazily, as memory-mapped files. A folder appears there whole or not at all; when two processes
    generate the same one, the first wins.

    Raises
    ------
    SchemaMismatch
        If a cached folder is damaged; delete it.
    """
    folder = cache / settings_hash(settings)
    if folder.is_dir():
        return _read_bars(folder, settings.interval)
    bars = generate(settings)
    cache.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=".partial-", dir=cache))
    try:
        _write_bars(bars, partial)
        partial.rename(folder)
    except OSError:
        if not folder.is_dir():
            raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return bars


_SETTLEMENT_FIELDS = ("time_us", "symbol", "rate", "mark_price")


def _write_bars(bars: Bars, folder: Path) -> None:
    np.save(folder / "ts_us.npy", bars.ts_us)
    for name, values in bars.fields.items():
        np.save(folder / f"field_{name}.npy", values)
    for name in _SETTLEMENT_FIELDS:
        np.save(folder / f"settlement_{name}.npy", getattr(bars.settlements, name))
    content = {"note": INVENTED, "symbols": bars.symbols, "fields": list(bars.fields)}
    with (folder / "content.json").open("w", encoding="utf-8") as file:
        json.dump(content, file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    folder.chmod(0o755)


def _read_bars(folder: Path, interval: str) -> Bars:
    try:
        content = json.loads((folder / "content.json").read_text(encoding="utf-8"))
        return Bars(
            interval=interval,
            ts_us=np.load(folder / "ts_us.npy"),
            symbols=tuple(content["symbols"]),
            fields={
                name: np.load(folder / f"field_{name}.npy", mmap_mode="r")
                for name in content["fields"]
            },
            settlements=Settlements(
                time_us=np.load(folder / "settlement_time_us.npy"),
                symbol=np.load(folder / "settlement_symbol.npy"),
                rate=np.load(folder / "settlement_rate.npy"),
                mark_price=np.load(folder / "settlement_mark_price.npy"),
            ),
        )
    except (OSError, KeyError, ValueError, SchemaMismatch) as error:
        raise SchemaMismatch(
            f"cached synthetic data must be whole, delete {folder.name}: {error}"
        ) from error


@dataclass(frozen=True, kw_only=True)
class SyntheticData(SourceSettings):
    """``data=synthetic``: a generated market, kept in a cache folder. Prices are synthetic.

    Beside what every source can be told (`root` is the cache folder):

    Parameters
    ----------
    seed : int
        Of everything random.
    n_symbols : int
        How many of the default universe, where `symbols` is null.
    first_day : str
        UTC date of the first bar.
    days : int
        Length of the market; `start` and `end` select from it.
    late_listings : int
        How many symbols are listed only later.
    """

    seed: int
    n_symbols: int
    first_day: str
    days: int
    late_listings: int

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 1 <= self.n_symbols <= len(DEFAULT_SYMBOLS):
            raise ConfigError(
                f"data.n_symbols must be in [1, {len(DEFAULT_SYMBOLS)}], was {self.n_symbols}"
            )
        self.market()

    def market(self) -> SyntheticMarket:
        """Return what is to be generated, on the execution grid."""
        chosen = DEFAULT_SYMBOLS[: self.n_symbols] if self.symbols is None else tuple(self.symbols)
        return SyntheticMarket(
            interval=self.execution_interval,
            symbols=chosen,
            first_day=self.first_day,
            days=self.days,
            seed=self.seed,
            late_listings=min(self.late_listings, len(chosen) - 1),
            ends=dict(self.ends or {}),
        )

    def load(self, *, reviewed: bool = False) -> MarketData:
        """Return the market, generated at the first use.

        Raises
        ------
        DataGap
            If no bar lies in the span from `start` to `end`.
        SchemaMismatch
            If the cached folder is damaged.
        """
        bars = load_or_generate(self.market(), Path(self.root))
        if self.end is not None:
            bars = bars.between(int(bars.ts_us[0]), to_us(self.end))
        start_us = None if self.start is None else to_us(self.start)
        if bars.n_bars == 0 or (start_us is not None and bars.ts_us[-1] <= start_us):
            raise DataGap(
                f"data.start and data.end must leave bars of the {self.days} days from "
                f"{self.first_day} on, were {self.start} and {self.end}"
            )
        ends_us = {symbol: to_us(time) for symbol, time in (self.ends or {}).items()}
        notes = coverage_notes(bars, start_us=start_us, ends_us=ends_us)
        return MarketData(
            bars=bars,
            interval=self.interval,
            start_us=start_us,
            notes=(INVENTED, *notes),
            ends_us=ends_us,
        )
