"""Settings are built strictly, errors name key, rule, value and place, and every command ends with the right code."""

from __future__ import annotations

import os
import pickle
import re
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from functools import partial
from pathlib import Path
from typing import Any, Literal

import pytest
from omegaconf import DictConfig

from quantcore.config import build, compose, config_hash, resolved_yaml, writable_folder
from quantcore.errors import ConfigError
from quantcore.settings import build_settings
from quantcore.timegrid import check_grids, to_us

HERE = __name__


class Mode(Enum):
    CROSS = 0
    ISOLATED = 1


@dataclass(frozen=True, kw_only=True)
class Flow:
    ts: str
    amount: float


@dataclass(frozen=True, kw_only=True)
class Account:
    capital: float
    leverage: int = 3
    mode: Literal["cross", "isolated"] = "cross"
    flows: tuple[Flow, ...] = ()
    fee: float | None = None
    ends: Mapping[str, str] | None = None
    active: bool = True
    margin: Mode = Mode.CROSS
    span: tuple[int, int] = (1, 2)
    names: Sequence[str] | None = None
    first: Flow | None = None
    folder: Path = Path()

    def __post_init__(self) -> None:
        if self.capital <= 0:
            raise ValueError(f"capital must be > 0, was {self.capital:g}")
        if self.leverage == 99:
            raise ConfigError("an interval must be whole")


@dataclass(frozen=True, kw_only=True)
class Strategy:
    forecast: Callable[..., float]
    account: Account | None = None


def forecast(price: float, *, span: int, cap: float = 1.0) -> float:
    return min(cap, price / span)


def account(**values: Any) -> Account:
    built = build_settings({"capital": 1, **values}, path="account", kind=Account)
    assert isinstance(built, Account)
    return built


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, HERE, sys.modules.get(HERE) or __import__(HERE))


def test_whole_number_serves_as_float_and_whole_float_as_int() -> None:
    built = account(capital=7700, leverage=4.0)
    assert (built.capital, type(built.capital)) == (7700.0, float)
    assert (built.leverage, type(built.leverage)) == (4, int)


def test_nested_dataclasses_come_from_annotations() -> None:
    built = account(flows=[{"ts": "2024-01-01", "amount": 3}], first={"ts": "x", "amount": -1.5})
    assert built.flows == (Flow(ts="2024-01-01", amount=3.0),)
    assert built.first == Flow(ts="x", amount=-1.5)


def test_enum_path_mapping_and_sequence_are_taken_by_annotation() -> None:
    built = account(margin="isolated", folder="data/runs", ends={"A": "2024"}, names=["B", "A"])
    assert built.margin is Mode.ISOLATED
    assert built.folder == Path("data/runs")
    assert built.ends == {"A": "2024"}
    assert built.names == ("B", "A")


