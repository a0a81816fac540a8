"""The folder of compiled kernels follows every source that they are made of."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ASK = "import quantcore.kernels, numba; print(numba.config.CACHE_DIR)"


def folder_of(tree: Path) -> str:
    return subprocess.run(
        [sys.executable, "-c", ASK], cwd=tree, capture_output=True, text=True, check=True
    ).stdout


@pytest.mark.parametrize(
    ("changed", "moves"),
    [
        ("quantcore/kernels/ledger.py", True),
        ("quantcore/kernels/layout.py", True),
        ("quantcore/types.py", True),
        ("quantcore/risk/sizer.py", True),
        ("strategies/trend.py", True),
        ("quantcore/backtest/summary.py", False),
    ],
)
def test_the_cache_moves_when_code_or_constants_of_a_kernel_change(
    root: Path, tmp_path: Path, changed: str, moves: bool
) -> None:
    for package in ("quantcore", "strategies"):
        shutil.copytree(root / package, tmp_path / package)
    before = folder_of(tmp_path)
    with (tmp_path / changed).open("a") as file:
        file.write("\n# changed\n")
    assert (folder_of(tmp_path) != before) is moves
