"""``python -m quantcore.research.sweep +experiment=NAME``: many parameter sets, and what the best of them is worth.

``sweep.parameters`` names settings and values in Hydra's sweep grammar; every set is the backtest of the experiment
with those overrides. Where strategy and settings allow it, sets run in one compiled pass (`compiled_sets`), else as
backtests in parallel. What is found is kept as it comes: a sweep that was interrupted goes on when it is started again.
"""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from quantcore.backtest.folder import PARTIAL
from quantcore.errors import ConfigError
from quantcore.research.evaluate import evaluate
from quantcore.research.executors import Executor, executor_of
from quantcore.research.outcomes import Chunk, Outcomes, join
from quantcore.research.sets import Sets
from quantcore.research.space import Sampling, Space, parse_space
from quantcore.research.space_names import check_names, with_whole_numbers
from quantcore.research.study import NODES, Study, study_of
from quantcore.research.sweep_store import SweepStore, known_rows, store_key

if TYPE_CHECKING:
    from omegaconf import DictConfig

BYTES_PER_SET = 1200
"""Memory of a set's row and values, beside its daily returns."""
COPIES = 4
"""Of the daily returns of all sets, at the moment when most are held."""


@dataclass(frozen=True, kw_only=True)
class SweepSettings:
    """What is swept.

    Parameters
    ----------
    parameters : list of str
        In Hydra's sweep grammar, such as ``strategy.fast=4,8,16``; at least one.
    sampling : str
        ``"grid"``, ``"random"``, ``"sobol"``, or ``"tpe"``: a search by Optuna.
    sets : int or None
        How many; a grid has its own number.
    """

    parameters: list[str]
    sampling: Literal[Sampling, "tpe"]
    sets: int | None

    def __post_init__(self) -> None:
        if not self.parameters:
            raise ConfigError(
                "parameters must name at least one setting with its values, such as "
                'sweep.parameters=["strategy.fast=24,48"], was []'
            )
        if self.sampling != "grid" and (self.sets is None or self.sets < 1):
            raise ConfigError(f"sets must be >= 1 for {self.sampling} sampling, was {self.sets}")
        if self.sampling == "grid" and self.sets is not None:
            raise ConfigError(
                f"sets must be null on a grid, which has a number of its own, was {self.sets}"
            )


def space_of(settings: SweepSettings, study: Study) -> Space:
    """Return the space that settings name.

    Raises
    ------
    ConfigError
        If a parameter names nothing that may be swept, or there are more sets than memory.
    """
    options = study.options
    space = parse_space(settings.parameters, options=options)
    configs = study.configs({p.path: p.choices for p in space.parameters if p.path in options})
    check_names(space, configs, groups=options)
    space = with_whole_numbers(space, configs)
    n_sets = space.grid_size() if settings.sampling == "grid" else settings.sets or 0
    check_memory(n_sets, study.n_days)
    return space


def sample(settings: SweepSettings, study: Study, *, seed: int) -> tuple[Space, Sets]:
    """Return the space that settings name and the sets taken from it, without a search.

    Raises
    ------
    ConfigError
        As `space_of`; or if a search is asked for.
    """
    space = space_of(settings, study)
    if settings.sampling == "tpe":
        raise ConfigError("sampling must be one of grid, random, sobol here, was tpe")
    return space, space.sample(settings.sampling, n=settings.sets or 0, seed=seed)


def check_memory(n_sets: int, n_days: int, *, free: int | None = None) -> None:
    """Refuse more sets than memory has room for; `free` bytes are what the machine says if None.

    Raises
    ------
    ConfigError
        Naming the number of sets, what they need and what there is.
    """
    needed = n_sets * (BYTES_PER_SET + COPIES * 8 * n_days)
    there = _free_memory() if free is None else free
    if needed > there:
        raise ConfigError(
            f"sweep.parameters must make no more sets than memory holds, were {n_sets:,} sets that need "
            f"{needed / 2**30:,.1f} GiB where {there / 2**30:,.1f} are free; name fewer values, or take some: "
            "sweep.sampling=sobol sweep.sets=10000"
        )


def run(
    study: Study, sets: Sets, *, executor: Executor, store: SweepStore | None, show: bool = True
) -> Outcomes:
    """Return what all sets came to, taking what a store holds and adding to it.

    Parameters
    ----------
    study : Study
        What the sets change.
    sets : Sets
        At least one.
    executor : Executor
        Where they run.
    store : SweepStore or None
        Where finished chunks are kept; None keeps nothing.
    show : bool
        Whether a terminal sees a progress bar.
    """
    rows = [sets.row(k) for k in range(len(sets))]
    chunks = [] if store is None else store.chunks()
    known = known_rows(chunks)
    if len(known):
        sys.stderr.write(f"going on with a sweep: {len(known):,} of {len(sets):,} sets are known\n")
    found = evaluate(study, rows, executor=executor, skip=known)
    for chunk in _shown(found, total=len(sets), known=len(known), show=show):
        if store is not None:
            store.add(chunk)
        chunks.append(chunk)
    return join(chunks, sets.columns, len(sets))


def _shown(chunks: Iterator[Chunk], *, total: int, known: int, show: bool) -> Iterator[Chunk]:
    with _bar(total, known=known, show=show) as bar:
        for chunk in chunks:
            yield chunk
            bar.update(len(chunk.rows))


