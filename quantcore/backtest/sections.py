"""The sections of the tearsheet, in the order in which they are read; each is HTML and its figures."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any, TypeAlias

import numpy as np
import pandas as pd

from quantcore import plots
from quantcore.backtest.attribution import PARTS
from quantcore.backtest.markup import (
    TIMES,
    chart,
    known,
    money,
    percent,
    plural,
    ratio,
    section,
    table,
    tile,
    tiles,
    toned,
    whole,
)
from quantcore.backtest.metrics import CONFIDENCE, Curves, net_profit, signed_qty, slippage_costs
from quantcore.backtest.result import Run
from quantcore.backtest.scorecard import Score, scorecard, verdict_line
from quantcore.backtest.trades import OPEN
from quantcore.finance import performance
from quantcore.timegrid import DAY_US, index_us, to_index
from quantcore.types import FloatArray, Panel

WORST_DAYS = 10
SHOWN_TRADES = 1200
"""Round trips drawn in the excursion chart; more would hide each other and slow the page."""

ROLLING_DAYS = 90
DAILY_FROM = 90
"""Days from which exposure is drawn by day instead of by decision."""

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_MARKS = {"met": ("yes", "✓"), "not met": ("no", "✗"), "not measurable": ("", "○")}
_PART_NAMES = {
    "price": "Price",
    "slippage": "Slippage",
    "fees": "Fees",
    "funding": "Funding",
    "liquidation": "Liquidation",
}
_SHARE_NAMES = {
    "assumed_funding_share": "of the notional charged with funding had an assumed rate: no settlement history there",
    "fallback_mark_share": "of the notional held was valued at last prices: no mark prices there",
}
_LIMITS = (
    "Partial liquidation by tiers is not modelled: a position that is liquidated closes whole.",
    "There is no order book: a limit order fills only when a bar trades through it; depth and queues are unknown.",
    "The path inside an execution bar is unknown; where the order of events matters, the worse one is taken.",
)


@dataclass(frozen=True, kw_only=True)
class Story:
    """What the sections tell: a run and everything derived from it.

    Parameters
    ----------
    run : Run
        The finished run.
    experiment : str
        Its name.
    metrics : mapping of str to Any
        `metrics.json`.
    trades : DataFrame
        Round trips.
    curve : Curves
        Equity, drawdown, benchmark and daily returns.
    by_symbol : DataFrame
        What `attribution.profit_by_symbol` gave.
    by_day : Panel, shape (n_days, n_symbols)
        What `attribution.daily_profit` gave.
    """

    run: Run
    experiment: str
    metrics: Mapping[str, Any]
    trades: pd.DataFrame
    curve: Curves
    by_symbol: pd.DataFrame
    by_day: Panel

    @property
    def index(self) -> pd.DatetimeIndex:
        """Stamps of the equity rows."""
        return to_index(self.curve.ts_us)

    def column(self, name: str) -> FloatArray:
        """Return a column of the equity table."""
        return self.run.tables["equity"][name].to_numpy(np.float64)


Section: TypeAlias = tuple[str, dict[str, plots.Spec]]


def header(story: Story) -> Section:
    """Return title, span, symbols, capital and the verdict in one line."""
    m, run = story.metrics, story.run
    facts = [
        ("", f"{_day(m['start'])} to {_day(m['end'])}"),
        (whole(m["symbols"]), "symbols"),
        (f"{money(m['capital'], decimals=0)} USDT", "capital"),
        (run.interval, "decisions"),
        (run.bars.interval, "execution bars"),
    ]
    if m["deposits"]:
        moved = "deposited" if m["deposits"] > 0.0 else "withdrawn"
        facts.append((f"{money(abs(m['deposits']), decimals=0)} USDT", moved))
    listed = "".join(f"<li><b>{escape(b)}</b> {escape(t)}</li>" for b, t in facts)
    tone = "" if (m["total_return"] or 0.0) >= 0.0 else " bad"
    return (
        f'<header><p class="kicker">Backtest on Binance USDT-M perpetuals</p><h1>{escape(story.experiment)}</h1>'
        f'<ul class="facts">{listed}</ul><p class="verdict{tone}">{escape(verdict(m, run.bars.interval))}</p></header>'
    ), {}


def verdict(metrics: Mapping[str, Any], execution_interval: str) -> str:
    """Return what a run comes to, in two short sentences: what happened, and whether it can be told from luck."""
    total, psr = metrics["total_return"], metrics["psr"]
    done = "Gained" if total >= 0.0 else "Lost"
    first = f"{done} {percent(abs(total))} with a maximum drawdown of {percent(metrics['max_drawdown'])}"
    if psr is None:
        second = "the returns are too few or too even for a Sharpe ratio"
    elif total < 0.0:
        second = "nothing here is worth trading"
    elif psr < CONFIDENCE:
        record = metrics["min_track_record_days"]
        need = f"; it takes some {whole(record)} such days to tell" if record is not None else ""
        second = f"not yet to be told from luck (the Sharpe ratio is above zero with probability {percent(psr)}{need})"
    else:
        chance = percent(psr) if psr < 0.999 else "over 99.9 %"
        second = f"the Sharpe ratio is above zero with probability {chance}, before counting trials"
    return f"{first}; {second}. {verdict_line(scorecard(metrics, execution_interval=execution_interval))}"


def headline(story: Story) -> Section:
    """Return the headline numbers."""
    m = story.metrics
    paid = sum(m[k] for k in ("fees", "funding", "liquidation_fees"))
    interval = f"95 %: {ratio(m['sharpe_ci_low'])} to {ratio(m['sharpe_ci_high'])}"
    trades = story.trades
    items = [
        tile(
            "Total return",
            toned(percent(m["total_return"], signed=True), m["total_return"]),
            f"BTC held {percent(m['benchmark_return'], signed=True)}",
        ),
        tile(
            "Annual return",
            toned(percent(m["annual_return"], signed=True), m["annual_return"]),
            f"volatility {percent(m['annual_volatility'])}",
        ),
        tile("Sharpe ratio", toned(ratio(m["sharpe"]), m["sharpe"]), interval),
        tile(
            "Maximum drawdown",
            toned(percent(m["max_drawdown"]), m["max_drawdown"]),
            f"longest {whole(m['max_drawdown_days'])} days under water",
        ),
        tile("Final equity", escape(money(m["final_equity"])), "USDT"),
        tile("Costs paid", escape(money(paid)), f"USDT, and {money(m['slippage_cost'])} slippage"),
        tile(
            "Turnover", escape(ratio(m["turnover_annual"], decimals=0) + TIMES), "of equity a year"
        ),
        tile("Round trips", escape(whole(len(trades))), f"{percent(m['win_rate'])} gained"),
    ]
    return f"<div>{tiles(items)}</div>", {}


def equity(story: Story) -> Section:
    """Return the equity curve against BTC held, and the drawdown beneath."""
    m, curve, capital = story.metrics, story.curve, story.run.capital
    figure = plots.equity_curve(
        story.index,
        capital * curve.nav,
        curve.drawdown,
        capital * curve.benchmark,
        benchmark_name="BTC held",
    )
    flows = " Deposits and withdrawals are taken out of the curve." if np.any(curve.flow) else ""
    lead = f"What {money(capital, decimals=0)} USDT at the start became.{flows}"
    if known(m["beta"]):
        lead += f" Against BTC: beta {ratio(m['beta'])}, alpha {percent(m['alpha'], signed=True)} a year."
    scale = (
        '<div class="switch" data-chart="equity" role="group" aria-label="Scale">'
        '<button type="button" data-scale="linear" aria-pressed="true">Linear</button>'
        '<button type="button" data-scale="log" aria-pressed="false">Log</button></div>'
    )
    deepest = performance.drawdown_table(curve.ts_us, curve.nav, start=1.0).head(5)
    rows = [
        (
            toned(percent(row.depth), row.depth),
            whole(row.days),
            escape(_day(row.peak_ts)),
            escape(_day(row.trough_ts)),
            escape("not yet" if pd.isna(row.recovery_ts) else _day(row.recovery_ts)),
        )
        for row in _records(deepest)
    ]
    drawn = table(["Depth", "Days", "Peak", "Trough", "Recovered"], rows)
    body = chart("equity") + (f"<h3>Deepest drawdowns, at decisions</h3>{drawn}" if rows else "")
    return section("Equity", lead, body, aside=scale), {"equity": figure}


def risk(story: Story) -> Section:
    """Return exposure and margin ratio."""
    own = np.where(story.curve.equity > 0.0, story.curve.equity, np.nan)
    gross, net = story.column("gross_exposure") / own, story.column("net_exposure") / own
    drawn = pd.DataFrame({"gross": gross, "net": net}, index=story.index)
    daily = story.curve.days > DAILY_FROM
    if daily:
        by_day = drawn.iloc[story.curve.first :].groupby(
            (story.curve.ts_us[story.curve.first :] - 1) // DAY_US
        )
        drawn = by_day.agg({"gross": "max", "net": "mean"})
        drawn.index = to_index(drawn.index.to_numpy(np.int64) * DAY_US)
    margin = story.column("margin_ratio")
    worst = float(np.nanmax(margin)) if np.isfinite(margin).any() else None
    highest = float(np.nanmax(gross)) if np.isfinite(gross).any() else None
    gone = story.metrics["liquidations"]
    lead = (
        f"Gross exposure reached {ratio(highest)}{TIMES} equity; the margin ratio at decisions peaked at "
        f"{ratio(worst, decimals=3)}, with {plural(gone, 'liquidation')}."
    )
    title = "Exposure: highest gross, mean net of each day" if daily else "Exposure"
    pair = (
        f'<div class="pair"><div><h3>{title}</h3>{chart("exposure")}</div>'
        f"<div><h3>Margin ratio</h3>{chart('margin')}</div></div>"
    )
    return section("Exposure and margin", lead, pair), {
        "exposure": plots.exposure(
            pd.DatetimeIndex(drawn.index), drawn["gross"].to_numpy(), drawn["net"].to_numpy()
        ),
        "margin": plots.margin_ratio(story.index, margin),
    }


def symbols(story: Story) -> Section:
    """Return net profit by symbol, split into price, slippage, fees, funding and liquidation fees."""
    split = story.by_symbol
    if split.empty:
        return section("Profit by symbol", "Nothing was traded."), {}
    parts = [p for p in PARTS if p != "liquidation" or bool((split[p] != 0.0).any())]
    rows = [_profit_row(str(symbol), row, parts) for symbol, row in split.iterrows()]
    total = _profit_row("All", split.sum(), parts)
    head = ["Symbol", "Net", *(_PART_NAMES[p] for p in parts), "Fills"]
    figure = plots.profit_by_symbol(
        list(split.index), {_PART_NAMES[p]: split[p].to_numpy(np.float64) for p in parts}
    )
    lead = (
        "USDT over the whole span, costs negative; the parts add up to the net. "
        "Price is before slippage: the two together are the price PnL at fill prices."
    )
    return section("Profit by symbol", lead, chart("symbols"), table(head, rows, total=total)), {
        "symbols": figure
    }


def _profit_row(name: str, row: pd.Series, parts: Sequence[str]) -> list[str]:
    net = toned(money(row["net"], signed=True), row["net"])
    split = [escape(money(row[p], signed=True)) for p in parts]
    return [escape(name), f"<b>{net}</b>", *split, whole(row["fills"])]


def trips(story: Story) -> Section:
    """Return win rate, profit factor, expectancy, excursions and durations of round trips."""
    m, trades = story.metrics, story.trades
    if trades.empty:
        return section("Round trips", "There was no round trip."), {}
    closed = trades[trades["exit_reason"] != OPEN]
    still_open = len(trades) - len(closed)
    hours = closed["duration"].to_numpy("timedelta64[us]").astype(np.float64) / 3.6e9
    net = net_profit(closed)
    items = [
        tile("Win rate", escape(percent(m["win_rate"])), f"of {whole(len(closed))} closed"),
        tile("Profit factor", escape(ratio(m["profit_factor"])), "gains over losses"),
        tile(
            "Expectancy",
            toned(money(m["expectancy"], signed=True), m["expectancy"]),
            "USDT a round trip, net",
        ),
        tile(
            "Median time held",
            escape(_span_of(float(np.median(hours)) if len(hours) else None)),
            f"{still_open} still open",
        ),
    ]
    reasons = (
        closed.assign(net=net)
        .groupby("exit_reason", observed=True)["net"]
        .agg(["count", "sum", "mean"])
    )
    rows = [
        (
            escape(_words(str(reason))),
            whole(row["count"]),
            *(toned(money(row[c], signed=True), row[c]) for c in ("sum", "mean")),
        )
        for reason, row in reasons.sort_values("count", ascending=False).iterrows()
    ]
    step = max(1, -(-len(closed) // SHOWN_TRADES))
    shown, won = closed.iloc[::step], net[::step] > 0.0
    labels = (shown["symbol"].astype(str) + " " + shown["side"].astype(str)).tolist()
    note = f" The chart shows every {step}th." if step > 1 else ""
    lead = (
        "From flat to flat or to the other side, net of fees and funding. "
        f"Excursions are the worst and best PnL while held, as a share of the notional entered.{note}"
    )
    pair = (
        f'<div class="pair"><div><h3>Excursions</h3>{chart("excursions")}</div>'
        f"<div><h3>Time held</h3>{chart('durations')}</div></div>"
    )
    ended = table(["How they ended", "Round trips", "Net, USDT", "Mean, USDT"], rows)
    return section("Round trips", lead, tiles(items, small=True), pair, ended), {
        "excursions": plots.excursions(
            shown["mae"].to_numpy(np.float64), shown["mfe"].to_numpy(np.float64), won, labels
        ),
        "durations": plots.durations(hours),
    }


def months(story: Story) -> Section:
    """Return the table of monthly returns, tinted by size."""
    returns = performance.monthly_returns(story.curve.daily)
    if returns.empty:
        return section("Months", "There is no whole day."), {}
    largest = float(np.nanmax(np.abs(returns.drop(columns="year").to_numpy(np.float64)))) or 1.0
    body = ""
    for year, row in returns.iterrows():
        cells = "".join(_heat(v, largest) for v in row.to_numpy(np.float64)[:12])
        total = float(row["year"])
        body += f'<tr><td>{year}</td>{cells}<td class="year">{toned(_bare(total), total)}</td></tr>'
    head = "".join(f"<th>{name}</th>" for name in ("", *_MONTHS, "Year"))
    grid = f'<div class="scroll"><table class="heat"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
    return section(
        "Months",
        "Compound return of each month in per cent; the first and the last may be incomplete.",
        grid,
    ), {}


def _heat(value: float, largest: float) -> str:
    if not np.isfinite(value):
        return "<td></td>"
    tone = "fall" if value < 0.0 else "gain"
    return f'<td class="{tone}" style="--heat:{45.0 * abs(value) / largest:.0f}">{escape(_bare(value))}</td>'


def _bare(value: float) -> str:
    return ratio(100.0 * value, signed=True, decimals=1)


def distribution(story: Story) -> Section:
    """Return the distribution of daily returns with its tails, and the rolling Sharpe ratio."""
    m, daily = story.metrics, story.curve.daily
    values = daily.to_numpy(np.float64)
    at_risk, shortfall = (np.nan if m[k] is None else m[k] for k in ("var_95_daily", "es_95_daily"))
    skew, kurtosis = performance.skewness(values), performance.raw_kurtosis(values)
    items = [
        tile(
            "VaR 95 %, daily",
            escape(percent(m["var_95_daily"], decimals=2)),
            "loss exceeded one day in twenty",
        ),
        tile(
            "ES 95 %, daily", escape(percent(m["es_95_daily"], decimals=2)), "mean loss beyond it"
        ),
        tile("Skew", escape(ratio(skew)), "0 when symmetric"),
        tile("Kurtosis", escape(ratio(kurtosis)), "3 when normal"),
    ]
    figures = {
        "distribution": plots.return_distribution(
            values, value_at_risk=at_risk, expected_shortfall=shortfall
        )
    }
    body = chart("distribution")
    if len(daily) > ROLLING_DAYS + 30:
        rolled = performance.rolling_sharpe(
            daily, window=ROLLING_DAYS, periods_per_year=story.curve.days_per_year
        )
        index = pd.DatetimeIndex(rolled.index)
        figures["rolling"] = plots.rolling_sharpe(
            index, rolled.to_numpy(np.float64), window_days=ROLLING_DAYS
        )
        body = (
            f'<div class="pair"><div><h3>Distribution</h3>{body}</div>'
            f"<div><h3>Sharpe ratio of the last {ROLLING_DAYS} days</h3>{chart('rolling')}</div></div>"
        )
    return section(
        "Daily returns",
        f"{plural(int(daily.notna().sum()), 'day')}, by UTC.",
        tiles(items, small=True),
        body,
    ), figures


def trading(story: Story) -> Section:
    """Return turnover by month and what was paid so far."""
    fills, funding = story.run.tables["fills"], story.run.tables["funding"]
    if fills.empty:
        return section("Turnover and costs", "Nothing was traded."), {}
    fill_us = index_us(pd.DatetimeIndex(fills["ts"]))
    funding_us = index_us(pd.DatetimeIndex(funding["ts"]))
    first = story.curve.first
    own = pd.Series(story.curve.equity[first:], index=to_index(story.curve.ts_us[first:] - 1))
    mean_equity = own.groupby(_month(pd.DatetimeIndex(own.index))).mean()
    traded = pd.Series(np.abs(signed_qty(fills)) * fills["price"].to_numpy(np.float64))
    monthly = (
        traded.groupby(_month(to_index(fill_us - 1)))
        .sum()
        .reindex(mean_equity.index, fill_value=0.0)
    )
    multiple = (monthly / mean_equity.where(mean_equity > 0.0)).to_numpy(np.float64)
    days_us = np.unique((story.curve.ts_us[first:] - 1) // DAY_US) * DAY_US + DAY_US
    paid = {
        "Fees": _running(fill_us, fills["fee"].to_numpy(np.float64), days_us),
        "Funding": _running(funding_us, funding["amount"].to_numpy(np.float64), days_us),
        "Slippage": _running(fill_us, slippage_costs(fills), days_us),
    }
    m = story.metrics
    lead = (
        f"{ratio(m['turnover_annual'], decimals=0)}{TIMES} equity a year in {plural(len(fills), 'fill')}; "
        f"takers lost {ratio(m['mean_slippage_bps'], decimals=1)} bps to spread and slippage, as modelled. "
        "Funding falls where it was received."
    )
    pair = (
        f'<div class="pair"><div><h3>Turnover by month</h3>{chart("turnover")}</div>'
        f"<div><h3>Costs so far</h3>{chart('costs')}</div></div>"
    )
    return section("Turnover and costs", lead, pair), {
        "turnover": plots.turnover([f"{m}-01" for m in mean_equity.index], multiple),
        "costs": plots.cumulative_costs(to_index(days_us), paid),
    }


def _running(stamps: Any, amounts: FloatArray, at: Any) -> FloatArray:
    order = np.argsort(stamps, kind="stable")
    so_far = np.concatenate([[0.0], np.cumsum(amounts[order])])
    return np.asarray(so_far[np.searchsorted(stamps[order], at, side="right")])


def _month(index: pd.DatetimeIndex) -> pd.Index:
    return pd.Index(np.datetime_as_string(index.tz_localize(None).to_numpy(), unit="M"))


def bad_days(story: Story) -> Section:
    """Return the worst days, with the symbols that lost most on each."""
    worst = performance.worst_days(story.curve.daily, count=WORST_DAYS)
    if worst.empty:
        return section("Worst days", "No day lost money."), {}
    rows = []
    day_rows: Any = story.by_day  # the stubs do not know a timestamp as a row's label
    for day, value in worst.items():
        profits = day_rows.loc[day].sort_values(kind="stable")
        losers = [f"{s}\u00a0{money(v)}" for s, v in profits[profits < 0.0].head(3).items()]
        change = float(profits.sum())
        rows.append(
            f"<tr><td>{escape(_day(day))}</td>"
            f'<td class="side">{toned(percent(value, decimals=2), value)}</td>'
            f'<td class="wide">{toned(money(change, signed=True), change)} <span class="unit">USDT</span></td>'
            f'<td class="text wide">{escape(", ".join(losers)) or "none"}</td></tr>'
        )
    lead = f"The {len(rows)} most negative UTC days, and the symbols that lost most on each (USDT, after costs)."
    return section(
        "Worst days", lead, _stacked(["Day", "Return", "USDT", "Largest losers, USDT"], rows)
    ), {}


def interventions(story: Story) -> Section:
    """Return what was cut, refused or forced, counted by rule."""
    reasons = story.run.tables["reasons"]
    if reasons.empty:
        return section(
            "Refusals and interventions", "No order was cut or refused, and nothing intervened."
        ), {}
    grouped = reasons.groupby(["stage", "rule", "action"], observed=True)
    counted = grouped.agg(
        count=("ts", "size"), symbols=("symbol", "nunique"), last=("ts", "max")
    ).reset_index()
    counted = counted.sort_values("count", ascending=False, kind="stable")
    most = int(counted["count"].max())
    rows = [
        (
            escape(_words(str(row.rule))),
            escape(_words(str(row.stage))),
            escape(_words(str(row.action))),
            f'<span class="bar narrow-off" style="width:{90.0 * row.count_ / most:.0f}px"></span>',
            whole(row.count_),
            whole(row.symbols),
            escape(_day(row.last)),
        )
        for row in _records(counted.rename(columns={"count": "count_"}))
    ]
    head = ["Rule", "Stage", "What was done", "", "Times", "Symbols", "Last"]
    drawn = table(head, rows, text=(0, 1, 2, 3))
    return section(
        "Refusals and interventions", f"{plural(len(reasons), 'event')}, by rule.", drawn
    ), {}


def data_notes(story: Story) -> Section:
    """Return what is known of the data's holes and of the defaults that filled them."""
    shares = [
        f"{percent(value, decimals=2)} {_SHARE_NAMES.get(name, _words(name).lower())}."
        for name, value in story.run.quality.items()
    ]
    notes = [*shares, *(n for n in story.run.notes if not _is_limit(n))]
    if not notes:
        return section(
            "Data", "Nothing to report: no series is missing and no rule is a default."
        ), {}
    return section("Data", "", _list(notes)), {}


