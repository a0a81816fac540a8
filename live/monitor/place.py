"""What monitoring is asked to look at: a running account's journal, or a finished run's results folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from live.journal.database import sqlite_path, without_password
from quantcore.errors import ConfigError

JOURNAL = "journal.sqlite"
"""Name of a mode's journal in its folder."""
_RESULTS = ("metrics.json", "equity.parquet")
"""By which a results folder is known."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a run is.

    Parameters
    ----------
    url : str or None
        Of its journal; None of a results folder.
    folder : Path or None
        Of its mode, with the kill switch's files; None of a database whose folder was not given.
    results : Path or None
        A backtest's results folder; None of a journal.
    """

    url: str | None = None
    folder: Path | None = None
    results: Path | None = None

    @property
    def words(self) -> str:
        """The place as it may be shown, without a password."""
        return str(self.results) if self.url is None else without_password(self.url)


def place_of(run: str | None, db: str | None) -> Place:
    """Return where a run is.

    Parameters
    ----------
    run : str or None
        A mode's folder, such as ``data/live/sim``; a journal of SQLite; or a backtest's results folder.
    db : str or None
        URL of a journal; beside it `run` is the folder of the kill switch's files.

    Raises
    ------
    ConfigError
        If neither is given, or there is nothing of the kind.
    """
    if run is None and db is None:
        raise ConfigError("run or db must be given: run=data/live/sim, or db=URL of a journal")
    path = None if run is None else Path(run)
    if db is not None:
        without_password(db)
        file = sqlite_path(db)
        if file is not None and not file.is_file():
            raise ConfigError(
                f"db must be a journal, {file} is not there: python -m live.run makes it"
            )
        if path is not None and not path.is_dir():
            raise ConfigError(
                f"run beside db must be the folder of the kill switch's files, was {run}"
            )
        beside = None if file is None else file.parent
        return Place(url=db, folder=path if path is not None else beside)
    assert path is not None
    if path.is_file():
        return Place(url=f"sqlite:///{path}", folder=path.parent)
    if (path / JOURNAL).is_file():
        return Place(url=f"sqlite:///{path / JOURNAL}", folder=path)
    if all((path / name).is_file() for name in _RESULTS):
        return Place(results=path)
    raise ConfigError(
        f"run must be a folder with {JOURNAL}, a journal, or a backtest's results folder, was {run}"
    )
