"""A results folder on disk: written whole or not at all, and read back (DESIGN.md 6)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from quantcore.backtest.curves import curves
from quantcore.backtest.folder import publish, to_json
from quantcore.backtest.metrics import compute_metrics, run_trades
from quantcore.backtest.outlook import Outlook, outlook
from quantcore.backtest.result import OPTIONAL_COLUMNS, RUN_TABLES, SCHEMAS, Run, check_columns
from quantcore.backtest.tearsheet import tearsheet
from quantcore.errors import ConfigError, DataGap, SchemaMismatch
from quantcore.settings import one_line


@dataclass(frozen=True, kw_only=True)
class SavedRun:
    """A results folder, read back.

    Parameters
    ----------
    folder : Path
        Where it lies.
    tables : mapping of str to DataFrame
        Every Parquet table by its name; ``targets`` with a ``ts`` index.
    metrics, manifest : mapping of str to Any
        `metrics.json` and `manifest.json`.
    config_yaml : str
        The resolved settings.
    """

    folder: Path
    tables: Mapping[str, pd.DataFrame] = field(repr=False)
    metrics: Mapping[str, Any] = field(repr=False)
    manifest: Mapping[str, Any] = field(repr=False)
    config_yaml: str = field(repr=False)

    @property
    def capital(self) -> float:
        """Equity before the first row, USDT."""
        return float(self.metrics["capital"])

    @property
    def interval(self) -> str:
        """The decision interval."""
        return self._of_data("interval")

    @property
    def execution_interval(self) -> str:
        """The interval of the execution bars."""
        return self._of_data("execution_interval")

    @property
    def notes(self) -> tuple[str, ...]:
        """None: only the page in the folder tells them."""
        return ()

    def _of_data(self, key: str) -> str:
        settings = yaml.safe_load(self.config_yaml)
        data = settings.get("data") if isinstance(settings, dict) else None
        if not isinstance(data, dict) or key not in data:
            raise SchemaMismatch(f"{self.folder}: config.yaml must hold data.{key}, does not")
        return str(data[key])


def write_run(
    run: Run,
    runs_root: Path,
    command: str,
    experiment: str,
    *,
    metrics: Mapping[str, Any] | None = None,
    ahead: Outlook | None = None,
    now: datetime | None = None,
) -> Path:
    """Write a run's results folder and return its path, ``<runs_root>/<command>/<time>-<experiment>``.

    It appears whole or not at all; see `publish`. The same tables give the same Parquet bytes.

    Parameters
    ----------
    run : Run
        The finished run.
    runs_root : Path
        Usually ``data/runs``; made if absent.
    command : str
        The module's last name, such as ``"backtest"``.
    experiment : str
        Its name; characters that a file name should not have become ``-``.
    metrics : mapping or None
        What `compute_metrics` gave, with keys filled in that are known elsewhere; computed here if None.
    ahead : Outlook or None
        What `outlook` says of the run; computed here if None.
    now : datetime or None
        Time in the folder's name; the clock's if None.

    Returns
    -------
    Path
        The finished folder.

    Raises
    ------
    SchemaMismatch
        If a table does not keep its schema or the money does not add up.
    """
    return publish(
        runs_root,
        command,
        experiment,
        lambda folder: fill_run(run, folder, experiment, metrics=metrics, ahead=ahead),
        now=now,
    )


def read_run(folder: Path) -> SavedRun:
    """Read a results folder back for notebooks and the dashboard.

    Raises
    ------
    DataGap
        If the folder or its `metrics.json` does not exist.
    """
    if not (folder / "metrics.json").exists():
        raise DataGap(f"a results folder must hold metrics.json, {folder} does not")
    tables = {path.stem: pd.read_parquet(path) for path in sorted(folder.glob("*.parquet"))}
    targets = tables.get("targets")
    if targets is not None and "ts" in targets:  # written before the file named its index
        tables["targets"] = targets.set_index("ts")
    return SavedRun(
        folder=folder,
        tables=tables,
        metrics=json.loads((folder / "metrics.json").read_text("utf-8")),
        manifest=json.loads((folder / "manifest.json").read_text("utf-8")),
        config_yaml=(folder / "config.yaml").read_text("utf-8"),
    )


def open_folder(folder: Path) -> SavedRun:
    """Read a backtest's results folder, of which every file must be there and whole.

    Raises
    ------
    DataGap
        If it is none, or a file is missing.
    SchemaMismatch
        If a file cannot be read, or a table lacks a column.
    """
    tables = (*RUN_TABLES, "trades")
    wanted = ("metrics.json", "manifest.json", "config.yaml", *(f"{t}.parquet" for t in tables))
    for name in wanted:
        if not (folder / name).is_file():
            raise DataGap(f"a backtest's results folder must hold {name}, {folder} does not")
    try:
        saved = read_run(folder)
    except (ValueError, OSError) as error:
        raise SchemaMismatch(f"{folder} must be readable, was not: {one_line(error)}") from error
    for name in tables:
        if name != "targets":
            check_columns(saved.tables[name], name)
    return saved


def write_page(html: str, path: str | Path) -> Path:
    """Write a page to a file, whole or not at all, and return its path; an older file is replaced.

    Raises
    ------
    ConfigError
        If the path is a folder, lies in none that exists, or cannot be written to.
    """
    target = Path(path).expanduser()
    if target.is_dir() or not target.parent.is_dir():
        rule = (
            "must be a file, was a folder"
            if target.is_dir()
            else "must lie in a folder that exists, was"
        )
        raise ConfigError(f"path {rule}: {path}")
    partial = target.with_name(f".{target.name}.partial")
    try:
        partial.write_text(html, "utf-8")
        partial.replace(target)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise ConfigError(f"path must be writable, was {path}: {error.strerror}") from error
    return target


def to_arrow(table: pd.DataFrame, name: str) -> pa.Table:
    """Return a table of a run in the declared types; only ``targets`` carries metadata, which name its index.

    Parameters
    ----------
    table : DataFrame
        With the columns of its schema, in any order; ``targets`` with a ``ts`` index or column.
    name : str
        ``"targets"`` or a key of `SCHEMAS`.

    Raises
    ------
    SchemaMismatch
        If a column is missing or cannot be had in its type.
    """
    if name == "targets":
        wide = table if "ts" in table else table.rename_axis(index="ts").reset_index()
        schema = pa.schema(
            [(str(c), pa.timestamp("us", tz="UTC") if c == "ts" else pa.float64()) for c in wide],
            metadata={"pandas": _index_metadata([str(c) for c in wide if c != "ts"])},
        )
    else:
        wide = table
        optional = OPTIONAL_COLUMNS.get(name, frozenset())
        schema = pa.schema([f for f in SCHEMAS[name] if f.name in table or f.name not in optional])
    return pa.Table.from_arrays([_column(wide, name, f) for f in schema], schema=schema)


def fill_run(
    run: Run,
    folder: Path,
    experiment: str,
    *,
    metrics: Mapping[str, Any] | None = None,
    ahead: Outlook | None = None,
) -> None:
    """Write the files of a run's results into a folder, for commands that add their own; arguments as `write_run`."""
    trades = run_trades(run)
    told = outlook(run, curves(run)) if ahead is None else ahead
    values = compute_metrics(run, trades=trades, ahead=told) if metrics is None else dict(metrics)
    for name, table in {**run.tables, "trades": trades}.items():
        pq.write_table(
            to_arrow(table, name), folder / f"{name}.parquet", compression="zstd", version="2.6"
        )
    (folder / "config.yaml").write_text(run.config_yaml, "utf-8")
    (folder / "manifest.json").write_text(to_json(run.manifest), "utf-8")
    (folder / "metrics.json").write_text(to_json(values), "utf-8")
    page = tearsheet(run, metrics=values, trades=trades, experiment=experiment, ahead=told)
    (folder / "tearsheet.html").write_text(page, "utf-8")