def test_settings_can_be_sent_to_another_process() -> None:
    built = build_settings({"a": {"b": [1, {"c": None}]}})
    assert pickle.loads(pickle.dumps(built)) == {"a": {"b": (1, {"c": None})}}


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("capital", "much", "account.capital must be a finite number, was 'much'"),
        ("capital", True, "account.capital must be a finite number, was true"),
        ("capital", None, "account.capital must be a finite number, was null"),
        ("capital", float("nan"), "account.capital must be a finite number, was nan"),
        ("capital", float("inf"), "account.capital must be a finite number, was inf"),
        ("capital", "???", "account.capital must be given, was missing"),
        ("capital", -5, "account.capital must be > 0, was -5"),
        ("leverage", 2.5, "account.leverage must be a whole number, was 2.5"),
        ("leverage", "3", "account.leverage must be a whole number, was '3'"),
        ("leverage", 99, "account: an interval must be whole"),
        ("mode", "both", "account.mode must be one of cross, isolated, was 'both'"),
        ("margin", "both", "account.margin must be one of cross, isolated, was 'both'"),
        ("fee", "x", "account.fee must be a finite number or null, was 'x'"),
        ("active", 1, "account.active must be true or false, was 1"),
        ("flows", "x", "account.flows must be a list, was 'x'"),
        ("flows", [{"ts": "t"}], "account.flows[0].amount must be given, was missing"),
        ("flows", [{"ts": 1, "amount": 1}], "account.flows[0].ts must be text, was 1"),
        ("flows", [5], "account.flows[0] must be a mapping of ts, amount, was 5"),
        ("first", {"ts": "t"}, "account.first.amount must be given, was missing"),
        ("ends", {"A": 1}, "account.ends.A must be text, was 1"),
        ("ends", {1: "A"}, "account.ends must have text keys, was 1"),
        ("span", [1, 2, 3], "account.span must have 2 values, was [1, 2, 3]"),
        ("names", "A", "account.names must be a list or null, was 'A'"),
        (
            "capitol",
            1,
            "unknown key account.capitol; nearest: account.capital; known: active, capital, ends, fee, first, "
            "flows, folder, leverage, margin, mode, names, span",
        ),
    ],
)
def test_a_wrong_value_is_refused_with_key_rule_and_value(
    key: str, value: object, message: str
) -> None:
    with pytest.raises(ConfigError) as refused:
        account(**{key: value})
    assert str(refused.value) == message


@dataclass(frozen=True, kw_only=True)
class Span:
    start: str
    end: str | None = None
    interval: str = "1h"
    finer: str = "1h"
    ends: Mapping[str, str] | None = None

    def __post_init__(self) -> None:
        for time in (self.start, self.end or "2024", *(self.ends or {}).values()):
            to_us(time)
        check_grids(self.interval, self.finer)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"start": "foo"}, "data.start must be an ISO date or time, was 'foo' (at start)"),
        ({"end": "foo"}, "data.end must be an ISO date or time, was 'foo' (at end)"),
        (
            {"ends": {"X": "foo"}},
            "data.ends.X must be an ISO date or time, was 'foo' (at ends.X)",
        ),
        (
            {"finer": "x"},
            "data.finer must be a whole number and one of s m h d w, was 'x' (at finer)",
        ),
        (
            {"interval": "x"},
            "data.interval must be a whole number and one of s m h d w, was 'x' (at interval)",
        ),
        (
            {"finer": "2h", "interval": "90m"},
            "data: decision interval must be a whole multiple of the execution interval, was 90m on 2h "
            "(at interval, at finer)",
        ),
    ],
)
def test_a_shared_check_names_the_key_that_holds_the_refused_value(
    values: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError) as refused:
        build_settings(
            {"start": "2024", **values},
            path="data",
            kind=Span,
            locate=lambda key: f"at {key.removeprefix('data.')}",
        )
    assert str(refused.value) == message


@pytest.mark.parametrize("runs", ["afile", "afile/deeper", "/proc/foo", "closed/runs"])
def test_results_that_could_not_be_written_are_refused_beforehand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, runs: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("afile").touch()
    Path("closed").mkdir(mode=0o500)
    if runs.startswith("closed") and os.access("closed", os.W_OK):
        pytest.skip("this user may write everywhere")
    with pytest.raises(ConfigError, match=f"^runs must be a writable folder, was {runs}$"):
        writable_folder(runs, key="runs")


def test_asking_for_a_writable_folder_makes_nothing(tmp_path: Path) -> None:
    assert writable_folder(str(tmp_path / "a" / "b"), key="runs") == tmp_path / "a" / "b"
    assert list(tmp_path.iterdir()) == []


def test_target_names_a_dataclass_and_partial_a_function() -> None:
    node = {
        "_target_": f"{HERE}.Strategy",
        "forecast": {"_target_": f"{HERE}.forecast", "_partial_": True, "span": 4},
        "account": {"_target_": f"{HERE}.Account", "capital": 5},
    }
    built = build_settings(node)
    assert isinstance(built.forecast, partial)
    assert built.forecast(2.0) == 0.5
    assert built.account.capital == 5.0


