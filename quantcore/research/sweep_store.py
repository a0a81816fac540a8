"""What a sweep has found so far, on disk: an interrupted one goes on where it stopped.

Every finished chunk of sets is a file of its own, written beside and renamed, in a folder whose name is a hash of all
that decides the results. So a sweep finds what an earlier one left only if it would come to the same, and whatever is
there is whole.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from quantcore.errors import ConfigError
from quantcore.research.outcomes import SET_METRICS, Chunk
from quantcore.types import IntArray

_LOCK = "lock"


class SweepStore:
    """A folder of finished chunks."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @contextlib.contextmanager
    def opened(self) -> Iterator[None]:
        """Hold the folder for this process alone; it goes again where nothing was kept.

        Raises
        ------
        ConfigError
            If another process holds it.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / _LOCK).open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise ConfigError(
                    "the same sweep must not run twice at a time, was running already"
                ) from error
            try:
                yield
            finally:
                if not any(self.folder.glob("*.npz")):
                    self.clear()

    def chunks(self) -> list[Chunk]:
        """Return what is there; a file that is not whole counts as not there."""
        found: list[Chunk] = []
        seen: set[int] = set()
        for path in sorted(self.folder.glob("*.npz")):
            try:
                with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
                    chunk = Chunk(
                        rows=file["rows"],
                        metrics=file["metrics"],
                        daily=file["daily"],
                        days_us=file["days_us"],
                        refused=tuple(file["refused"].tolist()),
                    )
            except (OSError, ValueError, KeyError, zipfile.BadZipFile):
                continue
            if not seen.intersection(chunk.rows.tolist()):
                seen.update(chunk.rows.tolist())
                found.append(chunk)
        return found

    def add(self, chunk: Chunk) -> None:
        """Write a chunk."""
        path = self.folder / f"{int(chunk.rows.min()):09d}.npz"
        beside = path.with_suffix(".partial")
        with beside.open("wb") as file:
            np.savez(
                file,
                rows=chunk.rows,
                metrics=chunk.metrics,
                daily=chunk.daily,
                days_us=chunk.days_us,
                refused=np.array(chunk.refused, dtype=np.str_),
            )
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)

    def clear(self) -> None:
        """Remove the folder."""
        shutil.rmtree(self.folder, ignore_errors=True)


def known_rows(chunks: list[Chunk]) -> IntArray:
    """Return the numbers of the sets that some chunks hold."""
    return np.concatenate([np.empty(0, dtype=np.int64), *(chunk.rows for chunk in chunks)])


def store_key(*parts: str) -> str:
    """Return the name of the folder of a sweep that these texts decide, with the columns that its chunks have."""
    return hashlib.sha256(json.dumps([*parts, SET_METRICS]).encode()).hexdigest()[:32]
