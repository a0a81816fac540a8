"""python-binance, and what its exceptions mean: the one file of the live loop that knows it.

Each numbered danger of BINANCE.md (python-binance 1.0.37) is answered here or in a module beside this one;
`docs/broker.md` lists them with the test of each.
"""

from __future__ import annotations

import importlib
import warnings
from dataclasses import replace
from typing import Any, Final

import aiohttp

from live.broker.budget import Budget
from live.broker.calls import Call
from live.broker.errors import (
    LIMITED,
    TOO_MANY_ORDERS,
    Failure,
    classify,
    never_sent,
    unanswered,
)
from live.broker.requests import RequestFailed
from live.broker.settings import BrokerSettings, Credentials
from live.clock import ExchangeClock

_NO_JSON: Final = "Invalid JSON error message"
"""How python-binance begins the message of an answer that is no JSON."""


class Client:
    """An open client of a host, one attempt at a time.

    Parameters
    ----------
    settings : BrokerSettings
        Where and how.
    credentials : Credentials
        Of the account; no failure shows them.
    budget : Budget
        Told what the host says of its limits.
    clock : ExchangeClock
        By which requests are stamped.
    """

    def __init__(
        self,
        settings: BrokerSettings,
        credentials: Credentials,
        budget: Budget,
        clock: ExchangeClock,
    ) -> None:
        self._credentials = credentials
        self._budget = budget
        self._clock = clock
        self._client, self._refusals = _opened(settings, credentials, budget)
        self.asked = 0
        """Requests so far."""
        self.failed = 0
        """Of them, those in which the exchange failed."""

    async def close(self) -> None:
        """Leave."""
        await self._client.close_connection()

    async def perform(self, call: Call, /, **params: Any) -> Any:
        """Carry out one attempt; nothing of the client's exceptions leaves this function.

        Raises
        ------
        RequestFailed
            If it is not answered with success.
        """
        method = getattr(self._client, call.method)
        self.asked += 1
        if call.signed:
            # Set with nothing awaited before the client stamps the request (dangers 11 and 13).
            self._client.timestamp_offset = self._clock.wall_offset_ms()
        try:
            return await method(**params)
        except self._refusals as error:
            failure = _of_refusal(error)
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            failure = _of_connection(error)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            failure = unanswered(f"answered in a form not understood ({type(error).__name__})")
        self.failed += failure.is_of_exchange
        if failure.code == TOO_MANY_ORDERS:
            self._budget.orders_limited(failure.retry_after_s)
        elif failure.status in LIMITED:
            self._budget.limited(failure.status, failure.retry_after_s)
        hidden = replace(failure, message=self._credentials.scrub(failure.message))
        raise RequestFailed(hidden)


def _opened(
    settings: BrokerSettings, credentials: Credentials, budget: Budget
) -> tuple[Any, tuple[type[Exception], ...]]:
    """Return python-binance's client of a host, and what it raises for an answer without success.

    It is made without ``create()``, which asks the spot host and takes its one clock offset from there (danger 11).
    """
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", DeprecationWarning
        )  # it imports the old client of websockets
        client_module = importlib.import_module("binance.async_client")
        errors = importlib.import_module("binance.exceptions")
    host = settings.rest_url.rstrip("/")
    constants = {
        "API_URL": f"{host}/api",
        "FUTURES_URL": f"{host}/fapi",
        "FUTURES_DATA_URL": f"{host}/futures/data",
        "MARGIN_API_URL": (settings.permissions_url or f"{host}/sapi").rstrip("/"),
        "REQUEST_RECVWINDOW": settings.recv_window_ms,
    }
    client_class = type("HostClient", (client_module.AsyncClient,), constants)
    client = client_class(
        credentials.api_key,
        credentials.api_secret,
        requests_params={"timeout": aiohttp.ClientTimeout(total=settings.timeout_s)},
        session_params={"trace_configs": [_listener(budget)]},
    )
    return client, (errors.BinanceAPIException, errors.BinanceRequestException)


def _listener(budget: Budget) -> aiohttp.TraceConfig:
    """Return what hears the headers of every answer; ``client.response`` is of whoever came last (danger 11)."""

    async def ended(_: Any, __: Any, told: aiohttp.TraceRequestEndParams) -> None:
        answer = told.response
        budget.heard(answer.headers)
        if answer.status not in LIMITED:
            budget.answered()

    trace = aiohttp.TraceConfig()
    trace.on_request_end.append(ended)
    return trace


def _retry_after_s(headers: Any) -> float:
    text = str(headers.get("Retry-After", ""))
    return float(text) if text.isdigit() else 0.0


def _of_refusal(error: Any) -> Failure:
    """Return what python-binance's exceptions mean; of an answer that is no JSON its text shows the address."""
    status = getattr(error, "status_code", None)
    if status is None:
        return unanswered("answered with success, not as JSON")
    code, text = error.code, error.message
    is_json = isinstance(text, str) and not text.startswith(_NO_JSON)
    return classify(
        int(status),
        code if isinstance(code, int) else None,
        text if is_json else None,
        retry_after_s=_retry_after_s(error.response.headers),
    )


def _of_connection(error: Exception) -> Failure:
    """Return what a lost, refused or late connection means; the error's own text may show the address."""
    kind = type(error).__name__
    if isinstance(error, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError):
        return never_sent(f"the exchange could not be reached ({kind})")
    status = getattr(error, "status", None)
    if isinstance(status, int) and status >= 400:
        return classify(status, None, None)
    return unanswered(f"no legible answer ({kind})", status)
