"""The page itself: the sections in their places, the curve's range, and the kill switch, which asks twice."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from nicegui import events, ui

from live.dashboard.feed import RANGES, Feed, Shown
from live.dashboard.gate import colours
from live.kill_switch import KillSwitch, Level

_TEMPLATES = Path(__file__).with_name("templates")
BY: Final = "dashboard"
"""Who asked, as the kill switch's file has it."""
LEFT: Final = ("orders", "fills", "reasons", "log")
RIGHT: Final = ("limits", "exposure", "signals", "costs", "streams")
BELOW: Final = ("scorecard",)
"""Sections of the wide page's columns and beneath them; a phone shows the right ones first."""
_RANGES: Final = {"1": "24 h", "7": "7 d", "30": "30 d", "all": "All"}


@dataclass(frozen=True)
class Action:
    """What the kill switch can be asked for, and what is said before it is.

    Parameters
    ----------
    name : str
        Of its button.
    first, second : str
        Asked one after the other.
    does : callable
        Given the switch.
    done : str
        Said afterwards.
    """

    name: str
    first: str
    second: str
    does: Callable[[KillSwitch], None]
    done: str


ACTIONS: Final = (
    Action(
        "Freeze",
        "Nothing that opens or enlarges a position is sent any more. What is held stays, with its protective stops.",
        "Freeze trading now? Only a person lets it go on.",
        lambda switch: switch.freeze(BY),
        "Frozen: nothing opens.",
    ),
    Action(
        "Flatten",
        "Every position of this account is closed at the market, and nothing opens any more.",
        "Close every position now? This cannot be taken back.",
        lambda switch: switch.flatten(BY),
        "Flattening: all positions are being closed.",
    ),
    Action(
        "Release",
        "The kill switch is taken back, and trading goes on with the next decision.",
        "Let trading go on now?",
        lambda switch: switch.release(BY),
        "Released: trading goes on.",
    ),
)


class LivePage:
    """One reader's page.

    Parameters
    ----------
    feed : Feed
        Of what is shown.
    switch : KillSwitch or None
        None where there is nothing to stop.
    """

    def __init__(self, feed: Feed, switch: KillSwitch | None) -> None:
        self._feed = feed
        self._switch = switch
        self._range = _begin(feed.now)
        self._parts: dict[str, ui.html] = {}
        self._buttons: dict[str, ui.button] = {}

    def build(self) -> None:
        """Lay the page out, and follow the feed as long as the reader is there."""
        now = self._feed.now
        _head(f"{now.board.name} · {now.board.kind}", _static(now))
        with ui.element("main"):
            with ui.element("header"):
                self._part("masthead")
                ui.html(_THEME)
            self._part("headline")
            with ui.element("div").classes("controls"):
                if self._switch is not None:
                    self._controls(self._switch)
            with ui.element("section").classes("curve"):
                ui.html(_ranges(self._range))
                self._part("curve")
            self._part("positions")
            with ui.element("div").classes("columns"):
                for side, names in (("left", LEFT), ("right", RIGHT)):
                    with ui.element("div").classes(side):
                        for name in names:
                            self._part(name)
            for name in BELOW:
                self._part(name)
        ui.on("range", self._choose)
        client = ui.context.client
        client.on_connect(self._follow)
        client.on_delete(lambda: self._feed.remove(self))

    def _follow(self) -> None:
        """Send everything to the reader who is there now, and from then on what is new."""
        self._feed.add(self)
        self.show(self._feed.now)

    def show(self, shown: Shown) -> None:
        """Send what differs from what the reader has."""
        for name, part in self._parts.items():
            html = shown.curves[self._range] if name == "curve" else shown.sections[name]
            if part.content != html:
                part.set_content(html)
        if self._switch is not None:
            self._switch.look()
            self._enable(self._switch.level)

    def _part(self, name: str) -> None:
        self._parts[name] = ui.html("").classes(f"part {name}")

    def _choose(self, event: events.GenericEventArguments) -> None:
        if event.args in RANGES:
            self._range = event.args
            self.show(self._feed.now)

    def _controls(self, switch: KillSwitch) -> None:
        ui.html("<span>Kill switch</span>")
        for action in ACTIONS:
            button = ui.button(action.name, on_click=_asking(action, switch), color=None)
            self._buttons[action.name] = button.props("flat no-caps").classes(
                f"act {action.name.lower()}"
            )
        self._enable(switch.level)

    def _enable(self, level: Level) -> None:
        """Show those of the buttons that would change something."""
        wanted = {
            "Freeze": level is Level.NONE,
            "Flatten": level is not Level.FLATTEN,
            "Release": level is not Level.NONE,
        }
        for name, button in self._buttons.items():
            button.set_visibility(wanted[name])


