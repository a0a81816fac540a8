"""The actions of ``python -m quantcore.data``."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Literal

import pyarrow as pa
import pyarrow.parquet as pq
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from quantcore.config import build, writable_folder
from quantcore.data import display
from quantcore.data.archive import ARCHIVE_KINDS, ArchiveSettings, fetch_all, month_jobs, yesterday
from quantcore.data.archive_tables import find_gaps, import_outcomes, job_series
from quantcore.data.assemble import disassemble_bars
from quantcore.data.checks import check_rows
from quantcore.data.findings import Finding, findings_table, summarize
from quantcore.data.folder import Folder
from quantcore.data.quality import QualitySettings, series_of, validate_series
from quantcore.data.repair import DROP_SERIES, REPAIRS_SCHEMA, clean_table, drop_record
from quantcore.data.rest import RestClient, RestSettings, backfill
from quantcore.data.schema import BAR_KINDS, EVENT, KINDS
from quantcore.data.sources import MarketData
from quantcore.data.store import Changes, Store, copy_tables
from quantcore.data.tables import TableReader, full_name, nearest_text
from quantcore.errors import ConfigError, DataGap, SchemaMismatch
from quantcore.settings import build_settings
from quantcore.timegrid import interval_us, to_us

_STORE = "data/store"
_CLEAN = "data/clean"


@dataclass(frozen=True, kw_only=True)
class DataOptions:
    """Options of the command; ``conf/market_data.yaml`` says what each is.

    `source` is the option ``from``, which Python reserves.
    """

    action: Literal["synth", "download", "import", "validate", "info"]
    source: str | None
    to: str | None
    symbols: list[str] | None
    kinds: list[str] | None
    intervals: list[str] | None
    start: str | None
    end: str | None
    base_url: str
    raw: str
    workers: int
    retries: int
    timeout_s: float
    backoff_s: float
    check_replaced: bool
    backfill: bool
    rest_url: str
    frozen_bars: int
    spike_sigmas: float
    spike_reversal: float
    spike_window: int
    mark_deviation: float

    def __post_init__(self) -> None:
        for kind in self.kinds or []:
            if kind not in KINDS:
                raise ConfigError(f"kinds must be among {', '.join(KINDS)}, was {kind}")
        for interval in self.intervals or []:
            try:
                interval_us(interval)
            except ConfigError as error:
                raise ConfigError(
                    f"intervals must be a whole number and one of s m h d w, was {interval!r}"
                ) from error

    def quality(self) -> QualitySettings:
        """Return the thresholds of ``validate``."""
        return QualitySettings(**{f.name: getattr(self, f.name) for f in fields(QualitySettings)})

    def archive(self) -> ArchiveSettings:
        """Return how to reach the archive."""
        return ArchiveSettings(**{f.name: getattr(self, f.name) for f in fields(ArchiveSettings)})

    def rest(self) -> RestSettings:
        """Return how to reach the exchange."""
        return RestSettings(
            base_url=self.rest_url,
            timeout_s=self.timeout_s,
            retries=self.retries,
            backoff_s=self.backoff_s,
        )


def main(cfg: DictConfig) -> int:
    """Run the chosen action and return the exit code."""
    _refuse_experiment(cfg)
    options = read_options(cfg)
    # Where nobody watches there is no width to fit into.
    console = Console(width=None if sys.stdout.isatty() else 120)
    if options.action == "synth":
        market: MarketData = build(cfg.data).load()
        return synth(market, options, console)
    actions = {"download": download, "import": copy, "validate": validate, "info": info}
    return actions[options.action](options, console)


def read_options(cfg: DictConfig) -> DataOptions:
    """Return the command's own options out of the composed configuration.

    Raises
    ------
    ConfigError
        If a value is missing or of the wrong type.
    """
    plain = OmegaConf.to_container(cfg, resolve=False)
    if not isinstance(plain, dict):
        raise ConfigError("the configuration must be a mapping")
    names = {f.name: "from" if f.name == "source" else f.name for f in fields(DataOptions)}
    values = {name: plain.get(key) for name, key in names.items() if key in plain}
    options: DataOptions = build_settings(values, kind=DataOptions)
    return options


def _refuse_experiment(cfg: DictConfig) -> None:
    node = cfg.hydra if "hydra" in cfg else HydraConfig.get() if HydraConfig.initialized() else None
    chosen = None if node is None else node.runtime.choices.get("experiment")
    if chosen:
        raise ConfigError(f"+experiment must not be given to quantcore.data, was {chosen}")


def synth(market: MarketData, options: DataOptions, console: Console) -> int:
    """Write a market's tables to the store, at the interval of its bars; all appear together.

    Raises
    ------
    ConfigError
        If the store holds prices that were not invented.
    """
    store = _target(options, synthetic=True)
    tables = disassemble_bars(market.bars)
    interval = market.bars.interval
    added: dict[str, int] = {}
    parts = [("klines", interval, tables.klines), ("funding", EVENT, tables.funding)]
    parts += [("mark", name, series) for name, series in tables.marks.items()]
    parts += [("open_interest", name, series) for name, series in tables.open_interest.items()]
    with store.changes() as changes:
        changes.mark_synthetic()
        for kind, name, series in parts:
            for symbol, table in series.items():
                added[store.name(kind, name, symbol)] = changes.write(table, kind, name, symbol)
    display.show_added(console, store.place, added)
    return 0


def copy(options: DataOptions, console: Console) -> int:
    """Read a folder or another store into the store: all of it once every file has passed, else nothing."""
    from tqdm import tqdm

    if options.source is None:
        raise ConfigError("action=import must be given from=FOLDER, was null")
    reader = open_reader(options.source)
    parts = _chosen(reader, options)
    synthetic = _is_synthetic(reader)
    store = _target(options, synthetic=synthetic)
    with tqdm(parts, desc="check", unit="series") as checking:
        for part in checking:
            _check_part(reader, *part)
    with store.changes() as changes:
        if synthetic:
            changes.mark_synthetic()
        copied = copy_tables(reader, changes, parts)
        with tqdm(copied, total=len(parts), desc="import", unit="series") as copying:
            added = dict(copying)
    display.show_added(console, store.place, added)
    return 0


def download(options: DataOptions, console: Console) -> int:
    """Load the archive's files, import them, report the gaps, and on request backfill the newest days."""
    if not options.symbols or options.start is None:
        raise ConfigError("action=download must be given symbols=[...] and start=")
    end = options.end or yesterday()
    settings = options.archive()
    jobs = month_jobs(
        options.kinds or ARCHIVE_KINDS,
        options.intervals or ["1h"],
        options.symbols,
        start=options.start,
        end=end,
    )
    store = _target(options)
    outcomes = fetch_all(settings, jobs, progress=True)
    unreached = [o for o in outcomes if not o.reached]
    if unreached:
        display.show_unreached(settings.base_url, unreached)
        if len(unreached) == len(outcomes):
            return 1
    report = import_outcomes(settings, outcomes, store, progress=True)
    series = sorted({job_series(job) for job in jobs})
    if options.backfill:
        with RestClient(options.rest()) as client:
            rows = backfill(client, store, series, start_us=to_us(options.start))
            display.show_added(console, store.place, dict(rows))
    gaps = find_gaps(store, series, start=options.start, end=end)
    display.show_download(console, outcomes, report, gaps)
    display.show_failures(outcomes, report)
    return int(bool(report.failed) or any(o.status == "failed" for o in outcomes))


