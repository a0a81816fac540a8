"""Beyond this machine the dashboard asks for a token, and says what is wrong with its settings in one line."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest

from live.dashboard.settings import DashboardSettings
from quantcore.config import compose, plain_settings
from quantcore.errors import ConfigError
from quantcore.settings import build_settings

VARIABLE = "QUANTCORE_DASHBOARD_TOKEN"
NAMES = ("host", "port", "names", "token", "certificate", "key", "look_s")


@cache
def given() -> dict[str, Any]:
    plain = plain_settings(compose("dashboard"))
    return {name: plain[name] for name in NAMES}


def settings(**changed: Any) -> DashboardSettings:
    made: DashboardSettings = build_settings(given() | changed, kind=DashboardSettings)
    return made


def test_only_this_machine_by_default_and_without_a_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    assert settings().host == "127.0.0.1"
    assert settings().held_token() is None
    assert set(settings().hosts) == {"127.0.0.1", "localhost", "::1"}


@pytest.mark.parametrize(
    "changed", [{"host": "192.0.2.7"}, {"host": "0.0.0.0", "names": ["desk"]}, {"names": ["desk"]}]
)
def test_anything_else_needs_a_token(
    changed: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    with pytest.raises(ConfigError, match=f"{VARIABLE} must hold a token of 16 characters"):
        settings(**changed).held_token()
    monkeypatch.setenv(VARIABLE, "0123456789abcdef")
    assert settings(**changed).held_token() == "0123456789abcdef"
    assert settings().held_token() == "0123456789abcdef"


def test_a_page_for_everybody_must_have_names() -> None:
    with pytest.raises(ConfigError, match=r"names must say .* with host 0\.0\.0\.0, was empty"):
        settings(host="0.0.0.0")
    assert "desk" in settings(host="0.0.0.0", names=["desk"]).hosts
    assert "0.0.0.0" not in settings(host="0.0.0.0", names=["desk"]).hosts


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"port": 70000}, "port must be in"),
        ({"look_s": 0.0}, "look_s must be in"),
        ({"look_s": 5.0}, "look_s must be in"),
        ({"certificate": "a.pem"}, "certificate and key must be given together"),
    ],
)
def test_bad_settings_are_named(changed: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        settings(**changed)