@pytest.mark.parametrize(
    ("node", "message"),
    [
        ({"_target_": "nowhere"}, "x._target_ must be module.name, was 'nowhere'"),
        (
            {"_target_": "no.such"},
            "x._target_ must be importable, was no.such: No module named 'no'",
        ),
        ({"_target_": "math.pi"}, "x._target_ must be a dataclass or a function, was math.pi"),
        (
            {"_target_": f"{HERE}.forecast", "_partial_": True, "spam": 4},
            "unknown key x.spam; nearest: x.span; known: cap, price, span",
        ),
        (
            {"_target_": f"{HERE}.forecast", "_partial_": True, "span": "long"},
            "x.span must be a whole number, was 'long'",
        ),
        ({"_target_": f"{HERE}.forecast", "span": 1}, "x.price must be given, was missing"),
        (
            {
                "_target_": f"{HERE}.Strategy",
                "forecast": 1,
                "account": {"_target_": f"{HERE}.Flow"},
            },
            "x.forecast must be",
        ),
    ],
)
def test_a_wrong_target_is_refused(node: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}"):
        build_settings(node, path="x")


def test_target_of_another_class_is_refused() -> None:
    node = {"_target_": f"{HERE}.Flow", "ts": "t", "amount": 1}
    with pytest.raises(ConfigError, match=r"^x must be a mapping of capital.*, was .*\.Flow$"):
        build_settings(node, path="x", kind=Account)


# A command of its own, with option files in a temporary folder.

BASE = (Path(__file__).resolve().parents[1] / "conf" / "base.yaml").read_text(encoding="utf-8")
FILES = {
    "base.yaml": BASE,
    "toy.yaml": """
defaults:
  - base
  - _self_
  - data: synthetic
  - account: cross
  - override hydra/job_logging: none
  - override hydra/hydra_logging: none
free: {a: 1}
words: []
hydra: {job: {name: toy}, help: {header: "python -m toy"}}
""",
    "account/cross.yaml": "_target_: toy.Account\ncapital: 7700\nflows: []\n",
    "data/synthetic.yaml": "interval: 1h\n",
    "data/store.yaml": "interval: 1h\nroot: data/store\n",
    "data/folder.yaml": "interval: 1h\nroot: ???\n",
    "experiment/good.yaml": """# @package _global_
defaults: [{override /data: store}]
account: {capital: 100}
""",
    "experiment/misspelt.yaml": "# @package _global_\naccount: {capitol: 100}\n",
    "experiment/misplaced.yaml": "# @package _global_\nfree: {aa: 1}\n",
    "experiment/headless.yaml": "# a comment\n# @package _global_\nfree: {a: 2}\n",
    "experiment/text.yaml": "# @package _global_\naccount: {capital: a lot}\n",
    "experiment/dangling.yaml": "# @package _global_\naccount: {capital: '${free.b}'}\n",
    "experiment/broken.yaml": "# @package _global_\naccount: {capital: 1\n",
}
PROGRAM = """
from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from quantcore.config import build, run_command
from quantcore.errors import DataGap


@dataclass(frozen=True, kw_only=True)
class Account:
    capital: float
    flows: tuple[float, ...]

    def __post_init__(self) -> None:
        if self.capital <= 0:
            raise ValueError(f"capital must be > 0, was {self.capital:g}")


def main(cfg):
    capital = build(cfg.account).capital
    print(cfg.name, f"{capital:g}", cfg.data.get("root", "-"), *([list(cfg.words)] if cfg.words else []))
    if capital == 1:
        return 1
    if capital == 2:
        raise DataGap("no data for X,\\n  none at all")
    if capital == 3:
        raise KeyboardInterrupt
    if capital == 4:
        np.zeros(3).reshape(2, 2)
    if capital == 5:
        Path("nowhere/at/all").read_text()
    if capital in (10, 11):
        name = "statsmodels.tsa" if capital == 10 else "mine"
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)
    return None


if __name__ == "__main__":
    sys.modules["toy"] = sys.modules["__main__"]
    bare = os.environ.get("TOY_BARE")
    raise SystemExit(run_command("toy", main, folder=Path(__file__).parent / "conf", bare=bare))
"""


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("toy")
    for name, text in FILES.items():
        path = folder / "conf" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    (folder / "toy.py").write_text(PROGRAM, encoding="utf-8")
    return folder


