"""What a run says beside its numbers: sentences about data, account and model, and how good its inputs were."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from quantcore.account_plane import AccountPlane, Events
from quantcore.backtest.protection import longest_without_stop
from quantcore.data.instruments import Instrument
from quantcore.errors import ConfigError
from quantcore.frames import Bars
from quantcore.kernels import layout as at
from quantcore.signal_plane import Signals, SignalSettings, warm_up
from quantcore.timegrid import MINUTE_US, to_index
from quantcore.types import Rule

MODEL_LIMITS = (
    "Liquidation closes whole positions, largest maintenance margin first; the exchange's partial liquidation by "
    "brackets is not modelled.",
    "Market orders trade whole at the next open: the account's own market impact on the price is not modelled.",
    "Tick sizes, minimum orders, brackets and fees are those of the instruments' files; what applied earlier may "
    "have differed.",
)
"""What every report says the model leaves out."""


def instrument_notes(instruments: Sequence[Instrument]) -> list[str]:
    """Return which symbols conservative defaults stand in for."""
    defaulted = [i.symbol for i in instruments if i.defaulted]
    if not defaulted:
        return []
    return [
        f"No exchange facts are on file for {', '.join(defaulted)}: conservative defaults stand in."
    ]


def event_notes(plane: AccountPlane, events: Events) -> list[str]:
    """Say which cash flows were left out, and which withdrawals were cut."""
    unpaid = plane.flow_time_us.size - len(events.of(at.EVENT_FLOW)[0])
    notes = (
        [f"{unpaid} cash flows lie outside the traded span and were left out."] if unpaid else []
    )
    whole, number = events.of(at.EVENT_WHY)
    cut = np.flatnonzero(whole[:, at.EVENT_REASON] == Rule.WITHDRAWAL)
    dates = to_index(whole[cut, at.TS])
    return notes + [
        f"The withdrawal of {number[row, at.B]:,.2f} USDT due on {date:%Y-%m-%d} exceeded what the account had free: "
        f"{number[row, at.A]:,.2f} USDT were paid."
        for row, date in zip(cut, dates, strict=True)
    ]


def stop_notes(planes: Sequence[AccountPlane], events: Events) -> list[str]:
    """Say for how long a position was without its stop, where every position is to have one."""
    if any(plane.config[at.STOP_LOSS] == at.OFF for plane in planes):
        return []
    plane = planes[-1]
    bar_us, latency_us = (int(plane.config[c]) for c in (at.BAR_US, at.LATENCY_US))
    longest = longest_without_stop(events, bar_us=bar_us, latency_us=latency_us)
    return [
        "A stop is sent at the close of the bar that opens a position: no position was without one for more than "
        f"{longest / MINUTE_US:,.12g} minutes, counted from the open of that bar."
    ]


def idle_notes(found: Signals, decision_bars: Bars, signal: SignalSettings) -> list[str]:
    """Say that no position was ever wanted, or refuse where that is only because the data is too short."""
    if np.any(np.nan_to_num(found.weight_array) != 0.0):
        return []
    needed = warm_up(signal, decision_bars.interval)
    no_view = bool(np.isnan(found.combined).all())
    if no_view and needed > decision_bars.n_bars:
        raise ConfigError(
            f"strategy and portfolio need {needed:,} bars to warm up, the data holds "
            f"{decision_bars.n_bars:,}: no decision could be taken"
        )
    return ["No position was ever wanted: every target weight is 0 or missing."]


def quality(tables: Mapping[str, pd.DataFrame], bars: Bars) -> dict[str, float]:
    """Return which shares of the notional held were charged an assumed funding rate and valued without a mark."""
    funding, positions = tables["funding"], tables["positions"]
    paid = (funding.qty * funding.mark_price).abs()
    assumed = float(paid[funding.assumed].sum() / paid.sum()) if paid.sum() > 0 else 0.0
    held = (positions.qty * positions.mark_price).abs().to_numpy()
    fallback = 1.0 if len(held) else 0.0
    if bars.has("mark_price") and held.sum() > 0:
        rows = np.searchsorted(bars.index, positions.ts)
        columns = np.searchsorted(np.array(bars.symbols), positions.symbol.to_numpy(dtype=str))
        missing = np.isnan(bars.array("mark_price")[rows, columns])
        fallback = float(held[missing].sum() / held.sum())
    return {"assumed_funding_share": assumed, "fallback_mark_share": fallback}
