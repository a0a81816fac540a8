"""A configured backtest: from Hydra's settings to a `Run`, for the command and for notebooks alike."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Iterable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

from omegaconf import open_dict

from quantcore.account_plane import (
    AccountSettings,
)
from quantcore.backtest.compiling import begin_compiling
from quantcore.backtest.engine import run_backtest
from quantcore.backtest.result import Run
from quantcore.config import build, compose, config_hash, resolved_yaml
from quantcore.data.coverage import coverage_notes
from quantcore.data.instruments import FACTS
from quantcore.data.sources import DataSource, MarketData
from quantcore.data.universe import UniverseSettings
from quantcore.execution.settings import ExecutionSettings
from quantcore.frames import Bars
from quantcore.regime.detector import RegimeSettings
from quantcore.risk.limits import RiskSettings
from quantcore.signal_plane import PORTFOLIOS, SignalSettings, StrategySet
from quantcore.signals.plain import Progress
from quantcore.signals.strategy_matrix import MatrixSettings
from quantcore.timegrid import to_us

if TYPE_CHECKING:
    from omegaconf import DictConfig

BARS_NOTE = "The bars were handed over in Python: where they came from is not recorded, only their fingerprint."
_T = TypeVar("_T")
_SOURCES = ("quantcore", "strategies")
_PACKAGES = ("numba", "numpy", "pandas", "pyarrow", "quantcore")


def run_experiment(experiment: str, overrides: Sequence[str] = ()) -> Run:
    """Run an experiment by name, as ``python -m quantcore.backtest +experiment=NAME`` does, and write nothing.

    Parameters
    ----------
    experiment : str
        A file in ``conf/experiment``.
    overrides : sequence of str
        As on the command line, such as ``"account.capital=770"``.

    Raises
    ------
    ConfigError
        If the experiment or a setting is unknown or out of its range.
    """
    return run_configured(compose("backtest", [f"+experiment={experiment}", *overrides]))


def run_configured(cfg: DictConfig, data: MarketData | None = None) -> Run:
    """Build every setting, load the data unless it is given, and run the backtest; raises as `run_backtest` does."""
    account = build(cfg.account, AccountSettings)
    execution = build(cfg.execution, ExecutionSettings)
    signal = signal_settings(cfg)
    risk = _chosen(cfg.risk, RiskSettings)
    source: DataSource | None = build(cfg.data) if data is None else None
    wait = begin_compiling()
    loaded = data if source is None else source.load(reviewed=signal.universe is not None)
    assert loaded is not None
    return run_backtest(
        loaded,
        signal=signal,
        account=account,
        execution=execution,
        risk=risk,
        config_yaml=resolved_yaml(cfg),
        manifest=manifest(cfg, signal.strategy),
        progress=shown("forecasts"),
        before_account=wait,
    )


def place_bars(cfg: DictConfig, bars: Bars, *, interval: str) -> MarketData:
    """Put bars that were made in Python in the place of a configuration's data.

    Of the data's settings only ``start`` counts. The settings hold, in their place, the bars' fingerprint.

    Parameters
    ----------
    cfg : DictConfig
        From `compose`; changed.
    bars : Bars
        On the execution grid.
    interval : str
        Of decisions, a whole multiple of the bars' own.
    """
    start = cfg.data.get("start")
    start_us = None if start is None else to_us(start)
    data = MarketData(
        bars=bars,
        interval=interval,
        start_us=start_us,
        notes=(BARS_NOTE, *coverage_notes(bars, start_us=start_us, ends_us={})),
    )
    with open_dict(cfg):
        cfg.data = {
            "bars": bars.fingerprint(),
            "interval": interval,
            "execution_interval": bars.interval,
            "start": start,
        }
    return data


def signal_settings(cfg: DictConfig) -> SignalSettings:
    """Build the settings of the signal plane."""
    portfolio: Any = build(cfg.portfolio, cast("Any", PORTFOLIOS))
    return SignalSettings(
        strategy=build(cfg.strategy),
        portfolio=portfolio,
        universe=_chosen(cfg.universe, UniverseSettings),
        regime=_chosen(cfg.regime, RegimeSettings),
        matrix=_chosen(cfg.matrix, MatrixSettings),
    )


def _chosen(node: DictConfig, kind: type[_T]) -> _T | None:
    """Return the settings of a group that may be left out; its option without settings chooses that."""
    return build(node, kind) if node else None


def manifest(cfg: DictConfig, strategy: object) -> dict[str, Any]:
    """Return what, beside the data, a run's results follow from.

    ``git_commit`` says little about a changed tree and nothing about a strategy outside of it, so ``source_hash`` is
    the SHA-256 of quantcore's and strategies' sources and the exchange's facts, and ``strategy_source`` that of the
    strategy's own module, of a set those of its members' (not of what they import).
    """
    return {
        "command": "quantcore.backtest",
        "experiment": cfg.name,
        "config_hash": config_hash(cfg),
        "seed": cfg.seed,
        "git_commit": _git_commit(),
        "source_hash": _source_hash(),
        "strategy_source": strategy_source(strategy),
        "python": ".".join(map(str, sys.version_info[:3])),
        "packages": {name: version(name) for name in _PACKAGES},
    }


def shown(what: str) -> Progress:
    """Return what shows a bar on a terminal or in a notebook once a loop over rows takes longer than two seconds."""

    def show(rows: range) -> Iterable[int]:
        if not (sys.stderr.isatty() or in_notebook()):
            return rows
        from tqdm.auto import tqdm

        bar: Iterable[int] = tqdm(rows, desc=what, unit="bar", delay=2.0, leave=False)
        return bar

    return show


def in_notebook() -> bool:
    """Return whether a Jupyter kernel runs this, which shows output as HTML."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return "IPKernelApp" in getattr(shell, "config", {})


def _source_hash() -> str:
    root = Path(__file__).resolve().parents[2]
    files = [file for name in _SOURCES for file in (root / name).rglob("*.py")]
    digest = hashlib.sha256()
    for file in sorted([*files, *FACTS.glob("*.json")]):
        digest.update(f"{file.name}\0{file.stat().st_size}\0".encode())
        digest.update(file.read_bytes())
    return digest.hexdigest()


def strategy_source(strategy: object) -> str | None:
    """Return the SHA-256 of a strategy's source, or of those of the members of a set by name."""
    if not isinstance(strategy, StrategySet):
        return _module_hash(type(strategy).__module__)
    members = sorted(strategy.members.items())
    named = [f"{name} {_module_hash(type(member).__module__)}" for name, member in members]
    return hashlib.sha256("\n".join(named).encode()).hexdigest()


def _module_hash(name: str) -> str | None:
    """Return the SHA-256 of a loaded module's source; None where there is no file, as in a notebook."""
    file = getattr(sys.modules[name], "__file__", None)
    return hashlib.sha256(Path(file).read_bytes()).hexdigest() if file else None


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