@dataclass(frozen=True)
class Ended:
    code: int
    out: list[str] = field(default_factory=list)
    err: list[str] = field(default_factory=list)


def run(toy: Path, *arguments: str, **environment: str) -> Ended:
    root = str(Path(__file__).resolve().parents[1])
    done = subprocess.run(
        [sys.executable, "toy.py", *arguments],
        cwd=toy,
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
        env={**os.environ, "PYTHONPATH": root, **environment},
    )
    return Ended(done.returncode, done.stdout.splitlines(), done.stderr.splitlines())


@pytest.mark.integration
def test_a_run_succeeds_and_leaves_no_files(toy: Path) -> None:
    before = sorted(toy.rglob("*"))
    assert run(toy) == Ended(0, ["toy 7700 -"])
    jobs = ["job account.capital=8", "toy 8 -", "job account.capital=9", "toy 9 -"]
    assert run(toy, "-m", "account.capital=8,9") == Ended(0, jobs)
    assert sorted(toy.rglob("*")) == before


@pytest.mark.integration
def test_an_experiment_names_the_run_and_the_command_line_outranks_it(toy: Path) -> None:
    assert run(toy, "+experiment=good") == Ended(0, ["good 100 data/store"])
    ended = run(toy, "+experiment=good", "data=folder", "data.root=there", "account.capital=6")
    assert ended == Ended(0, ["good 6 there"])


@pytest.mark.integration
@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (
            ["+experiment=goood"],
            "no experiment 'goood'; nearest: good; known: broken, dangling, good, headless, "
            "misplaced, misspelt, text",
        ),
        (["data=foldr"], "no data 'foldr'; nearest: folder; known: folder, store, synthetic"),
        (
            ["account.capitol=5"],
            "unknown key account.capitol (command line); nearest: account.capital; known: capital, flows",
        ),
        (
            ["+account.capitol=5"],
            "unknown key account.capitol (command line); nearest: account.capital; known: capital, flows",
        ),
        (
            ["+experiment=misspelt"],
            "unknown key account.capitol (conf/experiment/misspelt.yaml); nearest: account.capital; "
            "known: capital, flows",
        ),
        (["+experiment=misplaced"], "unknown key free.aa (conf/experiment/misplaced.yaml)"),
        (
            ["+experiment=headless"],
            "experiment must begin with the line '# @package _global_' (conf/experiment/headless.yaml)",
        ),
        (["+experimnt=good"], "unknown key experimnt (command line); nearest: experiment; known: "),
        (["experiment=good"], "Could not override 'experiment'. No match in the defaults list."),
        (
            ["+experiment=text"],
            "account.capital must be a finite number, was 'a lot' (conf/experiment/text.yaml)",
        ),
        (["+experiment=dangling"], "account.capital: Interpolation key 'free.b' not found"),
        (["account.capital=-5"], "account.capital must be > 0, was -5 (command line)"),
        (["account.capital=true"], "account.capital must be a finite number, was true"),
        (["account.flows=[1,x]"], "account.flows[1] must be a finite number, was 'x'"),
        (
            ["account.capital=[1"],
            "account.capital=[1 must be an override that Hydra can read: no viable alternative at input",
        ),
        (["seed=x"], "seed must be a whole number >= 0, was 'x' (command line)"),
        (["seed=-1"], "seed must be a whole number >= 0, was -1 (command line)"),
        (["seed=true"], "seed must be a whole number >= 0, was True (command line)"),
        (["seed=null"], "seed must be a whole number >= 0, was null (command line)"),
        (
            ["account.capital=10"],
            "statsmodels must be installed for this: pip install 'quantcore[research]'",
        ),
        (["account.capital=2"], "no data for X, none at all"),
        (["account.capital=5"], "No such file or directory: nowhere/at/all"),
        (["--capital=5"], "unrecognized arguments: --capital"),
        (["foo"], "'foo' must be key=value"),
        (["account.capital=8", "foo", "--cfg", "job"], "'foo' must be key=value"),
    ],
)
def test_bad_input_ends_in_one_line_and_code_2(toy: Path, arguments: list[str], line: str) -> None:
    ended = run(toy, *arguments)
    assert ended.code == 2
    assert len(ended.err) == 1
    assert ended.err[0].startswith(line)


