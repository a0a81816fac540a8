"""Markers planted as key, secret and password are looked for wherever a start or a loop that fails could show them."""

from __future__ import annotations

import asyncio
import logging
import os
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from live.broker.binance import BinanceBroker
from live.broker.settings import BrokerSettings
from live.hidden import check_no_password, check_variable, public_environment
from live.journal import open_journal
from live.settings import LiveSettings, SimulatorSettings
from live.simulator_process import attach
from quantcore.config import build, compose, resolved_yaml
from quantcore.errors import ConfigError, JournalError, VenueError
from tests.broker.hand_made import KEY, SECRET, Handler, hand_made, page, refuse
from tests.broker.test_binance_answers import echo, places_where_secrets_could_stand

MARKERS = ("K3YMARKER", "S3CR3TMARKER", "P4SSMARKER", "signature=")
LOGGERS = (
    "aiohttp.client",
    "aiohttp.websocket",
    "asyncio",
    "binance",
    "sqlalchemy",
    "sqlalchemy.engine",
    "websockets",
)


@contextmanager
def talkative(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Let every library tell all that it would tell a developer."""
    caplog.set_level(logging.DEBUG)
    for name in LOGGERS:
        caplog.set_level(logging.DEBUG, logger=name)
    asyncio.get_running_loop().set_debug(True)
    try:
        yield
    finally:
        asyncio.get_running_loop().set_debug(False)


async def never(_: Mapping[str, str]) -> None:
    await asyncio.sleep(5.0)


async def cut(_: Mapping[str, str]) -> web.Response:
    raise asyncio.CancelledError


STEPS = ("GET /fapi/v1/time", "GET /fapi/v1/exchangeInfo", "POST /fapi/v1/listenKey")
FAILURES: dict[str, Handler] = {
    "wrong key": refuse(401, -2014, "API-key format invalid."),
    "missing permission": refuse(401, -2015, f"Invalid API-key {KEY}, IP, or permissions for action."),
    "a page": page(502),
    "a page with success": page(200),
    "an echo": echo(400),
    "a list": lambda _: [],
    "half an answer": lambda _: web.Response(text='{"serverTi', content_type="application/json"),
    "no answer": never,
    "a cut": cut,
}  # fmt: skip


@pytest.mark.parametrize("what", FAILURES)
@pytest.mark.parametrize("step", STEPS)
async def test_a_start_that_fails_is_one_line_without_a_secret(
    step: str, what: str, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    with talkative(caplog):
        async with hand_made() as exchange:
            exchange.answers[step] = FAILURES[what]
            broker = BinanceBroker(exchange.settings(timeout_s=0.2, read_attempts=1))
            with pytest.raises(VenueError) as refused:
                await broker.start()
            shown = [repr(broker), repr(vars(broker)), repr(broker.settings)]
            shown.append(places_where_secrets_could_stand(refused.value))
    assert "\n" not in str(refused.value)
    everything = "\n".join([*shown, caplog.text, *capfd.readouterr()])
    assert [marker for marker in MARKERS if marker in everything] == []


async def test_an_exchange_that_is_not_there_is_one_line_without_a_secret(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with talkative(caplog):
        async with hand_made() as exchange:
            settings = exchange.settings(rest_url="http://127.0.0.1:9", read_attempts=1)
            with pytest.raises(VenueError) as refused:
                await BinanceBroker(settings).start()
    everything = caplog.text + places_where_secrets_could_stand(refused.value)
    assert [marker for marker in MARKERS if marker in everything] == []


# Passwords.

WITH_PASSWORD = (
    "postgresql+psycopg://loop:P4SSMARKER@127.0.0.1:9/journal",
    "postgresql+psycopg://loop@127.0.0.1:9/journal?password=P4SSMARKER",
)


@pytest.mark.parametrize("url", WITH_PASSWORD)
def test_a_password_in_the_journals_address_is_refused_and_not_shown(url: str) -> None:
    with pytest.raises(ConfigError, match=r"^url must hold no password, does: PGPASSWORD") as one:
        open_journal(url)
    cfg = compose("live", ["conf=testnet", f"conf.journal='{url}'"])
    with pytest.raises(ConfigError, match=r"conf\.journal must hold no password") as other:
        build(cfg.conf, LiveSettings)
    for refused in (one, other):
        assert "P4SSMARKER" not in places_where_secrets_could_stand(refused.value)


@pytest.mark.parametrize(
    "url",
    [
        "sqlite:///data/live/sim/journal.sqlite", "sqlite://", "postgresql+psycopg://loop@host/journal",
        "postgresql+psycopg://loop:@/journal?host=/run", "postgresql+psycopg://[", "none at all",
    ],
)  # fmt: skip
def test_an_address_without_a_password_passes(url: str) -> None:
    check_no_password("url", url)


def test_a_password_of_the_environment_is_not_shown_by_a_database_that_does_not_open(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("PGPASSWORD", "P4SSMARKER")
    for name in ("", *LOGGERS):
        caplog.set_level(logging.DEBUG, logger=name)
    with pytest.raises(JournalError) as refused:
        open_journal("postgresql+psycopg://loop@127.0.0.1:9/journal?connect_timeout=2")
    assert "\n" not in str(refused.value)
    everything = caplog.text + places_where_secrets_could_stand(refused.value)
    assert "P4SSMARKER" not in everything


# Settings and other processes.


@pytest.mark.parametrize("name", ["api_key", "api_secret"])
@pytest.mark.parametrize("given", [KEY, "vmPUZE6mv9SD5VNHk4Hl", "", "A" * 64])
def test_a_key_given_in_place_of_its_name_is_refused_in_every_setting(
    name: str, given: str
) -> None:
    cfg = compose("live", ["conf=testnet", f"conf.{name}='{given}'"])
    with pytest.raises(ConfigError, match=f"{name} must name an environment variable") as refused:
        build(cfg.conf, LiveSettings)
    assert given == "" or given not in places_where_secrets_could_stand(refused.value)


def test_the_settings_as_they_are_printed_and_kept_hold_names_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("BINANCE_TESTNET_API_KEY", KEY)
    monkeypatch.setenv("BINANCE_TESTNET_API_SECRET", SECRET)
    cfg = compose("live", ["conf=testnet"])
    settings = build(cfg.conf, LiveSettings)
    reached = BrokerSettings(
        rest_url="http://h", stream_url="ws://h", api_key=settings.api_key, api_secret=settings.api_secret
    )  # fmt: skip
    assert reached.find_credentials().api_key == KEY
    shown = resolved_yaml(cfg) + repr(settings) + repr(reached) + repr(BinanceBroker(reached))
    assert "BINANCE_TESTNET_API_KEY" in shown
    assert [marker for marker in MARKERS if marker in shown] == []


def test_another_process_gets_nothing_secret_of_the_environment() -> None:
    environment = {
        "PATH": "/bin", "HOME": "/h", "PYTHONPATH": "/p", "QUANTCORE_TRACEBACK": "1", "LANG": "C",
        "BINANCE_API_KEY": "K", "BINANCE_TESTNET_API_SECRET": "S", "PGPASSWORD": "P", "PGPASSFILE": "F",
        "QUANTCORE_ARMED": "prod", "github_token": "T", "MINE": "M",
    }  # fmt: skip
    kept = public_environment(environment, ["MINE"])
    assert sorted(kept) == ["HOME", "LANG", "PATH", "PYTHONPATH", "QUANTCORE_TRACEBACK"]


async def test_a_simulator_is_started_without_keys_in_its_environment_or_its_title(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {
        "BINANCE_API_KEY": KEY,
        "MY_OWN": SECRET,
        "PGPASSWORD": "P4SSMARKER",
    }.items():
        monkeypatch.setenv(name, value)
    started: list[tuple[Any, dict[str, str]]] = []

    def start(command: Any, *, env: dict[str, str], **_: Any) -> Any:
        started.append((command, env))
        raise OSError

    monkeypatch.setattr(subprocess, "Popen", start)
    settings = SimulatorSettings(
        state_file=str(tmp_path / "state.json"), folder=str(tmp_path / "sim"), speed=20.0, overrides=(), start_s=1.0
    )  # fmt: skip
    with suppress(OSError):
        await attach(settings, hidden=("MY_OWN",))
    ((command, environment),) = started
    assert environment["PATH"] == os.environ["PATH"]
    shown = repr(command) + repr(environment)
    assert [marker for marker in MARKERS if marker in shown] == []


def test_names_of_variables_are_in_capitals() -> None:
    check_variable("api_key", "BINANCE_API_KEY")
    with pytest.raises(ConfigError):
        check_variable("api_key", "binance_api_key")
