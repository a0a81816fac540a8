"""The report of a validation: one row per finding, and its summary."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa

from quantcore.data.schema import TS

FINDINGS_SCHEMA = pa.schema(
    [
        pa.field("symbol", pa.string(), nullable=False),
        pa.field("kind", pa.string(), nullable=False),
        pa.field("check", pa.string(), nullable=False),
        pa.field("ts", TS),
        pa.field("count", pa.int64(), nullable=False),
        pa.field("value", pa.float64()),
        pa.field("detail", pa.string(), nullable=False),
    ]
)
"""`ts` is the first row concerned (a gap: the first missing bar), `count` how many; `value` depends on the check."""

BLOCKING = (
    "unreadable",
    "not_sorted",
    "duplicate",
    "conflicting_duplicate",
    "off_grid",
    "bad_price",
    "ohlc",
    "bad_flow",
    "bad_value",
)
"""Checks whose findings refuse to load; cleaning repairs all of them but an unreadable file, which it leaves out."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One row of the report; see `FINDINGS_SCHEMA`."""

    symbol: str
    kind: str
    check: str
    ts_us: int | None
    count: int
    value: float | None
    detail: str


def findings_table(findings: Sequence[Finding]) -> pa.Table:
    """Return findings as a table in `FINDINGS_SCHEMA`, sorted by symbol, kind, check and time."""
    ordered = sorted(findings, key=lambda f: (f.symbol, f.kind, f.check, f.ts_us or 0))
    columns = {
        "symbol": [f.symbol for f in ordered],
        "kind": [f.kind for f in ordered],
        "check": [f.check for f in ordered],
        "ts": [f.ts_us for f in ordered],
        "count": [f.count for f in ordered],
        "value": [f.value for f in ordered],
        "detail": [f.detail for f in ordered],
    }
    arrays = [
        pa.array(columns["ts"], pa.int64()).cast(TS)
        if field.name == "ts"
        else pa.array(columns[field.name], field.type)
        for field in FINDINGS_SCHEMA
    ]
    return pa.Table.from_arrays(arrays, schema=FINDINGS_SCHEMA)


def summarize(findings: Sequence[Finding]) -> dict[str, object]:
    """Return the findings counted, as plain values for JSON."""
    by_check: dict[str, dict[str, int]] = {}
    by_symbol: dict[str, int] = {}
    for finding in findings:
        counts = by_check.setdefault(finding.check, {"findings": 0, "count": 0})
        counts["findings"] += 1
        counts["count"] += finding.count
        by_symbol[finding.symbol] = by_symbol.get(finding.symbol, 0) + 1
    return {
        "findings": len(findings),
        "blocking": sum(f.check in BLOCKING for f in findings),
        "by_check": dict(sorted(by_check.items())),
        "by_symbol": dict(sorted(by_symbol.items())),
    }
