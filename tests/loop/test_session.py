"""The journal of another exchange is told apart and kept aside; a simulator's clock is understood."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from live.journal import START, Step, open_journal
from live.place import speed_of
from live.session import move_aside, stranger
from quantcore.errors import ConfigError
from tests.journal.entries import SYMBOLS, account, opened, signal, url_of

HOUR_US = 3_600_000_000


def write(folder: Path, ts_us: int) -> None:
    with opened(folder) as journal:
        step = Step(
            seq=1, ts_us=ts_us, kind=START, inputs={}, account=account(0.0, 0), signal=signal(0.0), snapshot=True
        )  # fmt: skip
        journal.commit_step(step)


@pytest.mark.parametrize(
    ("symbols", "now_us", "words"),
    [
        (SYMBOLS, HOUR_US, ""),
        (SYMBOLS, 5 * HOUR_US, ""),
        (("ADAUSDT", SYMBOLS[0]), 5 * HOUR_US, ""),
        (("ADAUSDT",), 5 * HOUR_US, "symbols were BTCUSDT, ETHUSDT"),
    ],
)
def test_a_journal_is_known_by_its_symbols_and_its_time(
    tmp_path: Path, symbols: tuple[str, ...], now_us: int, words: str
) -> None:
    write(tmp_path, HOUR_US)
    with open_journal(url_of(tmp_path)) as journal:
        assert words in stranger(journal, symbols, now_us)
        assert bool(words) == bool(stranger(journal, symbols, now_us))


def test_a_journal_that_lies_ahead_of_the_exchange_is_of_another(tmp_path: Path) -> None:
    with opened(tmp_path) as journal:
        journal.end("", now_us=1)
        from tests.journal.entries import session

        journal.begin(session(), now_us=2 * HOUR_US)
        assert "3,600 s further" in stranger(journal, SYMBOLS, HOUR_US)
        assert stranger(journal, SYMBOLS, 2 * HOUR_US) == ""


def test_an_empty_journal_is_of_every_exchange(tmp_path: Path) -> None:
    with open_journal(url_of(tmp_path)) as journal:
        assert stranger(journal, SYMBOLS, 0) == ""


def test_a_journal_set_aside_keeps_all_its_files_and_leaves_its_place(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    for beside in ("", "-wal", "-shm"):
        path.with_name(path.name + beside).write_text(beside or "main")
    aside = move_aside(path, datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC))
    assert aside.name == "journal-20260102T030405000006.sqlite"
    assert aside.read_text() == "main"
    assert aside.with_name(aside.name + "-wal").read_text() == "-wal"
    assert not path.exists()


@pytest.mark.parametrize(
    ("words", "speed"), [("20 × real time", 20.0), ("0.5 × real time", 0.5), ("real time", 1.0)]
)
def test_a_simulators_clock_is_read_from_its_words(words: str, speed: float) -> None:
    assert speed_of(words) == speed


@pytest.mark.parametrize("words", ["lock-step", "", "fast"])
def test_a_clock_that_somebody_moves_is_refused(words: str) -> None:
    with pytest.raises(ConfigError, match="must run by itself"):
        speed_of(words)
