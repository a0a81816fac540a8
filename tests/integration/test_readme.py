"""What README.md shows is what comes out."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.integration


def test_the_first_example_prints_what_stands_below_it(root: Path, tmp_path: Path) -> None:
    text = (root / "README.md").read_text("utf-8")
    found = re.search(r"```python\n(.*?)```\s+```\n(.*?)```", text, flags=re.DOTALL)
    assert found is not None
    done = subprocess.run(
        [sys.executable, "-c", found[1]],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.stdout.rstrip() == found[2].rstrip(), done.stderr


def test_every_command_it_names_exists(root: Path) -> None:
    text = (root / "README.md").read_text("utf-8")
    for module in set(re.findall(r"python -m (quantcore[\w.]*)", text)):
        path = root / Path(*module.split("."))
        assert (path / "__main__.py").exists() or path.with_suffix(".py").exists(), module
    makefile = (root / "Makefile").read_text("utf-8")
    for target in set(re.findall(r"`make (\w+)`", text)):
        assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE), target