def _bar(total: int, *, known: int = 0, show: bool = True) -> Any:
    """Return a progress bar, which a terminal keeps and a notebook clears away."""
    from tqdm.auto import tqdm

    from quantcore.backtest.experiment import in_notebook

    noted = in_notebook()
    return tqdm(
        total=total,
        initial=known,
        unit="set",
        disable=not (show and (noted or sys.stderr.isatty())),
        smoothing=0.05,
        leave=not noted,
    )


def sweep_key(cfg: DictConfig, study: Study, space: Space, settings: SweepSettings) -> str:
    """Return the name under which a sweep's unfinished results are kept: of all that decides them."""
    from quantcore.backtest.experiment import manifest
    from quantcore.config import plain_settings

    plain = plain_settings(cfg)
    made_by = manifest(cfg, study.variant({}).signal.strategy)
    decided = {name: plain[name] for name in NODES}
    return store_key(
        space.digest(settings.sampling, n=settings.sets or 0, seed=int(cfg.seed)),
        json.dumps(decided, sort_keys=True, default=str),
        study.data.bars.fingerprint(),
        str(study.data.start_us),
        study.data.interval,
        made_by["source_hash"],
        str(made_by["strategy_source"]),
    )


def _free_memory() -> int:
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    import os

    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def publish_sweep(
    cfg: DictConfig, study: Study, sets: Sets, outcomes: Outcomes, *, seconds: float, runs: Path
) -> None:
    """Judge a sweep, write its results folder, and print what it says."""
    import pyarrow.parquet as pq

    from quantcore.backtest.experiment import manifest
    from quantcore.backtest.folder import publish, to_json
    from quantcore.config import resolved_yaml
    from quantcore.research.sweep_printed import print_sweep
    from quantcore.research.sweep_report import page
    from quantcore.research.sweep_result import judge, sweep_table

    swept = judge(cfg, study, sets, outcomes, seconds=seconds)
    made_by = manifest(cfg, study.variant({}).signal.strategy)
    made_by |= {
        "command": "quantcore.research.sweep",
        "data_fingerprint": study.data.bars.fingerprint(),
    }
    html = page(swept.table, sets.paths, swept.facts, swept.found)

    def fill(folder: Path) -> None:
        pq.write_table(sweep_table(sets, outcomes), folder / "sweep.parquet", compression="zstd")
        (folder / "summary.json").write_text(to_json(swept.summary), "utf-8")
        (folder / "manifest.json").write_text(to_json(made_by), "utf-8")
        (folder / "config.yaml").write_text(resolved_yaml(cfg), "utf-8")
        (folder / "sweep.html").write_text(html, "utf-8")

    print_sweep(swept, sets.paths, publish(runs, "sweep", cfg.name, fill))


def main(cfg: DictConfig) -> int:
    """Run the configured sweep, publish what was found, and print it."""
    from quantcore.backtest.compiling import begin_compiling
    from quantcore.config import build, writable_folder
    from quantcore.research.trials import open_ledger

    runs = writable_folder(cfg.runs, key="runs")
    open_ledger(cfg.ledger)
    settings = build(cfg.sweep, SweepSettings)
    executor = executor_of(cfg)
    study = study_of(cfg)
    space = space_of(settings, study)
    begin_compiling()()
    started = time.monotonic()
    with swept_sets(cfg, settings, space, study, executor, runs=runs) as (sets, outcomes):
        publish_sweep(cfg, study, sets, outcomes, seconds=time.monotonic() - started, runs=runs)
    return 0


@contextlib.contextmanager
def swept_sets(
    cfg: DictConfig, settings: SweepSettings, space: Space, study: Study, executor: Executor, *, runs: Path
) -> Iterator[tuple[Sets, Outcomes]]:  # fmt: skip
    """Yield the sets of a sweep and what they came to, going on with a sweep of the same that was interrupted.

    Sets are kept below `runs` as they come, until the block that judges them has ended without an error. A search keeps
    its sets in Optuna's storage instead.

    Raises
    ------
    ConfigError
        If the same sweep runs in another process, ``resume`` is neither true nor false, a package is not installed
        that the page or the search needs, or as `searched`.
    """
    from quantcore.extras import require

    require("sklearn")
    if not isinstance(cfg.resume, bool):
        raise ConfigError(f"resume must be true or false, was {cfg.resume}")
    if settings.sampling == "tpe":
        require("optuna")
        yield searched(cfg, settings, space, study, executor)
        return
    sets = sample(settings, study, seed=int(cfg.seed))[1]
    store = SweepStore(runs / PARTIAL / f"sweep-{sweep_key(cfg, study, space, settings)}")
    if not cfg.resume:
        store.clear()
    with store.opened():
        yield sets, run(study, sets, executor=executor, store=store)
        store.clear()


def searched(
    cfg: DictConfig, settings: SweepSettings, space: Space, study: Study, executor: Executor
) -> tuple[Sets, Outcomes]:
    """Return the sets that a search by Optuna proposed, and what they came to; errors as `run_search`."""
    from quantcore.config import build
    from quantcore.research.sweep_search import SweepSearch, run_search

    how, trials = build(cfg.search, SweepSearch), settings.sets or 0
    name = f"sweep-{sweep_key(cfg, study, space, settings)}-{how.objective}-{how.pruner}"
    with _bar(trials) as bar:

        def done(finished: int) -> None:
            bar.n = finished
            bar.refresh()

        return run_search(
            how, space, study, trials=trials, seed=int(cfg.seed), name=name, executor=executor, done=done
        )  # fmt: skip


if __name__ == "__main__":
    from quantcore.config import run_command

    raise SystemExit(run_command("sweep", main))
