# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#       format_version: '1.3'
#       jupytext_version: 1.19.6
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Is the data good enough to trust?
#
# **Claim.** Whatever is broken in a record is found before it is traded on. What cannot be true is refused, what can
# be repaired without inventing anything is repaired, and what is only doubtful or missing is reported and moves a
# result by little.
#
# **Data.** Half a year of hourly bars of six coins from the seeded synthetic market: a record that is known to be
# sound, so that every fault in it is one that was planted here.
#
# **Method.** Eleven kinds of damage are planted in copies of the tables, with their places written down. The checks of
# `python -m quantcore.data action=validate` are run over them and held against that list. Then the damaged market is
# loaded, cleaned and traded, beside the sound one.

# %%
from collections.abc import Callable
from dataclasses import asdict, replace

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pyarrow as pa
from plotly.subplots import make_subplots

from quantcore import plots
from quantcore.account_plane import AccountSettings
from quantcore.backtest.engine import run_backtest
from quantcore.backtest.experiment import signal_settings
from quantcore.backtest.result import Run
from quantcore.config import build, compose
from quantcore.data.assemble import assemble_bars, disassemble_bars
from quantcore.data.checks import check_rows
from quantcore.data.commands import read_options
from quantcore.data.coverage import coverage_notes
from quantcore.data.findings import BLOCKING
from quantcore.data.quality import validate_table
from quantcore.data.repair import clean_table
from quantcore.data.schema import EVENT, SCHEMAS, column, long_table, times
from quantcore.data.sources import MarketData
from quantcore.data.synthetic import DEFAULT_SYMBOLS, SyntheticMarket, generate
from quantcore.data.tables import MarketTables
from quantcore.errors import SchemaMismatch
from quantcore.execution.settings import ExecutionSettings
from quantcore.research.compare import compare
from quantcore.research.compare_figures import ratio_figure, symbols_figure
from quantcore.timegrid import MINUTE_US, to_index
from quantcore.types import FloatArray, IntArray

# %%
SEED, INTERVAL = 7, "1h"
market = SyntheticMarket(
    interval=INTERVAL, symbols=DEFAULT_SYMBOLS[:6], first_day="2024-01-01", days=182, seed=SEED, late_listings=0
)  # fmt: skip
sound = disassemble_bars(generate(market))
thresholds = read_options(compose("market_data")).quality()
print(f"{sum(map(len, sound.klines.values())):,} bars of {', '.join(sound.klines)}")
print(", ".join(f"{name} {value:g}" for name, value in asdict(thresholds).items()))


# %%
def findings(tables: MarketTables) -> pd.DataFrame:
    """Return everything that the checks find, one row each."""
    rows = []
    for symbol, table in tables.klines.items():
        mark = tables.marks[INTERVAL][symbol]
        found = validate_table(table, "klines", INTERVAL, thresholds, mark=mark)
        found += validate_table(tables.funding[symbol], "funding", EVENT, thresholds)
        rows += [{"symbol": symbol, **asdict(item)} for item in found]
    columns = ["symbol", "check", "ts_us", "count", "value", "detail"]
    return pd.DataFrame(rows, columns=columns)


print(f"{len(findings(sound))} findings in the sound record")

# %% [markdown]
# ## 1. The damage
#
# Each fault is a small change of one table, such as a bad print, a feed that stood still, or a file that was written
# twice. Its symbol, its kind and its first row are kept.

# %%
BTC, ETH, *OTHERS = market.symbols
planted: list[tuple[str, str, int]] = []
Columns = dict[str, FloatArray]


def damaged(
    tables: MarketTables, symbol: str, check: str, row: int, change: Callable[[IntArray, Columns], None],
    *, drop: int = 0, kind: str = "klines",
) -> MarketTables:  # fmt: skip
    """Return the tables with one fault, and write it down."""
    held = getattr(tables, kind)
    names = SCHEMAS[kind].names[2:]
    ts_us = times(held[symbol]).copy()
    values = {name: column(held[symbol], name).copy() for name in names}
    planted.append((symbol, check, int(ts_us[row])))
    change(ts_us, values)
    keep = np.ones(len(ts_us), dtype=bool)
    keep[row : row + drop] = False
    table = long_table(kind, symbol, ts_us[keep], {name: v[keep] for name, v in values.items()})
    return replace(tables, **{kind: {**held, symbol: table}})


def nothing(ts_us: IntArray, values: Columns) -> None:
    """Change no value: the fault is what is dropped."""


def bad_print(ts_us: IntArray, values: Columns) -> None:
    """One close far above its neighbours."""
    values["close"][1500] *= 1.12
    values["high"][1500] = max(values["high"][1500], values["close"][1500])


