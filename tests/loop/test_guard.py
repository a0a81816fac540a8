"""A mode of real money is refused unless the command line names it, alone, and somebody armed it."""

from __future__ import annotations

import pytest

from live.guard.arming import ARMED, preflight
from live.settings import LiveSettings
from quantcore.config import build, compose
from quantcore.errors import ConfigError


def settings(mode: str) -> LiveSettings:
    return build(compose("live", [f"conf={mode}"]).conf, LiveSettings)


@pytest.mark.parametrize("mode", ["sim", "paper", "testnet"])
def test_no_real_money_needs_no_arming(mode: str) -> None:
    preflight(settings(mode), [], {})


@pytest.mark.parametrize("mode", ["staging", "prod"])
def test_real_money_passes_named_and_armed(mode: str) -> None:
    preflight(settings(mode), [f"conf={mode}"], {ARMED: mode})


@pytest.mark.parametrize(
    ("arguments", "armed", "reason"),
    [
        ([], "prod", "must stand on the command line"),
        (["conf=staging"], "prod", "must stand on the command line"),
        (["conf=prod"], "", f"{ARMED} must be prod"),
        (["conf=prod"], "staging", f"{ARMED} must be prod"),
        (["conf=prod", "conf.rest_url=http://there"], "prod", "must stand alone"),
        (["conf=prod", "++conf.grace_s=1"], "prod", "must stand alone"),
    ],
)
def test_real_money_is_refused(arguments: list[str], armed: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        preflight(settings("prod"), arguments, {ARMED: armed})
