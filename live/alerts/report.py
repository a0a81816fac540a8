"""The day's report: the tracker's own, made by a process of its own, so that alerts do not wait for it."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from live.alerts.wording import BODY_LENGTH, SUBJECT_LENGTH
from live.monitor.place import Place
from quantcore.errors import JournalError

FILE: Final = "report.txt"
"""Name of the text in the tracker's results folder."""
_LIMIT_S: Final = 600.0


async def daily_report(place: Place, runs: str, overrides: Sequence[str]) -> tuple[str, str]:
    """Let the tracker write its report of the day, and return subject and text for a message.

    Parameters
    ----------
    place : Place
        Of a journal.
    runs : str
        Folder into which the report is written.
    overrides : sequence of str
        Of ``python -m live.monitor``.

    Raises
    ------
    JournalError
        If there is no report, with the tracker's own line.
    """
    given = [
        f"db={_quoted(str(place.url))}",
        f"runs={_quoted(runs)}",
        "monitor.period=day",
        *overrides,
    ]
    if place.folder is not None:
        given.append(f"run={_quoted(str(place.folder))}")
    tracker = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "live.monitor", *given,
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        async with asyncio.timeout(_LIMIT_S):
            said, errors = await tracker.communicate()
    except TimeoutError as error:
        raise JournalError(f"the tracker must end within {_LIMIT_S:.0f} s, did not") from error
    finally:
        with contextlib.suppress(ProcessLookupError):
            tracker.kill()
    lines = said.decode(errors="replace").split("\n")
    if tracker.returncode != 0:
        why = errors.decode(errors="replace").strip().split("\n")[-1]
        raise JournalError(
            f"the tracker must make a report, ended with {tracker.returncode}: {why}"
        )
    try:
        found = (Path([line for line in lines if line][-1]) / FILE).read_text("utf-8")
    except (OSError, IndexError) as error:
        raise JournalError("the tracker must write a report, none is there") from error
    return message(found)


def message(text: str) -> tuple[str, str]:
    r"""Return a report's first line as the subject, as far as it fits, and the rest as the text.

    Examples
    --------
    >>> message("sim, day to 2024-01-04: +0.2 %.\nDrawdown at most 1 %.\n")
    ('sim, day to 2024-01-04: +0.2 %', 'Drawdown at most 1 %.')
    """
    first, _, rest = text.strip().partition("\n")
    subject = first.removesuffix(".")
    if len(subject) > SUBJECT_LENGTH:
        subject, rest = f"{subject[: SUBJECT_LENGTH - 1]}…", f"{first}\n{rest}"
    return subject, rest[:BODY_LENGTH]


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
