"""``python -m live.parity`` from outside: what it leaves behind, what it returns, and what it says to wrong input."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from omegaconf import open_dict

from live.journal.journal import open_journal
from live.parity import study
from live.parity.__main__ import main
from live.parity.case import Case
from live.parity.exchange import exchange_of
from live.parity.lockstep import trade, warm
from live.parts import session_text
from quantcore.config import compose
from tests.parity.markets import HOURLY, case

pytestmark = [pytest.mark.integration, pytest.mark.slow]

SMALL = ("data.n_symbols=3", "data.days=50", "data.late_listings=0", "parity.symbols=2")


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty folder to stand in, so that nothing of the project's own folder is needed or touched."""
    return tmp_path_factory.mktemp("workplace")


def parity(workplace: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "live.parity", *arguments],
        cwd=workplace,
        env=dict(os.environ),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def test_command_compares_and_leaves_a_results_folder(workplace: Path) -> None:
    done = parity(workplace, "+experiment=quickstart", *SMALL, "parity.days=4")
    assert done.returncode == 0, done.stderr
    assert done.stderr.replace("compiling the kernels, once: a few minutes\n", "") == ""
    folder = workplace / done.stdout.splitlines()[-1]
    assert folder.parent == workplace / "data" / "runs" / "parity"
    assert folder.name.endswith("-quickstart")
    summary = json.loads((folder / "summary.json").read_text("utf-8"))
    assert summary["decisions"] == 4 * 24 + 1
    assert summary["fills"] > 0
    for name in ("decisions", "orders", "fills", "funding", "liquidations", "equity"):
        assert summary[f"differing_{name}"] == 0
    assert summary["max_equity_error"] == 0.0
    assert summary["first_difference"] is None
    assert len(summary["symbols"]) == 2
    for side in ("backtest", "live"):
        assert len(pd.read_parquet(folder / side / "fills.parquet")) == summary["fills"]
    assert not len(pd.read_parquet(folder / "differences.parquet"))
    assert json.loads((folder / "manifest.json").read_text("utf-8"))["command"] == "live.parity"
    assert "parity:" in (folder / "config.yaml").read_text("utf-8")
    page = (folder / "parity.html").read_text("utf-8")
    assert "Equal: 97 decisions" in page
    assert "<script src" not in page


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("parity.days=90",), "parity.days must be < 49, which the data holds, was 90"),
        (("parity.days=0",), "parity.days must be a whole number >= 1, was 0"),
        (("parity.symbols=half",), "parity.symbols must be a whole number >= 1, was half"),
        (("parity.day=3",), "parity.day"),
        (
            ("parity.days=3", "account.cash_flows=[{ts: 2024-02-10, amount: 10}]"),
            "account.cash_flows must be empty under parity",
        ),
        (("parity.journal=sqlite:///nowhere/journal.sqlite",), "nowhere/journal.sqlite"),
    ],
)
def test_wrong_input_is_one_line_and_nothing_is_left(
    arguments: tuple[str, ...], told: str, workplace: Path
) -> None:
    before = set((workplace / "data" / "runs").glob("parity/*"))
    done = parity(workplace, *SMALL, *arguments)
    assert done.returncode == 2, done.stdout
    said = [line for line in done.stderr.splitlines() if not line.startswith("compiling")]
    assert len(said) == 1
    assert told in said[0]
    assert set((workplace / "data" / "runs").glob("parity/*")) == before


def test_difference_is_exit_code_1_and_is_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    @contextmanager
    def dearer(small: Case) -> Iterator[dict[str, str]]:
        with exchange_of(
            replace(small, execution=replace(small.execution, taker_fee=0.0008))
        ) as ready:
            yield ready

    monkeypatch.setattr(study, "exchange_of", dearer)
    monkeypatch.chdir(tmp_path)
    assert main(compose("parity", [*SMALL, "parity.days=3"])) == 1
    printed = capsys.readouterr().out
    assert "Fee: the same fill has another fee." in printed
    folder = tmp_path / printed.splitlines()[-1]
    summary = json.loads((folder / "summary.json").read_text("utf-8"))
    assert summary["first_difference"]["kind"] == "fee"
    assert summary["gap"]["fee"] < 0.0
    assert set(pd.read_parquet(folder / "context.parquet")["of"]) == {"backtest", "live"}
    page = (folder / "parity.html").read_text("utf-8")
    assert 'id="price"' in page
    assert 'id="gap"' in page


@pytest.fixture(scope="module")
def journal(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A run's journal, with its settings."""
    place = tmp_path_factory.mktemp("run", numbered=True)
    place.chmod(0o700)
    overrides = [f"data.root={place}", *HOURLY, "strategy.exits.stop_loss=0.01"]
    ran = case(place, overrides, days=4)
    url = f"sqlite:///{place / 'journal.sqlite'}"
    warm(ran)
    settings = compose("parity", overrides)
    with open_dict(settings):
        settings.conf = {
            "mode": "paper"
        }  # as every session of the live loop has it; in order, as here
    with exchange_of(ran) as ready:
        asyncio.run(
            trade(
                ran,
                ready,
                progress=lambda _: None,
                config_yaml=session_text(settings, ran.instruments()),
                journal_url=url,
            )
        )
    return url


def test_journal_of_a_run_is_compared_with_the_backtest_of_its_bars(
    journal: str, workplace: Path
) -> None:
    done = parity(workplace, f"parity.journal={journal}")
    assert done.returncode == 0, done.stdout + done.stderr
    folder = workplace / done.stdout.splitlines()[-1]
    summary = json.loads((folder / "summary.json").read_text("utf-8"))
    assert summary["decisions"] == 4 * 24 + 1
    assert summary["fills"] > 0
    assert summary["differing_fills"] == 0
    assert summary["bars"] == 4 * 24 + 1
    assert "stop_loss: 0.01" in (folder / "config.yaml").read_text("utf-8")


def test_journal_with_other_settings_than_the_run_had_is_refused(journal: str) -> None:
    from sqlalchemy import select, update

    from live.journal import tables
    from live.parity.recorded import recorded
    from quantcore.errors import JournalError

    with open_journal(journal) as opened:
        table = tables.sessions
        with opened.transaction() as connection:
            held = connection.scalars(select(table.c.config_yaml)).one()
            changed = held.replace("no_trade_band: 0.01", "no_trade_band: 0.2")
            assert changed != held
            connection.execute(update(table).values(config_yaml=changed))
        with pytest.raises(JournalError, match="must give its state again"):
            recorded(opened)
        with opened.transaction() as connection:
            connection.execute(update(table).values(config_yaml="mode: sim"))
        with pytest.raises(JournalError, match="must hold settings and rules"):
            recorded(opened)
