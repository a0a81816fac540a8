"""The file by which a client finds a running exchange, and tells it from one that has gone."""

from __future__ import annotations

import json
import os
import socket
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import urlsplit

from quantcore.errors import ConfigError
from quantcore.settings import build_settings


@dataclass(frozen=True, kw_only=True)
class RunningExchange:
    """Where an exchange answers, and with which credentials.

    Parameters
    ----------
    pid : int
        Its process.
    rest, ws, control : str
        Addresses, such as ``"http://127.0.0.1:8080"`` and ``"ws://127.0.0.1:8080"``.
    api_key, api_secret : str
        Of the account that it opened; they open nothing else.
    """

    pid: int
    rest: str
    ws: str
    control: str
    api_key: str
    api_secret: str

    def ready(self) -> dict[str, str]:
        """Return the command's one line on stdout (DESIGN.md 6)."""
        return {k: str(v) for k, v in asdict(self).items() if k != "pid"}


def find_running(path: Path) -> RunningExchange | None:
    """Return the exchange that a state file tells of, None if there is none or it has gone.

    A file outlives an exchange that was killed: its process must live and its port answer.
    """
    try:
        held = json.loads(path.read_text(encoding="utf-8"))
        found: RunningExchange = build_settings(held, kind=RunningExchange)
        return found if _lives(found.pid) and _answers(found.rest) else None
    except (OSError, ValueError, ConfigError):
        return None


def write_state(path: Path, exchange: RunningExchange) -> None:
    """Write a state file whole, readable by its owner only.

    Raises
    ------
    ConfigError
        If it cannot be written.
    """
    try:
        write_whole(path, json.dumps(asdict(exchange)).encode())
    except OSError as error:
        raise ConfigError(f"state_file must be writable, was {path}: {error.strerror}") from error


def remove_state(path: Path, exchange: RunningExchange) -> None:
    """Remove a state file, unless it tells of another exchange by now."""
    try:
        held = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return
    if held == asdict(exchange):
        path.unlink(missing_ok=True)


def write_whole(path: Path, content: bytes) -> None:
    """Write a file that is never seen in part, making its folder; raises OSError if it cannot be."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with open(beside, "wb", opener=lambda p, flags: os.open(p, flags, 0o600)) as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def _lives(pid: int) -> bool:
    if pid <= 0:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True


def _answers(address: str) -> bool:
    parts = urlsplit(address)
    try:
        socket.create_connection((parts.hostname or "", parts.port or 0), timeout=1.0).close()
    except OSError:
        return False
    return True
