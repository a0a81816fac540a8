"""Every option file and every experiment composes and builds under every command."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from omegaconf import DictConfig, OmegaConf

from quantcore.config import build, compose, conf_folder, resolved_yaml
from quantcore.settings import TARGET

CONF = conf_folder()
PRIMARIES = sorted(p.stem for p in CONF.glob("*.yaml") if p.stem != "base")
OPTIONS = sorted(str(p.relative_to(CONF).with_suffix("")) for p in CONF.glob("*/**/*.yaml"))
EXPERIMENTS = sorted(p.stem for p in (CONF / "experiment").glob("*.yaml"))
COMMANDS = [
    p for p in PRIMARIES if "- strategy:" in (CONF / f"{p}.yaml").read_text(encoding="utf-8")
]
"""The commands that run a strategy and so take experiments."""
NEEDED = {"data.root": "somewhere", "data.path": "somewhere"}
"""Values that have no default: only a user can know them."""


def given(cfg: DictConfig) -> DictConfig:
    for key, value in NEEDED.items():
        group, _, name = key.rpartition(".")
        if group in cfg and OmegaConf.is_missing(cfg[group], name):
            OmegaConf.update(cfg, key, value)
    return cfg


def build_all(node: Any) -> int:
    """Build every node that names a `_target_`; return how many there were."""
    if not isinstance(node, DictConfig):
        return 0
    if TARGET in node:
        build(node)
        return 1
    return sum(build_all(node[key]) for key in node if key != "hydra" and node[key] is not None)


@pytest.mark.parametrize("primary", PRIMARIES)
def test_primary_composes_and_builds(primary: str) -> None:
    cfg = given(compose(primary))
    groups = [g for g in cfg.hydra.runtime.choices if not str(g).startswith("hydra/")]
    assert build_all(cfg) >= bool(groups)
    assert cfg.name == cfg.hydra.job.name
    assert cfg.hydra.job.name


@pytest.mark.parametrize("primary", PRIMARIES)
def test_primary_explains_itself_and_writes_nothing_of_hydra(primary: str) -> None:
    hydra = compose(primary).hydra
    assert "python -m" in hydra.help.header
    assert hydra.output_subdir is None
    assert hydra.run.dir == "."
    assert hydra.job.chdir is False
    assert hydra.job_logging.root is None
    assert hydra.hydra_logging.root is None


WITHOUT_SETTINGS = ("regime/none", "risk/none", "universe/all")
"""Options that choose to do without their group."""


PLAIN = [o for o in OPTIONS if not o.startswith(("experiment/", "conf/"))]
NOT_FOR = {("live", "data/recorded")}
"""The loop trades bars; recorded streams are the simulator's."""


def pairs(first: str, others: Sequence[str], choices: Sequence[str]) -> list[tuple[str, str]]:
    """Every choice with the first, and with a changing third of the others: the whole product takes minutes."""
    chosen = [(first, choice) for choice in choices]
    for number, choice in enumerate(choices):
        chosen += [(other, choice) for other in others[number % 3 :: 3] if other != first]
    return [pair for pair in chosen if pair not in NOT_FOR]


@pytest.mark.parametrize(("primary", "option"), pairs("backtest", PRIMARIES, PLAIN))
def test_option_composes_and_builds(primary: str, option: str) -> None:
    group, _, name = option.rpartition("/")
    sign = "" if group in compose(primary).hydra.runtime.choices else "+"
    cfg = given(compose(primary, [f"{sign}{group}={name}"]))
    if option in WITHOUT_SETTINGS:
        assert cfg[group] == {}
    else:
        assert build_all(cfg[group]) >= 1


MODES = sorted(p.stem for p in (CONF / "conf").glob("*.yaml"))


@pytest.mark.parametrize("mode", MODES)
def test_mode_of_the_loop_composes_with_its_account_and_limits(mode: str) -> None:
    cfg = compose("live", [f"conf={mode}"])
    settings = build(cfg.conf)
    assert settings.mode == mode
    assert mode in settings.journal
    risk = build(cfg.risk)
    assert risk.stage_capital in (None, cfg.account.capital)
    assert cfg.account.leverage_max <= risk.leverage_max
    assert cfg.hydra.runtime.choices.risk == {"sim": "prod"}.get(mode, mode)


@pytest.mark.parametrize(("mode", "experiment"), pairs("sim", MODES, EXPERIMENTS))
def test_experiment_composes_and_builds_in_every_mode(mode: str, experiment: str) -> None:
    cfg = given(compose("live", [f"conf={mode}", f"+experiment={experiment}"]))
    assert build_all(cfg) >= 1
    assert cfg.conf.mode == mode


@pytest.mark.parametrize(("primary", "experiment"), pairs("backtest", COMMANDS, EXPERIMENTS))
def test_experiment_composes_and_builds_under_every_command(primary: str, experiment: str) -> None:
    cfg = given(compose(primary, [f"+experiment={experiment}"]))
    assert build_all(cfg) >= 1
    assert cfg.name == experiment
    assert f"name: {experiment}\n" in resolved_yaml(cfg)


@pytest.mark.parametrize("source", ["folder", "store", "synthetic"])
@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_data_on_the_command_line_outranks_the_experiment(experiment: str, source: str) -> None:
    cfg = compose("backtest", [f"+experiment={experiment}", f"data={source}", "data.root=there"])
    assert cfg.hydra.runtime.choices.data == source
    assert cfg.data.root == "there"
    assert build(cfg.data).root == "there"


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_experiment_is_a_diff_that_names_its_command_and_no_market(experiment: str) -> None:
    path = CONF / "experiment" / f"{experiment}.yaml"
    text = path.read_text(encoding="utf-8")
    lines = text.splitlines()
    assert lines[0] == "# @package _global_"
    assert lines[1].startswith("# python -m ")
    assert f"+experiment={experiment}" in lines[1]
    plain = OmegaConf.to_container(OmegaConf.load(path), resolve=False)
    assert isinstance(plain, dict)
    assert "conf" not in plain
    assert not {"symbols", "start", "end", "ends"} & set(plain.get("data", {}))


@pytest.mark.parametrize(
    "path", sorted(CONF.rglob("*.yaml")), ids=lambda p: str(p.relative_to(CONF))
)
def test_option_file_begins_with_what_it_is(path: Path) -> None:
    assert path.read_text(encoding="utf-8").startswith("# ")


def test_experiment_4h_looks_back_as_many_days_as_1h() -> None:
    hourly = compose("backtest", ["+experiment=majors_1h"]).strategy
    slow = compose("backtest", ["+experiment=majors_4h"]).strategy
    for span in ("fast", "slow", "volatility_half_life"):
        assert slow[span] * 4 == hourly[span]
