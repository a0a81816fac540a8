"""The database under the journal: its owner's alone, one writer, and refused in one line when it fails."""

from __future__ import annotations

import hashlib
import os
import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event, Timer

import pytest
import sqlalchemy
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext

from live.broker.interface import Answer, Doubt, Outcome
from live.journal import (
    Answered,
    Difference,
    Journal,
    Note,
    NoteKind,
    Recorded,
    Resolution,
    open_journal,
    reading,
)
from live.journal.database import Database, sqlite_path
from live.journal.revisions import head, upgrade
from live.journal.tables import intents, metadata, steps
from quantcore.errors import ConfigError, JournalError
from tests.journal.entries import (
    ADVANCE,
    Loop,
    fill,
    health,
    income,
    intent,
    opened,
    session,
    url_of,
    whole_run,
)
from tests.journal.test_transfer import fingerprints


def file_of(folder: Path) -> Path:
    return folder / "live" / "journal.sqlite"


def one_line(refused: pytest.ExceptionInfo[Exception]) -> str:
    text = str(refused.value)
    assert "\n" not in text
    return text


def test_files_are_their_owners_alone(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        with opened(tmp_path) as journal:
            Loop(journal).step()
            held = {p.name: p.stat().st_mode & 0o777 for p in file_of(tmp_path).parent.iterdir()}
    finally:
        os.umask(before)
    names = ("journal.sqlite", "journal.sqlite-shm", "journal.sqlite-wal", "journal.sqlite.lock")
    assert held == dict.fromkeys(names, 0o600)
    assert file_of(tmp_path).parent.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize(
    ("folder_mode", "file_mode", "message"),
    [
        (0o750, 0o600, r"live has mode 0750: chmod 700 it$"),
        (0o700, 0o604, r"journal\.sqlite has mode 0604: chmod 600 it$"),
    ],
)
@pytest.mark.parametrize("read_only", [False, True])
def test_files_that_others_may_read_are_refused(
    tmp_path: Path, folder_mode: int, file_mode: int, message: str, read_only: bool
) -> None:
    opened(tmp_path).close()
    file_of(tmp_path).chmod(file_mode)
    file_of(tmp_path).parent.chmod(folder_mode)
    with pytest.raises(
        ConfigError, match=rf"^journal must be readable by its owner alone, .*{message}"
    ):
        open_journal(url_of(tmp_path), read_only=read_only)


@pytest.mark.parametrize("ending", ["-wal", "-shm", ".lock"])
def test_files_beside_it_that_others_may_read_are_refused(tmp_path: Path, ending: str) -> None:
    with opened(tmp_path):
        beside = file_of(tmp_path).with_name(f"journal.sqlite{ending}")
        beside.chmod(0o640)
        with pytest.raises(ConfigError, match=rf"{beside.name} has mode 0640: chmod 600 it$"):
            open_journal(url_of(tmp_path), read_only=True)


def test_a_generous_umask_opens_nothing(tmp_path: Path) -> None:
    former = os.umask(0)
    try:
        with opened(tmp_path) as journal:
            Loop(journal).step()
            held = [each.stat().st_mode & 0o777 for each in file_of(tmp_path).parent.iterdir()]
    finally:
        os.umask(former)
    assert held == [0o600] * 4
    assert file_of(tmp_path).parent.stat().st_mode & 0o777 == 0o700


def test_a_second_writer_is_refused_and_a_reader_is_not(url: str) -> None:
    with opened(url) as journal:
        loop = Loop(journal)
        loop.step()
        with pytest.raises(JournalError, match=r"is being written by another process$"):
            open_journal(url)
        with open_journal(url, read_only=True) as reader:
            with reader.transaction() as connection:
                assert reading.last_seq(connection) == 1
                loop.step()  # a reader in the middle of its reading holds nobody up
                assert reading.last_seq(connection) == 1
            assert reader.recover().seq == 2
            with pytest.raises(JournalError, match=r"read-?only"):
                reader.begin(session(), now_us=0)
    opened(url).close()


def looks(url: str, over: Event) -> list[tuple[int, ...]]:
    """Look until it is over; return of each look the last step, and how many steps and intents stand."""
    counts = [sqlalchemy.select(sqlalchemy.func.count()).select_from(t) for t in (steps, intents)]
    found = []
    with open_journal(url, read_only=True) as journal:
        while not over.is_set():
            with journal.transaction() as connection:
                last = reading.last_seq(connection)
                time.sleep(0.005)  # the writer goes on
                found.append((last, *(connection.scalar(each) or 0 for each in counts)))
    return found


def test_readers_beside_a_writer_see_whole_steps_and_hold_nobody_up(url: str) -> None:
    over = Event()
    with opened(url) as journal, ThreadPoolExecutor(3) as readers:
        loop = Loop(journal)
        loop.step()
        looking = [readers.submit(looks, url, over) for _ in range(3)]
        for seq in range(2, 42):
            loop.step([intent(3 * seq + number) for number in range(3)], extras=True)
            journal.hear([fill(seq)], heard_us=seq)
            time.sleep(0.005)
        over.set()
    for found in (each.result() for each in looking):
        assert all(held == last and sent == 3 * (last - 1) for last, held, sent in found)
        assert found == sorted(found)
        assert len({last for last, _, _ in found}) > 5


def test_a_full_disk_leaves_the_journal_as_it_was(tmp_path: Path) -> None:
    with opened(tmp_path) as journal:
        loop = Loop(journal)
        loop.step()
        with journal.transaction() as connection:
            pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
            connection.exec_driver_sql(f"PRAGMA max_page_count={pages + 2}")
        many = [intent(number) for number in range(1, 400)]
        for _ in range(2):
            account, signal = loop.account, loop.signal
            with pytest.raises(JournalError, match=r"said: database or disk is full$") as refused:
                loop.step(many)
            assert "\n" not in str(refused.value)
            loop.account, loop.signal = account, signal
        assert journal.recover().open_intents == ()
        with journal.transaction() as connection:
            connection.exec_driver_sql("PRAGMA max_page_count=100000")
        assert len(loop.step(many)) == 399
        assert journal.recover().resume(ADVANCE).account == loop.account  # type: ignore[union-attr]  # it has steps


def test_a_locked_database_is_refused_and_taken_when_it_is_free(tmp_path: Path) -> None:
    with opened(tmp_path) as journal:
        other = sqlite3.connect(file_of(tmp_path), isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(JournalError, match=r"said: database is locked$"):
            journal.hear([fill()], heard_us=1)
        other.execute("ROLLBACK")
        other.close()
        assert journal.hear([fill()], heard_us=1) == (Recorded.NEW,)


def test_nobody_writes_between_the_reading_and_the_writing_of_one_transaction(
    tmp_path: Path,
) -> None:
    with opened(tmp_path) as journal, journal.transaction():
        other = sqlite3.connect(file_of(tmp_path), isolation_level=None, timeout=0.0)
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            other.execute("BEGIN IMMEDIATE")
        other.close()


def test_a_database_that_became_read_only_is_refused_in_one_line(tmp_path: Path) -> None:
    with opened(tmp_path) as journal:
        with journal.transaction() as connection:
            connection.exec_driver_sql("PRAGMA query_only=ON")
        with pytest.raises(JournalError, match="attempt to write a readonly database") as refused:
            journal.hear([fill()], heard_us=1)
        one_line(refused)


@pytest.mark.parametrize("replaced", [False, True])
def test_a_file_that_is_gone_is_not_written_to(tmp_path: Path, replaced: bool) -> None:
    with opened(tmp_path) as journal:
        loop = Loop(journal)
        loop.step()
        content = file_of(tmp_path).read_bytes()
        kept = file_of(tmp_path).rename(tmp_path / "kept")
        if replaced:
            file_of(tmp_path).write_bytes(content)
        for _ in range(2):
            with pytest.raises(JournalError, match=r"journal\.sqlite was removed or replaced$"):
                journal.hear([fill()], heard_us=1)
        kept.replace(file_of(tmp_path))
        assert journal.hear([fill()], heard_us=1) == (Recorded.NEW,)


@pytest.mark.parametrize("at", [0, 5_000])
def test_a_damaged_file_is_refused(tmp_path: Path, at: int) -> None:
    with opened(tmp_path) as journal:
        whole_run(journal)
    content = bytearray(file_of(tmp_path).read_bytes())
    content[at : at + 200_000] = b"x" * len(content[at : at + 200_000])
    file_of(tmp_path).write_bytes(content)
    with pytest.raises(JournalError, match=r"(is not a database|malformed)") as refused:
        open_journal(url_of(tmp_path)).begin(session(), now_us=1)
    one_line(refused)


@pytest.mark.parametrize(
    ("url", "kind", "message"),
    [
        (
            "journal.sqlite",
            ConfigError,
            "must begin with sqlite:/// or postgres.*, was something else",
        ),
        ("mysql://me:secret@host/x", ConfigError, "must begin with .*, was mysql$"),
        (
            "sqlite:////proc/no/journal.sqlite",
            JournalError,
            "journal.sqlite does not: No such file",
        ),
        (
            "postgresql+psycopg://me:secret@127.0.0.1:1/x",
            ConfigError,
            "url must hold no password, does: PGPASSWORD",
        ),
        (
            "postgresql+psycopg://me@127.0.0.1:1/x",
            JournalError,
            r"postgresql\+psycopg://me@127.0.0.1:1/x said: connection failed",
        ),
    ],
)
def test_what_does_not_open_is_refused_in_one_line(
    url: str, kind: type[Exception], message: str
) -> None:
    with pytest.raises(kind, match=message) as refused:
        open_journal(url)
    assert "secret" not in one_line(refused)


def test_a_reader_does_not_make_a_journal(tmp_path: Path) -> None:
    with pytest.raises(JournalError, match="No such file"):
        open_journal(url_of(tmp_path), read_only=True)
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_durability_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="synchronous must be full or normal, was 'off'"):
        open_journal(url_of(tmp_path), synchronous="off")


@pytest.mark.parametrize(("synchronous", "number"), [("full", 2), ("normal", 1)])
def test_it_writes_ahead_as_durably_as_asked(tmp_path: Path, synchronous: str, number: int) -> None:
    with opened(tmp_path, synchronous=synchronous) as journal, journal.transaction() as connection:
        held = [
            connection.exec_driver_sql(f"PRAGMA {name}").scalar_one()
            for name in ("journal_mode", "synchronous", "foreign_keys")
        ]
    assert held == ["wal", number, 1]


def test_what_can_be_asked_for_again_waits_for_no_disk_and_the_next_step_does(
    tmp_path: Path,
) -> None:
    database = Database(url_of(tmp_path))
    try:
        database.migrate()
        found = []
        for lasting in (True, False, False, True):
            with database.transaction(lasting=lasting) as connection:
                found.append(connection.exec_driver_sql("PRAGMA synchronous").scalar_one())
        assert found == [2, 1, 1, 2]
    finally:
        database.close()


def test_migrations_make_the_tables_of_the_code(empty_url: str) -> None:
    opened(empty_url).close()
    engine = sqlalchemy.create_engine(empty_url, poolclass=sqlalchemy.NullPool)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []
        indexes = {
            index["name"]: index["unique"]
            for table in ("intents", "answers")
            for index in sqlalchemy.inspect(connection).get_indexes(table)
        }
        assert context.get_current_revision() == head()
    assert indexes["one_send_per_client"] == indexes["one_final_answer"] == 1


NEW_IN = {"0002": {"health"}}
"""Tables by the revision that made them."""


def as_of(url: str, revision: str, journal: Journal) -> None:
    """Make a database as the code of a former revision left it, with what a journal of now holds."""
    later = set().union(*(made for since, made in NEW_IN.items() if since > revision))
    engine = sqlalchemy.create_engine(url, poolclass=sqlalchemy.NullPool)
    with engine.begin() as old, journal.transaction() as held:
        upgrade(old, revision)
        there = set(sqlalchemy.inspect(old).get_table_names()) - {"alembic_version"}
        assert there == {table.name for table in metadata.sorted_tables} - later
        for table in metadata.sorted_tables:
            if table.name in there:
                known = [c["name"] for c in sqlalchemy.inspect(old).get_columns(table.name)]
                columns = [table.c[name] for name in known]
                later_ones = [name for name in (c.name for c in table.columns) if name not in known]
                if later_ones:  # of which the former code knew nothing
                    held.execute(sqlalchemy.update(table).values(dict.fromkeys(later_ones)))
                rows = [row._asdict() for row in held.execute(sqlalchemy.select(*columns))]
                named = sqlalchemy.table(table.name, *map(sqlalchemy.column, known))
                if rows:
                    old.execute(sqlalchemy.insert(named), rows)


def brought_here(url: str, revision: str, journal: Journal) -> None:
    """Open a former revision's database with the code of now: nothing of it is lost, and it goes on."""
    as_of(url, revision, journal)
    with open_journal(url) as brought:
        expected = fingerprints(journal)
        for since, made in NEW_IN.items():
            if since > revision:
                empty = {"rows": 0, "sha256": hashlib.sha256().hexdigest()}
                expected |= dict.fromkeys(made, empty)
        assert fingerprints(brought) == expected
        assert brought.replay(ADVANCE) == journal.replay(ADVANCE)
        brought.begin(session(), now_us=1)
        brought.health(health(1))
        assert fingerprints(brought)["health"] != expected["health"]


@pytest.mark.parametrize("revision", ["0001"])
def test_an_older_journal_is_brought_here_with_all_that_it_holds(
    tmp_path: Path, empty_url: str, revision: str
) -> None:
    path = sqlite_path(empty_url)
    if path is not None:
        path.parent.mkdir(mode=0o700, parents=True)
        path.touch(mode=0o600)
    with opened(tmp_path) as journal:
        whole_run(journal)
        brought_here(empty_url, revision, journal)


@pytest.mark.parametrize("read_only", [False, True])
def test_a_journal_of_newer_code_is_refused(url: str, read_only: bool) -> None:
    with opened(url) as journal, journal.transaction() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(JournalError, match=r"is of 9999: it was written by newer code, use that$"):
        open_journal(url, read_only=read_only)


def test_a_journal_of_older_code_waits_for_its_writer(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("live.journal.database._TABLES_SECONDS", 0.3)
    with opened(url) as journal, journal.transaction() as connection:
        connection.exec_driver_sql("DELETE FROM alembic_version")
    with pytest.raises(
        JournalError, match=r"is of none: the loop brings it there when it opens it$"
    ):
        open_journal(url, read_only=True)


def test_a_reader_waits_for_tables_that_are_being_made(tmp_path: Path) -> None:
    path = tmp_path / "live" / "journal.sqlite"
    path.parent.mkdir(mode=0o700)
    path.touch(mode=0o600)  # as the loop leaves it for an instant
    making = Timer(0.5, lambda: open_journal(url_of(tmp_path)).close())
    making.start()
    with open_journal(url_of(tmp_path), read_only=True) as journal:
        assert journal.next_seq == 1
    making.join()


def test_a_checkpoint_empties_what_was_written_ahead(tmp_path: Path) -> None:
    with opened(tmp_path) as journal:
        whole_run(journal)
        size = file_of(tmp_path).stat().st_size
        journal.checkpoint()
        assert file_of(tmp_path).stat().st_size > size


def test_a_journal_may_be_kept_in_memory() -> None:
    with open_journal("sqlite://") as journal:
        journal.begin(session(), now_us=0)
        loop = whole_run(journal)
        journal.checkpoint()
        assert journal.replay(ADVANCE).account == loop.account


SECRETS = ("MARKER-api-key", "MARKER-api-secret", "MARKER-password")


def tell_secrets(journal: Journal) -> None:
    """Let a secret into every text that comes from elsewhere."""
    text = f"it was {SECRETS[0]}, {SECRETS[1]} and {SECRETS[2]} \ud800\0"
    journal.begin(session(config_yaml=text), now_us=0)
    loop = Loop(journal)
    loop.step()
    (number,) = loop.step([intent(1)])
    journal.answer(
        Answered(intent_id=number, ts_us=1, answer=Answer(outcome=Outcome.UNKNOWN, message=text))
    )
    journal.note(Note(ts_us=1, kind=NoteKind.ERROR, source="broker", message=text))
    journal.difference(
        Difference(ts_us=1, subject="order", expected=text, found=text, rule=Resolution.HALT)
    )
    journal.hear([Doubt(time_us=1, reason=text), fill(client_id=text), income(text)], heard_us=1)
    journal.end(text, now_us=2)


def test_no_secret_reaches_the_files(tmp_path: Path) -> None:
    with open_journal(url_of(tmp_path), secrets=("", *SECRETS)) as journal:
        tell_secrets(journal)
        written = b"".join(p.read_bytes() for p in file_of(tmp_path).parent.iterdir())
        assert b"it was ***, *** and *** ?" in written
        assert b"MARKER" not in written
        assert "MARKER" not in repr(vars(journal))
    assert b"MARKER" not in b"".join(p.read_bytes() for p in file_of(tmp_path).parent.iterdir())


def test_the_marker_would_be_found(tmp_path: Path) -> None:
    with open_journal(url_of(tmp_path)) as journal:
        tell_secrets(journal)
        assert b"MARKER" in file_of(tmp_path).with_name("journal.sqlite-wal").read_bytes()