def validate(options: DataOptions, console: Console) -> int:
    """Report faults as table and JSON, and write a cleaned copy with a record of each repair.

    What cannot be read is left out of the copy: the record and the last lines printed name it.

    Raises
    ------
    DataGap
        If nothing would be left; then nothing is written.
    """
    from tqdm import tqdm

    reader = open_reader(options.source)
    target = options.to or _CLEAN
    if _same_place(reader.place, target):
        raise ConfigError(f"to must not be the data that is validated, was {target}")
    settings = options.quality()
    parts = _chosen(reader, options)
    synthetic = _is_synthetic(reader)
    store = _target(options, _CLEAN, synthetic=synthetic)
    findings: list[Finding] = []
    repairs: list[pa.Table] = [REPAIRS_SCHEMA.empty_table()]
    with store.changes() as changes:
        if synthetic:
            changes.mark_synthetic()
        for part in tqdm(parts, desc="validate", unit="series"):
            findings += validate_series(reader, part, settings)
            repairs += _write_clean(reader, changes, part)
        recorded = pa.concat_tables(repairs)
        by_rule = _counts(recorded.column("rule").to_pylist())
        display.show_findings(console, findings)
        if by_rule.get(DROP_SERIES, 0) == len(parts):
            raise DataGap(
                f"{reader.place} must hold at least one series with a usable row, held none of "
                f"{len(parts)}: no cleaned copy was written"
            )
        summary = {
            "place": reader.place,
            "series": len(parts),
            **summarize(findings),
            "settings": asdict(settings),
            "repairs": len(recorded),
            "repairs_by_rule": by_rule,
        }
        changes.write_bytes("findings.parquet", _parquet(findings_table(findings)))
        changes.write_bytes("repairs.parquet", _parquet(recorded))
        changes.write_bytes("summary.json", json.dumps(summary, indent=2).encode() + b"\n")
    display.show_repairs(console, recorded, store.place)
    return 0