def stood_still(ts_us: IntArray, values: Columns) -> None:
    """Half a day of one single price."""
    for name in ("open", "high", "low", "close"):
        values[name][2000:2012] = values["close"][1999]


def zero_price(ts_us: IntArray, values: Columns) -> None:
    """A low of nothing."""
    values["low"][900] = 0.0


def high_under_close(ts_us: IntArray, values: Columns) -> None:
    """A bar whose high is not its highest price."""
    values["high"][700] = 0.995 * values["close"][700]


def negative_volume(ts_us: IntArray, values: Columns) -> None:
    """An overflow somewhere upstream."""
    values["volume"][3000] = -1.0


def no_trades(ts_us: IntArray, values: Columns) -> None:
    """Three hours in which nothing was traded."""
    values["volume"][3300:3303] = 0.0


def late_stamp(ts_us: IntArray, values: Columns) -> None:
    """A bar stamped seven minutes late."""
    ts_us[2600] += 7 * MINUTE_US


def written_twice(ts_us: IntArray, values: Columns) -> None:
    """The same hour twice, the second time with other prices."""
    ts_us[2501] = ts_us[2500]


def out_of_order(ts_us: IntArray, values: Columns) -> None:
    """Two rows that changed places."""
    ts_us[[1200, 1201]] = ts_us[[1201, 1200]]


# %%
worn = damaged(sound, BTC, "gap", 1000, nothing, drop=36)
worn = damaged(worn, ETH, "spike", 1500, bad_print)
worn = damaged(worn, OTHERS[0], "frozen", 2000, stood_still)
worn = damaged(worn, OTHERS[1], "bad_price", 900, zero_price)
worn = damaged(worn, OTHERS[2], "ohlc", 700, high_under_close)
worn = damaged(worn, OTHERS[3], "bad_flow", 3000, negative_volume)
worn = damaged(worn, OTHERS[3], "zero_volume", 3300, no_trades)
worn = damaged(worn, OTHERS[1], "off_grid", 2600, late_stamp)
worn = damaged(worn, OTHERS[2], "conflicting_duplicate", 2501, written_twice)
worn = damaged(worn, OTHERS[0], "not_sorted", 1201, out_of_order)
worn = damaged(worn, ETH, "funding_hole", 100, nothing, drop=5, kind="funding")
print(f"{len(planted)} faults planted")

# %%
ZOOMS = ((BTC, 1000, "gap"), (ETH, 1500, "spike"), (OTHERS[0], 2000, "frozen"))
figure = make_subplots(cols=3, subplot_titles=[f"{check}, {symbol}" for symbol, _, check in ZOOMS])
for place, (symbol, row, _) in enumerate(ZOOMS, start=1):
    stamps = times(sound.klines[symbol])[row - 30 : row + 66]
    for tables, name, colour, width in (
        (sound, "sound", "#b9c4d0", 3.0), (worn, "damaged", "#c2571a", 1.4)
    ):  # fmt: skip
        table = tables.klines[symbol]
        inside = np.isin(times(table), stamps)
        close = pd.Series(column(table, "close")[inside], to_index(np.sort(times(table)[inside])))
        close = close.reindex(to_index(stamps))
        figure.add_scatter(
            x=close.index, y=close, name=name, showlegend=place == 1, row=1, col=place,
            line={"color": colour, "width": width}, connectgaps=False,
        )  # fmt: skip
figure.update_layout(
    template="plotly_white", height=330, margin={"l": 50, "r": 10, "t": 40, "b": 70},
    legend={"orientation": "h", "y": -0.22},
)  # fmt: skip
figure.update_xaxes(nticks=4)
figure

# %% [markdown]
# ## 2. What is found
#
# Every check runs over every table. A planted fault counts as found where its own check names its symbol within an
# hour of its place. What else is found is listed too: one fault is often seen by two checks.

# %%
found = findings(worn)
HOUR = pd.Timedelta(hours=1).value // 1000


def hit(symbol: str, check: str, ts_us: int) -> pd.Series:
    """Return which findings are that fault."""
    near = (found["ts_us"] - ts_us).abs() <= HOUR
    if check == "funding_hole":  # named by the settlement before it
        near = (found["ts_us"] - ts_us).abs() <= 8 * HOUR
    return (found["symbol"] == symbol) & (found["check"] == check) & near


caught = {fault: bool(hit(*fault).any()) for fault in planted}
explained = np.logical_or.reduce([hit(*fault) for fault in planted])
for (symbol, check, ts_us), there in caught.items():
    kind = "refuses to load" if check in BLOCKING else "is reported"
    stamp = to_index(np.array([ts_us]))[0]
    print(
        f"{'found ' if there else 'MISSED'} {check:<22} {symbol:<9} {stamp:%Y-%m-%d %H:%M}  {kind}"
    )

