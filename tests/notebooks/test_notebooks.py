"""Every notebook has a pair that says the same, carries no outputs, and runs from top to bottom."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
EACH = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def test_there_are_notebooks() -> None:
    assert NOTEBOOKS
    assert {path.stem for path in NOTEBOOKS} == {path.stem for path in FOLDER.glob("*.py")}


@EACH
def test_a_notebook_and_its_pair_hold_the_same_cells(path: Path) -> None:
    jupytext = pytest.importorskip("jupytext")
    notebook, pair = jupytext.read(path), jupytext.read(path.with_suffix(".py"))
    cells = [[(c.cell_type, c.source.strip()) for c in book.cells] for book in (notebook, pair)]
    assert cells[0] == cells[1]


@EACH
def test_a_notebook_carries_no_outputs(path: Path) -> None:
    nbformat = pytest.importorskip("nbformat")
    for cell in nbformat.read(path, as_version=4).cells:
        assert not cell.get("outputs")
        assert cell.get("execution_count") is None


@EACH
@pytest.mark.slow  # every change runs them all the same (`.ci/run`)
@pytest.mark.integration
def test_a_notebook_runs(path: Path) -> None:
    pytest.importorskip("nbmake")
    command = [
        sys.executable,
        "-m",
        "pytest",
        "--nbmake",
        "--nbmake-timeout=600",
        "-q",
        "-p",
        "no:cacheprovider",
    ]
    done = subprocess.run(
        [*command, str(path)], cwd=FOLDER.parent, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-3000:]
