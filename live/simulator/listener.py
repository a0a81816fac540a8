"""A port that is listened to: what cannot even be read as a request is answered in the exchange's form as well."""

from __future__ import annotations

import asyncio
import contextlib
import resource
from functools import partial
from typing import Any

from aiohttp import web

from live.simulator.rest import error_response, unknown_error
from live.simulator.wire import Refused
from quantcore.errors import ConfigError

LINE_MAX = 32_768
"""Bytes of a request's first line, which holds the query, and of a header."""
KEEP_ALIVE_SECONDS = 75.0
SHUTDOWN_SECONDS = 2.0
BACKLOG = 4096
"""Connections that may wait to be accepted; the system may hold fewer."""


class _Connection(web.RequestHandler):
    """One client's connection."""

    __slots__ = ()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answer what is no HTTP, and close the connection."""
        if request.writer.output_size > 0:
            raise ConnectionError("an answer has been begun already")
        if isinstance(exc, ConnectionError):
            raise exc
        bad = status < 500
        refused = (
            Refused(-1100, "Illegal characters found in a parameter.") if bad else unknown_error()
        )
        response = error_response(refused)
        response.force_close()
        return response


class Listener:
    """An application on a port, from `listen` until `close`.

    Parameters
    ----------
    runner : web.AppRunner
        The application that runs.
    server : asyncio.Server
        The port's.
    """

    def __init__(self, runner: web.AppRunner, server: asyncio.Server) -> None:
        self._runner = runner
        self._server = server
        host, self.port = server.sockets[0].getsockname()[:2]
        self.address = f"[{host}]:{self.port}" if ":" in host else f"{host}:{self.port}"

    @property
    def activity(self) -> tuple[int, int]:
        """How many clients are connected, and how many requests there have been."""
        served = self._runner.server
        return (len(served.connections), served.requests_count) if served is not None else (0, 0)

    async def close(self) -> None:
        """Stop listening and close every connection."""
        self._server.close()
        await self._runner.cleanup()


async def listen(app: web.Application, *, host: str, port: int, key: str = "port") -> Listener:
    """Start an application on a port.

    Parameters
    ----------
    app : web.Application
        What answers.
    host : str
        Address of the interface.
    port : int
        0 takes any that is free.
    key : str
        The setting that a refusal names.

    Raises
    ------
    ConfigError
        If the port cannot be had.
    """
    _allow_connections()
    loop = asyncio.get_running_loop()
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=SHUTDOWN_SECONDS)
    await runner.setup()
    served = runner.server
    assert served is not None, "setup makes it"
    options: dict[str, Any] = {
        "access_log": None,
        "keepalive_timeout": KEEP_ALIVE_SECONDS,
        "max_line_size": LINE_MAX,
        "max_field_size": LINE_MAX,
    }
    connection = partial(_Connection, served, loop=loop, **options)
    try:
        server = await loop.create_server(connection, host, port, backlog=BACKLOG)
    except (OSError, OverflowError) as error:
        await runner.cleanup()
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(f"{key} must be free on {host}, was {port}: {reason}") from error
    return Listener(runner, server)


def _allow_connections() -> None:
    """Let this process hold as many connections as the system lets it."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
