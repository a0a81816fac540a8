"""Cards that objects show of themselves in a notebook: HTML that takes its colours from the page, light or dark."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

_LINE = "1px solid rgba(128,128,128,0.35)"
_STYLE = f"""<style>
.qc-card {{ max-width: 62rem; margin: 0.25rem 0; padding: 0.75rem 1rem; border: {_LINE}; border-radius: 6px;
  font: 13px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, Arial, sans-serif; color: inherit; }}
.qc-card .qc-title {{ font-size: 15px; font-weight: 600; }}
.qc-card .qc-aside {{ opacity: 0.75; }}
.qc-card .qc-tiles {{ display: grid; grid-template-columns: repeat(auto-fit, minmax(8.5rem, 1fr)); gap: 0.5rem 1.25rem;
  margin: 0.6rem 0; }}
.qc-card .qc-value {{ font-size: 17px; font-weight: 600; font-variant-numeric: tabular-nums; }}
.qc-card dl {{ width: auto; display: grid; grid-template-columns: max-content 1fr; gap: 0.15rem 1.25rem;
  margin: 0.5rem 0 0; }}
.qc-card dt, .qc-card dd {{ margin: 0; padding: 0; font-weight: normal; text-align: left; }}
.qc-card dt {{ opacity: 0.75; white-space: nowrap; }}
.qc-card dd {{ overflow-wrap: anywhere; }}
.qc-card .qc-groups {{ display: grid; grid-template-columns: repeat(auto-fit, minmax(17rem, 1fr));
  gap: 0.25rem 2.25rem; }}
.qc-card .qc-group {{ margin: 0.5rem 0; }}
.qc-card .qc-row {{ display: flex; justify-content: space-between; gap: 1rem; border-bottom: {_LINE}; }}
.qc-card .qc-row span:last-child {{ font-variant-numeric: tabular-nums; white-space: nowrap; }}
.qc-card p {{ margin: 0.5rem 0 0; max-width: 80ch; }}
</style>"""


def card(title: str, aside: str, *body: str) -> str:
    """Return a card; title and aside are plain text, the body is HTML."""
    return (
        f'{_STYLE}<div class="qc-card"><span class="qc-title">{escape(title)}</span> '
        f'<span class="qc-aside">{escape(aside)}</span>{"".join(body)}</div>'
    )


def facts(rows: Iterable[tuple[str, str]]) -> str:
    """Return names and texts beside each other."""
    made = (f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>" for name, text in rows)
    return f"<dl>{''.join(made)}</dl>"


def tiles(items: Iterable[tuple[str, str, str]]) -> str:
    """Return headline numbers, each with its name above and its context beneath."""
    made = (
        f'<div><div class="qc-aside">{escape(name)}</div><div class="qc-value">{escape(value)}</div>'
        f'<div class="qc-aside">{escape(aside)}</div></div>'
        for name, value, aside in items
    )
    return f'<div class="qc-tiles">{"".join(made)}</div>'


def groups(headed: Iterable[tuple[str, Sequence[tuple[str, str]]]]) -> str:
    """Return headed lists of names and numbers in as many columns as fit."""
    made = []
    for heading, rows in headed:
        lines = "".join(
            f'<div class="qc-row"><span>{escape(name)}</span><span>{escape(text)}</span></div>'
            for name, text in rows
        )
        made.append(f'<div class="qc-group"><b>{escape(heading)}</b>{lines}</div>')
    return f'<div class="qc-groups">{"".join(made)}</div>'


def paragraph(text: str) -> str:
    """Return a sentence or several."""
    return f"<p>{escape(text)}</p>"
