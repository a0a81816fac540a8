"""What the views of research have in common: pages, and cards with a verdict."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from quantcore.backtest.page import Page
from quantcore.backtest.report import write_page
from quantcore.cards import card, paragraph, tiles
from quantcore.errors import ConfigError
from quantcore.overrides import cause, told


def page_of(html: str, path: str | Path | None) -> Page:
    """Return a page for a notebook, written where a path is given.

    Raises
    ------
    ConfigError
        If the path is a folder, or no file can be written there.
    """
    try:
        return Page(html, None if path is None else write_page(html, path))
    except ConfigError as error:
        raise told(error) from cause(error)


def verdict_card(
    title: str, aside: str, verdict: str, items: Sequence[tuple[str, str, str]], more: Sequence[str]
) -> str:
    """Return a card: what was done, the verdict, headline numbers, and the sentences that it rests on."""
    return card(title, aside, paragraph(verdict), tiles(items), *map(paragraph, more))
