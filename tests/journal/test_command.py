"""``python -m live.journal``: what it prints, its exit codes, and one line for bad input."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from live.journal import open_journal
from live.journal.__main__ import WIDTH, main
from live.journal.findings import HOLDS
from live.journal.replay_check import Replayer
from quantcore.config import compose
from quantcore.errors import ConfigError, JournalError
from tests.journal.entries import ADVANCE, opened, url_of, whole_run


def replayer(session: object) -> Replayer:
    """What a test names as ``journal.replayer``."""
    return Replayer(advance=ADVANCE, unprotected=lambda state, step: ())


Run = Callable[..., int]


def run_on(url: str, runs: Path) -> Run:
    """Return what runs the command on a journal whose settings no loop of today can replay."""
    given = [f"journal.url='{url}'", f"runs={runs}", "journal.replayer=null"]
    return lambda *arguments: main(compose("journal", [*given, *arguments]))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    with opened(tmp_path) as journal:
        whole_run(journal)
    return tmp_path


@pytest.fixture
def run(url: str, tmp_path: Path) -> Run:
    with opened(url) as journal:
        whole_run(journal)
    return run_on(url, tmp_path / "runs")


def test_verify_prints_a_table_and_what_it_left_out(
    run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run() == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["Check", "What", "must", "hold", "Examined", "Result"]
    assert len(lines) == 1 + len(HOLDS) + 1
    for name, line in zip(HOLDS, lines[1:], strict=False):
        assert line.startswith(f"{name} ")
        assert HOLDS[name] in line
        assert len(line) <= WIDTH
    assert lines[6].split()[-2:] == ["3", "whole"]
    assert lines[-1].endswith(
        "is whole, as far as it was checked: replay, own wallet, protection not."
    )
    name = f"{replayer.__module__}:replayer"
    assert run(f"journal.replayer={name}") == 0
    assert (
        capsys.readouterr()
        .out.splitlines()[-1]
        .endswith("as far as it was checked: own wallet not.")
    )


def test_verify_explains_the_first_difference(
    run: Run, url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with open_journal(url) as journal, journal.transaction() as connection:
        connection.exec_driver_sql("UPDATE fills SET client_id = 'qc-9' WHERE trade_id = 7")
    assert run() == 1
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.endswith("is not whole: fill BTCUSDT 7 is of qc-9, which no intent sent.")


def test_a_journal_leaves_and_comes_back(
    run: Run,
    url_at: Callable[[str], str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run("action=export") == 0
    exported = capsys.readouterr().out.strip()
    assert Path(exported).parent == tmp_path / "runs" / "journal"
    assert exported.endswith("-sim")
    other = run_on(url_at("two"), tmp_path)
    assert other("action=import", f"from={exported}") == 0
    assert "rows, equal to those of" in capsys.readouterr().out
    assert other() == 0


def test_prune_says_what_it_dropped(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("action=prune", "before=1970-01-01T07:00:00Z") == 0
    said = capsys.readouterr().out
    assert "inputs of 4 steps, 2 snapshots, 1 events and 1 heartbeats dropped" in said
    assert "from step 4 on" in said
    assert run("action=prune", "days=1.5") == 0
    assert "from step 8 on" in capsys.readouterr().out
    assert run() == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["action=look"], "action must be one of verify, export, import, prune, was look"),
        (["conf=live"], "no conf 'live'; known: paper, prod, sim, staging, testnet"),
        (["days=3"], "days must be null but for action=prune, was 3"),
        (
            ["action=prune"],
            "prune must be given before or days, was given before=None and days=None",
        ),
        (["action=prune", "days=-1"], "days must be a number >= 0, was -1"),
        (["action=prune", "days=many"], "days must be a number >= 0, was many"),
        (["action=import"], "from must be a folder that action=export wrote, was null"),
        (
            ["journal.replayer=live.nobody"],
            "journal.replayer must be the dotted name of a function",
        ),
        (
            ["journal.replayer=live.journal.told.DETAILS"],
            "must be the dotted name of a function, was",
        ),
        (["journal.synchronous=off"], "synchronous must be full or normal"),
        (["journal.url=mysql://x"], "url must begin with sqlite:///"),
    ],
)
def test_bad_input_is_refused(folder: Path, arguments: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        run_on(url_of(folder), folder)(*arguments)


def test_a_journal_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    for action in ("verify", "export", "prune"):
        days = ["days=1"] if action == "prune" else []
        with pytest.raises(ConfigError, match=r"^journal must be there, .*journal\.sqlite is not"):
            run_on(url_of(tmp_path), tmp_path)(f"action={action}", *days)
    assert not (tmp_path / "live").exists()


def test_pruning_a_journal_that_is_being_written_is_refused(run: Run, url: str) -> None:
    with open_journal(url):
        with pytest.raises(JournalError, match="being written by another process"):
            run("action=prune", "days=1")
        assert run() == 0


@pytest.mark.integration
def test_bad_input_is_one_line_and_code_2(folder: Path, root: Path) -> None:
    (folder / "live").chmod(0o755)
    done = subprocess.run(
        [sys.executable, "-m", "live.journal", f"journal.url={url_of(folder)}"],
        cwd=root,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert len(done.stderr.splitlines()) == 1
    assert "readable by its owner alone" in done.stderr


@pytest.mark.integration
def test_the_file_of_a_mode_is_found_by_its_name(folder: Path, root: Path) -> None:
    place = folder / "data" / "live" / "paper"
    place.parent.mkdir(parents=True)
    (folder / "live").rename(place)
    done = subprocess.run(
        [sys.executable, "-m", "live.journal", "conf=paper", "journal.replayer=null"],
        cwd=folder,
        env={"PYTHONPATH": str(root), "PATH": ""},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "sqlite:///data/live/paper/journal.sqlite is whole" in done.stdout
