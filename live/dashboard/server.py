"""The page's own web server, behind its gate."""

from __future__ import annotations

import logging
import os
import socket
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from live.dashboard.feed import Feed
from live.dashboard.gate import Gate
from live.dashboard.pace import Paced
from live.dashboard.settings import DashboardSettings
from live.kill_switch import KillSwitch
from live.monitor.place import Place
from quantcore.errors import ConfigError

log = logging.getLogger(__name__)

HISTORY = 50
"""Messages that are kept for a reader whose connection broke: some seconds."""
GZIP = 4
"""Level at which files are sent: those of the framework are a megabyte, and a processor is busy."""


def serve(place: Place, settings: DashboardSettings, say: Callable[[str], None]) -> None:
    """Serve the page until the process is told to end.

    Parameters
    ----------
    place : Place
        What is shown.
    settings : DashboardSettings
        Where.
    say : callable
        Told in one sentence where the page is, once it answers.

    Raises
    ------
    ConfigError
        If the address is taken or none of this machine, or a token is needed and not set.
    DataGap, JournalError, SchemaMismatch
        If what is to be shown cannot be read.
    """
    import uvicorn

    token = settings.held_token()
    listening = _listen(settings)
    feed = Feed(place, look_s=settings.look_s)
    try:
        feed.begin()
        gate = Gate(_application(feed, place), hosts=settings.hosts, token=token)
        config = uvicorn.Config(
            Paced(gate, admits=gate.admits),
            log_level="warning",
            ws="wsproto",
            proxy_headers=False,
            server_header=False,
            ssl_certfile=settings.certificate,
            ssl_keyfile=settings.key,
            timeout_graceful_shutdown=1,
        )
        say(f"{place.words} is shown at {_address(settings, listening)}; Ctrl-C ends it.")
        uvicorn.Server(config).run(sockets=[listening])
    finally:
        feed.close()
        listening.close()


def _listen(settings: DashboardSettings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        return socket.create_server((settings.host, settings.port), family=family)
    except OSError as error:
        raise ConfigError(
            f"host and port must be free and of this machine, {settings.host}:{settings.port} was not: "
            f"{error.strerror}"
        ) from error


def _address(settings: DashboardSettings, listening: socket.socket) -> str:
    scheme = "http" if settings.certificate is None else "https"
    name = f"[{settings.host}]" if ":" in settings.host else settings.host
    return f"{scheme}://{name}:{listening.getsockname()[1]}"


def _application(feed: Feed, place: Place) -> Any:
    # The framework would keep files of its own in the working directory.
    os.environ["NICEGUI_STORAGE_PATH"] = str(Path(tempfile.gettempdir()) / "quantcore-dashboard")
    from fastapi import FastAPI
    from fastapi.middleware.gzip import GZipMiddleware
    from nicegui import app as framework
    from nicegui import background_tasks, ui

    from live.dashboard.page import LivePage

    switch = None
    if place.results is None and place.folder is not None and place.folder.is_dir():
        switch = KillSwitch(place.folder, lambda level: None)

    @ui.page("/")
    def index() -> None:
        LivePage(feed, switch).build()

    application = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    ui.run_with(
        application,
        title="Dashboard",
        dark=None,
        tailwind=False,
        binding_refresh_interval=None,
        gzip_middleware_factory=lambda inner: GZipMiddleware(inner, compresslevel=GZIP),
        message_history_length=HISTORY,
        show_welcome_message=False,
        favicon=FAVICON,
    )
    framework.on_startup(lambda: background_tasks.create(feed.run(), name="feed"))
    framework.on_startup(lambda: background_tasks.create(feed.measure(), name="targets"))
    return application


FAVICON = (
    "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'%3E%3Cpath d='M1 12l4-5 3 3 6-8' "
    "fill='none' stroke='%231f5fbf' stroke-width='2.4' stroke-linecap='round' stroke-linejoin='round'/%3E%3C/svg%3E"
)
