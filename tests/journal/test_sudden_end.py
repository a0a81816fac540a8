"""SIGKILL at any instant: what was told as committed is there, what is there is whole, and the next start goes on."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import select

from live.journal import Journal, open_journal, tables
from live.journal.replay_check import Replayer
from live.journal.verify import verify
from quantcore.errors import JournalError
from tests.journal.entries import ADVANCE

KILLS = 20
INTENTS = 25
"""Of each step that the worker commits."""


def killed_after(url: str, root: Path, seconds: float) -> list[dict[str, Any]]:
    """Let a worker write for some time after its start, kill it, and return what it said it had committed."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.journal.worker", url],
        cwd=root,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        bufsize=0,  # `communicate` would not see lines that `readline` has read ahead
    )
    assert process.stdout is not None
    assert process.stderr is not None
    first = process.stdout.readline()
    time.sleep(seconds)
    process.kill()
    rest, errors = process.communicate(timeout=30)
    assert (process.returncode, errors) == (-9, b"")
    # The last line may be cut off in the middle: then it was not said.
    return [json.loads(line) for line in (first + rest).split(b"\n")[:-1]]


def opened_when_free(url: str) -> Journal:
    """Open a journal once a server has seen that its writer is gone."""
    for _ in range(100):
        with contextlib.suppress(JournalError):
            return open_journal(url)
        time.sleep(0.05)
    return open_journal(url)


def held(journal: Journal) -> dict[str, Any]:
    with journal.transaction() as connection:
        intents = connection.execute(select(tables.intents.c.seq, tables.intents.c.intent_id)).all()
        steps = select(tables.steps.c.seq, tables.steps.c.account_sha)
        return {
            "steps": {row.seq: row.account_sha for row in connection.execute(steps)},
            "intents": {(row.seq, row.intent_id) for row in intents},
            "answered": set(connection.scalars(select(tables.answers.c.intent_id))),
            "fills": set(connection.scalars(select(tables.fills.c.trade_id))),
        }


@pytest.mark.slow
@pytest.mark.integration
def test_a_loop_that_is_killed_loses_nothing_and_doubles_nothing(url: str, root: Path) -> None:
    rng = np.random.default_rng(11)
    steps: dict[int, str] = {}
    said: dict[str, set[Any]] = {"intents": set(), "answered": set(), "fills": set()}
    before = 0
    for _ in range(KILLS):
        lines = killed_after(url, root, float(rng.uniform(0.0, 0.4)))
        assert lines[0] == {"resumed": before}
        for line in lines[1:]:
            if "seq" in line:
                steps[line["seq"]] = line["sha"]
                said["intents"] |= {(line["seq"], number) for number in line["intents"]}
            elif "answered" in line:
                said["answered"].add(line["answered"])
            else:
                said["fills"].add(line["fill"])
        with opened_when_free(url) as journal:
            found, recovered = held(journal), journal.recover()
            # At most one commit, that of the instant of the kill, was not told any more.
            assert steps.items() <= found["steps"].items()
            untold = len(found["steps"]) - len(steps)
            untold += sum(len(found[name] - said[name]) for name in ("answered", "fills"))
            assert untold <= 1
            assert all(said[name] <= found[name] for name in said)
            assert len(found["intents"]) == INTENTS * len(found["steps"])
            assert len(recovered.open_intents) == len(found["intents"]) - len(found["answered"])
            before = recovered.seq
        steps = found["steps"]
        said = {name: found[name] for name in said}
    with open_journal(url, read_only=True) as journal:
        checks = verify(journal, lambda session: Replayer(advance=ADVANCE))
    assert [check.differences for check in checks if check.differences] == []
    assert {check.name: check.examined for check in checks}["replay"] == before > KILLS
