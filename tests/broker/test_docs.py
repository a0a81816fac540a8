"""The page of the broker names tests that exist, one at least for each danger."""

from __future__ import annotations

import re
from pathlib import Path


def test_every_danger_has_a_test_that_exists(root: Path) -> None:
    text = (root / "docs" / "broker.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\d{1,2}) .*$", text, flags=re.MULTILINE)
    assert [int(number) for number in rows] == list(range(1, 15))
    here = "".join(
        path.read_text(encoding="utf-8") for path in (root / "tests" / "broker").glob("*.py")
    )
    for line in text.splitlines():
        named = re.findall(r"`(test_\w+)`", line)
        assert named or not re.match(r"\| \d{1,2} ", line), line
        for name in named:
            assert re.search(rf"def {name}\(", here), name
