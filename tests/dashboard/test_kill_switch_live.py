"""The kill switch on the page of a loop that trades on the simulator: what is pressed is done at the exchange."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from live.dashboard.page import BY
from tests.dashboard.browsing import lives, needs_chromium, page, press, served
from tests.loop.on_exchange import Ground, ground, whole
from tests.loop.test_kill import decisions, started
from tests.loop.test_kill_switch_live import interventions

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = [pytest.mark.integration, pytest.mark.slow, needs_chromium]


@contextmanager
def trading(there: Ground) -> Iterator[None]:
    """Run the loop's command until it has decided thrice, and end it in order."""
    process = started(there)
    try:
        decisions(process, 3, 240.0)
        yield
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.wait()
        assert process.stderr is not None
        process.stderr.close()


def until(holds: Callable[[], bool], what: str, seconds: float = 60.0) -> None:
    end_s = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end_s, f"{what} within {seconds} s, did not"
        time.sleep(0.1)


def test_what_is_pressed_is_done_at_the_exchange_and_written_down(
    browser: Browser, tmp_path: Path
) -> None:
    with ground(tmp_path) as there:
        with trading(there), served(tmp_path / "live") as own, page(browser, 390, token="") as seen:
            until(lambda: there.books()["positions"] != [], "positions at the exchange")
            lives(seen, own.address)
            seen.locator("#app .positions tbody tr").first.wait_for()

            def told(words: str) -> None:
                until(lambda: interventions(there.journal)[-1:] == [words], words)

            press(seen, "Freeze")
            told(f"freeze by {BY}")
            seen.locator("#app .log").get_by_text(f"freeze by {BY}").wait_for()
            press(seen, "Release")
            told(f"released by {BY}")
            until(lambda: there.books()["positions"] != [], "positions again")
            press(seen, "Flatten")
            until(lambda: there.books()["positions"] == [], "everything to be closed")
            told("all own positions are closed")
            seen.locator("#app .positions").get_by_text("Nothing is held.").wait_for()
            seen.locator("#app .well").get_by_text(f"asked for by {BY}").wait_for()
            press(seen, "Release")
            told(f"released by {BY}")
            seen.locator("#app .log").get_by_text(f"released by {BY}").first.wait_for()
            until(lambda: there.books()["positions"] != [], "trading to go on")
        assert interventions(there.journal) == [
            f"freeze by {BY}", f"released by {BY}", f"flatten by {BY}", "all own positions are closed",
            f"released by {BY}",
        ]  # fmt: skip
        whole(there)
