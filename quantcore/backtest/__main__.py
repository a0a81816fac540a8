"""``python -m quantcore.backtest +experiment=NAME``: one backtest, its results folder, a summary and a tearsheet."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from quantcore.config import build, config_hash, resolved_yaml, run_command

if TYPE_CHECKING:
    from omegaconf import DictConfig

_PACKAGES = ("numba", "numpy", "pandas", "pyarrow", "quantcore")


def main(cfg: DictConfig) -> int:
    """Run the configured backtest and publish its results."""
    from quantcore.account_plane import AccountSettings, ExecutionSettings
    from quantcore.backtest.engine import run_backtest
    from quantcore.backtest.metrics import compute_metrics
    from quantcore.backtest.report import write_run
    from quantcore.backtest.summary import print_summary
    from quantcore.signal_plane import SignalSettings

    account = build(cfg.account, AccountSettings)
    execution = build(cfg.execution, ExecutionSettings)
    signal = SignalSettings(strategy=build(cfg.strategy), portfolio=build(cfg.portfolio))
    run = run_backtest(
        build(cfg.data).load(),
        signal=signal,
        account=account,
        execution=execution,
        config_yaml=resolved_yaml(cfg),
        manifest=manifest(cfg),
    )
    metrics = compute_metrics(run)
    folder = write_run(run, Path(cfg.runs), "backtest", cfg.name, metrics=metrics)
    print_summary(run, metrics, folder, experiment=cfg.name)
    return 0


def manifest(cfg: DictConfig) -> dict[str, Any]:
    """Return what, beside the data, a run's results follow from."""
    return {
        "command": "quantcore.backtest",
        "experiment": cfg.name,
        "config_hash": config_hash(cfg),
        "seed": cfg.seed,
        "git_commit": _git_commit(),
        "python": ".".join(map(str, sys.version_info[:3])),
        "packages": {name: version(name) for name in _PACKAGES},
    }


def _git_commit() -> str | None:
    """Return the commit of the working tree, with ``+`` where it was changed; None outside a repository."""
    root = Path(__file__).resolve().parents[2]
    try:
        described = subprocess.run(
            ["git", "describe", "--always", "--abbrev=40", "--exclude=*", "--dirty=+"],
            cwd=root,
            capture_output=True,
            text=True,
            check=True,
            timeout=10,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return described.stdout.strip()


if __name__ == "__main__":
    raise SystemExit(run_command("backtest", main))
