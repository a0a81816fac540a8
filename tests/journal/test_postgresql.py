"""The same journal in PostgreSQL: equal to the last row, one writer, and back again after a lost connection."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import sqlalchemy

from live.journal import Recorded, open_journal
from live.journal.database import Database
from live.journal.mirror import Mirror
from live.journal.prune import prune
from live.journal.replay_check import Replayer
from live.journal.tables import metadata
from live.journal.transfer import read_export, write_export
from live.journal.verify import verify
from live.monitor.place import Place
from live.monitor.record import record_of
from live.monitor.scores import scores
from live.monitor.standing import Watch
from live.monitor.view import TABLES, View
from quantcore.errors import JournalError
from tests.journal.entries import (
    ADVANCE,
    Loop,
    fill,
    health,
    intent,
    opened,
    session,
    url_of,
    whole_run,
)
from tests.journal.server import Server
from tests.journal.test_database import SECRETS, tell_secrets
from tests.journal.test_transfer import fingerprints
from tests.monitor.test_tracker import ran

pytestmark = pytest.mark.integration


@pytest.fixture
def url(server: Server) -> str:
    """A journal's database."""
    return server.database("one")


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


def test_a_lost_connection_is_refused_once_and_then_there_again(server: Server, url: str) -> None:
    with open_journal(url) as journal:
        journal.begin(session(), now_us=0)
        loop = Loop(journal)
        loop.step()
        state = (loop.account, loop.signal)
        server.alone(url)
        with pytest.raises(JournalError, match="journal must be a database that works") as refused:
            loop.step([intent(1)])
        assert "\n" not in str(refused.value)
        loop.account, loop.signal = state
        assert loop.step([intent(1)]) == (1,)
        assert journal.recover().resume(ADVANCE).account == loop.account  # type: ignore[union-attr]  # it has steps
        with pytest.raises(JournalError, match="being written by another process"):
            open_journal(url)


def test_monitoring_reads_it_as_it_reads_the_file(url: str, tmp_path: Path) -> None:
    file = ran(tmp_path)
    assert file.url is not None
    with Mirror(file.url, url) as mirror:
        mirror.carry()
    told = []
    for place in (file, Place(url=url, folder=file.folder)):
        assert place.url is not None
        with View(place.url) as view:
            now = Watch(view, place.folder).look()
            tables = [view.rows(name) for name in TABLES]
        told.append((replace(now, written_s=None), tables, scores(record_of(place))))
    (now, tables, found), (there, others, others_found) = told
    assert now.account is not None
    assert repr(there) == repr(now)  # NaN is not equal to itself
    for table, other in zip(tables, others, strict=True):
        pd.testing.assert_frame_equal(other, table)
    assert repr(others_found) == repr(found)


def test_what_a_fallen_server_lost_is_seen_before_anything_is_built_on_it(
    server: Server, url: str
) -> None:
    with opened(url) as journal:
        Loop(journal).step()
        journal.hear([fill(7), fill(8)], heard_us=1)
        server.alone(url)
        server.say("DELETE FROM fills", "DELETE FROM events", url=url)
        for expected in ("journal must be a database that works", r"has lost 2 rows of events$"):
            with pytest.raises(JournalError, match=expected):
                journal.health(health(1))
        with pytest.raises(JournalError, match=r"has lost 2 rows of events$"):
            _ = journal.next_seq
    with open_journal(url) as journal:
        assert (journal.next_seq, journal.last_event) == (2, 0)


def test_what_can_be_asked_for_again_waits_for_no_disk_and_the_next_step_does(url: str) -> None:
    database = Database(url)
    try:
        found = []
        for lasting in (True, False, False, True):
            with database.transaction(lasting=lasting) as connection:
                found.append(connection.exec_driver_sql("SHOW synchronous_commit").scalar_one())
        assert found == ["on", "off", "off", "on"]
    finally:
        database.close()


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
