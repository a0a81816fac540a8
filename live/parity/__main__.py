"""``python -m live.parity``: a backtest and the live loop over the same bars, compared fill by fill (DESIGN.md 5)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from live.parity.study import Study


def main(cfg: DictConfig) -> int:
    """Compare, publish what was found, and return 1 if anything differs."""
    from live.parity.printed import print_folder, print_study
    from live.parity.report import page
    from live.parity.study import SIDES
    from quantcore.backtest.folder import publish, to_json
    from quantcore.config import resolved_yaml, writable_folder

    runs = writable_folder(cfg.runs, key="runs")
    asked = _asked(cfg)
    found = _lock_step(cfg, asked) if cfg.parity.journal is None else _recorded(cfg)
    print_study(found)

    def fill(folder: Path) -> None:
        (folder / "summary.json").write_text(to_json(found.summary), "utf-8")
        (folder / "manifest.json").write_text(to_json(found.manifest), "utf-8")
        (folder / "config.yaml").write_text(found.config_yaml or resolved_yaml(cfg), "utf-8")
        found.comparison.differences.to_parquet(folder / "differences.parquet", index=False)
        found.context.to_parquet(folder / "context.parquet", index=False)
        for side in SIDES:
            (folder / side).mkdir()
            for name, table in found.tables[side].items():
                table.to_parquet(folder / side / f"{name}.parquet", index=name == "targets")
        (folder / "parity.html").write_text(page(found), "utf-8")

    print_folder(publish(runs, "parity", found.summary["experiment"], fill))
    return int(not found.comparison.equal)


def _asked(cfg: DictConfig) -> dict[str, int]:
    from quantcore.errors import ConfigError

    for name in ("days", "symbols"):
        value = cfg.parity[name]
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ConfigError(f"parity.{name} must be a whole number >= 1, was {value}")
    return {"days": cfg.parity.days, "symbols": cfg.parity.symbols}


def _lock_step(cfg: DictConfig, asked: dict[str, int]) -> Study:
    """Compare a backtest with the loop on the exchange in lock-step."""
    from live.parity.case import case_of, narrowed
    from live.parity.study import against_exchange
    from quantcore.account_plane import AccountSettings
    from quantcore.backtest.experiment import manifest, signal_settings
    from quantcore.config import build
    from quantcore.execution.settings import ExecutionSettings
    from quantcore.risk.limits import RiskSettings

    signal = signal_settings(cfg)
    account, execution = (
        build(cfg.account, AccountSettings),
        build(cfg.execution, ExecutionSettings),
    )
    risk = build(cfg.risk, RiskSettings) if cfg.risk else None
    data = narrowed(build(cfg.data).load(reviewed=signal.universe is not None), **asked)
    _tell_compiling()
    case = case_of(data, signal=signal, account=account, execution=execution, risk=risk)
    with _shown(case.bars.n_bars) as progress:
        return against_exchange(
            case,
            experiment=str(cfg.name),
            manifest={**manifest(cfg, signal.strategy), "command": "live.parity"},
            progress=progress,
        )


def _recorded(cfg: DictConfig) -> Study:
    """Compare a backtest with a real run as its journal tells it."""
    from live.journal.journal import open_journal
    from live.parity.recorded import recorded
    from live.parity.study import against_record

    with open_journal(str(cfg.parity.journal), read_only=True) as journal:
        return against_record(recorded(journal), place=journal.place)


def _tell_compiling() -> None:
    import sys

    from quantcore.account_follow import follow
    from quantcore.kernels.cache import is_compiled

    if not is_compiled(follow):
        sys.stderr.write("compiling the kernels, once: a few minutes\n")


@contextmanager
def _shown(n_bars: int) -> Iterator[Callable[[int], None]]:
    """Yield what shows on a terminal how many bars are done, how fast, and how long the rest will take."""
    import sys

    from quantcore.backtest.experiment import in_notebook

    if not (sys.stderr.isatty() or in_notebook()):
        yield _quiet
        return
    from tqdm.auto import tqdm

    with tqdm(total=n_bars, desc="live loop", unit="bar", leave=False) as bar:

        def told(done: int) -> None:
            bar.update(done - bar.n)

        yield told


def _quiet(done: int) -> None:
    """Show nothing."""


if __name__ == "__main__":
    from quantcore.config import run_command

    raise SystemExit(run_command("parity", main))
