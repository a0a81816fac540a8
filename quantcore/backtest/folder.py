"""How results appear: a folder is built out of sight and renamed when it is whole (DESIGN.md 6)."""

from __future__ import annotations

import json
import math
import re
import shutil
import uuid
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

PARTIAL = ".partial"
"""Folder of unfinished results, beside those of the commands."""


def publish(
    runs_root: Path,
    command: str,
    experiment: str,
    fill: Callable[[Path], None],
    *,
    now: datetime | None = None,
) -> Path:
    """Fill a new folder and return its path, ``<runs_root>/<command>/<time>-<experiment>``.

    It is built under ``<runs_root>/.partial`` and renamed when whole, so a refused or killed run leaves nothing in the
    place of results; after an exception the partial folder is removed.

    Parameters
    ----------
    runs_root : Path
        Usually ``data/runs``; made if absent.
    command : str
        The module's last name, such as ``"backtest"``.
    experiment : str
        Its name; characters that a file name should not have become ``-``.
    fill : callable
        Writes the files into the folder it is given.
    now : datetime or None
        Time in the folder's name; the clock's if None.
    """
    partial = runs_root / PARTIAL / uuid.uuid4().hex
    partial.mkdir(parents=True)
    try:
        fill(partial)
        return _rename(partial, runs_root / command, experiment, now or datetime.now(UTC))
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def to_json(value: Any) -> str:
    """Return a value as JSON text in its own order; NaN and infinity become null."""
    return json.dumps(_finite(value), indent=2, allow_nan=False, ensure_ascii=False) + "\n"


def _rename(partial: Path, parent: Path, experiment: str, now: datetime) -> Path:
    parent.mkdir(parents=True, exist_ok=True)
    name = re.sub(r"[^A-Za-z0-9_.+]+", "-", experiment).strip("-.") or "run"
    moment = now.astimezone(UTC)
    while True:
        target = parent / f"{moment:%Y%m%dT%H%M%S.%fZ}-{name}"
        if not target.exists():
            return partial.rename(target)
        moment += timedelta(microseconds=1)


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    if hasattr(value, "item") and not isinstance(value, str):
        return _finite(value.item())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
