"""A strategy outside the repository, as README.md shows it, in a folder that holds nothing else."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

pytestmark = pytest.mark.integration

SMALL = ("data.n_symbols=4", "data.days=60", "data.late_listings=1")


@pytest.fixture
def written(root: Path, tmp_path: Path) -> Path:
    """The files of README's section, each from the block below its name."""
    section = (root / "README.md").read_text("utf-8").partition("## Your own strategy")[2]
    section = section.partition("\n## ")[0]
    found = re.findall(r"`([\w/]+\.(?:py|yaml))`:\s+```\w+\n(.*?)```", section, flags=re.DOTALL)
    assert [name for name, _ in found] == ["mystrats/snapback.py", "conf/strategy/snapback.yaml"]
    for name, text in found:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, "utf-8")
    command = re.search(r"^python -m (quantcore\.backtest .*)$", section, flags=re.MULTILINE)
    assert command is not None
    (tmp_path / "command").write_text(command[1], "utf-8")
    return tmp_path


def run(folder: Path, *more: str) -> subprocess.CompletedProcess[str]:
    arguments = (folder / "command").read_text("utf-8").split()
    return subprocess.run(
        [sys.executable, "-m", *arguments, *SMALL, *more],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def spoil(folder: Path, statement: str) -> None:
    path = folder / "mystrats" / "snapback.py"
    path.write_text(re.sub(r"    return .*", f"    {statement}", path.read_text("utf-8")), "utf-8")


def results(done: subprocess.CompletedProcess[str], folder: Path) -> Path:
    assert done.returncode == 0, done.stderr
    return folder / done.stdout.strip().splitlines()[-1]


def targets(folder: Path) -> pd.DataFrame:
    table = pd.read_parquet(folder / "targets.parquet")
    return table.set_index("ts") if "ts" in table else table


def test_the_example_of_the_readme_runs_and_its_source_is_in_the_manifest(written: Path) -> None:
    folder = results(run(written), written)
    source = (written / "mystrats" / "snapback.py").read_bytes()
    manifest = json.loads((folder / "manifest.json").read_text("utf-8"))
    assert manifest["strategy_source"] == hashlib.sha256(source).hexdigest()
    assert re.fullmatch(r"[0-9a-f]{64}", manifest["source_hash"])
    assert len(pd.read_parquet(folder / "fills.parquet")) > 0


@pytest.mark.slow
def test_a_later_start_changes_no_target_and_spares_the_earlier_calls(written: Path) -> None:
    path = written / "mystrats" / "snapback.py"
    path.write_text(
        path.read_text("utf-8").replace(
            "    change =", "    open('calls', 'a').write('x')\n    change ="
        ),
        "utf-8",
    )
    whole = targets(results(run(written), written))
    assert len((written / "calls").read_text("utf-8")) == len(whole) - 24
    (written / "calls").unlink()
    later = targets(results(run(written, "data.start=2024-02-20"), written))
    assert len((written / "calls").read_text("utf-8")) == len(later) < len(whole)
    pd.testing.assert_frame_equal(later, whole.loc[later.index], check_exact=True)


def test_a_forecast_of_another_type_gets_one_line(written: Path) -> None:
    spoil(written, "return change.to_numpy()")
    done = run(written)
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        "forecast of mystrats.snapback must return a DataFrame over its rows and symbols, or a Series over the "
        "symbols, was ndarray"
    ]


def test_an_error_in_the_strategy_shows_only_frames_from_there_on(written: Path) -> None:
    spoil(written, "return {}['nothing']")
    done = run(written)
    assert done.returncode == 1
    frames = re.findall(r'File "(.*?)"', done.stderr)
    assert [Path(name).name for name in frames] == ["snapback.py"]
    assert done.stderr.splitlines()[-1] == "KeyError: 'nothing'"


def test_an_error_of_grammar_in_the_strategy_names_its_line_alone(written: Path) -> None:
    spoil(written, "return =")
    done = run(written)
    assert done.returncode == 1
    path = written / "mystrats" / "snapback.py"
    line = path.read_text("utf-8").splitlines().index("    return =") + 1
    assert re.findall(r'File "(.*?)", line (\d+)', done.stderr) == [(str(path), str(line))]


def test_a_strategy_that_is_not_found_names_its_file_and_the_remedy(written: Path) -> None:
    (written / "mystrats" / "snapback.py").unlink()
    done = run(written)
    assert done.returncode == 2
    line = "No module named 'mystrats.snapback'; put its folder on PYTHONPATH (conf/strategy/snapback.yaml)"
    assert done.stderr.rstrip().endswith(line)
    (written / "conf").rename(written / "mine")
    moved = re.sub("--config-dir=conf", "--config-dir=mine", (written / "command").read_text())
    (written / "command").write_text(moved)
    assert run(written).stderr.rstrip().endswith("(mine/strategy/snapback.yaml)")


def test_a_lookback_longer_than_the_data_is_refused(written: Path) -> None:
    done = run(written, "strategy.lookback=99999999")
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        "strategy and portfolio need 99,999,999 bars to warm up, the data holds 1,440: no decision could be taken"
    ]
