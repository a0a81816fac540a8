"""The ledger's file: added to in whole lines, by several processes at once, at a path or a URL, and never mixed up."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.fs as pafs
import pytest

from quantcore.config import compose
from quantcore.errors import ConfigError, DataGap
from quantcore.research.trials import Ledger, Market, open_ledger
from quantcore.research.trials.entries import Entry
from quantcore.research.trials.ledger import write_line
from quantcore.research.trials.record import make_entry
from tests.research.trials.cases import days_us, hashes, occasion, walk

MARKET = Market.of(walk())


def entry(number: int = 0) -> Entry:
    returns = np.random.default_rng(number).normal(0.0, 0.01, (30, 1))
    return make_entry(
        occasion(MARKET), trials=hashes(1, since=number), daily=returns, days_us=days_us(30)
    )


def opened(place: Path | str) -> Ledger:
    ledger = open_ledger(str(place))
    assert ledger is not None
    return ledger


def foreign(filesystem: pafs.FileSystem) -> Ledger:
    """Return a ledger on a filesystem that is no local disk to it."""
    return Ledger(filesystem, "team/trials.jsonl", "s3://team/trials.jsonl")


# --- the setting --------------------------------------------------------------------------------


@pytest.mark.parametrize("value", ["off", False, None])
def test_a_ledger_that_is_off_is_none(value: object) -> None:
    assert open_ledger(value) is None


@pytest.mark.parametrize("override", ["ledger=off", "ledger=false", "ledger=null"])
def test_the_setting_can_be_turned_off(override: str) -> None:
    assert open_ledger(compose("backtest", [override]).ledger) is None


def test_yaml_may_say_off_without_quotes(tmp_path: Path) -> None:
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "quiet.yaml").write_text("# @package _global_\nledger: off\n")
    given = ["+experiment=quiet", f"hydra.searchpath=[file://{tmp_path}]"]
    assert open_ledger(compose("backtest", given).ledger) is None


def test_it_lies_in_the_runs_folder_by_default() -> None:
    assert compose("backtest", ["runs=elsewhere"]).ledger == "elsewhere/trials.jsonl"


@pytest.mark.parametrize("value", [True, 3, "", " ", ["a"]])
def test_what_names_no_ledger_is_refused(value: object) -> None:
    with pytest.raises(ConfigError, match="ledger must be a path, a URL or off, was"):
        open_ledger(value)


def test_a_url_that_does_not_open_is_refused() -> None:
    with pytest.raises(ConfigError, match="ledger must be a URL that opens, was team://x: "):
        open_ledger("team://x")


def test_checking_makes_nothing(tmp_path: Path) -> None:
    assert opened(tmp_path / "new" / "trials.jsonl").read().entries == ()
    assert list(tmp_path.iterdir()) == []


def test_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"must be a file that can be written, was .*: Is a dir"):
        open_ledger(str(tmp_path))


def test_a_place_below_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="must be a file that can be written, was"):
        open_ledger(str(tmp_path / "file" / "trials.jsonl"))


def test_a_file_that_cannot_be_written_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "trials.jsonl"
    opened(place).add([MARKET])
    original = Path.open

    def refuse(path: Path, mode: str = "r") -> object:
        if "a" in mode:
            raise PermissionError(13, "Permission denied", str(path))
        return original(path, mode)

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(ConfigError, match=r"can be written, was .*: Permission denied"):
        open_ledger(str(place))
    assert open_ledger(str(place), writable=False) is not None


@pytest.mark.parametrize("text", ["# Notes\n", '{"a": 1}\n', "x,y\n1,2\n"])
def test_a_file_of_something_else_is_refused_and_left_alone(tmp_path: Path, text: str) -> None:
    place = tmp_path / "notes.md"
    place.write_text(text)
    with pytest.raises(ConfigError, match="must be a ledger of trials or a new file, was"):
        open_ledger(str(place))
    assert place.read_text() == text


@pytest.mark.parametrize(
    "text", ["", "\n\n", '{"ver', '{"version":1,"kind":"tri', '<<<<<<< HEAD\n{"version":1']
)
def test_a_ledger_with_a_damaged_first_line_is_still_one(tmp_path: Path, text: str) -> None:
    place = tmp_path / "trials.jsonl"
    place.write_text(text)
    assert open_ledger(str(place)) is not None


def test_a_ledger_that_is_only_read_must_exist(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="ledger must exist and hold something, was"):
        open_ledger(str(tmp_path / "none.jsonl"), writable=False)


# --- lines --------------------------------------------------------------------------------------


def test_what_was_added_is_read_in_order(tmp_path: Path) -> None:
    place = tmp_path / "deep" / "trials.jsonl"
    ledger = opened(place)
    ledger.add([MARKET, entry(0)])
    ledger.add([entry(1), entry(2)])
    held = opened(place).read()
    assert [of.trials for of in held.entries] == [(name,) for name in hashes(3)]
    assert held.markets[MARKET.fingerprint].symbols == MARKET.symbols
    assert held.damaged == ()
    assert place.read_bytes().count(b"\n") == 4


def test_reading_counts_the_same_trial_once(tmp_path: Path) -> None:
    ledger = opened(tmp_path / "trials.jsonl")
    ledger.add([entry(0), entry(1), entry(0)])
    held = ledger.read()
    assert len(held.entries) == 3
    assert [sorted(trials) for trials in held.trials.values()] == [hashes(2)]
    assert held.knows(entry(1))
    assert not held.knows(entry(2))


@pytest.mark.parametrize("cut", [1, 20, 300])
def test_a_torn_last_line_is_named_and_does_not_swallow_the_next(tmp_path: Path, cut: int) -> None:
    place = tmp_path / "trials.jsonl"
    ledger = opened(place)
    ledger.add([entry(0)])
    with place.open("ab") as file:
        file.write(write_line(entry(1))[:cut])
    assert ledger.read().damaged == ((2, "is no whole JSON object"),)
    opened(place).add([entry(2)])
    held = ledger.read()
    assert [of.trials[0] for of in held.entries] == [hashes(3)[0], hashes(3)[2]]
    assert [number for number, _ in held.damaged] == [2]


def test_a_whole_last_line_without_its_end_stays_whole(tmp_path: Path) -> None:
    place = tmp_path / "trials.jsonl"
    place.write_bytes(write_line(entry(0)).rstrip())
    opened(place).add([entry(1)])
    held = opened(place).read()
    assert len(held.entries) == 2
    assert held.damaged == ()


def test_marks_of_a_merge_conflict_cost_no_trial(tmp_path: Path) -> None:
    place = tmp_path / "trials.jsonl"
    marks = (b"<<<<<<< HEAD\n", b"=======\n", b">>>>>>> theirs\n")
    place.write_bytes(marks[0] + write_line(entry(0)) + marks[1] + write_line(entry(1)) + marks[2])
    held = opened(place).read()
    assert len(held.entries) == 2
    assert [number for number, _ in held.damaged] == [1, 3, 5]


def test_a_write_that_fails_leaves_the_file_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "trials.jsonl"
    ledger = opened(place)
    ledger.add([entry(0)])
    before = place.read_bytes()
    write = os.write

    def half(number: int, raw: memoryview) -> int:
        if len(raw) < 100:
            raise OSError(28, "No space left on device")
        return write(number, raw[: len(raw) // 2])

    monkeypatch.setattr(os, "write", half)
    with pytest.raises(DataGap, match=r"could not be written: No space left on device"):
        ledger.add([entry(1)])
    assert place.read_bytes() == before


def test_a_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    ledger = opened(tmp_path / "trials.jsonl")
    (tmp_path / "trials.jsonl").mkdir()
    with pytest.raises(DataGap, match=r"ledger .* could not be read: Is a directory"):
        ledger.read()


# --- elsewhere than on a local disk -------------------------------------------------------------


def test_a_file_url_is_a_local_disk(tmp_path: Path) -> None:
    url = f"file://{tmp_path}/team/trials.jsonl"
    opened(url).add([MARKET, entry(0)])
    assert opened(url).place == url
    assert len(opened(tmp_path / "team" / "trials.jsonl").read().entries) == 1


@pytest.mark.parametrize("torn", [False, True])
def test_a_filesystem_without_append_is_read_added_to_and_written(
    tmp_path: Path, torn: bool
) -> None:
    (tmp_path / "team").mkdir()
    ledger = foreign(pafs.SubTreeFileSystem(str(tmp_path), pafs.LocalFileSystem()))
    ledger.check()
    assert ledger.read().entries == ()
    ledger.add([MARKET, entry(0)])
    place = tmp_path / "team" / "trials.jsonl"
    if torn:
        place.write_bytes(place.read_bytes() + b'{"version":1,')
    ledger.check()
    ledger.add([entry(1)])
    held = ledger.read()
    assert [of.trials[0] for of in held.entries] == hashes(2)
    assert len(held.damaged) == int(torn)
    assert place.read_bytes().count(b"\n") == 3 + int(torn)


def test_an_unreachable_filesystem_is_told(tmp_path: Path) -> None:
    (tmp_path / "team").write_text("in the way")
    ledger = foreign(pafs.SubTreeFileSystem(str(tmp_path), pafs.LocalFileSystem()))
    with pytest.raises(DataGap, match=r"ledger s3://team/trials\.jsonl could not be written: "):
        ledger.add([entry(0)])


# --- several processes --------------------------------------------------------------------------

WRITER = """
import sys, time
from pathlib import Path
from quantcore.research.trials import open_ledger
from tests.research.trials.test_ledger import entry
ledger = open_ledger(sys.argv[1])
first = int(sys.argv[2])
lines = [entry(first + k) for k in range(60)]
Path(sys.argv[1] + f".{first}").touch()
while not Path(sys.argv[1] + ".go").exists():
    time.sleep(0.001)
