"""The simulator that the loop trades on: one that runs already, or one of its own that outlives it."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Collection
from pathlib import Path

from live.hidden import public_environment
from live.settings import SimulatorSettings
from live.simulator.state_file import RunningExchange, find_running
from quantcore.errors import VenueError

SNAPSHOT = "exchange.snapshot"
_LOOK_SECONDS = 0.1
_LOG_SHOWN = 400


async def attach(
    settings: SimulatorSettings, hidden: Collection[str] = ()
) -> tuple[RunningExchange, bool]:
    """Return the running simulator, started if there is none, and whether it was started.

    It runs in a session of its own, so that neither Ctrl-C nor the loop's end reaches it; it ends by itself. Of this
    process's environment it gets nothing secret.

    Parameters
    ----------
    settings : SimulatorSettings
        Which.
    hidden : collection of str
        Names of variables that hold secrets.

    Raises
    ------
    VenueError
        If it does not answer in time.
    """
    path = Path(settings.state_file)
    found = find_running(path)
    if found is not None:
        return found, False
    folder = Path(settings.folder)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    log = folder / "simulator.log"
    with log.open("ab") as told:
        process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "live.simulator",
                f"state_file={path}",
                f"snapshot_file={folder / SNAPSHOT}",
                "clock=accelerated",
                f"speed={settings.speed:g}",
                *settings.overrides,
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=told,
            start_new_session=True,
            env=public_environment(os.environ, hidden)
            | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )
    try:
        async with asyncio.timeout(settings.start_s):
            while (found := find_running(path)) is None:
                if process.poll() is not None:
                    raise VenueError(
                        f"the simulator must start, ended with exit code {process.returncode}: {_last_line(log)}"
                    )
                await asyncio.sleep(_LOOK_SECONDS)
    except TimeoutError:
        raise VenueError(
            f"the simulator must answer within {settings.start_s:g} s, did not: {log}"
        ) from None
    return found, True


def _last_line(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return lines[-1][:_LOG_SHOWN] if lines else "it said nothing"
