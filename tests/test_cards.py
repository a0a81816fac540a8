"""Cards take their colours from the page and keep what is shown from becoming markup."""

from __future__ import annotations

import re

from quantcore.cards import card, facts, groups, paragraph, tiles

BAD = "<u>&"
GOOD = "&lt;u&gt;&amp;"


def test_text_is_escaped_everywhere() -> None:
    parts = (
        facts([(BAD, BAD)]),
        tiles([(BAD, BAD, BAD)]),
        groups([(BAD, [(BAD, BAD)])]),
        paragraph(BAD),
    )
    shown = card(BAD, BAD, *parts)
    assert BAD not in shown
    assert shown.count(GOOD) == 2 + 2 + 3 + 3 + 1


def test_a_card_has_no_colours_of_its_own() -> None:
    style = re.findall(r"<style>(.*?)</style>", card("a", "b"), flags=re.DOTALL)[0]
    assert "color: inherit" in style
    assert "background" not in style
    assert set(re.findall(r"#[0-9a-fA-F]{3,6}\b|rgba?\([^)]*\)", style)) <= {
        "rgba(128,128,128,0.35)"
    }
    selectors = re.findall(r"([^{}]+)\{", style)
    assert all(s.strip().startswith(".qc-card") for group in selectors for s in group.split(","))
