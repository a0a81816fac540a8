"""Compiled kernels are kept by every source that they are made of, and by no other."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ASK = """
import importlib, sys
from quantcore.kernels.cache import SourceLocator
for name in sys.argv[1:]:
    module, _, function = name.rpartition(".")
    kernel = getattr(importlib.import_module(module), function)
    where = kernel._cache._impl.locator
    assert type(where) is SourceLocator, (name, where)
    print(where.get_source_stamp())
"""
KERNELS = {
    "scan": "quantcore.account_step.scan",
    "weights": "quantcore.signals.generator.scan",
    "trend": "strategies.trend.scan",
    "lag": "quantcore.features.lag.lag_step",
}


def stamps(tree: Path, *kernels: str) -> list[str]:
    return subprocess.run(
        [sys.executable, "-c", ASK, *kernels], cwd=tree, capture_output=True, text=True, check=True
    ).stdout.split()


def change(file: Path) -> None:
    file.write_text(file.read_text() + "\n# changed\n")


@pytest.fixture(scope="module")
def tree(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    copy = tmp_path_factory.mktemp("tree")
    for package in ("quantcore", "strategies"):
        shutil.copytree(root / package, copy / package)
    return copy


@pytest.fixture(scope="module")
def before(tree: Path) -> list[str]:
    return stamps(tree, *KERNELS.values())


@pytest.mark.parametrize(
    ("changed", "moved"),
    [
        ("quantcore/kernels/ledger.py", {"scan"}),
        ("quantcore/kernels/layout.py", {"scan"}),
        ("quantcore/types.py", {"scan", "weights", "trend", "lag"}),
        ("quantcore/risk/sizer.py", {"scan"}),
        ("quantcore/execution/exits.py", {"scan"}),
        ("quantcore/account_glide.py", {"scan"}),
        ("quantcore/kernels/ewm.py", {"scan", "weights", "trend"}),
        ("quantcore/risk/controller.py", {"scan"}),
        ("strategies/trend.py", {"trend"}),
        ("quantcore/backtest/summary.py", set()),
    ],
)
def test_a_change_moves_what_is_made_of_it_and_nothing_else(
    tree: Path, before: list[str], changed: str, moved: set[str]
) -> None:
    source = (tree / changed).read_text()
    change(tree / changed)
    after = stamps(tree, *KERNELS.values())
    (tree / changed).write_text(source)
    assert {
        name for name, old, new in zip(KERNELS, before, after, strict=True) if old != new
    } == moved


def test_a_users_own_kernel_follows_its_helpers_and_ours(tree: Path, tmp_path: Path) -> None:
    package = tmp_path / "mine"
    package.mkdir()
    (package / "__init__.py").write_text(
        "from mine.constants import (\n    HALF,  # a half\n    ONE,\n)\n"
    )
    (package / "constants.py").write_text("HALF = 0.5\nONE = 1.0\n")
    (package / "kernel.py").write_text(
        "from numba import njit\nfrom . import HALF\nfrom quantcore.kernels.ewm import ewm_init\n"
        "@njit(cache=True)\ndef half():\n    return HALF\n"
    )
    environment = f"import sys; sys.path[:0] = [{str(tree)!r}]\n"

    def stamp() -> str:
        return subprocess.run(
            [sys.executable, "-c", environment + ASK, "mine.kernel.half"],
            cwd=tmp_path, capture_output=True, text=True, check=True,
        ).stdout  # fmt: skip

    first = stamp()
    (package / "constants.py").write_text("HALF = 0.25\nONE = 1.0\n")
    second = stamp()
    change(tree / "quantcore" / "kernels" / "ewm.py")
    assert len({first, second, stamp()}) == 3


def test_a_librarys_kernel_is_left_to_numba(tmp_path: Path) -> None:
    (tmp_path / "theirs.py").write_text(
        "from numba import njit\n@njit(cache=True)\ndef one():\n    return 1\n"
    )
    told = subprocess.run(
        [
            sys.executable,
            "-c",
            "import quantcore.kernels, theirs; print(type(theirs.one._cache._impl.locator).__name__)",
        ],
        cwd=tmp_path, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert told.stdout.strip() != "SourceLocator"


def test_a_kernel_typed_into_a_notebook_follows_ours(tree: Path) -> None:
    code = (
        "import linecache, sys\n"
        "import quantcore.kernels.ewm\n"
        "from quantcore.kernels.cache import SourceLocator\n"
        "text = 'def one():\\n    return 1\\n'\n"
        "linecache.cache['<cell>'] = (len(text), None, text.splitlines(True), '<cell>')\n"
        "space = {'__name__': '__main__'}\n"
        "exec(compile(text, '<cell>', 'exec'), space)\n"
        "print(SourceLocator.from_function(space['one'], '<cell>').get_source_stamp())\n"
    )

    def stamp() -> str:
        return subprocess.run(
            [sys.executable, "-c", code], cwd=tree, capture_output=True, text=True, check=True
        ).stdout

    first = stamp()
    change(tree / "quantcore" / "kernels" / "ewm.py")
    assert first != stamp()
