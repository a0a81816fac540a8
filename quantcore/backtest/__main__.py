"""``python -m quantcore.backtest +experiment=NAME``: one backtest, its results folder, a summary and a tearsheet."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from omegaconf import DictConfig


def main(cfg: DictConfig) -> int:
    """Run the configured backtest and publish its results."""
    from quantcore.backtest.counting import counted
    from quantcore.backtest.curves import curves
    from quantcore.backtest.experiment import run_configured
    from quantcore.backtest.metrics import compute_metrics
    from quantcore.backtest.outlook import outlook
    from quantcore.backtest.summary import print_folder, print_heading, print_summary
    from quantcore.config import writable_folder
    from quantcore.research.trials import open_ledger

    runs = writable_folder(cfg.runs, key="runs")
    ledger = open_ledger(cfg.ledger)
    run = run_configured(cfg)
    print_heading(run, experiment=cfg.name)
    run = counted(run, ledger)
    ahead = outlook(run, curves(run))
    metrics = compute_metrics(run, ahead=ahead)
    print_summary(run, metrics)
    from quantcore.backtest.report import write_run  # the page's libraries, after the first lines

    print_folder(write_run(run, runs, "backtest", cfg.name, metrics=metrics, ahead=ahead))
    return 0


if __name__ == "__main__":
    try:
        from quantcore.config import run_command

        code = run_command("backtest", main)
    except KeyboardInterrupt:  # also while the imports above take their time
        print("interrupted", file=sys.stderr)
        code = 130
    raise SystemExit(code)
