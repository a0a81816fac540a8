"""The control page as HTML: the book, accounts, orders, positions and faults of one moment, refreshed by itself."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from string import Template
from typing import Any, NamedTuple
from urllib.parse import quote

from live.simulator.faults import clock_text
from live.simulator.scenario import FaultRule
from live.simulator.view import Level, View
from live.simulator.wire import text
from quantcore.backtest.markup import MINUS, MISSING, money, percent, plural, tile, tiles, toned
from quantcore.plots import PALETTES

_TEMPLATES = Path(__file__).with_name("templates")
WIDTH, HEIGHT = 640, 340
"""Of the chart, in its own units."""
PRESETS: tuple[tuple[str, Mapping[str, Any]], ...] = (
    ("Next order: outcome unknown, placed", {"kind": "unknown_outcome", "requests": "POST /fapi/v1/order", "times": 1}),
    ("Next order: timeout, not placed", {"kind": "timeout", "requests": "POST /fapi/v1/order", "times": 1}),
    ("Overload for a minute", {"kind": "overload", "duration_seconds": 60}),
    ("Close all connections", {"kind": "disconnect"}),
    ("Candles mute for a minute", {"kind": "stream_mute", "events": "kline", "duration_seconds": 60}),
    ("Listen keys expire", {"kind": "listen_key_expiry"}),
    ("Prices gap by −5 %", {"kind": "price_gap", "fraction": -0.05}),
    ("Liquidate positions", {"kind": "liquidation"}),
    ("Maintenance for a minute", {"kind": "maintenance", "duration_seconds": 60}),
)  # fmt: skip
"""Faults that the page offers to inject."""


class Column(NamedTuple):
    """A column of a table: its name, whether it is text, and whether a narrow screen leaves it out."""

    name: str
    is_text: bool = False
    is_wide: bool = False


def page(view: View) -> str:
    """Return the whole page: it needs no network but this port, and is light or dark as the reader's system is."""
    light, dark = (
        "".join(f"--{token}:{colour};" for token, colour in PALETTES[theme].items())
        for theme in ("light", "dark")
    )
    colours = f":root{{{light}}}\n@media (prefers-color-scheme: dark){{:root{{{dark}}}}}"
    return Template(_template("control.html")).substitute(
        colours=colours,
        style=_template("control.css"),
        body=body(view),
        actions=_actions(view.lock_step),
        script=_template("control.js"),
    )


def body(view: View) -> str:
    """Return the part of the page that is refreshed."""
    market = f'<div class="market">{_chart(view)}{_book(view)}</div>'
    return "\n".join((_head(view), _tiles(view), _symbols(view), market, *_books(view), _faults(view)))  # fmt: skip


def _template(name: str) -> str:
    return (_TEMPLATES / name).read_text("utf-8")


def _head(view: View) -> str:
    span = max(view.end_us - view.first_us, 1)
    share = min(max((view.now_us - view.first_us) / span, 0.0), 1.0)
    look, state = ("no", "down") if view.is_down else ("yes", "up")
    return (
        f'<header><p class="kicker">Exchange on loopback · {escape(view.clock)}</p>'
        f"<h1>{clock_text(view.now_us)} <small>UTC</small> "
        f'<span class="badge {look}">{state}</span></h1>'
        f'<div class="span" title="{percent(share)} of the market is over">'
        f'<i style="width:{100 * share:.2f}%"></i></div>'
        f'<p class="ends"><span>{clock_text(view.first_us)}</span><span>{clock_text(view.end_us)}</span></p></header>'
    )


def _tiles(view: View) -> str:
    accounts = view.accounts
    profit = _total(accounts, "equity") - _total(accounts, "capital")
    open_orders = sum(len(a["orders"]) for a in accounts)
    waiting = sum(len(a["algo_orders"]) for a in accounts)
    positions = sum(len(a["positions"]) for a in accounts)
    return tiles(
        (
            tile("Equity", money(_total(accounts, "equity")), f"USDT in {plural(len(accounts), 'account')}"),
            tile("Profit", toned(money(profit, signed=True), profit), f"of {money(_total(accounts, 'capital'))} USDT"),
            tile("Positions", str(positions), f"{plural(open_orders, 'order')} and {waiting} conditional"),
            tile("Faults", f"{view.injected:,}", f"by {plural(len(view.rules), 'rule')}"),
        )
    )  # fmt: skip