def _column(table: pd.DataFrame, name: str, wanted: pa.Field) -> pa.Array:
    if wanted.name not in table:
        raise SchemaMismatch(f"table {name} must have column {wanted.name}, had {list(table)}")
    try:
        array = pa.Array.from_pandas(table[wanted.name])
        return array if array.type == wanted.type else array.cast(wanted.type)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowTypeError) as error:
        raise SchemaMismatch(
            f"table {name} column {wanted.name} must be {wanted.type}, was {table[wanted.name].dtype}"
        ) from error


def _index_metadata(columns: Sequence[str]) -> str:
    """Return what pandas reads to find the index ``ts``: of no version, so that the bytes follow from the table."""
    number = {"metadata": None, "numpy_type": "float64", "pandas_type": "float64"}
    described: list[dict[str, Any]] = [{"name": c, "field_name": c, **number} for c in columns]
    described.append(
        {
            "name": "ts",
            "field_name": "ts",
            "metadata": {"timezone": "UTC"},
            "numpy_type": "datetime64[us]",
            "pandas_type": "datetimetz",
        }
    )
    names = {
        "name": None,
        "field_name": None,
        "metadata": {"encoding": "UTF-8"},
        "numpy_type": "object",
        "pandas_type": "unicode",
    }
    return json.dumps({"column_indexes": [names], "columns": described, "index_columns": ["ts"]})
