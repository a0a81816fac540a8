"""The page's sections as HTML, each a pure function of the board; what matters first comes first."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from live.dashboard.board import Board
from live.dashboard.gauges import costs, exposure, limits, signals, streams
from live.dashboard.headline import headline, masthead
from live.dashboard.lists import fills, log, orders, positions, reasons, scorecard

SECTIONS: Mapping[str, Callable[[Board], str]] = MappingProxyType(
    {
        "masthead": masthead,
        "headline": headline,
        "positions": positions,
        "limits": limits,
        "exposure": exposure,
        "orders": orders,
        "fills": fills,
        "signals": signals,
        "costs": costs,
        "streams": streams,
        "reasons": reasons,
        "scorecard": scorecard,
        "log": log,
    }
)
"""By name; each is sent to a reader only when it differs from what he has."""
