"""What a comparison of runs found, for its page, its printed form and notebooks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pandas as pd


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """What a comparison found; runs go by letters, the first is A, the base.

    Parameters
    ----------
    summary : mapping of str to Any
        `summary.json`: runs, span, warnings, verdicts, and each run beside the base.
    metrics : DataFrame
        `comparison.parquet`: ``metric basis best`` and a column per run, see `metrics_table`; ``best`` names the run
        that stands out beyond luck.
    returns : DataFrame, shape (n_days, n_runs)
        Daily returns that all runs have, as fractions.
    curves : DataFrame
        ``label ts value drawdown``: the value of one unit since the opening, and its drawdown, at each equity row.
    settings, provenance : DataFrame
        ``key`` and a column per run: the settings that differ, and what the runs were made from.
    differences : DataFrame
        Paired tests of all runs, see `differences_table`.
    symbols : DataFrame
        What each symbol earned in each run, see `symbol_table`.
    """

    summary: Mapping[str, Any] = field(repr=False)
    metrics: pd.DataFrame = field(repr=False)
    returns: pd.DataFrame = field(repr=False)
    curves: pd.DataFrame = field(repr=False)
    settings: pd.DataFrame = field(repr=False)
    provenance: pd.DataFrame = field(repr=False)
    differences: pd.DataFrame = field(repr=False)
    symbols: pd.DataFrame = field(repr=False)

    @property
    def labels(self) -> list[str]:
        """The runs' letters."""
        return [str(label) for label in self.returns.columns]

    @property
    def verdicts(self) -> list[str]:
        """A sentence for each run but the base."""
        return [str(verdict["text"]) for verdict in self.summary["verdicts"]]
