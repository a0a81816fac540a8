"""The dashboard's command in a process of its own, and a browser that looks at it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

CHROMIUM = shutil.which("chromium")
TOKEN = "a-token-that-nobody-guesses"

needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="needs chromium")


@dataclass(frozen=True)
class Served:
    """A dashboard that runs: where it answers, and its process."""

    address: str
    pid: int

    @property
    def memory_mb(self) -> float:
        """Resident memory."""
        status = Path(f"/proc/{self.pid}/status").read_text("ascii").splitlines()
        (line,) = (line for line in status if line.startswith("VmRSS:"))
        return int(line.split()[1]) / 1_000.0


@contextmanager
def served(run: Path, *more: str, token: str = "") -> Iterator[Served]:
    """Run the command on a free port."""
    environment = {**os.environ, "QUANTCORE_DASHBOARD_TOKEN": token}
    command = [sys.executable, "-m", "live.dashboard", f"run={run}", "port=0", *more]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        try:
            assert process.stdout is not None
            said = process.stdout.readline()
            assert "is shown at http" in said, said
            yield Served(said.rpartition(" is shown at ")[2].partition(";")[0], process.pid)
        finally:
            process.terminate()
            process.wait(20)


@contextmanager
def browsing() -> Iterator[Browser]:
    """Run a browser without a window."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@contextmanager
def page(browser: Browser, width: int = 1440, *, token: str = TOKEN) -> Iterator[Page]:
    """Yield a page that tells no error, nor asks any other machine for anything."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    context = browser.new_context(
        viewport={"width": width, "height": 900}, extra_http_headers=headers
    )
    context.set_default_timeout(20_000)
    opened = context.new_page()
    errors: list[str] = []
    hosts: set[str] = set()
    opened.on("console", lambda message: errors.append(message.text))
    opened.on("pageerror", lambda error: errors.append(str(error)))
    opened.on("dialog", lambda dialog: errors.append(dialog.message))
    opened.on("request", lambda request: hosts.add(request.url.split("/")[2].split(":")[0]))
    yield opened
    assert errors == []
    assert hosts == {"127.0.0.1"}
    context.close()


def lives(page: Page, address: str) -> None:
    """Open the page, and wait until it follows."""
    page.goto(address)
    page.wait_for_selector("body.lives")


def press(page: Page, action: str) -> None:
    """Ask for an action of the kill switch, and say yes twice."""
    for name in (action, "Continue", f"Yes, {action.lower()}"):
        page.get_by_role("button", name=name, exact=True).click()
    page.wait_for_selector(".ask", state="detached")
