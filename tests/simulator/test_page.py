"""The control page shows the moment, escapes what clients wrote, and works in a browser."""

from __future__ import annotations

import math
import shutil
from html.parser import HTMLParser

import pytest
from aiohttp.test_utils import TestServer

from live.simulator.control import Controls, control_app
from live.simulator.page import PRESETS, body, page
from live.simulator.scenario import Scenario, rule_of, scenario_of
from live.simulator.view import View, view_of
from quantcore.config import conf_folder
from tests.simulator.stand_ins import BAR_US, account, busy, controls

CHROMIUM = shutil.which("chromium")


def seen(of: Controls, symbol: str = "BTCUSDT") -> View:
    return view_of(
        of.tape,
        of.venue.ledger(),
        of.faults,
        now_us=of.now_us(),
        symbol=symbol,
        clock=of.clock,
        lock_step=of.lock_step,
    )


@pytest.fixture
def of() -> Controls:
    return controls(*busy(), scenario=Scenario(faults=(rule_of({"kind": "adl"}),)))


class _Balance(HTMLParser):
    """Finds tags that are not closed in order, and the words of cells."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.words: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in ("meta", "link", "circle", "polyline", "polygon"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data.strip())


def words(html: str) -> list[str]:
    parser = _Balance()
    parser.feed(html.replace("/>", ">"))
    parser.close()
    assert parser.open == []
    return [word for word in parser.words if word]


def test_a_view_knows_nothing_of_later_bars(of: Controls) -> None:
    now_us = of.tape.first_us + 3 * BAR_US
    of.venue.restore(f"[{now_us}, []]".encode())
    closes = of.tape.bars.array("close")[: 120 + 3, 0]
    assert seen(of).closes == (*closes[-120:].tolist(), float(of.tape.price(now_us)[0]))


def test_the_book_is_cumulative_and_the_best_come_first(of: Controls) -> None:
    view = seen(of)
    for side, sign in ((view.bids, -1.0), (view.asks, 1.0)):
        prices = [sign * float(level.price) for level in side]
        assert prices == sorted(prices)
        depths = [level.depth for level in side]
        assert depths == sorted(depths)
        sizes = [float(level.size) for level in side]
        assert depths[3] / depths[-1] == pytest.approx(sum(sizes[:4]) / sum(sizes))
    assert max(view.bids[-1].depth, view.asks[-1].depth) == 1.0
    assert float(view.bids[0].price) < view.price < float(view.asks[0].price)


def test_the_page_shows_positions_orders_accounts_and_faults(of: Controls) -> None:
    said = words(body(seen(of)))
    for word in (
        "2024-01-06 00:00:00", "up", "7,778.49", "−21.51", "+0.034", "−1.25", "3 × cross", "5 × isolated", "58120.00",
        "limit gtx", "stop market · reduce", "all", "trend-00017", "f3a9c2d1…", "paper", "balance", "adl",
        "positions deleveraged", "symbol * account *",
    ):  # fmt: skip
        assert word in said, word


def test_books_that_do_not_add_up_are_shown(of: Controls) -> None:
    assert "off by 0.5" in words(body(seen(controls(account("a", missing=0.5)))))
    assert "balance" in words(body(seen(controls(account("a", missing=1e-9)))))


def test_what_clients_wrote_is_escaped(of: Controls) -> None:
    of.faults.inject(rule_of({"kind": "service_unavailable", "account": "<i>*"}), of.now_us())
    of.faults.on_request("GET /<script>", "<i>", of.now_us())
    html = page(seen(of))
    assert "protect-<b>" not in html
    assert "protect-&lt;b&gt;" in html
    assert "GET /&lt;script&gt; &lt;i&gt;" in html
    assert "<i>" not in html
    assert page(seen(of, symbol="<b>")).count("<h2>BTCUSDT</h2>") == 1


def test_a_symbol_without_a_price_and_an_empty_exchange_are_told(of: Controls) -> None:
    end = controls()
    end.venue.restore(f"[{end.tape.end_us}, []]".encode())
    view = seen(end, "ETHUSDT")
    assert math.isnan(view.price)
    said = words(body(view))
    for word in (
        "No price, no book.", "No position is open.", "No order is open.", "No account is open.",
        "Nothing was injected so far.", "The scenario is calm.",
    ):  # fmt: skip
        assert word in said, word


def test_maintenance_is_shown(of: Controls) -> None:
    of.faults.inject(rule_of({"kind": "maintenance", "duration_seconds": 60}), of.now_us())
    assert "down" in words(body(seen(of)))


@pytest.mark.parametrize(("name", "fault"), PRESETS)
def test_every_fault_that_the_page_offers_can_be_injected(
    name: str, fault: dict[str, object]
) -> None:
    assert rule_of(dict(fault)).kind in str(fault)


@pytest.mark.parametrize("name", ["bad_day", "calm"])
def test_the_faults_at_work_are_told_in_words(name: str) -> None:
    text = (conf_folder() / "faults" / f"{name}.yaml").read_text(encoding="utf-8")
    view = seen(controls(scenario=scenario_of(text)))
    said = words(body(view))
    if name == "bad_day":
        assert "70 % · from 600 s · for 30 s · every 1,800 s" in said
        assert "from 7,300 s · ETHUSDT · stepSize 0.01 · minQty 0.01" in said
    assert ("The scenario is calm." in said) == (name == "calm")


def test_buttons_for_bars_are_there_in_lock_step_alone(of: Controls) -> None:
    assert "+10 bars" in words(page(seen(of)))
    assert "+10 bars" not in words(page(seen(controls(lock_step=False))))


@pytest.mark.integration
@pytest.mark.skipif(CHROMIUM is None, reason="needs chromium")
async def test_the_page_refreshes_itself_advances_and_injects_in_a_browser(of: Controls) -> None:
    from playwright.async_api import async_playwright, expect

    server = TestServer(control_app(of))
    await server.start_server()
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        wide = await browser.new_page(viewport={"width": 390, "height": 844})
        errors: list[str] = []
        wide.on("pageerror", lambda error: errors.append(str(error)))
        wide.on("console", lambda message: errors.append(message.text))
        await wide.goto(str(server.make_url("/?symbol=BTCUSDT")))
        await expect(wide.locator("h1")).to_contain_text("2024-01-06 00:00:00")
        assert await wide.evaluate("document.documentElement.scrollWidth") == 390
        await wide.get_by_text("+10 bars").click()
        await expect(wide.locator("h1")).to_contain_text("2024-01-06 10:00:00")
        await wide.select_option("#preset", label="Liquidate positions")
        await wide.click("#inject")
        await expect(wide.locator(".faults")).to_contain_text("positions liquidated")
        await of.advance(of.tape.first_us + 11 * BAR_US)
        await expect(wide.locator("h1")).to_contain_text("2024-01-06 11:00:00")
        assert errors == []
        await server.close()
        await expect(wide.locator("#said")).to_have_text("The exchange does not answer.")
        await browser.close()
