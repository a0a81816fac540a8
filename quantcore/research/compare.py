"""Runs side by side: what differs between them, how far their results are apart, and whether that is luck.

The first run is the base. Everything is compared in the span that all runs have in common (`compare_span`): metrics
(`compare_metrics`), settings and data (`compare_settings`), where the money came from (`compare_money`), and the
differences of daily returns with paired tests (`compare_luck`).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from quantcore.backtest.attribution import PARTS
from quantcore.backtest.report import SavedRun, read_run
from quantcore.backtest.result import Run
from quantcore.errors import ConfigError
from quantcore.research.compare_luck import (
    CompareSettings,
    against_base,
    differences_table,
    marks,
    part_told,
    verdicts,
)
from quantcore.research.compare_metrics import drawdown, metrics_table
from quantcore.research.compare_money import symbol_table, trips, trips_in_common
from quantcore.research.compare_records import Record, find_folder, records
from quantcore.research.compare_settings import (
    provenance_table,
    settings_table,
    span_table,
    warnings,
)
from quantcore.research.compare_span import Span, common_span
from quantcore.research.comparison import Comparison
from quantcore.timegrid import to_index

if TYPE_CHECKING:
    from omegaconf import DictConfig

__all__ = ["CompareSettings", "Comparison", "compare", "main"]


def compare(
    runs: Sequence[SavedRun | Run], settings: CompareSettings | None = None, *, seed: int = 7
) -> Comparison:
    """Compare finished runs, the first being the base.

    Parameters
    ----------
    runs : sequence of SavedRun or Run
        Two or more: what `read_run` read or `run_experiment` gave.
    settings : CompareSettings or None
        How differences are judged; None takes those of ``conf/compare.yaml``.
    seed : int
        Of the resampled series.

    Raises
    ------
    ConfigError
        If there are fewer than two runs or too many.
    DataGap
        If a table is missing, or the runs share no two days.
    SchemaMismatch
        If a table lacks a column.

    Examples
    --------
    >>> runs = [run_experiment("quickstart"), run_experiment("carry")]  # doctest: +SKIP
    >>> print(*compare(runs).verdicts, sep=" ")  # doctest: +SKIP
    """
    if settings is None:
        from quantcore.config import build, compose

        settings = build(compose("compare").judge, CompareSettings)
    return _compared(records(runs), settings, seed=seed)


def main(cfg: DictConfig) -> int:
    """Compare the named results folders, publish what was found, and print it."""
    from quantcore.backtest.folder import publish, to_json
    from quantcore.config import build, resolved_yaml, writable_folder
    from quantcore.research.compare_printed import print_comparison, print_folder
    from quantcore.research.compare_report import page

    runs = writable_folder(cfg.runs, key="runs")
    settings = build(cfg.judge, CompareSettings)
    folders = [find_folder(name, runs) for name in _names(cfg)]
    found = compare([read_run(folder) for folder in folders], settings, seed=cfg.seed)
    print_comparison(found)

    def fill(folder: Path) -> None:
        (folder / "summary.json").write_text(to_json(found.summary), "utf-8")
        (folder / "config.yaml").write_text(resolved_yaml(cfg), "utf-8")
        found.metrics.to_parquet(folder / "comparison.parquet", index=False)
        found.returns.to_parquet(folder / "returns.parquet")
        for name in ("settings", "differences", "symbols"):
            getattr(found, name).to_parquet(folder / f"{name}.parquet", index=False)
        (folder / "compare.html").write_text(page(found), "utf-8")

    print_folder(publish(runs, "compare", cfg.name, fill))
    return 0


def _compared(runs: Sequence[Record], settings: CompareSettings, *, seed: int) -> Comparison:
    span = common_span(runs)
    symbols = symbol_table(runs, span)
    metrics = metrics_table(runs, span, symbols)
    differences = differences_table(span, settings, seed=seed)
    metrics.insert(2, "best", marks(differences, metrics, settings))
    opening, closing = to_index(np.array([span.opening_us, span.closing_us]))
    summary = {
        "runs": span_table(runs),
        "start": opening.isoformat(),
        "end": closing.isoformat(),
        "days": len(span.returns),
        "same_span": all(piece.whole for piece in span.pieces),
        "confidence": settings.confidence,
        "comparisons": len(runs) - 1,
        "warnings": warnings(runs, span),
        "verdicts": verdicts(span, differences, settings),
        "against_base": _against_base(runs, span, symbols),
    }
    return Comparison(
        summary=summary,
        metrics=metrics,
        returns=span.returns,
        curves=_curves(runs, span),
        settings=settings_table(runs),
        provenance=provenance_table(runs),
        differences=differences,
        symbols=symbols,
    )


def _names(cfg: DictConfig) -> list[str]:
    from omegaconf import ListConfig

    given = cfg.folders
    names = list(given) if isinstance(given, ListConfig) else [given]
    if len(names) < 2 or not all(isinstance(name, str) and name for name in names):
        raise ConfigError(
            f"a comparison must name two or more results folders, such as latest~1 latest, named {len(names)}"
            if all(isinstance(name, str) for name in names)
            else f"folders must be a list of names, was {given}"
        )
    return names


def _against_base(
    runs: Sequence[Record], span: Span, symbols: pd.DataFrame
) -> list[dict[str, Any]]:
    """Return each run beside the base: returns, what made the difference of profit, and round trips in common."""
    beside = {str(row["label"]): row for row in against_base(span).to_dict("records")}
    sums = symbols.groupby("label")[list(PARTS)].sum().reset_index().to_dict("records")
    made = {str(row["label"]): row for row in sums}
    base, found = runs[0], []
    for run in runs[1:]:
        mine, theirs = made.get(run.label, {}), made.get(base.label, {})
        parts = {p: float(mine.get(p, 0.0)) - float(theirs.get(p, 0.0)) for p in PARTS}
        found.append(
            {
                "base": base.label,
                **{str(name): value for name, value in beside[run.label].items()},
                "parts": parts,
                "told": part_told(run.label, base.label, parts),
                **trips_in_common(trips(run, span), trips(base, span)),
            }
        )
    return found


def _curves(runs: Sequence[Record], span: Span) -> pd.DataFrame:
    found = []
    for run, piece in zip(runs, span.pieces, strict=True):
        opening = {"ts": to_index(np.array([span.opening_us])), "value": [1.0], "drawdown": [0.0]}
        rows = {"ts": to_index(piece.ts_us), "value": piece.nav, "drawdown": drawdown(run, piece)}
        found += [pd.DataFrame(part).assign(label=run.label) for part in (opening, rows)]
    return pd.concat(found, ignore_index=True)[["label", "ts", "value", "drawdown"]]


if __name__ == "__main__":
    from quantcore.config import run_command

    raise SystemExit(run_command("compare", main, bare="folders"))
