"""A sweep's parameters name settings that exist and that a set may have of its own."""

from __future__ import annotations

from typing import Any

import pytest
from omegaconf import DictConfig, OmegaConf

from quantcore.config import compose
from quantcore.errors import ConfigError
from quantcore.research.space import parse_space
from quantcore.research.space_names import check_names, with_whole_numbers

GROUPS = {
    "strategy": ["trend", "carry", "all", "plain_momentum"],
    "portfolio": ["half_kelly", "inverse_volatility"],
    "data": ["synthetic", "folder"],
}


def plain(*overrides: str) -> dict[str, Any]:
    cfg: DictConfig = compose("backtest", overrides)
    bare = {key: cfg[key] for key in cfg if key != "hydra"}
    return {
        str(key): OmegaConf.to_container(node) if OmegaConf.is_config(node) else node
        for key, node in bare.items()
    }


@pytest.fixture(scope="module")
def trend() -> dict[str, Any]:
    return plain("execution=router", "portfolio=half_kelly", "universe=liquid", "regime=hmm")


@pytest.fixture(scope="module")
def several() -> dict[str, Any]:
    return plain("strategy=all")


def test_every_part_between_bars_and_account_can_be_swept(trend: dict[str, Any]) -> None:
    texts = [
        "strategy.fast=4,8", "strategy.exits.stop_loss=null,0.1", "portfolio.kelly.fraction=interval(0.1,1)",
        "regime.detector.states=2,3", "matrix.size=0.5,1", "universe.symbols_max=range(5,25,5)",
        "account.margin=cross,isolated", "account.leverage_max=interval(1,3)", "execution.router.requote_bps=5,10",
    ]  # fmt: skip
    check_names(parse_space(texts), [trend], groups=GROUPS)
    check_names(
        parse_space(["strategy=trend,carry", "portfolio=half_kelly"]), [trend], groups=GROUPS
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("strategy.fsat=4,8", "unknown parameter strategy.fsat; nearest: strategy.fast$"),
        ("fast=4,8", "unknown parameter fast; nearest: strategy.fast$"),
        ("execution.requote_bps=1", "nearest: execution.router.requote_bps$"),
        ("portfolio.fast=1", "unknown parameter portfolio.fast; nearest: strategy.fast$"),
        ("porfolio=half_kelly", "unknown parameter porfolio; nearest: portfolio$"),
        ("strategy.qqqq=1", "strategy.qqqq; known: strategy.fast, strategy.slow, .*strategy.exits.time_exit$"),
        ("qqqq=1", "unknown parameter qqqq; a sweep varies strategy, portfolio"),
        ("kelly.review=1", "nearest: portfolio.kelly.review, "),
        ("strategy.exits=1", r"strategy.exits must be one setting, is a node of 4: .*stop_loss.*, \.\.\."),
        ("portfolio.kelly=null", "portfolio.kelly must be one setting, is a node"),
        ("strategy._target_=a,b", "strategy._target_ is no setting; sweep a group"),
        ("data.seed=1,2", "data.seed cannot be swept, all sets share the data; a sweep varies"),
        ("data=folder", "data cannot be swept, all sets share the data"),
        ("runs=a,b", "runs cannot be swept, it is the same for all sets"),
        ("seed=1,2", "seed cannot be swept"),
        ("walk_forward=1,2", "walk_forward cannot be swept, it is the same for all sets"),
        ("portfolio=half_kely", "no portfolio 'half_kely'; nearest: half_kelly; known: half_kelly, inv"),
        ("portfolio=1", "no portfolio 1; known"),
        ("portfolio=interval(0,1)", r"portfolio must be swept by its options .*interval\(0.0, 1.0\)"),
        ("account.margin=interval(0,1)", "account.margin takes no number, was interval"),
        ("strategy.fast=[4,8]", r"takes one value, was \[4, 8\]; several to try are strategy.fast=4,8$"),
    ],
)  # fmt: skip
def test_what_cannot_be_swept_is_refused_in_one_line(
    trend: dict[str, Any], text: str, message: str
) -> None:
    with pytest.raises(ConfigError, match=message) as refused:
        check_names(parse_space([text]), [trend], groups=GROUPS)
    assert "\n" not in str(refused.value)


def test_a_setting_need_exist_under_one_of_the_options_only(
    trend: dict[str, Any], several: dict[str, Any]
) -> None:
    space = parse_space(["strategy=trend,all", "strategy.fast=4,8"])
    check_names(space, [several, trend], groups=GROUPS)
    with pytest.raises(ConfigError, match=r"nearest: strategy.members.trend.fast"):
        check_names(space, [several], groups=GROUPS)


def test_intervals_of_whole_settings_become_whole(
    trend: dict[str, Any], several: dict[str, Any]
) -> None:
    texts = [
        "strategy.fast=tag(log,interval(4,64))",
        "strategy.cap=interval(1,2)",
        "strategy.slow=4,8",
    ]
    texts.append("universe.symbols_max=int(interval(5,25))")
    fast, cap, slow, symbols = with_whole_numbers(parse_space(texts), [trend]).parameters
    assert str(fast.interval) == "tag(log, int(interval(4, 64)))"
    assert str(cap.interval) == "interval(1.0, 2.0)"
    assert slow.choices == (4, 8)
    assert str(symbols.interval) == "int(interval(5, 25))"
    (member,) = with_whole_numbers(
        parse_space(["strategy.members.trend.fast=interval(4,64)"]), [several]
    ).parameters
    assert str(member.interval) == "int(interval(4, 64))"


def test_a_nullable_whole_setting_takes_whole_numbers(trend: dict[str, Any]) -> None:
    (exit_,) = with_whole_numbers(
        parse_space(["strategy.exits.time_exit=interval(5,50)"]), [trend]
    ).parameters
    assert str(exit_.interval) == "int(interval(5, 50))"


def test_a_whole_setting_refuses_bounds_with_a_fraction(trend: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"strategy.fast: interval must have whole bounds"):
        with_whole_numbers(parse_space(["strategy.fast=interval(4.5,64)"]), [trend])
