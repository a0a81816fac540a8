"""The one place where this process becomes part of a Ray cluster, so that a wrong address is one line everywhere."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Mapping
from typing import Any

from quantcore.errors import ConfigError, QuantcoreError

QUIET: Mapping[str, Any] = {
    "logging_level": "ERROR",
    "log_to_driver": False,
    "include_dashboard": False,
    "configure_logging": False,
}
"""Arguments of ``ray.init`` under which nothing but ours is printed."""
_REACH_SECONDS = 5.0
_ATTEMPTS = 4


def connect(address: str | None, *, name: str = "address", **options: Any) -> None:
    """Join a Ray cluster, or start one on this machine which ends with this process; nothing where that was done.

    Parameters
    ----------
    address : str or None
        Of a running cluster, such as ``"10.0.0.1:6379"`` or ``"auto"``; None starts one.
    name : str
        The setting that holds the address; messages begin with it.
    **options
        Arguments of ``ray.init``, stronger than `QUIET`.

    Raises
    ------
    ConfigError
        If Ray is not installed, or no cluster is at the address.
    QuantcoreError
        If Ray does not start here, however often it is tried.
    """
    try:
        import ray
    except ImportError as error:
        raise ConfigError("Ray must be installed: pip install 'quantcore[cluster]'") from error
    if ray.is_initialized():
        return
    logging.getLogger("ray").setLevel(logging.ERROR)
    chosen = {**QUIET, **options}
    if address is None:
        _start({"num_cpus": cores(), **chosen})
        return
    check_address(address, name=name)
    try:
        ray.init(address=address, **chosen)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise ConfigError(
            f"{name} must be that of a running Ray cluster, was {address}: "
            f"{' '.join(str(error).split())[:160]}"
        ) from error


def _start(options: Mapping[str, Any]) -> None:
    """Start a cluster on this machine; under load Ray gives up after half a minute, and a second attempt is faster."""
    import ray

    for attempt in range(1, _ATTEMPTS + 1):
        try:
            ray.init("local", **options)  # None would join a cluster that runs here
        except Exception as error:
            if type(error) is not Exception:  # the bare class is what Ray raises when it gives up
                raise
            if attempt == _ATTEMPTS:
                raise QuantcoreError(
                    f"Ray must start on this machine, did not in {_ATTEMPTS} attempts: {' '.join(str(error).split())}"
                ) from error
            ray.shutdown()
        else:
            return


def cores() -> int:
    """Return how many processes this machine can run at the same time."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def check_address(address: object, *, name: str = "address") -> None:
    """Refuse an address at which nobody listens: Ray itself would try for a minute and end the process.

    Parameters
    ----------
    address : object
        None and ``"auto"`` are looked up by Ray, and not here.
    name : str
        The setting that holds it; messages begin with it.

    Raises
    ------
    ConfigError
        Naming the setting, the address and why it cannot be reached.
    """
    if address is None or address == "auto":
        return
    host, _, port = str(address).removeprefix("ray://").rpartition(":")
    try:
        socket.create_connection((host, int(port)), _REACH_SECONDS).close()
    except (OSError, ValueError, OverflowError) as error:
        raise ConfigError(
            f"{name} must be that of a running Ray cluster, was {address}: {error}"
        ) from error