def info(options: DataOptions, console: Console) -> int:
    """List first, last, rows and gaps of every series."""
    reader = open_reader(options.source)
    found = []
    for kind, interval, symbol in _chosen(reader, options):
        table = reader.read(kind, interval, symbol)
        if len(table):
            found.append(display.describe_series(table, kind, interval, symbol))
    display.show_series(console, reader.place, found)
    return 0


def open_reader(source: str | None) -> TableReader:
    """Return the store or the folder at a path or URL; a store is known by its ``kind=`` folders.

    Parameters
    ----------
    source : str or None
        The option ``from``; None is the default store.

    Raises
    ------
    ConfigError
        If there is nothing at the place.
    """
    place = _STORE if source is None else source
    if "://" in place or any(Path(place).glob("kind=*")):
        return Store.open(place, key="from")
    if Path(place).is_dir():
        return Folder(place)
    if source is None:
        raise ConfigError(
            f"there is no store {place} yet: action=synth, download or import makes it, "
            "from=PATH reads another place"
        )
    raise ConfigError(f"from must be an existing folder or store, was {place}")


def _target(options: DataOptions, default: str = _STORE, *, synthetic: bool = False) -> Store:
    """Return the store to write to, before anything is read or computed; makes nothing.

    Invented prices and recorded ones are never merged into one store: rows of the same times would replace each other.
    """
    place = options.to or default
    store = Store.open(place, create=True, key="to")
    if "://" not in place:
        writable_folder(place, key="to")
    if store.holds_anything() and store.is_synthetic() != synthetic:
        held, given = ("recorded", "invented") if synthetic else ("invented", "recorded")
        raise ConfigError(
            f"to must be another store than one of {held} prices for {given} ones, was {place}"
        )
    return store


def _is_synthetic(reader: TableReader) -> bool:
    return isinstance(reader, Store) and reader.is_synthetic()


def _chosen(reader: TableReader, options: DataOptions) -> list[tuple[str, str, str]]:
    parts = series_of(reader)
    held = sorted({symbol for _, _, symbol in parts})
    if not held:
        raise DataGap(f"{reader.place} holds no market data")
    for symbol in options.symbols or []:
        if symbol not in held:
            raise DataGap(f"{reader.place}: {nearest_text(symbol, held)}")
    chosen = [
        (kind, interval, symbol)
        for kind, interval, symbol in parts
        if (options.symbols is None or symbol in options.symbols)
        and (options.kinds is None or kind in options.kinds)
        and (options.intervals is None or kind not in BAR_KINDS or interval in options.intervals)
    ]
    if not chosen:
        raise DataGap(
            f"{reader.place} holds nothing of kinds {options.kinds or 'all'}, "
            f"intervals {options.intervals or 'all'}, symbols {options.symbols or 'all'}"
        )
    return chosen


def _check_part(reader: TableReader, kind: str, interval: str, symbol: str) -> None:
    """Refuse a series that a store must not hold; where its rows are at fault, say what repairs them."""
    table = reader.read(kind, interval, symbol)
    name = full_name(reader, kind, interval, symbol)
    if kind == "klines" and len(table) == 0:
        raise SchemaMismatch(f"{name} must have at least one row, had none")
    try:
        check_rows(table, kind=kind, interval=interval, name=name)
    except SchemaMismatch as error:
        raise SchemaMismatch(
            f"{error}; action=validate from={reader.place} writes a cleaned copy"
        ) from error


def _write_clean(
    reader: TableReader, changes: Changes, part: tuple[str, str, str]
) -> list[pa.Table]:
    table, damaged = reader.salvage(*part)
    cleaned, repairs = clean_table(table, *part)
    changes.replace(cleaned, *part)
    return [repairs, drop_record(*part, files=list(damaged), whole=len(cleaned) == 0)]


def _same_place(source: str, target: str) -> bool:
    if "://" in source or "://" in target:
        return source.rstrip("/") == target.rstrip("/")
    return Path(source).resolve() == Path(target).resolve()


def _counts(names: list[str]) -> Mapping[str, int]:
    return {name: names.count(name) for name in sorted(set(names))}


def _parquet(table: pa.Table) -> bytes:
    sink = io.BytesIO()
    pq.write_table(table, sink)
    return sink.getvalue()