def _asking(action: Action, switch: KillSwitch) -> Callable[[], Awaitable[None]]:
    async def asked() -> None:
        if not await _answer(action.name, action.first, "Continue"):
            return
        if not await _answer(f"{action.name}: sure?", action.second, f"Yes, {action.name.lower()}"):
            return
        try:
            action.does(switch)
        except OSError as error:
            ui.notify(f"{action.name} failed: {error.strerror}", type="negative")
            return
        ui.notify(action.done, type="warning")

    return asked


async def _answer(title: str, text: str, go: str) -> bool:
    """Ask, and return whether the reader goes on; to leave the question is no."""
    with ui.dialog() as dialog, ui.card().classes("ask"):
        ui.label(title).classes("title")
        ui.label(text)
        with ui.element("div").classes("answers"):
            ui.button("Cancel", on_click=lambda: dialog.submit(False), color=None).props(
                "flat no-caps autofocus"
            )
            ui.button(go, on_click=lambda: dialog.submit(True), color=None).props(
                "flat no-caps"
            ).classes("go")
    answer: Any = await dialog
    dialog.delete()
    return answer is True


_THEME = (
    '<button class="theme" type="button" data-action="theme" aria-label="Theme" '
    'title="Light, dark, or as the system is">◐</button>'
)


def _begin(shown: Shown) -> str:
    """Return the range that is shown first: of a finished run all of it."""
    return "7" if shown.board.is_live else "all"


def _ranges(chosen: str) -> str:
    buttons = "".join(
        f'<button type="button" data-range="{name}" aria-pressed="{str(name == chosen).lower()}">{words}</button>'
        for name, words in _RANGES.items()
    )
    return (
        '<div class="head"><h2>Equity and drawdown</h2>'
        f'<div class="switch" role="group" aria-label="Range">{buttons}</div></div>'
    )


def _static(shown: Shown) -> str:
    """Return the page as it is painted at once, until the framework has come; its script then takes it away."""

    def parts(*names: str) -> str:
        return "".join(f'<div class="part {n}">{shown.sections[n]}</div>' for n in names)

    chosen = _begin(shown)
    return (
        f'<div id="first"><main><header>{parts("masthead")}{_THEME}</header>{parts("headline")}'
        f'<div class="controls"></div><section class="curve">{_ranges(chosen)}{shown.curves[chosen]}</section>'
        f'{parts("positions")}<div class="columns"><div class="left">{parts(*LEFT)}</div>'
        f'<div class="right">{parts(*RIGHT)}</div></div>{parts(*BELOW)}</main></div>'
    )


def _head(title: str, body: str) -> None:
    """Give the page its style, its script and its first picture; everything comes from this process."""
    ui.page_title(title)
    ui.add_head_html(f"<style>{colours()}\n{_text('dashboard.css')}</style>")
    ui.add_head_html(f"<script>{_text('dashboard.js')}</script>")
    ui.add_body_html(body)


def _text(name: str) -> str:
    return (_TEMPLATES / name).read_text("utf-8")