def scores(story: Story) -> Section:
    """Return the targets against the results, each on its own."""
    lines = scorecard(story.metrics, execution_interval=story.run.bars.interval)
    drawn = _stacked(
        ["Target", "Asked", "Result", "Verdict", "Why"],
        [_score_row(line) for line in lines],
        text=(3, 4),
    )
    return section("Scorecard", f"{verdict_line(lines)} Each target stands on its own.", drawn), {}


def _stacked(head: Sequence[str], rows: Sequence[str], *, text: Sequence[int] = (3,)) -> str:
    """Return a table whose rows become short blocks on a narrow screen."""
    cells = "".join(
        f'<th class="text">{name}</th>' if i in text else f"<th>{name}</th>"
        for i, name in enumerate(head)
    )
    top = f"<thead><tr>{cells}</tr></thead>"
    return f'<div class="scroll"><table class="stack">{top}<tbody>{"".join(rows)}</tbody></table></div>'


def _score_row(line: Score) -> str:
    tone, mark = _MARKS[line.verdict]
    return (
        f'<tr><td>{escape(line.name)}</td><td class="side">{escape(line.target)}</td><td>{escape(line.result)}</td>'
        f'<td class="text side"><span class="badge {tone}">{mark} {line.verdict}</span></td>'
        f'<td class="wrap wide">{escape(line.reason)}</td></tr>'
    )