@pytest.mark.integration
def test_a_command_may_take_bare_words_as_the_list_of_one_setting(toy: Path) -> None:
    words = ["latest~1", "a b", "it's", "back\\", "20240101T000000.000001Z-x", "[1,2]", "-m"]
    ended = run(toy, "data=folder", *words, "data.root=there", TOY_BARE="words")
    assert ended.code == 0, ended.err
    assert ended.out == [f"toy 7700 there {words[:-1]}"]
    assert run(toy, "x", "words=[y]", TOY_BARE="words").out == ["toy 7700 - ['x']"]
    refused = run(toy, "x", "--capital=5", TOY_BARE="words")
    assert (refused.code, refused.err) == (2, ["unrecognized arguments: --capital=5"])
    assert run(toy, "x").err == ["'x' must be key=value"]


@pytest.mark.integration
def test_a_broken_option_file_is_named_with_its_line(toy: Path) -> None:
    ended = run(toy, "+experiment=broken")
    assert ended.code == 2
    assert len(ended.err) == 1
    assert "experiment/broken.yaml, line 3: " in ended.err[0]


@pytest.mark.integration
def test_a_task_decides_its_exit_code_and_multirun_keeps_the_worst(toy: Path) -> None:
    assert run(toy, "account.capital=1") == Ended(1, ["toy 1 -"])
    ended = run(toy, "account.capital=1,-3,8", "-m")
    jobs = [f"job account.capital={capital}" for capital in (1, -3, 8)]
    assert (ended.code, ended.out) == (2, [jobs[0], "toy 1 -", jobs[1], jobs[2], "toy 8 -"])
    assert ended.err == [
        "account.capital must be > 0, was -3 (command line) [job account.capital=-3]"
    ]


@pytest.mark.slow
def test_a_defect_of_a_job_on_ray_keeps_its_traceback(toy: Path) -> None:
    pytest.importorskip("hydra_plugins.hydra_ray_launcher")
    ended = run(toy, "account.capital=8,4", "-m", "hydra/launcher=ray")
    assert ended.code == 1
    assert any(line.endswith("toy 8 -") for line in ended.out)
    assert any("in main" in line for line in ended.err)
    assert any("ValueError: cannot reshape array" in line for line in ended.err)


@pytest.mark.integration
def test_an_interrupt_ends_in_one_line(toy: Path) -> None:
    assert run(toy, "account.capital=3") == Ended(130, ["toy 3 -"], ["interrupted"])