# %%
print("found besides:")
for row in found[~explained].itertuples():
    print(f"  {row.check} of {row.symbol}, {row.count} rows: {row.detail}")

# %%
figure = go.Figure()
for name, table, symbol, size, colour in (
    ("planted", pd.DataFrame(planted, columns=["symbol", "check", "ts_us"]), "circle-open", 17, "#52514e"),
    ("found", found, "x-thin", 10, "#c2571a"),
):  # fmt: skip
    figure.add_scatter(
        x=to_index(table["ts_us"].to_numpy(np.int64)), y=table["check"], mode="markers", name=name,
        text=table["symbol"], hovertemplate="%{y}, %{text}, %{x}<extra></extra>",
        marker={"symbol": symbol, "size": size, "color": colour, "line": {"width": 2, "color": colour}},
    )  # fmt: skip
figure.update_layout(
    template="plotly_white", height=400, margin={"l": 150, "r": 10, "t": 30, "b": 30},
    legend={"orientation": "h", "y": 1.12}, yaxis={"autorange": "reversed", "dtick": 1},
)  # fmt: skip
figure

# %% [markdown]
# ## 3. What a threshold cannot see
#
# A bad print is found only if it stands out: the move and its return must both exceed a number of robust standard
# deviations of the bars around. So bad prints of growing size are planted in the sound record, one every two days,
# and counted. The price of a lower threshold is what it would call a bad print in a record that has none.

# %%
table = sound.klines[ETH]
stamps, prices = times(table), {name: column(table, name) for name in SCHEMAS["klines"].names[2:]}
local = pd.Series(np.abs(np.diff(np.log(prices["close"]), prepend=np.log(prices["close"][0]))))
sigma = (
    1.4826 * local.rolling(thresholds.spike_window, center=True, min_periods=3).median()
).to_numpy()
places = np.arange(100, len(stamps) - 100, 48)
sizes = np.arange(2.0, 31.0, 2.0)


def spikes(values: Columns, limit: float) -> int:
    """Return how many bad prints are found at a threshold."""
    settings = replace(thresholds, spike_sigmas=limit)
    seen = validate_table(long_table("klines", ETH, stamps, values), "klines", INTERVAL, settings)
    return sum(one.check == "spike" for one in seen)


def with_prints(size: float) -> Columns:
    """Return the record with bad prints so many standard deviations away."""
    close, high = prices["close"].copy(), prices["high"].copy()
    close[places] *= np.exp(size * sigma[places])
    return {**prices, "close": close, "high": np.maximum(high, close)}


LIMITS = (4.0, 6.0, thresholds.spike_sigmas)
share = {
    limit: np.array([spikes(with_prints(size), limit) for size in sizes]) / len(places)
    for limit in LIMITS
}
alarms = {limit: spikes(prices, limit) for limit in LIMITS}
figure = go.Figure()
for limit, colour in zip(LIMITS, ("#b9c4d0", "#8a94a3", "#2a78d6"), strict=True):
    figure.add_scatter(
        x=sizes, y=100.0 * share[limit], line={"color": colour, "width": 2.2},
        name=f"threshold {limit:g}: {alarms[limit]} false alarms in {len(stamps):,} bars",
    )  # fmt: skip
figure.update_layout(
    template="plotly_white", height=340, margin={"l": 60, "r": 10, "t": 30, "b": 50},
    xaxis_title="Size of the bad print, robust standard deviations", yaxis_title="Found, %",
    legend={"orientation": "h", "y": 1.14},
)  # fmt: skip
figure

# %%
surely = sizes[np.flatnonzero(share[thresholds.spike_sigmas] >= 0.95)[0]]
typical = float(np.nanmedian(sigma))
print(
    f"from {surely:g} standard deviations on 95 % are found; that is {surely * typical:.1%} in a median hour"
)

# %% [markdown]
# ## 4. What loading does
#
# A backtest reads through the same rules. What cannot be true ends the command with one line; nothing is traded on it.

# %%
refused = {}
for symbol, table in worn.klines.items():
    try:
        check_rows(table, kind="klines", interval=INTERVAL, name=f"klines_1h/{symbol}.parquet")
    except SchemaMismatch as error:
        refused[symbol] = str(error)
print(*refused.values(), sep="\n")


# %% [markdown]
# Cleaning repairs what can be repaired without inventing a number: rows are sorted, of two with one time the first
# stays, impossible bars are dropped and are a gap from then on, a high is widened to hold its close. Nothing is ever
# filled. Each repair is recorded.