def _total(accounts: Sequence[Mapping[str, Any]], name: str) -> float:
    return float(sum(account[name] for account in accounts))


def _symbols(view: View) -> str:
    links = (
        f'<a href="?symbol={quote(name)}"{" aria-current=true" if name == view.symbol else ""}>'
        f"{escape(name.removesuffix('USDT'))}</a>"
        for name in view.symbols
    )
    return f'<nav aria-label="Symbol">{"".join(links)}</nav>'


def _chart(view: View) -> str:
    rate = percent(view.funding_rate, signed=True, decimals=4)
    facts = (
        f'<div class="head"><h2>{escape(view.symbol)}</h2><span class="price">{_price(view.price, view)}</span></div>'
        f'<p class="lead">Mark {_price(view.mark, view)} · funding {rate} at {clock_text(view.funding_us)[11:16]}</p>'
    )
    return f"<section>{facts}{_line(view)}</section>"


def _line(view: View) -> str:
    """Return the closes as a line, the last of them as a point, with the highest and the lowest named."""
    if len(view.closes) < 2:
        return '<p class="empty">No bar has closed yet.</p>'
    low, high = min(view.closes), max(view.closes)
    room = high - low or abs(high) or 1.0
    right, bottom = WIDTH - 8, HEIGHT - 22

    def place(i: int, value: float) -> str:
        return f"{i * right / (len(view.closes) - 1):.1f},{22 + (high - value) / room * (bottom - 22):.1f}"

    points = [place(i, value) for i, value in enumerate(view.closes)]
    x, y = points[-1].split(",")
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="Price of the latest bars">'
        f'<polygon class="area" points="0,{HEIGHT} {" ".join(points)} {x},{HEIGHT}"/>'
        f'<polyline class="line" points="{" ".join(points)}"/><circle cx="{x}" cy="{y}" r="4"/></svg>'
        f'<p class="ends"><span>Low {_price(low, view)}</span><span>High {_price(high, view)}</span>'
        f"<span>Last {len(view.closes) - 1} × {escape(view.interval)}</span></p>"
    )


def _book(view: View) -> str:
    if not (view.bids and view.asks):
        return '<section><h2>Book</h2><p class="empty">No price, no book.</p></section>'
    spread = float(view.asks[0].price) - float(view.bids[0].price)
    bps = 2e4 * spread / (float(view.asks[0].price) + float(view.bids[0].price))
    middle = f'<tr class="spread"><td colspan="2">Spread {text(spread, view.digits)} · {bps:.2f} bps</td></tr>'
    asks = "".join(_level(level, "ask") for level in reversed(view.asks))
    bids = "".join(_level(level, "bid") for level in view.bids)
    coin = escape(view.symbol.removesuffix("USDT"))
    head = f"<thead><tr><th>Price</th><th>Size, {coin}</th></tr></thead>"
    return f'<section class="book"><h2>Book</h2><table>{head}<tbody>{asks}{middle}{bids}</tbody></table></section>'


def _level(level: Level, side: str) -> str:
    style = f"--depth:{100 * level.depth:.1f}%"
    cells = f"<td>{level.price}</td><td>{level.size}</td>"
    return f'<tr class="{side}" style="{style}">{cells}</tr>'


def _books(view: View) -> Iterable[str]:
    """Yield positions, orders and accounts, each of all accounts together."""
    several = len(view.accounts) > 1
    positions = [(a, p) for a in view.accounts for p in a["positions"]]
    rows = ([*_who(several, a), *_position(p)] for a, p in positions)
    yield _section("Positions", _table(_named(several, _POSITIONS), rows), "No position is open.")
    orders = [
        *((a, _order(o)) for a in view.accounts for o in a["orders"]),
        *((a, _algo(o)) for a in view.accounts for o in a["algo_orders"]),
    ]
    rows = ([*_who(several, a), *cells] for a, cells in orders)
    yield _section("Open orders", _table(_named(several, _ORDERS), rows), "No order is open.")
    rows = (_account(a) for a in view.accounts)
    yield _section("Accounts", _table(_ACCOUNTS, rows), "No account is open.")


