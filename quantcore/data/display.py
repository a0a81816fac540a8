"""What the data command prints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from rich import box
from rich.console import Console
from rich.table import Table

from quantcore.data.archive import Outcome
from quantcore.data.archive_tables import Gap, ImportReport
from quantcore.data.checks import at_text
from quantcore.data.coverage import FUNDING_GAP_US
from quantcore.data.findings import BLOCKING, Finding
from quantcore.data.repair import DROP_FILE, DROP_SERIES
from quantcore.data.schema import BAR_KINDS, times
from quantcore.timegrid import interval_us

_LISTED_MAX = 20


@dataclass(frozen=True, kw_only=True)
class SeriesInfo:
    """What `info` says of one series.

    Parameters
    ----------
    kind, interval, symbol : str
        The series.
    first_us, last_us : int
        First and last `ts`, microseconds since 1970.
    rows, gaps, missing : int
        Rows, holes between them, and the bars (funding: 8 h settlements) missing in those.
    """

    kind: str
    interval: str
    symbol: str
    first_us: int
    last_us: int
    rows: int
    gaps: int
    missing: int


def describe_series(table: pa.Table, kind: str, interval: str, symbol: str) -> SeriesInfo:
    """Return first, last, rows and gaps of a table with at least one row, in any order."""
    ts_us = np.unique(times(table))
    steps = np.diff(ts_us)
    if kind in BAR_KINDS:
        missing = steps // interval_us(interval) - 1
    else:
        regular = interval_us("8h") if kind == "funding" else interval_us(interval)
        limit = FUNDING_GAP_US if kind == "funding" else regular
        missing = np.where(steps > limit, np.rint(steps / regular).astype(np.int64) - 1, 0)
    return SeriesInfo(
        kind=kind,
        interval=interval,
        symbol=symbol,
        first_us=int(ts_us[0]),
        last_us=int(ts_us[-1]),
        rows=len(table),
        gaps=int((missing > 0).sum()),
        missing=int(missing[missing > 0].sum()),
    )


def show_series(console: Console, place: str, found: Sequence[SeriesInfo]) -> None:
    """Print what is held, one row per series."""
    table = _table(place)
    for heading in ("kind", "interval", "symbol", "first", "last"):
        table.add_column(heading, no_wrap=True)
    for heading in ("rows", "gaps", "missing"):
        table.add_column(heading, justify="right", no_wrap=True)
    for series in found:
        table.add_row(
            series.kind,
            series.interval,
            series.symbol,
            at_text(series.first_us)[:16],
            at_text(series.last_us)[:16],
            f"{series.rows:,}",
            str(series.gaps),
            str(series.missing),
        )
    console.print(table)


def show_added(console: Console, place: str, added: Mapping[str, int]) -> None:
    """Print how many rows each series gained."""
    table = _table(f"written to {place}")
    table.add_column("series", no_wrap=True)
    table.add_column("new rows", justify="right")
    for name, rows in added.items():
        table.add_row(name, f"{rows:,}")
    console.print(table)


def show_unreached(base_url: str, unreached: Sequence[Outcome]) -> None:
    """Print on stderr, in one line, that and why no connection to the archive could be made."""
    _errors().print(f"base_url {base_url} cannot be reached: {unreached[0].detail}")


def show_failures(outcomes: Sequence[Outcome], report: ImportReport) -> None:
    """Print on stderr which files could not be loaded or read, and why."""
    lines = [f"{o.path}: {o.detail}" for o in outcomes if o.status == "failed"]
    _show_list(_errors(), "failed", lines + [o.detail for o in report.failed])


def show_download(
    console: Console, outcomes: Sequence[Outcome], report: ImportReport, gaps: Sequence[Gap]
) -> None:
    """Print what became of the files and which gaps remain; failures go to `show_failures`."""
    counts = {
        status: sum(o.status == status for o in outcomes)
        for status in ("downloaded", "stored", "missing", "failed")
    }
    console.print(", ".join(f"{count} files {status}" for status, count in counts.items()))
    console.print(
        f"{report.files} files imported, {report.rows:,} new rows, "
        f"{report.duplicates} duplicate rows left out"
    )
    missing = [o.path for o in outcomes if o.status == "missing"]
    _show_list(console, "not in the archive", missing)
    named = [
        f"{g.kind} {g.interval} {g.symbol} from {at_text(g.first_us)}: "
        + (f"{g.count} bars" if g.kind in BAR_KINDS else f"{g.count} h without a settlement")
        for g in gaps
    ]
    _show_list(console, "gaps (never filled)", named)


def show_findings(console: Console, findings: Sequence[Finding]) -> None:
    """Print the findings counted by kind and check."""
    grouped: dict[tuple[str, str], list[Finding]] = {}
    for finding in findings:
        grouped.setdefault((finding.kind, finding.check), []).append(finding)
    table = _table("findings")
    for heading in ("kind", "check", "refuses to load", "symbols", "first"):
        table.add_column(heading)
    table.add_column("findings", justify="right")
    table.add_column("count", justify="right")
    for (kind, check), group in sorted(grouped.items()):
        symbols = sorted({f.symbol for f in group})
        shown = ", ".join(symbols[:4]) + (f" and {len(symbols) - 4} more" if symbols[4:] else "")
        known = [f.ts_us for f in group if f.ts_us is not None]
        first = at_text(min(known))[:16] if known else ""
        blocking = "yes" if check in BLOCKING else ""
        total = sum(f.count for f in group)
        table.add_row(kind, check, blocking, shown, first, str(len(group)), f"{total:,}")
    console.print(table if grouped else "nothing found")


def show_repairs(console: Console, repairs: pa.Table, place: str) -> None:
    """Print how much was repaired, where the cleaned copy is, and last what it lacks altogether."""
    noun = "repair" if len(repairs) == 1 else "repairs"
    console.print(
        f"{len(repairs):,} {noun} recorded; cleaned copy and report in {place}", soft_wrap=True
    )
    for rule, what in ((DROP_FILE, "file"), (DROP_SERIES, "series")):
        rows = [row for row in repairs.to_pylist() if row["rule"] == rule]
        names = [
            row["field"] if what == "file" else f"{row['kind']} {row['symbol']}" for row in rows
        ]
        if names:
            plural = "s" if what == "file" and len(names) > 1 else ""
            more = f" and {len(names) - _LISTED_MAX} more" if names[_LISTED_MAX:] else ""
            text = f"{len(names)} {what}{plural} dropped: {', '.join(names[:_LISTED_MAX])}{more}"
            console.print(text, markup=False, highlight=False, soft_wrap=True)


def _errors() -> Console:
    return Console(stderr=True, markup=False, highlight=False, soft_wrap=True)


def _table(title: str) -> Table:
    return Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)


def _show_list(console: Console, title: str, lines: Sequence[str]) -> None:
    if not lines:
        return
    console.print(f"{title}:")
    for line in lines[:_LISTED_MAX]:
        console.print(f"  {line}", markup=False, highlight=False, soft_wrap=True)
    if len(lines) > _LISTED_MAX:
        console.print(f"  and {len(lines) - _LISTED_MAX} more")
