"""A loop trades on a bad day with every library talking: key, secret and signature stand in no file and no line."""

from __future__ import annotations

import asyncio
import logging
import os
import re
from pathlib import Path

import pytest

from live.journal import open_journal
from live.journal.transfer import write_export
from tests.broker.test_secrets import LOGGERS
from tests.loop.on_exchange import ground, trading, until

pytestmark = [pytest.mark.integration, pytest.mark.slow]

FAULTS = (
    {"kind": "unknown_outcome", "requests": "POST /fapi/v1/*rder", "probability": 0.2, "placed": True},
    {"kind": "connection_drop", "requests": "* /fapi/v1/*rder", "probability": 0.1, "stage": "after"},
    {"kind": "service_unavailable", "requests": "GET *", "probability": 0.1},
    {"kind": "listen_key_expiry", "at_seconds": 120, "every_seconds": 200},
)  # fmt: skip
_ADDRESS = re.compile(rb"signature=|listenKey=\w")


async def test_nothing_secret_is_written_or_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    for name in ("", *LOGGERS):
        echo = name.startswith("sqlalchemy")  # whose rows would fill the memory
        caplog.set_level(logging.INFO if echo else logging.DEBUG, logger=name)
    with ground(tmp_path) as there:
        hidden = [there.simulator.ready[name] for name in ("api_key", "api_secret")]
        async with trading(there) as driver:
            await until(lambda: driver.loop.decisions >= 2, 60, "two decisions")
            for fault in FAULTS:
                lasting = {} if "every_seconds" in fault else {"duration_seconds": 300}
                await there.simulator.control("/fault", **lasting, **fault)
            await asyncio.sleep(12.0)
            assert driver.sender.sent > 10
            shown = [
                repr(driver),
                repr(driver.broker),
                repr(vars(driver.broker)),
                repr(driver.settings),
            ]
        with open_journal(there.journal, read_only=True) as journal:
            (tmp_path / "export").mkdir()
            write_export(journal, tmp_path / "export")
        files = [
            path
            for path in tmp_path.rglob("*")
            if path.is_file() and path.name not in ("state.json", "log")
        ]
        title = Path(f"/proc/{os.getpid()}/cmdline").read_text()
        told = "\n".join([*shown, caplog.text, *capfd.readouterr(), title]).encode()
        assert len(caplog.text) > 10_000
        assert len(files) > 5
        for secret in hidden:
            assert len(secret) == 64
            assert secret.encode() not in told
            assert [path for path in files if secret.encode() in path.read_bytes()] == []
        assert _ADDRESS.search(told) is None
        held = (tmp_path / "live").stat().st_mode & 0o777
        assert (held, (tmp_path / "state.json").stat().st_mode & 0o777) == (0o700, 0o600)