for line in lines:
    ledger.add([line])
"""


@pytest.mark.integration
def test_two_processes_add_lines_at_once_and_none_is_lost(root: Path, tmp_path: Path) -> None:
    place = tmp_path / "trials.jsonl"
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(place), first], cwd=root)
        for first in ("0", "1000")
    ]
    wait(lambda: all(Path(f"{place}.{first}").exists() for first in (0, 1000)))
    Path(f"{place}.go").touch()
    assert [writer.wait(timeout=60) for writer in writers] == [0, 0]
    held = opened(place).read()
    assert held.damaged == ()
    assert sorted(of.trials[0] for of in held.entries) == hashes(60) + hashes(60, since=1000)


def wait(ready: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60.0
    while not ready() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert ready()


def test_the_lock_is_waited_for(tmp_path: Path) -> None:
    fcntl = pytest.importorskip("fcntl")
    place = tmp_path / "trials.jsonl"
    ledger = opened(place)
    ledger.add([entry(0)])
    writer = threading.Thread(target=lambda: ledger.add([entry(1)]))
    with place.open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        writer.start()
        writer.join(timeout=0.2)
        assert writer.is_alive()
        assert len(ledger.read().entries) == 1
    writer.join(timeout=10.0)
    assert len(ledger.read().entries) == 2