@pytest.mark.integration
def test_an_interrupt_during_the_imports_ends_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "hydra.py").write_text("raise KeyboardInterrupt\n")
    done = subprocess.run(
        [sys.executable, "-m", "quantcore.backtest", "+experiment=quickstart"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "interrupted\n")


@pytest.mark.integration
def test_a_defect_keeps_its_traceback(toy: Path) -> None:
    ended = run(toy, "account.capital=4")
    assert ended.code == 1
    assert "Traceback (most recent call last):" in ended.err
    assert ended.err[-1].startswith("ValueError: cannot reshape array")
    unknown = run(toy, "account.capital=11")
    assert unknown.code == 1
    assert unknown.err[-1] == "ModuleNotFoundError: No module named 'mine'"


@pytest.mark.integration
def test_a_refusal_shows_its_traceback_on_demand_and_keeps_its_code(toy: Path) -> None:
    ended = run(toy, "account.capital=-5", QUANTCORE_TRACEBACK="1")
    assert ended.code == 2
    assert ended.err[0] == "Traceback (most recent call last):"
    assert ended.err[-1] == "account.capital must be > 0, was -5 (command line)"
    assert run(toy, "data=foldr", QUANTCORE_TRACEBACK="1").code == 2


@pytest.mark.integration
def test_a_folder_of_option_files_of_the_user_is_named_as_given(toy: Path) -> None:
    folder = toy / "mine" / "conf"
    (folder / "account").mkdir(parents=True)
    (folder / "account" / "odd.yaml").write_text("_target_: nowhere.X\n")
    ended = run(toy, "account=odd", "--config-dir=mine/conf")
    assert ended.err == [
        "account._target_ must be importable, was nowhere.X: No module named 'nowhere'; "
        "put its folder on PYTHONPATH (mine/conf/account/odd.yaml)"
    ]


@pytest.mark.integration
def test_help_explains_and_cfg_shows(toy: Path) -> None:
    told = run(toy, "--help")
    assert told.code == 0
    assert told.out[0] == "python -m toy"
    assert "data: folder, store, synthetic" in told.out
    shown = run(toy, "--cfg", "job", "--resolve", "+experiment=good")
    assert shown.code == 0
    assert "name: good" in shown.out


def composed(toy: Path, *overrides: str) -> DictConfig:
    return compose("toy", overrides, folder=toy / "conf")


def test_resolved_text_is_sorted_complete_and_independent_of_order(toy: Path) -> None:
    one = composed(toy, "+experiment=good", "seed=1", "account.capital=5")
    other = composed(toy, "account.capital=5", "seed=1", "+experiment=good")
    assert resolved_yaml(one) == resolved_yaml(other)
    assert config_hash(one) == config_hash(other)
    assert config_hash(one) != config_hash(composed(toy, "+experiment=good"))
    keys = [line.split(":")[0] for line in resolved_yaml(one).splitlines() if line[0] != " "]
    shared = ["ledger", "name", "runs", "seed", "sweep", "walk_forward", "words"]
    assert keys == ["account", "data", "free", *shared]
    assert "name: good" in resolved_yaml(one)


def test_compose_refuses_what_a_command_refuses(toy: Path) -> None:
    with pytest.raises(ConfigError, match=r"unknown key account\.capitol \(command line\)"):
        composed(toy, "account.capitol=5")
    with pytest.raises(ConfigError, match="no experiment 'x'"):
        composed(toy, "+experiment=x")
    with pytest.raises(ConfigError, match=r"unknown key free\.aa \(conf/experiment/misplaced"):
        composed(toy, "+experiment=misplaced")


def test_build_takes_a_class_for_a_node_without_target(toy: Path) -> None:
    @dataclass(frozen=True, kw_only=True)
    class Free:
        a: int

    assert build(composed(toy).free, Free) == Free(a=1)
    with pytest.raises(ConfigError, match=r"^free\.a must be a whole number, was 'x' \(command"):
        build(composed(toy, "free.a=x").free, Free)


def test_build_returns_plain_values_for_untyped_nodes(toy: Path) -> None:
    assert build(composed(toy).data) == {"interval": "1h"}
    assert build(None) is None


def test_a_missing_value_names_the_file_that_asks_for_it(toy: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"^data\.root must be given, was missing \(conf/data/folder.yaml\)$"
    ):
        build(composed(toy, "data=folder").data)