_POSITIONS = (
    Column("Symbol", is_text=True),
    Column("Quantity"),
    Column("Entry", is_wide=True),
    Column("Mark", is_wide=True),
    Column("Profit, USDT"),
    Column("Leverage", is_wide=True),
)
_ORDERS = (
    Column("Symbol", is_text=True),
    Column("Side", is_text=True),
    Column("Type", is_text=True),
    Column("Price"),
    Column("Quantity"),
    Column("Filled", is_wide=True),
    Column("State", is_text=True, is_wide=True),
    Column("Client id", is_text=True, is_wide=True),
)
_ACCOUNTS = (
    Column("API key", is_text=True),
    Column("Wallet"),
    Column("Equity"),
    Column("Available", is_wide=True),
    Column("Realised", is_wide=True),
    Column("Fees", is_wide=True),
    Column("Funding", is_wide=True),
    Column("Trades", is_wide=True),
    Column("Books", is_text=True, is_wide=True),
)
_LOG = (
    Column("Time", is_text=True),
    Column("Kind", is_text=True),
    Column("Whom", is_text=True, is_wide=True),
    Column("What was done", is_text=True),
)
_RULES = (
    Column("Kind", is_text=True),
    Column("When and whom", is_text=True),
    Column("Happened"),
)


def _named(several: bool, columns: Sequence[Column]) -> Sequence[Column]:
    return (Column("Account", is_text=True, is_wide=True), *columns) if several else columns


def _who(several: bool, account: Mapping[str, Any]) -> list[str]:
    return [_key(account)] if several else []


def _key(account: Mapping[str, Any]) -> str:
    key = str(account["key"])
    return f'<span title="{escape(key)}">{escape(key if len(key) <= 10 else f"{key[:8]}…")}</span>'


def _shortened(text: str) -> str:
    """Return a text with its words that are as long as a key cut short."""
    return " ".join(word if len(word) <= 40 else f"{word[:8]}…" for word in text.split(" "))


def _position(p: Mapping[str, Any]) -> list[str]:
    margin = "isolated" if p["isolated"] else "cross"
    return [
        escape(p["symbol"]),
        f"{p['qty']:+,.10g}".replace("-", MINUS),
        f"{p['entry']:,.8g}",
        f"{p['mark']:,.8g}",
        toned(money(p["profit"], signed=True), p["profit"]),
        f"{p['leverage']} × {margin}",
    ]


def _order(o: Mapping[str, Any]) -> list[str]:
    kind = f"{o['type']} {o['timeInForce']}"
    return _row(o, kind, o["price"], o["origQty"], o["executedQty"], o["status"], o["clientOrderId"])  # fmt: skip


def _algo(o: Mapping[str, Any]) -> list[str]:
    size = "all" if o["closePosition"] else o["quantity"]
    return _row(o, o["orderType"], o["triggerPrice"], size, MISSING, o["algoStatus"], o["clientAlgoId"])  # fmt: skip


def _row(
    o: Mapping[str, Any], kind: str, price: str, size: str, done: str, state: str, name: str
) -> list[str]:
    reduces = " · reduce" if o["reduceOnly"] else ""
    side = f'<span class="{"gain" if o["side"] == "BUY" else "loss"}">{escape(o["side"].lower())}</span>'
    words = kind.lower().replace("_", " ") + reduces
    return [
        escape(o["symbol"]),
        side,
        *(escape(str(c)) for c in (words, price, size, done, state, name)),
    ]


def _account(a: Mapping[str, Any]) -> list[str]:
    balanced = abs(a["missing"]) <= 1e-9 * max(1.0, abs(a["capital"]), abs(a["wallet"]))
    books = "balance" if balanced else f'<span class="loss">off by {a["missing"]:.3g}</span>'
    numbers = (money(a[name]) for name in ("wallet", "equity", "available"))
    made = (toned(money(a[n], signed=True), a[n]) for n in ("realised",))
    paid = (money(a[name]) for name in ("fees", "funding"))
    return [_key(a), *numbers, *made, *paid, f"{a['trades']:,}", books]


