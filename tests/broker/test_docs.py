"""The page of the broker names tests that exist, one at least in every row of what the exchange may do."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

TABLES = ("The dangers of python-binance", "The facts of the exchange", "Secrets", "Damaged input")
_LEAST = {"The dangers of python-binance": 19, "The facts of the exchange": 38}


def rows_of(text: str, title: str) -> Iterator[str]:
    """Yield the rows of the tables under a title."""
    section = re.split(r"^## ", text, flags=re.MULTILINE)
    (found,) = [part for part in section if part.startswith(title)]
    for line in found.splitlines():
        if line.startswith("| ") and not line.endswith("| test |"):
            yield line


def test_every_row_names_tests_that_exist(root: Path) -> None:
    text = (root / "docs" / "broker.md").read_text(encoding="utf-8")
    there = {
        name
        for path in (root / "tests").rglob("test_*.py")
        for name in re.findall(r"def (test_\w+)\(", path.read_text(encoding="utf-8"))
    }
    for title in TABLES:
        rows = list(rows_of(text, title))
        assert len(rows) >= _LEAST.get(title, 5)
        for row in rows:
            named = re.findall(r"`(test_\w+)`", row)
            assert named, row
            assert [name for name in named if name not in there] == []


def test_every_numbered_danger_has_its_row(root: Path) -> None:
    text = (root / "docs" / "broker.md").read_text(encoding="utf-8")
    numbers = re.findall(r"^\| (\d{1,2}) .*$", text, flags=re.MULTILINE)
    assert [int(number) for number in numbers] == list(range(1, 15))
