"""The loop's log: one JSON object a line, in files that rotate and that only their owner may read."""

from __future__ import annotations

import json
import logging
import logging.handlers
import os
import traceback
from collections.abc import Callable
from datetime import UTC, datetime
from io import TextIOWrapper
from pathlib import Path
from typing import Final

from quantcore.errors import ConfigError

FILE: Final = "log.jsonl"
MAX_BYTES: Final = 10_000_000
KEPT: Final = 5
"""Files beside the one that is written."""


class JsonLines(logging.Formatter):
    """One record as one line: ``time`` (UTC), ``level``, ``logger``, ``message``, and ``trace`` of an exception.

    Parameters
    ----------
    redact : callable
        Takes secrets out of every text.
    """

    def __init__(self, redact: Callable[[str], str]) -> None:
        super().__init__()
        self._redact = redact

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        when = datetime.fromtimestamp(record.created, UTC)
        told = {
            "time": when.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": self._redact(record.getMessage()),
        }
        if record.exc_info is not None and record.exc_info[0] is not None:
            told["trace"] = self._redact("".join(traceback.format_exception(*record.exc_info)))
        return json.dumps(told)


class Words(logging.Formatter):
    """One record as a person reads it, without secrets and on one line."""

    def __init__(self, redact: Callable[[str], str]) -> None:
        super().__init__("%(asctime)s %(name)s: %(message)s", "%H:%M:%S")
        self._redact = redact

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        return " ".join(self._redact(super().format(record)).split())


class _PrivateFile(logging.handlers.RotatingFileHandler):
    def _open(self) -> TextIOWrapper:
        number = os.open(self.baseFilename, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.fchmod(number, 0o600)
        return os.fdopen(number, "a", encoding="utf-8")


def log_into(folder: Path, redact: Callable[[str], str]) -> logging.Handler:
    """Write everything from INFO on into ``log.jsonl`` of a folder, and return the handler; whoever asks closes it.

    Raises
    ------
    ConfigError
        If the file cannot be written.
    """
    try:
        folder.mkdir(parents=True, mode=0o700, exist_ok=True)
        handler = _PrivateFile(folder / FILE, maxBytes=MAX_BYTES, backupCount=KEPT)
    except OSError as error:
        raise ConfigError(f"{folder / FILE} must be writable, was not: {error.strerror}") from error
    handler.setLevel(logging.INFO)
    handler.setFormatter(JsonLines(redact))
    root = logging.getLogger()
    root.addHandler(handler)
    for name in ("live", "quantcore"):  # others speak from WARNING on, as the root does
        logging.getLogger(name).setLevel(logging.INFO)
    return handler
