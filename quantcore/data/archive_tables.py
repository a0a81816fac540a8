"""Zips of the exchange's archive as long tables, their way into a store, and the gaps that remain."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv

from quantcore.data.archive import ArchiveSettings, MonthJob, Outcome, stored_checksum
from quantcore.data.coverage import FUNDING_GAP_US
from quantcore.data.schema import BAR_KINDS, EVENT, FLOW_COLUMNS, PRICE_COLUMNS, long_table, times
from quantcore.data.store import Store
from quantcore.errors import SchemaMismatch
from quantcore.timegrid import interval_us, to_us
from quantcore.types import Array, BoolArray, IntArray

_KLINE_COLUMNS = (
    "open_time",
    *PRICE_COLUMNS,
    "volume",
    "close_time",
    "quote_volume",
    "trades",
    "taker_buy_volume",
    "taker_buy_quote_volume",
    "ignore",
)
_FUNDING_COLUMNS = ("calc_time", "funding_interval_hours", "last_funding_rate")
_MICROSECONDS_FROM = 10**14
"""As milliseconds this is the year 5138, as microseconds 1973: it tells the two apart."""
_SECOND_US = 1_000_000


@dataclass(frozen=True, kw_only=True)
class Gap:
    """Consecutive bars, or for funding one hole between settlements, that a store lacks.

    Parameters
    ----------
    kind, interval, symbol : str
        The series.
    first_us : int
        `ts` of the first missing bar, or of the settlement before the hole, microseconds since 1970.
    count : int
        Missing bars; for funding the hours without a settlement.
    """

    kind: str
    interval: str
    symbol: str
    first_us: int
    count: int


@dataclass(frozen=True, kw_only=True)
class ImportReport:
    """What the import of zips did.

    Parameters
    ----------
    rows : int
        New rows in the store.
    files : int
        Zips that were read.
    duplicates : int
        Rows left out because an earlier row of the same zips had their time.
    failed : tuple of Outcome
        Zips that could not be read.
    """

    rows: int
    files: int
    duplicates: int
    failed: tuple[Outcome, ...]


def read_zip(content: bytes, job: MonthJob, name: str) -> pa.Table:
    """Return one zip of the archive as a long table; with or without a header row, times in ms or µs.

    Raises
    ------
    SchemaMismatch
        If it is not a zip of one CSV file with the columns of its kind.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            members = [m for m in archive.namelist() if m.endswith(".csv")]
            if len(members) != 1:
                raise SchemaMismatch(f"{name} must hold one CSV file, held {len(members)}")
            text = archive.read(members[0])
    except (zipfile.BadZipFile, EOFError) as error:
        raise SchemaMismatch(f"{name} must be a zip file, was not: {error}") from error
    columns = _FUNDING_COLUMNS if job.kind == "funding" else _KLINE_COLUMNS
    parsed = _parse_csv(text, columns, name)
    stamps = _microseconds(parsed[columns[0]])
    if job.kind == "funding":
        values = {"funding_rate": parsed["last_funding_rate"]}
        return long_table("funding", job.symbol, stamps - stamps % _SECOND_US, values)
    kept = PRICE_COLUMNS if job.kind == "mark" else PRICE_COLUMNS + FLOW_COLUMNS
    stamps = stamps + interval_us(job.interval)
    return long_table(job.kind, job.symbol, stamps, {column: parsed[column] for column in kept})


def import_outcomes(
    settings: ArchiveSettings, outcomes: Sequence[Outcome], store: Store, *, progress: bool
) -> ImportReport:
    """Merge stored zips into a store, leaving out those that it already has in this very version."""
    from tqdm import tqdm

    imported = store.read_notes("archive")
    rows = files = duplicates = 0
    failed: list[Outcome] = []
    series = _by_series(settings, outcomes, imported)
    for (kind, interval, symbol), parts in tqdm(
        series.items(), desc="import", unit="series", disable=not progress
    ):
        tables, done = [], {}
        for outcome, checksum in parts:
            content = (Path(settings.raw) / outcome.path).read_bytes()
            try:
                tables.append(read_zip(content, outcome.job, f"{settings.raw}/{outcome.path}"))
            except SchemaMismatch as error:
                failed.append(
                    Outcome(job=outcome.job, path=outcome.path, status="failed", detail=str(error))
                )
                continue
            done[outcome.path] = checksum
        if not tables:
            continue
        table, dropped = _first_of_each_time(pa.concat_tables(tables))
        rows += store.write(table, kind, interval, symbol)
        files += len(done)
        duplicates += dropped
        imported = {**imported, **done}
        store.write_notes("archive", imported)
    return ImportReport(rows=rows, files=files, duplicates=duplicates, failed=tuple(failed))