# %%
def cleaned(tables: MarketTables) -> tuple[MarketTables, pd.DataFrame]:
    """Return the tables as cleaning leaves them, and the record of every repair."""
    klines, funding, records = {}, {}, []
    for symbol in tables.klines:
        klines[symbol], of_bars = clean_table(tables.klines[symbol], "klines", INTERVAL, symbol)
        funding[symbol], of_rates = clean_table(tables.funding[symbol], "funding", EVENT, symbol)
        records += [of_bars, of_rates]
    return replace(tables, klines=klines, funding=funding), pa.concat_tables(records).to_pandas()


mended, repairs = cleaned(worn)
left = findings(mended)
repairs.groupby(["rule", "symbol"]).size().rename("values").reset_index()

# %%
print(f"{len(repairs)} values changed or rows dropped; findings that refuse to load:", end=" ")
print(f"{found['check'].isin(BLOCKING).sum()} before, {left['check'].isin(BLOCKING).sum()} after")
print("left as they are, and reported:", ", ".join(sorted(set(left["check"]))))

# %% [markdown]
# ## 5. What it does to a result
#
# The trend strategy of `quickstart` trades three markets: A the sound record, B the damaged one after cleaning, and C
# the same with the rows that are only doubtful (the bad print and the half day that stood still) dropped as well. The
# account holds a missing bar at the last mark, and where funding is unknown it charges the side that usually pays.

# %%
cfg = compose("backtest", ["+experiment=quickstart"])
doubtful = left[left["check"].isin(["spike", "frozen"])]


def without(tables: MarketTables, rows: pd.DataFrame) -> MarketTables:
    """Return the tables without the bars that findings name."""
    klines = dict(tables.klines)
    for one in rows.itertuples():
        ts_us = times(klines[one.symbol])
        first = int(np.searchsorted(ts_us, one.ts_us))
        keep = np.ones(len(ts_us), dtype=bool)
        keep[first : first + one.count] = False
        klines[one.symbol] = klines[one.symbol].filter(pa.array(keep))
    return replace(tables, klines=klines)


def traded(tables: MarketTables, name: str) -> Run:
    """Return the backtest of a market's tables."""
    bars = assemble_bars(tables, INTERVAL)
    notes = coverage_notes(bars, start_us=None, ends_us={})
    return run_backtest(
        MarketData(bars=bars, interval=INTERVAL, start_us=None, notes=notes),
        signal=signal_settings(cfg),
        account=build(cfg.account, AccountSettings),
        execution=build(cfg.execution, ExecutionSettings),
        manifest={"experiment": name},
    )


runs = [
    traded(sound, "sound"),
    traded(mended, "cleaned"),
    traded(without(mended, doubtful), "cleaned, doubtful rows dropped"),
]
print(*[note for note in runs[2].notes if "Missing" in note or "Funding history" in note], sep="\n")
print(f"share of funding that was assumed: {runs[1].quality['assumed_funding_share']:.2%}")

# %%
comparison = compare(runs, seed=SEED)
plots.figure(ratio_figure(comparison))

# %%
plots.figure(symbols_figure(comparison))

# %%
print(*comparison.verdicts, sep="\n")
moved = {}
for beside in comparison.summary["against_base"]:
    moved[beside["label"]] = abs(sum(beside["parts"].values()))
    print(f"{beside['told']} Tracking error {beside['tracking_error']:.2%} a year.")

# %% [markdown]
# ## Verdict
#
# The next cell says it in the same words for whatever the code above has found.

# %%
checks = {
    "the sound record gives no finding": len(findings(sound)) == 0,
    "every planted fault is found": all(caught.values()),
    "the threshold for bad prints gives no false alarm": alarms[thresholds.spike_sigmas] == 0,
    "a bad print of 10 % is surely found in a median hour": surely * typical < 0.10,
    "every table with an impossible value is refused": set(refused)
    == {symbol for symbol, check, _ in planted if check in BLOCKING},
    "after cleaning nothing refuses to load": not left["check"].isin(BLOCKING).any(),
    "gaps and funding holes are told in the report's notes": any(
        "Missing" in n for n in runs[1].notes
    )
    and any("Funding history" in n for n in runs[1].notes),
    "what is left moves the result by less than 2 % of the equity": max(moved.values()) < 0.02,
    "and by no more than luck": all(
        verdict["kind"] == "undecided" for verdict in comparison.summary["verdicts"]
    ),
}
for claim, holds in checks.items():
    print("yes " if holds else "NO  ", claim)

# %% [markdown]
# **What would falsify it.** A fault that no check names and that moves the result: for each such fault a check is
# missing. Some are known to escape. A record shifted by one bar, a time zone taken for UTC, a split that was not
# adjusted in all files at once, small errors below the threshold, and above all coins that are not there because they
# died: none of these looks broken. They are found by comparing sources, not by looking at one.