def _faults(view: View) -> str:
    log = (
        [_stamp(r.time_us), _kind(r.kind), escape(_shortened(r.target)), escape(r.done)]
        for r in view.records
    )
    rules = ([_kind(rule.kind), _when(rule), f"{happened:,}"] for rule, happened in view.rules)
    latest = f"The latest {len(view.records)} of {view.injected:,}, newest first." if view.records else ""  # fmt: skip
    happened = sum(number > 0 for _, number in view.rules)
    at_work = (
        f"{plural(len(view.rules), 'rule')}, {happened} of them met something."
        if view.rules
        else ""
    )
    return (
        '<div class="faults">'
        + _section("Fault log", _table(_LOG, log), "Nothing was injected so far.", latest)
        + _section("Faults at work", _table(_RULES, rules), "The scenario is calm.", at_work)
        + "</div>"
    )


def _stamp(time_us: int) -> str:
    """Return a time of the log, whose day a narrow screen leaves out."""
    day, _, hour = clock_text(time_us).partition(" ")
    return f'<span class="wide">{day[5:]}</span> {hour}'


def _kind(kind: str) -> str:
    return f'<span class="kind">{escape(kind.replace("_", " "))}</span>'


def _when(rule: FaultRule) -> str:
    """Return in words when a fault is in force, whom it meets and how."""
    said = rule.plain()
    parts = [] if rule.probability == 1.0 else [f"{100.0 * rule.probability:g} %"]
    parts += [f"number {rule.nth}"] if rule.nth else []
    parts += [f"at most {rule.times} ×"] if rule.times else []
    parts += [f"from {rule.at_seconds:,g} s"] if rule.at_seconds else []
    parts += [f"for {rule.duration_seconds:,g} s"] if rule.duration_seconds else []
    parts += [f"every {rule.every_seconds:,g} s"] if rule.every_seconds else []
    names = ("requests", "streams", "events", "account", "symbol")
    parts += [str(said[name]) for name in names if said.get(name, "*") != "*"]
    parts += [f"{n} {v}" for n, v in rule.changes.items()]
    parts += [f"by {rule.fraction:+g}"] if rule.fraction else []
    return escape(" · ".join(parts) or "always")


def _section(title: str, table: str, empty: str, lead: str = "") -> str:
    told = f'<p class="lead">{escape(lead)}</p>' if lead else ""
    shown = table or f'<p class="empty">{escape(empty)}</p>'
    return f"<section><h2>{escape(title)}</h2>{told}{shown}</section>"


def _table(columns: Sequence[Column], rows: Iterable[Sequence[str]]) -> str:
    """Return a table of cells that are HTML already, empty without a row."""
    looks = [
        f"{'text' if c.is_text else ''} {'wide' if c.is_wide else ''}".strip() for c in columns
    ]

    def line(tag: str, items: Iterable[str]) -> str:
        pairs = zip(looks, items, strict=True)
        cells = "".join(f'<{tag} class="{look}">{item}</{tag}>' for look, item in pairs)
        return f"<tr>{cells}</tr>"

    head = line("th", (escape(column.name) for column in columns))
    made = "".join(line("td", row) for row in rows)
    table = f"<table><thead>{head}</thead><tbody>{made}</tbody></table>"
    return f'<div class="scroll">{table}</div>' if made else ""


def _price(value: float, view: View) -> str:
    return MISSING if value != value else f"{value:,.{view.digits}f}"


def _actions(lock_step: bool) -> str:
    """Return the controls beneath the page: bars to advance by, and faults to inject."""
    steps = "".join(
        f'<button type="button" data-path="/advance" data-body=\'{{"bars":{n}}}\'>+{plural(n, "bar")}</button>'
        for n in (1, 10, 100)
    )
    options = "".join(
        f'<option value="{escape(json.dumps(rule))}">{escape(name)}</option>'
        for name, rule in PRESETS
    )
    return (
        (f'<span class="steps">{steps}</span>' if lock_step else "")
        + f'<select id="preset" aria-label="Fault to inject">{options}</select>'
        + '<button type="button" id="inject">Inject</button><span id="said" role="status"></span>'
    )