def find_gaps(
    store: Store, series: Sequence[tuple[str, str, str]], *, start: str, end: str
) -> list[Gap]:
    """Return the gaps of some series inside ``[start, end)``; nothing is filled.

    What lies before a series' first row counts as not listed yet, what lies after its last row as a gap.
    """
    gaps = []
    start_us, end_us = to_us(start), to_us(end)
    for kind, interval, symbol in series:
        ts_us = times(store.read(kind, interval, symbol))
        if kind in BAR_KINDS:
            length = interval_us(interval)
            found = _bar_gaps(ts_us, length, start_us, end_us)
        else:
            ts_us = ts_us[(ts_us >= start_us) & (ts_us < end_us)]
            wide = np.flatnonzero(np.diff(ts_us) > FUNDING_GAP_US)
            hours = np.diff(ts_us)[wide] // (3600 * _SECOND_US)
            found = list(zip(ts_us[wide].tolist(), hours.tolist(), strict=True))
        gaps += [
            Gap(kind=kind, interval=interval, symbol=symbol, first_us=first, count=count)
            for first, count in found
        ]
    return gaps


def job_series(job: MonthJob) -> tuple[str, str, str]:
    """Return the kind, interval and symbol under which a store keeps a job's rows."""
    return job.kind, EVENT if job.kind == "funding" else job.interval, job.symbol


def _bar_gaps(ts_us: IntArray, length: int, start_us: int, end_us: int) -> list[tuple[int, int]]:
    inside = ts_us[(ts_us - length >= start_us) & (ts_us <= end_us)]
    if len(inside) == 0:
        return []
    last_us = end_us - end_us % length
    ends = np.append(inside, last_us + length)
    missing = np.diff(ends) // length - 1
    wide = np.flatnonzero(missing > 0)
    return list(zip((inside[wide] + length).tolist(), missing[wide].tolist(), strict=True))


def _by_series(
    settings: ArchiveSettings, outcomes: Sequence[Outcome], imported: Mapping[str, str]
) -> dict[tuple[str, str, str], list[tuple[Outcome, str]]]:
    series: dict[tuple[str, str, str], list[tuple[Outcome, str]]] = {}
    for outcome in outcomes:
        if outcome.status not in ("downloaded", "stored"):
            continue
        checksum = stored_checksum(settings, outcome.path)
        if imported.get(outcome.path) != checksum:
            series.setdefault(job_series(outcome.job), []).append((outcome, checksum))
    return series


def _first_of_each_time(table: pa.Table) -> tuple[pa.Table, int]:
    ts_us = times(table)
    order = np.argsort(ts_us, kind="stable")
    first: BoolArray = np.append(True, np.diff(ts_us[order]) != 0)[: len(ts_us)]
    return table.take(pa.array(order[first])), int(len(ts_us) - first.sum())


def _parse_csv(text: bytes, columns: tuple[str, ...], name: str) -> dict[str, Array]:
    has_header = not text.lstrip()[:1].isdigit()
    types = {column: pa.float64() for column in columns}
    types[columns[0]] = pa.int64()
    try:
        table = pacsv.read_csv(
            pa.BufferReader(text),
            read_options=pacsv.ReadOptions(
                column_names=list(columns), skip_rows=int(has_header), use_threads=False
            ),
            convert_options=pacsv.ConvertOptions(column_types=types),
        )
    except pa.ArrowException as error:
        reason = str(error).splitlines()[0]
        raise SchemaMismatch(
            f"{name} must hold {len(columns)} columns of numbers: {reason}"
        ) from error
    if table.column(columns[0]).null_count:
        raise SchemaMismatch(f"{name}: {columns[0]} must not be empty")
    return {column: table.column(column).to_numpy() for column in columns}


def _microseconds(stamps: Array) -> IntArray:
    return np.where(stamps >= _MICROSECONDS_FROM, stamps, stamps * 1000).astype(np.int64)
