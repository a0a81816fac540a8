"""A start is refused in one line before anything connects, whatever is wrong; the strictest limits are traded by."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from omegaconf import DictConfig

from live.asked import Asked
from live.guard.modes import MODES
from live.settings import LiveSettings
from quantcore.config import build, compose, conf_folder
from quantcore.errors import ConfigError

KEYS = {"BINANCE_API_KEY": "planted-key", "BINANCE_API_SECRET": "planted-secret"}


def asked(
    *arguments: str, environment: dict[str, str] = KEYS, cfg: DictConfig | None = None
) -> Asked:
    found = compose("live", list(arguments)) if cfg is None else cfg
    return Asked.of(found, list(arguments), environment)


def experiment(folder: Path, text: str, *overrides: str) -> DictConfig:
    """Return the settings with an experiment of a folder of its own."""
    (folder / "experiment").mkdir()
    (folder / "experiment" / "mine.yaml").write_text(f"# @package _global_\n{text}")
    search = f"hydra.searchpath=[file://{folder}]"
    return compose("live", [search, "+experiment=mine", *overrides])


@pytest.mark.parametrize(
    ("arguments", "reasons"),
    [
        (["conf=prod", "conf.grace_s=1"], ["command line", "option file"]),
        (["conf=prod", "++conf.grace_s=1"], ["command line", "option file"]),
        (["conf=prod", "conf.rest_url=http://127.0.0.1:80", "conf.stream_url=ws://127.0.0.1:80"],
         ["orders' host: must be a secure fapi.binance.com, is http://127.0.0.1:80", "streams' host"]),
        (["conf=staging", "account.leverage_max=5"], ["account.leverage_max must be <= 3, is 5"]),
        (["conf=paper", "account.leverage_max=3"], ["account.leverage_max must be <= 2, is 3"]),
        (["conf=testnet", "conf.rest_url=https://fapi.binance.com"], ["orders' host"]),
        (["conf=paper", "conf.rest_url=https://elsewhere.org"], ["prices' host"]),
        (["conf=sim", "conf.rest_url=https://fapi.binance.com"], ["conf.rest_url must be null for mode sim"]),
        (["conf=paper", "conf.rest_url=null"], ["conf.rest_url must be given for mode paper"]),
        (["conf=testnet", "conf.clock_speed=20"], ["conf.clock_speed must be 1 for mode testnet, was 20.0"]),
        (["conf=testnet", "conf.mode=prod"], ["command line: must hold conf=prod alone"]),
        (["conf=sim", "conf.mode=nonsense"], ["conf.mode must be one of sim, paper"]),
        (["conf=paper", "conf.journal=nonsense"], ["conf.journal: url must begin with sqlite:///"]),
        (["conf=nonsense"], ["no conf 'nonsense'"]),
    ],
)  # fmt: skip
def test_what_is_wrong_is_refused_in_one_line(arguments: list[str], reasons: Sequence[str]) -> None:
    with pytest.raises(ConfigError) as refused:
        asked(*arguments)
    told = str(refused.value)
    assert "\n" not in told
    assert "planted" not in told
    for reason in reasons:
        assert reason in told


@pytest.mark.parametrize("mode", ["testnet", "staging", "prod"])
def test_without_keys_nothing_starts(mode: str) -> None:
    with pytest.raises(ConfigError, match="keys: BINANCE"):
        asked(f"conf={mode}", environment={})


@pytest.mark.parametrize("mode", ["staging", "prod"])
def test_an_experiment_cannot_choose_a_mode_of_real_money(tmp_path: Path, mode: str) -> None:
    cfg = experiment(tmp_path, f"defaults:\n  - override /conf: {mode}\n")
    assert cfg.conf.mode == mode
    with pytest.raises(ConfigError, match=f"command line: must hold conf={mode} alone"):
        asked("+experiment=mine", cfg=cfg)


def test_an_experiment_cannot_change_what_a_mode_of_real_money_is(tmp_path: Path) -> None:
    cfg = experiment(tmp_path, "conf:\n  grace_s: 0.5\n  recv_window_ms: 60000\n", "conf=prod")
    with pytest.raises(ConfigError) as refused:
        asked("+experiment=mine", "conf=prod", cfg=cfg)
    assert "others are: conf.grace_s, conf.recv_window_ms" in str(refused.value)
    assert "failed 1: option file" in str(refused.value)


def test_an_experiment_cannot_loosen_the_limits_that_are_traded_by(tmp_path: Path) -> None:
    wild = "defaults:\n  - override /risk: none\n"
    found = asked("+experiment=mine", "conf=prod", cfg=experiment(tmp_path, wild, "conf=prod"))
    assert found.parts.risk == build(compose("live", ["conf=prod"]).risk)
    assert found.cfg.risk.leverage_max == 10.0  # what the session writes down


def test_stricter_limits_of_an_experiment_are_those_traded_by() -> None:
    risk = asked("conf=prod", "risk.net_max=1.5", "risk.daily_var_max=0.03").parts.risk
    assert risk is not None
    assert (risk.net_max, risk.daily_var_max) == (1.5, 0.02)


def test_a_simulated_account_trades_by_what_is_asked_for() -> None:
    assert asked("conf=sim", "risk=none").parts.risk is None


@pytest.mark.parametrize("mode", MODES)
def test_files_of_a_mode_are_beside_its_journal(mode: str) -> None:
    def folder(*overrides: str) -> Path:
        return build(compose("live", [f"conf={mode}", *overrides]).conf, LiveSettings).folder

    assert folder() == Path("data/live") / mode
    assert folder("conf.journal=sqlite:///elsewhere/j.sqlite") == Path("elsewhere")
    assert folder("conf.journal=postgresql+psycopg://there/x") == Path("data/live") / mode


def test_every_option_file_of_a_mode_is_there() -> None:
    assert {path.stem for path in (conf_folder() / "conf").glob("*.yaml")} == set(MODES)
