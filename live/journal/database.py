"""The database under a journal: opened, brought to the code's revision, guarded against a second writer.

SQLite writes ahead (WAL): readers never wait for the loop, nor it for them. A commit survives the end of the process,
however sudden, whatever is set; with ``synchronous=full`` it is on the disk before it returns and survives a loss of
power too, with ``normal`` a loss of power may take the last commits, never the file. What the exchange can be asked for
again does not wait for the disk in either: answers and events go there with the next step, before that is sent.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import sqlite3
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import sqlalchemy
from sqlalchemy import Connection, Engine, Select, Table, exc

from live.hidden import check_no_password
from quantcore.errors import ConfigError, JournalError
from quantcore.settings import one_line

SYNCHRONOUS = ("full", "normal")
CHECKPOINT_PAGES = 8_000
"""Pages of the write-ahead log, 32 MB, at which SQLite tidies up by itself; `checkpoint` does so before."""
_BUSY_SECONDS = 0.5
_TABLES_SECONDS, _LOOK_SECONDS = 5.0, 0.1
"""How long a reader waits for tables that the loop may be making in this instant, and between two looks for them."""
_POSTGRESQL = {
    "connect_timeout": 5,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 2,
    "tcp_user_timeout": 20_000,
}
"""Seconds and milliseconds after which a server that fell silent is given up, rather than waited for."""
_LOCK = 7_410_221
"""Number of PostgreSQL's advisory lock, one per database."""


