r"""What an account can really hold: smallest orders, whole lots and the size limit against what an experiment wants.

The signal plane is computed once; everything is then asked of the *normal size* (`feasibility_demand`). Against it
stand, at each decision that wants anything, the exchange's smallest orders at that moment's prices: which symbols and
how many positions fit (`feasibility_measures`), what rounding to whole lots makes of the target portfolio
(`feasibility_rounding`), and what the same targets would have made of other capitals (`feasibility_capitals`).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from quantcore.account_plane import (
    AccountSettings,
)
from quantcore.backtest.curves import curves
from quantcore.backtest.engine import Decided
from quantcore.errors import ConfigError
from quantcore.execution.settings import ExecutionSettings
from quantcore.research.feasibility_capitals import (
    UNLIMITED,
    capital_runs,
    capital_table,
    curve_table,
)
from quantcore.research.feasibility_demand import (
    Demand,
    Stage,
    demand,
    normal_weights,
    smallest_orders,
    weights_held,
)
from quantcore.research.feasibility_measures import (
    LARGEST_CAPITAL,
    capital_for,
    fitting,
    judge,
    position_counts,
    position_table,
    symbol_table,
)
from quantcore.research.feasibility_rounding import (
    allocation_summary,
    allocation_table,
    greedy_weights,
    rounding_summary,
    rounding_table,
    sample_allocations,
    yearly_covariance,
)
from quantcore.risk.limits import RiskSettings

if TYPE_CHECKING:
    from omegaconf import DictConfig

__all__ = [
    "UNLIMITED", "Demand", "Stage", "capital_for", "demand", "fitting", "greedy_weights", "judge", "main",
    "normal_weights", "position_table", "rounding_table", "smallest_orders", "study", "symbol_table",
]  # fmt: skip


def main(cfg: DictConfig) -> int:
    """Ask what the configured account can hold, publish what was found, and print the verdict."""
    from quantcore.backtest.compiling import begin_compiling
    from quantcore.backtest.engine import decide
    from quantcore.backtest.experiment import shown, signal_settings
    from quantcore.backtest.folder import publish, to_json
    from quantcore.config import build, resolved_yaml, writable_folder
    from quantcore.research.feasibility_printed import print_folder, print_study
    from quantcore.research.feasibility_report import page

    runs = writable_folder(cfg.runs, key="runs")
    positions_min = _whole(cfg, "positions_min")
    samples = _whole(cfg, "samples")
    capitals = _capitals(cfg)
    stage = Stage(
        account=build(cfg.account, AccountSettings),
        execution=build(cfg.execution, ExecutionSettings),
        risk=build(cfg.risk, RiskSettings) if cfg.risk else None,
    )
    signal = signal_settings(cfg)
    source = build(cfg.data)
    wait = begin_compiling()
    decided = decide(
        source.load(reviewed=signal.universe is not None),
        signal=signal,
        progress=shown("forecasts"),
    )
    wait()
    summary, tables = study(
        decided, stage, capitals=capitals, positions_min=positions_min, samples=samples
    )
    summary = {"experiment": str(cfg.name), **summary}
    print_study(summary, tables)

    def fill(folder: Path) -> None:
        (folder / "summary.json").write_text(to_json(summary), "utf-8")
        (folder / "config.yaml").write_text(resolved_yaml(cfg), "utf-8")
        for name, table in tables.items():
            table.to_parquet(folder / f"{name}.parquet", index=name == "curves")
        (folder / "feasibility.html").write_text(page(summary, tables), "utf-8")

    print_folder(publish(runs, "feasibility", cfg.name, fill))
    return 0


def study(
    decided: Decided, stage: Stage, *, capitals: Sequence[float], positions_min: int, samples: int
) -> tuple[dict[str, Any], dict[str, pd.DataFrame]]:
    """Return `summary.json` and the tables of a results folder by name.

    Parameters
    ----------
    decided : Decided
        What the signal plane said.
    stage : Stage
        The account.
    capitals : sequence of float
        USDT of the accounts that the result is compared with.
    positions_min : int
        Fewest positions that make a portfolio.
    samples : int
        Decisions at which the exact allocation is found beside the account's greedy one.

    Raises
    ------
    ConfigError
        If the leverage exceeds what a symbol's brackets allow.
    """
    wanted = demand(decided, stage)
    runs = capital_runs(decided, stage, capitals)
    own = runs[f"{stage.account.capital:.12g}"]
    held = weights_held(own, decided)[wanted.rows]
    greedy = greedy_weights(wanted, stage, stage.account.capital)
    sampled = sample_allocations(wanted, stage, samples=samples)
    covariance = yearly_covariance(decided.found.bars)
    curve = {name: curves(run) for name, run in runs.items()}
    tables = {
        "symbols": symbol_table(wanted, stage, held),
        "positions": position_table(wanted, stage, greedy, held),
        "rounding": rounding_table(
            wanted, stage, {"greedy": greedy, "account": held}, covariance, sampled=sampled
        ),
        "allocations": allocation_table(wanted, sampled),
        "capitals": capital_table(runs, curve, wanted.index),
        "curves": curve_table(curve),
    }
    capital_from = capital_for(wanted, stage, positions_min)
    verdict, reason = judge(
        tables["positions"], stage, positions_min=positions_min, capital_from=capital_from
    )
    return {
        "verdict": verdict,
        "reason": reason,
        "capital": stage.account.capital,
        "size_limit": stage.size_limit,
        "leverage_max": stage.account.leverage_max,
        "positions_min": positions_min,
        "capital_for_positions_min": capital_from,
        "start": own.tables["equity"]["ts"].iloc[0].isoformat(),
        "end": own.tables["equity"]["ts"].iloc[-1].isoformat(),
        "interval": decided.data.interval,
        "decisions": decided.found.bars.n_bars,
        "decisions_wanted": len(wanted.index),
        "symbols": len(wanted.symbols),
        "tradable": int(tables["symbols"]["tradable"].sum()),
        "gross_median": float(np.median(wanted.gross)) if len(wanted.index) else None,
        "positions": position_counts(tables["positions"]),
        "rounding": rounding_summary(tables["rounding"]),
        "allocations": allocation_summary(tables["allocations"]),
        "notes": list(dict.fromkeys([*_stage_notes(stage), *own.notes])),
    }, tables


def _stage_notes(stage: Stage) -> list[str]:
    notes = []
    meant = None if stage.risk is None else stage.risk.stage_capital
    if meant is not None and stage.account.capital < meant:
        notes.append(
            f"The mode is meant for {meant:,.12g} USDT (risk.stage_capital): a backtest and the live loop refuse this "
            "account."
        )
    if stage.account.cash_flows:
        notes.append("Deposits and withdrawals are left out, so that capitals can be compared.")
    return notes


def _whole(cfg: DictConfig, name: str) -> int:
    value = cfg[name]
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ConfigError(f"{name} must be a whole number >= 1, was {value}")
    return value


def _capitals(cfg: DictConfig) -> tuple[float, ...]:
    from omegaconf import ListConfig

    given = cfg.capitals
    values = list(given) if isinstance(given, ListConfig) else [given]
    for value in values:
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not (number and 0.0 < value <= LARGEST_CAPITAL):
            raise ConfigError(
                f"capitals must be a list of numbers in (0, {LARGEST_CAPITAL:,.0f}], was {given}"
            )
    return tuple(float(value) for value in values)


if __name__ == "__main__":
    from quantcore.config import run_command

    raise SystemExit(run_command("feasibility", main))
