"""Every code that the exchange answers is in the list that says where it was checked."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def answered() -> set[int]:
    """Return the negative numbers of four digits in the simulator's sources."""
    found: set[int] = set()
    for path in (ROOT / "live" / "simulator").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
                value = node.operand.value if isinstance(node.operand, ast.Constant) else None
                if isinstance(value, int) and 1000 <= value < 6000:
                    found.add(-value)
    return found


def listed() -> set[int]:
    text = (ROOT / "docs" / "simulator.md").read_text(encoding="utf-8")
    table = text.partition("## Codes")[2].partition("\n## ")[0]
    found: set[int] = set()
    for first, last in re.findall(r"-(\d{4})(?: to -(\d{4}))?", table):
        found |= {-code for code in range(int(first), int(last or first) + 1)}
    return found


def test_the_list_of_codes_is_that_of_the_sources() -> None:
    assert answered() == listed()
    assert len(listed()) > 60