class Database:
    """A database that is open for one writer, or for reading.

    Parameters
    ----------
    url : str
        Such as ``sqlite:///data/live/sim/journal.sqlite`` or ``postgresql+psycopg://user@host/database``.
    read_only : bool
        Whether nothing is to be written.
    synchronous : str
        ``"full"`` or ``"normal"``, of SQLite.

    Raises
    ------
    ConfigError
        If the URL is none or holds a password, or others may read a file.
    JournalError
        If it does not open, another process writes it, or it is newer than the code.
    """

    def __init__(self, url: str, *, read_only: bool = False, synchronous: str = "full") -> None:
        if synchronous not in SYNCHRONOUS:
            raise ConfigError(f"synchronous must be full or normal, was {synchronous!r}")
        self.place = without_password(url)
        check_no_password("url", url)
        self._read_only = read_only
        self._synchronous = synchronous
        self._lock: int | None = None
        self._connection: Connection | None = None
        self._inserts: dict[str, tuple[str, dict[str, None]]] = {}
        self._selects: dict[str, str] = {}
        self._pace = synchronous
        self.path = sqlite_path(url)
        self._file: tuple[int, int] | None = None
        if self.path is not None:
            _keep_private(self.path, make=not read_only)
            self._file = _file_at(self.path)
        try:
            self._engine = self._open(url)
            if not read_only:
                self._lock_file()
            self._connect()
        except BaseException as error:
            self.close()
            if isinstance(error, exc.SQLAlchemyError | ImportError):
                raise self._refused(error) from error
            raise

    @property
    def dialect(self) -> str:
        """``"sqlite"`` or ``"postgresql"``."""
        return self._engine.dialect.name

    @property
    def replaced(self) -> bool:
        """Whether SQLite's file was removed, or another one lies there."""
        return self.path is not None and _file_at(self.path) != self._file

    @contextlib.contextmanager
    def transaction(self, *, lasting: bool = True) -> Iterator[Connection]:
        """Run the body in one transaction: committed as a whole at its end, or not at all.

        Parameters
        ----------
        lasting : bool
            Whether it is to be on the disk when this returns, as far as `synchronous` asks for it; else with the next
            one that is. Commits are never lost but the last ones, in order, and those by a loss of power alone.

        Raises
        ------
        JournalError
            If the database refuses or is gone; the next transaction tries again.
        """
        self._check_there()
        try:
            connection = self._connection or self._connect()
            if self.path is not None:
                self._keep_pace(connection, self._synchronous if lasting else "normal")
            with connection.begin():
                if self.dialect == "postgresql" and not lasting:
                    connection.exec_driver_sql("SET LOCAL synchronous_commit TO off")
                yield connection
        except (exc.DBAPIError, sqlite3.Error) as error:
            self._drop_if_lost()
            raise self._refused(error) from error

    def insert(self, connection: Connection, table: Table, *rows: Mapping[str, Any]) -> None:
        """Insert rows, null in columns that they do not name.

        Texts, numbers, bytes and truth values go as they are: a step's commit is too quick to have each looked at.
        """
        if table.name not in self._inserts:
            sql = str(sqlalchemy.insert(table).compile(dialect=self._engine.dialect))
            self._inserts[table.name] = (sql, dict.fromkeys(table.columns.keys()))
        sql, blank = self._inserts[table.name]
        kept = [blank | dict(row) for row in rows]
        if self.dialect == "sqlite":
            _driver(connection).executemany(sql, kept)
        else:
            connection.exec_driver_sql(sql, kept)

    def select(
        self, connection: Connection, name: str, query: Select[Any], **values: Any
    ) -> list[tuple[Any, ...]]:
        """Return the rows of a query with named values, put into words once for all calls by its name."""
        if name not in self._selects:
            self._selects[name] = str(query.compile(dialect=self._engine.dialect))
        sql = self._selects[name]
        if self.dialect == "sqlite":
            found: list[tuple[Any, ...]] = _driver(connection).execute(sql, values).fetchall()
            return found
        return [tuple(row) for row in connection.exec_driver_sql(sql, values)]

    def migrate(self) -> None:
        """Bring the tables to the code's revision; who only reads waits a while where there are none yet.

        Raises
        ------
        JournalError
            If they are newer than the code, or older and it may not write.
        """
        from live.journal.revisions import head, upgrade

        wanted, until_s = head(), time.monotonic() + _TABLES_SECONDS
        while True:
            with self.transaction() as connection:
                held = _revision(connection)
                if held == wanted:
                    return
                if held is not None and held > wanted:
                    raise JournalError(
                        f"journal must be of revision {wanted} or older, {self.place} is of {held}: "
                        "it was written by newer code, use that"
                    )
                if not self._read_only:
                    upgrade(connection)
                    return
            if held is not None or time.monotonic() >= until_s:
                raise JournalError(
                    f"journal must be of revision {wanted}, {self.place} is of {held or 'none'}: "
                    "the loop brings it there when it opens it"
                )
            time.sleep(_LOOK_SECONDS)

    def checkpoint(self) -> None:
        """Move what SQLite wrote ahead into its file, over a connection of its own; waits for nobody.

        May run in another thread while the loop writes: commits then need not do it.
        """
        self._aside("PRAGMA wal_checkpoint(PASSIVE)")

    def compact(self) -> None:
        """Give SQLite's free pages back to the disk; PostgreSQL sees to that by itself."""
        self._aside("VACUUM")

    def close(self) -> None:
        """Leave the database, and let another process write it."""
        if self._connection is not None:
            with contextlib.suppress(exc.SQLAlchemyError):
                self._connection.close()
            self._connection = None
        if hasattr(self, "_engine"):
            self._engine.dispose()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _aside(self, statement: str) -> None:
        if self.path is None:
            return
        engine = sqlalchemy.create_engine(f"sqlite:///{self.path}", poolclass=sqlalchemy.NullPool)
        try:
            with engine.connect() as connection:
                connection.exec_driver_sql(statement)
        except exc.DBAPIError as error:
            raise self._refused(error) from error

    def _open(self, url: str) -> Engine:
        if url.startswith("sqlite"):
            engine = sqlalchemy.create_engine(
                url,
                poolclass=sqlalchemy.NullPool,
                paramstyle="named",
                connect_args={"timeout": _BUSY_SECONDS},
            )
            sqlalchemy.event.listen(engine, "connect", self._prepare)
            sqlalchemy.event.listen(engine, "begin", self._begin)
            return engine
        if self._read_only:  # everything as of one instant, as SQLite has it anyway
            return sqlalchemy.create_engine(
                url,
                poolclass=sqlalchemy.NullPool,
                isolation_level="REPEATABLE READ",
                execution_options={"postgresql_readonly": True},
                connect_args=_POSTGRESQL,
            )
        return sqlalchemy.create_engine(
            url,
            poolclass=sqlalchemy.NullPool,
            connect_args=_POSTGRESQL,
        )

    def _prepare(self, connection: Any, _: Any) -> None:
        connection.isolation_level = None  # `_begin` begins
        cursor = connection.cursor()
        if self._read_only:
            cursor.execute("PRAGMA query_only=ON")
        else:
            cursor.execute("PRAGMA journal_mode=WAL")
            cursor.execute(f"PRAGMA synchronous={self._synchronous.upper()}")
            self._pace = self._synchronous
            cursor.execute(f"PRAGMA wal_autocheckpoint={CHECKPOINT_PAGES}")
        cursor.execute("PRAGMA foreign_keys=ON")
        cursor.close()

    def _keep_pace(self, connection: Connection, synchronous: str) -> None:
        """Let SQLite wait for the disk at commits, or not."""
        if synchronous != self._pace and not self._read_only:
            _driver(connection).execute(f"PRAGMA synchronous={synchronous.upper()}")
            self._pace = synchronous

    def _begin(self, connection: Connection) -> None:
        # A writer that began as a reader could be refused in the middle.
        _driver(connection).execute("BEGIN" if self._read_only else "BEGIN IMMEDIATE")

    def _connect(self) -> Connection:
        try:
            connection = self._engine.connect()
        except exc.DBAPIError as error:
            refused = self._refused(error)
        else:
            return self._locked(connection)
        raise refused  # not while it is handled: the driver's error holds the password

    def _locked(self, connection: Connection) -> Connection:
        """Return a new connection once it alone may write."""
        self._connection = connection
        if self.dialect == "postgresql" and not self._read_only:
            taken = connection.exec_driver_sql(f"SELECT pg_try_advisory_lock({_LOCK})").scalar_one()
            connection.commit()
            if not taken:
                connection.close()
                self._connection = None
                raise self._in_use()
        return connection

    def _lock_file(self) -> None:
        if self.path is None:
            return
        lock = os.open(self.path.with_name(f"{self.path.name}.lock"), os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(lock)
            raise self._in_use() from error
        self._lock = lock

    def _in_use(self) -> JournalError:
        return JournalError(
            f"journal must have one writer, {self.place} is being written by another process"
        )

    def _check_there(self) -> None:
        # SQLite would go on writing into a file that has no name any more.
        if self.replaced:
            raise JournalError(
                f"journal must stay where it is, {self.path} was removed or replaced"
            )

    def _drop_if_lost(self) -> None:
        connection = self._connection
        if connection is None or (connection.invalidated or connection.closed):
            if connection is not None:
                with contextlib.suppress(exc.SQLAlchemyError):
                    connection.close()
            self._connection = None

    def _refused(self, error: BaseException) -> JournalError:
        text = one_line(getattr(error, "orig", None) or error)
        said = text.partition(" (Background on this error")[0]
        return JournalError(f"journal must be a database that works, {self.place} said: {said}")


def without_password(url: str) -> str:
    """Return a database's URL as it may be shown.

    Raises
    ------
    ConfigError
        If it is no URL of SQLite or PostgreSQL.
    """
    try:
        parsed = sqlalchemy.make_url(url)
    except exc.ArgumentError:
        parsed = None
    if parsed is None or parsed.drivername not in ("sqlite", "postgresql+psycopg"):
        shown = "something else" if parsed is None else parsed.drivername
        raise ConfigError(f"url must begin with sqlite:/// or postgresql+psycopg://, was {shown}")
    return parsed.render_as_string(hide_password=True)


def sqlite_path(url: str) -> Path | None:
    """Return the file of a SQLite URL; None in memory and of any other database."""
    parsed = sqlalchemy.make_url(url)
    if parsed.drivername != "sqlite" or parsed.database in (None, "", ":memory:"):
        return None
    return Path(str(parsed.database))


def _driver(connection: Connection) -> Any:
    """Return SQLite's own connection: on the loop's path a statement through the layers above costs twice as much."""
    return connection.connection.driver_connection


def _file_at(path: Path) -> tuple[int, int] | None:
    try:
        held = path.stat()
    except OSError:
        return None
    return held.st_dev, held.st_ino


def _revision(connection: Connection) -> str | None:
    from alembic.runtime.migration import MigrationContext

    return MigrationContext.configure(connection).get_current_revision()


def _keep_private(path: Path, *, make: bool) -> None:
    """Make folder and file for their owner alone, and refuse those that others may read."""
    try:
        if make:
            path.parent.parent.mkdir(parents=True, exist_ok=True)
            path.parent.mkdir(mode=0o700, exist_ok=True)
            os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        beside = [path.with_name(path.name + ending) for ending in ("-wal", "-shm", ".lock")]
        files = [path, *(each for each in beside if each.exists())]
        for each, mode in ((path.parent, 0o700), *((each, 0o600) for each in files)):
            held = each.stat().st_mode & 0o777
            if held & 0o077:
                raise ConfigError(
                    f"journal must be readable by its owner alone, {each} has mode {held:04o}: chmod {mode:o} it"
                )
    except OSError as error:
        raise JournalError(
            f"journal must be a file that opens, {path} does not: {error.strerror}"
        ) from error
