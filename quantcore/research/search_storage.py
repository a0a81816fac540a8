"""Where a search keeps its trials: in memory, in SQLite or in PostgreSQL, so that several machines join one study."""

from __future__ import annotations

import contextlib
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import sqlalchemy
from sqlalchemy import exc

from quantcore.errors import ConfigError
from quantcore.settings import one_line

if TYPE_CHECKING:
    from optuna import Study
    from optuna.storages import RDBStorage
    from optuna.trial import Trial

RETRIES_MAX = 3
"""Times that the set of a lost process is tried again."""
BEATS_LOST = 3
"""Signs of life that must be missing until a trial counts as lost."""
_ATTEMPTS = 8
_PAUSE_SECONDS = 0.25
_BUSY_SECONDS = 60
"""How long SQLite waits for another process that writes."""


@contextlib.contextmanager
def open_study(
    name: str, storage: str | None, *, sampler: Any, pruner: Any, heartbeat_seconds: int
) -> Iterator[Study]:
    """Open a study that maximises, new or as the storage holds it, and close its connections in the end.

    Parameters
    ----------
    name : str
        The same name joins the same study.
    storage : str or None
        A database's URL, such as ``sqlite:///search.db`` or ``postgresql+psycopg://user@host/database``; None keeps
        the trials in memory, for this process only.
    sampler, pruner : Optuna's own
        Of this process; others may use other ones.
    heartbeat_seconds : int
        Seconds between signs of life, > 0.

    Raises
    ------
    ConfigError
        If the database cannot be opened; a password in the URL is not shown.
    """
    import optuna

    with quiet():
        kept = _database(storage, heartbeat_seconds) if storage else None
    try:
        with quiet():
            study = optuna.create_study(
                storage=kept,
                study_name=name,
                direction="maximize",
                load_if_exists=True,
                sampler=sampler,
                pruner=pruner,
            )
        yield study
    finally:
        if kept is not None:
            kept.remove_session()
            kept.engine.dispose()


def recover(study: Study) -> None:
    """Give up trials of processes that show no sign of life any more, and put their sets in line again."""
    import optuna

    with quiet():
        optuna.storages.fail_stale_trials(study)


@contextlib.contextmanager
def alive(study: Study, opened: Sequence[Trial], *, seconds: int) -> Iterator[Callable[[], None]]:
    """Show signs of life for trials while the body runs; in memory there is nobody to show them to.

    Parameters
    ----------
    study : Study
        Of the trials.
    opened : sequence of Trial
        Those that the caller works on, which it may change.
    seconds : int
        Between two signs.

    Yields
    ------
    callable
        Shows one sign at once for the trial opened last.
    """
    from optuna.storages import RDBStorage

    storage = getattr(study._storage, "_backend", study._storage)
    if not isinstance(storage, RDBStorage):
        yield lambda: None
        return
    ended = threading.Event()

    def beat() -> None:
        while not ended.wait(seconds):
            for trial in list(opened):
                storage.record_heartbeat(trial._trial_id)

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield lambda: storage.record_heartbeat(opened[-1]._trial_id)
    finally:
        ended.set()
        thread.join()


def is_over(study: Study, trial: Trial) -> bool:
    """Return whether a trial was ended, by this process or by one that took it for lost."""
    return study._storage.get_trial(trial._trial_id).state.is_finished()


def wait(seconds: float) -> None:
    """Let other processes work."""
    time.sleep(seconds)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep Optuna's log lines and its warnings of experimental features, used on purpose, from the terminal."""
    import optuna

    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            # Signs of life are shown by `alive`: trials are asked for and told in batches.
            warnings.filterwarnings("ignore", message="Heartbeat of storage is supposed")
            yield
    finally:
        optuna.logging.set_verbosity(before)


def _database(url: str, heartbeat_seconds: int) -> RDBStorage:
    """Return the opened database, with its tables."""
    from optuna.storages import RDBStorage, RetryHeartbeatStaleTrialCallback

    is_sqlite = url.startswith("sqlite")
    options: dict[str, Any] = {"connect_args": {"timeout": _BUSY_SECONDS}} if is_sqlite else {}
    try:
        if not _has_tables(url):
            _create_tables(url, options)
        storage = RDBStorage(
            url,
            engine_kwargs={"pool_pre_ping": True, **options},
            heartbeat_interval=heartbeat_seconds,
            grace_period=BEATS_LOST * heartbeat_seconds,
            heartbeat_stale_trial_callback=RetryHeartbeatStaleTrialCallback(RETRIES_MAX),
        )
    except (exc.SQLAlchemyError, ImportError) as error:
        shown = _without_password(url)
        raise ConfigError(
            f"storage must be a database that opens, was {shown}: {_said(error)}"
        ) from error
    if is_sqlite:
        sqlalchemy.event.listen(storage.engine, "connect", _faster)
        storage.engine.dispose()
    return storage


def _has_tables(url: str) -> bool:
    engine = sqlalchemy.create_engine(url, poolclass=sqlalchemy.NullPool)
    try:
        return sqlalchemy.inspect(engine).has_table("studies")
    finally:
        engine.dispose()


def _create_tables(url: str, options: Mapping[str, Any]) -> None:
    """Create Optuna's tables; of processes that do so at the same time one succeeds, the others try again."""
    from optuna.storages import RDBStorage

    for attempt in range(_ATTEMPTS):
        try:
            created = RDBStorage(url, engine_kwargs={"poolclass": sqlalchemy.NullPool, **options})
        except (exc.IntegrityError, exc.ProgrammingError, exc.OperationalError):
            if attempt + 1 == _ATTEMPTS:
                raise
            time.sleep(_PAUSE_SECONDS * (attempt + 1))
        else:
            created.engine.dispose()
            return


def _faster(connection: Any, _: Any) -> None:
    """Let SQLite write ahead: a lost power supply may cost the last trials, never the file."""
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=NORMAL")
    cursor.close()


def _said(error: BaseException) -> str:
    text = one_line(getattr(error, "orig", None) or error)
    return text.partition(" (Background on this error")[0]


def _without_password(url: str) -> str:
    try:
        return sqlalchemy.make_url(url).render_as_string(hide_password=True)
    except exc.ArgumentError:
        return "no URL such as sqlite:///search.db"
