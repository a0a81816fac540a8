"""A finished page of HTML, which a notebook shows in a frame of its own."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from pathlib import Path


@dataclass(frozen=True, eq=False, repr=False)
class Page:
    """A page of HTML that a notebook shows in a frame of its own.

    Parameters
    ----------
    html : str
        The whole page.
    path : Path or None
        Where it was written.
    height : int
        Of the frame, pixels.
    """

    html: str
    path: Path | None = None
    height: int = 900

    def __repr__(self) -> str:
        place = "not written to a file" if self.path is None else f"written to {self.path}"
        return f"page of {len(self.html):,} characters, {place}"

    def _repr_html_(self) -> str:
        """Return what a notebook shows."""
        text = self.html.replace("&", "&amp;").replace('"', "&quot;")
        style = (
            f"box-sizing:border-box;width:100%;height:{self.height}px;"
            "border:1px solid rgba(128,128,128,0.35);border-radius:6px"
        )
        place = "" if self.path is None else f"<p>Written to {escape(str(self.path))}.</p>"
        return f'{place}<iframe srcdoc="{text}" style="{style}"></iframe>'
