"""An exchange in lock-step with a given market, as a process of its own: ``python -m live.parity.exchange FILE``."""

from __future__ import annotations

import asyncio
import json
import os
import pickle
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from live.hidden import public_environment
from live.parity.case import Case
from quantcore.errors import VenueError


@contextmanager
def exchange_of(case: Case) -> Iterator[dict[str, str]]:
    """Run the exchange of a case; yield where it answers."""
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "market"
        path.write_bytes(
            pickle.dumps((case.venue_data, case.execution, case.account, f"{place}/state.json"))
        )
        process = subprocess.Popen(
            [sys.executable, "-m", "live.parity.exchange", str(path)],
            stdout=subprocess.PIPE,
            text=True,
            env=public_environment(os.environ, ()),
        )
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            if not line:
                raise VenueError("the exchange must start, did not: its messages are above")
            yield json.loads(line)
        finally:
            process.terminate()
            process.communicate()


def main(path: str) -> None:
    """Serve the exchange of a file that `exchange_of` has written."""
    from live.simulator.limits import LimitSettings
    from live.simulator.scenario import Scenario
    from live.simulator.server import ServerSettings, compose, serve

    data, execution, account, state_file = pickle.loads(Path(path).read_bytes())
    settings = ServerSettings(
        host="127.0.0.1", port=0, control_port=0, clock="lock_step", speed=1.0, start=None, seed=0,
        capital=account.capital,
        limits=LimitSettings(
            weight_1m=10**9, orders_10s=10**9, orders_1m=10**9, funding_5m=10**9, refusals_max=1
        ),
        legacy="mute", state_file=state_file, snapshot_file=None, snapshot_seconds=60.0, idle_seconds=600.0,
    )  # fmt: skip
    build = partial(
        compose, settings, data, execution, Scenario(seed=0, faults=()),
        missing_funding_rate=account.missing_funding_rate,
    )  # fmt: skip
    asyncio.run(serve(settings, build, _tell))


def _tell(running: Any) -> None:
    sys.stdout.write(json.dumps(running.ready()) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1])
