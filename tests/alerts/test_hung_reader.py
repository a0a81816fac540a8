"""A reader that hangs in the midst of a transaction makes the loop's write-ahead log long, and nothing else."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from live.journal import Journal, database
from live.monitor.view import View
from tests.journal.entries import Loop, opened, url_of

PAGES = 100
"""At which SQLite tidies up in these tests: 0.4 MB."""
STEPS = 400


@pytest.fixture
def journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Journal]:
    monkeypatch.setattr(database, "CHECKPOINT_PAGES", PAGES)
    with opened(tmp_path, synchronous="normal") as found:
        yield found


@contextmanager
def hung(folder: Path, root: Path) -> Iterator[None]:
    command = [sys.executable, "-m", "tests.alerts.hung", url_of(folder)]
    reader = subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, text=True)
    try:
        assert reader.stdout is not None
        assert reader.stdout.readline() == "in a transaction\n"
        yield
    finally:
        reader.kill()
        reader.communicate()


def grown(folder: Path, loop: Loop, steps: int) -> float:
    """Let the loop go on and return the write-ahead log's size in MB."""
    for _ in range(steps):
        loop.step(extras=True)
    return (folder / "live" / "journal.sqlite-wal").stat().st_size / 1e6


@pytest.mark.integration
def test_the_loop_writes_on_and_the_log_stays_as_long_as_it_became(
    tmp_path: Path, root: Path, journal: Journal
) -> None:
    loop = Loop(journal, snapshot_every=8)
    with View(url_of(tmp_path)) as view:
        size = 0.0
        for _ in range(STEPS // 20):  # one that looks and goes, as those who look on do
            size = grown(tmp_path, loop, 20)
            view.marks()
        assert size < 1.0
        with hung(tmp_path, root):
            pinned = grown(tmp_path, loop, STEPS)
            assert pinned > 3.0 * size
            assert view.marks().steps == journal.next_seq - 1  # others see what is new
        assert grown(tmp_path, loop, STEPS) < 1.02 * pinned  # used again from its begin
