"""Search of a large space by Optuna: sets are asked for and told in batches, which the compiled pass evaluates."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
import pandas as pd

from quantcore.errors import ConfigError
from quantcore.research.search_coordinates import Coordinates
from quantcore.research.search_storage import alive, is_over, open_study, quiet, recover, wait
from quantcore.research.sets import Sets, override_text
from quantcore.research.space import Space

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial, Trial

Sampler = Literal["tpe", "random", "qmc"]
Pruner = Literal["none", "median", "hyperband"]
COMPLETE, PRUNED = "complete", "pruned"
_OUTCOME = "outcome"
"""Attribute of a trial that holds what its evaluation told."""
_STARTUP_MIN = 10


@dataclass(frozen=True, kw_only=True)
class SearchSettings:
    """How a space is searched.

    Parameters
    ----------
    trials : int
        Sets that the study is to hold in the end, those of all machines together, >= 1.
    batch : int
        Sets that are evaluated together, >= 1. A sampler that learns knows nothing of the others of a batch.
    sampler : str
        tpe (tree-structured Parzen estimator, Watanabe 2023), random, or qmc (scrambled Sobol sequence).
    pruner : str
        none, median (gives up a set that is below the median of the others after the same span), or hyperband (Li et
        al. 2018).
    storage : str or None
        URL of a database that several machines can join; None keeps everything in memory.
    heartbeat_seconds : int
        Seconds between signs of life, > 0; a process that shows none three times over has lost its sets to the others.
    seed : int
        Of the sampler, >= 0.

    Raises
    ------
    ConfigError
        If a value is out of its range.
    """

    trials: int
    batch: int
    sampler: Sampler
    pruner: Pruner
    storage: str | None
    heartbeat_seconds: int
    seed: int

    def __post_init__(self) -> None:
        for name in ("trials", "batch", "heartbeat_seconds"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be >= 1, was {getattr(self, name)}")
        if self.seed < 0:
            raise ConfigError(f"seed must be >= 0, was {self.seed}")
        for name, known in (("sampler", SAMPLERS), ("pruner", PRUNERS)):
            if getattr(self, name) not in known:
                raise ConfigError(
                    f"{name} must be one of {', '.join(known)}, was {getattr(self, name)}"
                )


SAMPLERS = ("tpe", "random", "qmc")
PRUNERS = ("none", "median", "hyperband")


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """What one set came to.

    Parameters
    ----------
    objective : float
        To be maximised, such as the Sharpe ratio or its lower confidence bound; NaN where there is none.
    metrics : mapping of str to float
        Results for the table.
    refused : str
        Why the settings refuse the set; empty if they do not.
    """

    objective: float
    metrics: Mapping[str, float] = field(default_factory=dict)
    refused: str = ""


Evaluate: TypeAlias = Callable[[Sets, int], Sequence[Evaluation]]
"""Evaluates sets over the span of a stage, counted from 0; the last stage is the whole span."""
Progress: TypeAlias = Callable[[int], None]


@dataclass(frozen=True, kw_only=True)
class Searched:
    """What a study holds in the end.

    Parameters
    ----------
    table : DataFrame
        One row per different set in the order of the trials: parameters by override path, metrics (NaN for sets that
        did not see the whole span), ``objective``, ``state`` (complete or pruned), ``refused``.
    parameters : tuple of str
        The override paths.
    trials : int
        Trials told, sets that came again included.
    name : str
        Of the study.
    """

    table: pd.DataFrame = field(repr=False)
    parameters: tuple[str, ...]
    trials: int
    name: str


def study_name(space: Space, *parts: str) -> str:
    """Return the name that a search of this space on the same data, configuration and objective has on every machine.

    Parameters
    ----------
    space : Space
        What is searched.
    parts : str
        Whatever else the objective depends on: the data's fingerprint, the configuration's hash, the objective's name,
        the stages.
    """
    text = "\n".join([space.digest(), *parts])
    return f"sweep-{hashlib.sha256(text.encode()).hexdigest()[:24]}"


def search(
    space: Space,
    evaluate: Evaluate,
    *,
    settings: SearchSettings,
    name: str,
    stages: int,
    progress: Progress,
) -> Searched:
    """Search a space until its study holds the wanted number of trials, and return what it holds.

    A study that is there already is joined: what it holds counts, and several processes may search it at the same time.
    An interrupted search gives its unfinished sets up at once; those of a killed process are tried again by the others,
    or by the next search, when its signs of life have been missing for a while. A set that is drawn again is told
    what it came to before.

    Parameters
    ----------
    space : Space
        With more sets than trials.
    evaluate : callable
        Takes sets and a stage, returns an `Evaluation` for each.
    settings : SearchSettings
        How it is searched. On an empty study one process with the same settings draws the same sets again.
    name : str
        Of the study, see `study_name`.
    stages : int
        Growing spans over which a set is evaluated one after the other, >= 1; between them it may be pruned. Without a
        pruner only the last one, the whole span, is evaluated.
    progress : callable
        Is told the number of finished trials after each batch.

    Raises
    ------
    ConfigError
        If `stages` is below 1, the space has no more sets than trials are wanted, or the storage cannot be opened.

    References
    ----------
    Akiba et al., "Optuna: A Next-generation Hyperparameter Optimization Framework", *KDD* 2019. Watanabe,
    "Tree-Structured Parzen Estimator", arXiv 2304.11127. Li et al., "Hyperband", *JMLR* 18(185), 2018.
    """
    if stages < 1:
        raise ConfigError(f"stages must be >= 1, was {stages}")
    if space.size is not None and space.size <= settings.trials:
        raise ConfigError(
            f"trials must be below the {space.size:,} sets that the space holds, was {settings.trials:,}; "
            "a grid runs them all"
        )
    opened = open_study(
        name,
        settings.storage,
        sampler=_sampler(settings, space, settings.seed),
        pruner=_pruner(settings.pruner, stages),
        heartbeat_seconds=settings.heartbeat_seconds,
    )
    with opened as study:
        hunt = _Hunt(study, Coordinates.of(space), evaluate, settings, stages)
        while (finished := len(hunt.finished())) < settings.trials:
            wanted = settings.trials - finished - hunt.running()
            if wanted > 0:
                hunt.run(min(wanted, settings.batch))
            else:
                wait(settings.heartbeat_seconds / 4.0)
            progress(len(hunt.finished()))
        return hunt.result()


@dataclass(frozen=True)
class _Hunt:
    """One process's part in a study."""

    study: Study
    coordinates: Coordinates
    evaluate: Evaluate
    settings: SearchSettings
    stages: int

    def finished(self) -> list[FrozenTrial]:
        from optuna.trial import TrialState

        return self.study.get_trials(False, (TrialState.COMPLETE, TrialState.PRUNED))

    def running(self) -> int:
        """Return how many trials others are working on, after giving up those that nobody does any more.

        A process that dies while it asks for a trial leaves one without values, which shows no sign of life and counts
        for nothing.
        """
        from optuna.trial import TrialState

        recover(self.study)
        trials = self.study.get_trials(False, (TrialState.RUNNING,))
        return sum(bool(trial.params) for trial in trials)

    def run(self, size: int) -> None:
        """Ask for a batch of trials, evaluate it, and tell the outcomes."""
        known = {self._key(trial.params): trial for trial in self.finished()}
        opened: list[Trial] = []
        try:
            with (
                quiet(),
                alive(self.study, opened, seconds=self.settings.heartbeat_seconds) as beat,
            ):
                self._ask(size, opened, beat)
                fresh: dict[str, list[Trial]] = {}
                for trial in opened:
                    key = self._key(trial.params)
                    if key in known:
                        self._tell_again(trial, known[key], opened)
                    else:
                        fresh.setdefault(key, []).append(trial)
                self._stages(list(fresh.values()), opened)
        finally:
            for trial in opened:
                self._give_up(trial)

    def _ask(self, size: int, opened: list[Trial], beat: Callable[[], None]) -> None:
        """Ask for trials; before the first one the sampler gets a seed of its own.

        Trial numbers are unique over all processes, so that two which begin at the same time draw different sets. A
        Sobol sequence is one sequence for all: its seed stays.
        """
        for _ in range(size):
            trial = self.study.ask()
            opened.append(trial)
            beat()
            if len(opened) == 1 and self.settings.sampler != "qmc":
                seeds = np.random.SeedSequence([self.settings.seed, trial.number])
                seed = int(seeds.generate_state(1)[0])
                self.study.sampler = _sampler(self.settings, self.coordinates.space, seed)
            self.coordinates.draw(trial)

    def _stages(self, groups: list[list[Trial]], opened: list[Trial]) -> None:
        """Evaluate sets over growing spans; the trials of a group drew the same one."""
        first = self.stages - 1 if self.settings.pruner == "none" else 0
        for stage in range(first, self.stages):
            if not groups:
                return
            rows = [self.coordinates.values(group[0].params) for group in groups]
            evaluations = self.evaluate(Sets.of_rows(rows), stage)
            left = []
            for group, evaluation in zip(groups, evaluations, strict=True):
                left.append([t for t in group if self._goes_on(t, evaluation, stage, opened)])
            groups = [group for group in left if group]

    def _goes_on(
        self, trial: Trial, evaluation: Evaluation, stage: int, opened: list[Trial]
    ) -> bool:
        """Report an evaluation, tell it if it is the last one, and return whether the trial goes on."""
        from optuna.exceptions import UpdateFinishedTrialError

        known, last = math.isfinite(evaluation.objective), stage + 1 == self.stages
        if known and not last:
            try:
                trial.report(evaluation.objective, stage + 1)
            except UpdateFinishedTrialError:  # others took this process for lost
                opened.remove(trial)
                return False
        if not (last or evaluation.refused or (known and trial.should_prune())):
            return True
        self._tell(trial, evaluation, complete=last and known, opened=opened)
        return False

    def _tell(
        self, trial: Trial, evaluation: Evaluation, *, complete: bool, opened: list[Trial]
    ) -> None:
        metrics = {key: float(value) for key, value in evaluation.metrics.items()}
        outcome = {
            "metrics": {key: value for key, value in metrics.items() if math.isfinite(value)},
            "refused": evaluation.refused,
        }
        self._finish(trial, outcome, evaluation.objective if complete else None, opened)

    def _tell_again(self, trial: Trial, before: FrozenTrial, opened: list[Trial]) -> None:
        """Tell a trial what the same set came to before."""
        from optuna.trial import TrialState

        for step, value in before.intermediate_values.items():
            trial.report(value, step)
        complete = before.state is TrialState.COMPLETE
        self._finish(trial, before.user_attrs[_OUTCOME], before.value if complete else None, opened)

    def _finish(
        self, trial: Trial, outcome: Mapping[str, Any], value: float | None, opened: list[Trial]
    ) -> None:
        """Tell a trial's end; one that others gave up in the meantime stays given up."""
        from optuna.exceptions import UpdateFinishedTrialError
        from optuna.trial import TrialState

        state = TrialState.PRUNED if value is None else TrialState.COMPLETE
        opened.remove(trial)
        try:
            trial.set_user_attr(_OUTCOME, outcome)
            self.study.tell(trial, value, state=state)
        except (UpdateFinishedTrialError, ValueError):  # others took this process for lost
            if not is_over(self.study, trial):
                raise

    def _give_up(self, trial: Trial) -> None:
        from optuna.trial import TrialState

        if not is_over(self.study, trial):
            with quiet():
                self.study.tell(trial, state=TrialState.FAIL)

    def _key(self, drawn: Mapping[str, Any]) -> str:
        values = self.coordinates.values(drawn)
        return "\n".join(override_text(value) for value in values.values())

    def result(self) -> Searched:
        from optuna.trial import TrialState

        trials = sorted(self.finished(), key=lambda trial: trial.number)
        first: dict[str, FrozenTrial] = {}
        for trial in trials:
            first.setdefault(self._key(trial.params), trial)
        different = list(first.values())
        sets = Sets.of_rows([self.coordinates.values(trial.params) for trial in different])
        table = sets.to_table().to_pandas()
        outcomes = [trial.user_attrs[_OUTCOME] for trial in different]
        whole = [trial.state is TrialState.COMPLETE for trial in different]
        for key in dict.fromkeys(key for outcome in outcomes for key in outcome["metrics"]):
            told = [outcome["metrics"].get(key, math.nan) for outcome in outcomes]
            table[key] = np.where(whole, told, math.nan)
        table["objective"] = [math.nan if t.value is None else t.value for t in different]
        table["state"] = [COMPLETE if complete else PRUNED for complete in whole]
        table["refused"] = [outcome["refused"] for outcome in outcomes]
        return Searched(
            table=table, parameters=sets.paths, trials=len(trials), name=self.study.study_name
        )


def _sampler(settings: SearchSettings, space: Space, seed: int) -> Any:
    from optuna import samplers

    with quiet():
        if settings.sampler == "random":
            return samplers.RandomSampler(seed=seed)
        if settings.sampler == "qmc":
            return samplers.QMCSampler(
                scramble=True,
                seed=seed,
                warn_independent_sampling=False,
                warn_asynchronous_seeding=False,
            )
        return samplers.TPESampler(
            seed=seed,
            multivariate=True,
            constant_liar=settings.batch > 1,
            n_startup_trials=max(_STARTUP_MIN, 2 * len(space.parameters)),
        )


def _pruner(pruner: Pruner, stages: int) -> Any:
    from optuna import pruners

    if pruner == "none" or stages == 1:
        return pruners.NopPruner()
    if pruner == "median":
        return pruners.MedianPruner(n_startup_trials=_STARTUP_MIN)
    return pruners.HyperbandPruner(min_resource=1, max_resource=stages)