def limits(story: Story) -> Section:
    """Return what the model does not cover."""
    notes = [n for n in story.run.notes if _is_limit(n)]
    told = " ".join(notes).lower()
    notes += [n for n in _LIMITS if " ".join(n.lower().split()[:3]) not in told]
    footer = (
        "<footer>Sharpe ratio and volatility use daily UTC returns and 365 days; no risk-free rate. "
        "Results of a model on past data.</footer>"
    )
    return section("What the model does not cover", "", _list(notes)) + footer, {}


def _records(table: pd.DataFrame) -> Iterable[Any]:
    """Return rows with their columns as attributes; what a cell holds is known only at run time."""
    return table.itertuples()


def _is_limit(note: str) -> bool:
    return "model" in note.lower()


def _list(notes: Sequence[str]) -> str:
    return f'<ul class="notes">{"".join(f"<li>{escape(n)}</li>" for n in notes)}</ul>'


def _day(stamp: Any) -> str:
    return f"{pd.Timestamp(stamp):%Y-%m-%d}"


def _words(name: str) -> str:
    return name.replace("_", " ").capitalize()


def _span_of(hours: float | None) -> str:
    if hours is None:
        return ratio(None)
    return f"{hours:.1f} h" if hours < 48.0 else f"{hours / 24.0:.1f} days"


SECTIONS: tuple[Callable[[Story], Section], ...] = (
    header,
    headline,
    equity,
    risk,
    symbols,
    trips,
    months,
    distribution,
    trading,
    bad_days,
    interventions,
    data_notes,
    scores,
    limits,
)
"""The report's sections, top to bottom."""
