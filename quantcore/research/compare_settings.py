"""What differs between runs before anything was computed: their settings, data, sources and spans."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from quantcore.backtest.markup import plural
from quantcore.research.compare_records import Record
from quantcore.research.compare_span import Span
from quantcore.settings import TARGET
from quantcore.timegrid import interval_name, to_index

ABSENT = "\u2013"
"""Stands where a run does not have a setting."""

_UNIMPORTANT = frozenset({"runs", "name"})
"""Settings that change no result: where results go, and what they are called."""
_HASHES = {
    "data_fingerprint": "data",
    "source_hash": "sources of quantcore and strategies",
    "strategy_source": "source of the strategy",
}
_SHORT = 10
"""Letters of a hash that are shown."""


def settings_table(runs: Sequence[Record]) -> pd.DataFrame:
    """Return the settings that differ, side by side.

    Returns
    -------
    DataFrame, shape (n_keys, 1 + n_runs)
        ``key``, dotted and sorted, and a column of text per label; `ABSENT` where a run has no such setting. A list is
        one value.
    """
    flat = [dict(_flat(run.settings)) for run in runs]
    keys = sorted({key for settings in flat for key in settings} - _UNIMPORTANT)
    rows = [(key, *(settings.get(key, ABSENT) for settings in flat)) for key in keys]
    differing = [row for row in rows if len(set(row[1:])) > 1]
    return pd.DataFrame(differing, columns=["key", *(run.label for run in runs)], dtype=object)


def changes(settings: pd.DataFrame, label: str, base: str) -> list[str]:
    """Return what a run has set otherwise than another, one phrase each.

    Where another class was chosen, or many settings stand in the place of one value, they are only counted.

    Parameters
    ----------
    settings : DataFrame
        What `settings_table` gave.
    label, base : str
        The run, and the one that it is held against.
    """
    apart = settings[settings[label] != settings[base]]
    mine, theirs = (
        {str(key): str(text) for key, text in zip(apart["key"], apart[column], strict=True)}
        for column in (label, base)
    )
    groups = {key.removesuffix(f".{TARGET}") for key in mine if key.endswith(f".{TARGET}")}
    groups |= {key for key in mine if any(other.startswith(f"{key}.") for other in mine)}
    outermost = sorted(groups, key=len)
    told: dict[str, str] = {}
    for key in mine:
        group = next((g for g in outermost if key == g or key.startswith(f"{g}.")), None)
        name = group or key
        if name not in told:
            sides = (side[key] if group is None else _summed(side, name) for side in (mine, theirs))
            told[name] = f"{name}: {' instead of '.join(sides)}"
    return list(told.values())


def _summed(side: Mapping[str, str], group: str) -> str:
    """Return in a few words what a run has in a group of settings."""
    inside = [k for k in side if k.startswith(f"{group}.") and side[k] != ABSENT]
    target = f"{group}.{TARGET}"
    if target in inside:
        return side[target].rpartition(".")[2]
    return plural(len(inside), "setting") if inside else side.get(group, ABSENT)


def provenance_table(runs: Sequence[Record]) -> pd.DataFrame:
    """Return what the manifests say that the runs were made from and of, side by side.

    Returns
    -------
    DataFrame
        ``key`` and a column of text per label: hashes shortened, versions of packages only where they differ.
    """
    rows = []
    for key, name in (*_HASHES.items(), ("git_commit", "git commit"), ("seed", "seed")):
        rows.append((name, *(_short(run.manifest.get(key)) for run in runs)))
    flat = [dict(_flat(_versions(run.manifest))) for run in runs]
    for key in sorted({key for versions in flat for key in versions}):
        row = (key, *(versions.get(key, ABSENT) for versions in flat))
        if len(set(row[1:])) > 1:
            rows.append(row)
    return pd.DataFrame(rows, columns=["key", *(run.label for run in runs)], dtype=object)


def span_table(runs: Sequence[Record]) -> list[dict[str, Any]]:
    """Return what each run is, where it comes from, and when it ran: one entry per run."""
    found = []
    for run in runs:
        first, last = to_index(run.ts_us[[0, -1]])
        found.append(
            {
                "label": run.label,
                "name": run.name,
                "folder": run.folder,
                "start": first.isoformat(),
                "end": last.isoformat(),
                "interval": interval_name(run.spacing_us),
                "capital": run.capital,
                "symbols": run.metrics.get("symbols"),
                "data": run.manifest.get("data_fingerprint"),
            }
        )
    return found


def warnings(runs: Sequence[Record], span: Span) -> list[str]:
    """Return, as sentences, what stands against taking the settings for the only difference."""
    said = []
    if not all(piece.whole for piece in span.pieces):
        first, last = to_index(np.array([span.opening_us, span.closing_us]))
        said.append(
            f"The runs do not cover the same time: only what they have in common is compared, {first:%Y-%m-%d %H:%M} "
            f"to {last:%Y-%m-%d %H:%M}. A run that began earlier enters with what it held then."
        )
    for key, name in _HASHES.items():
        known = [run.manifest.get(key) for run in runs]
        if len(set(known)) > 1:
            groups = _grouped([str(value) for value in known], runs)
            said.append(f"Not the same {name}: {groups}.")
    capitals = {run.capital for run in runs}
    if len(capitals) > 1:
        said.append(
            "Not the same capital: what is rounded to whole lots differs, and amounts are told as shares of the equity."
        )
    if any(piece.flow for piece in span.pieces):
        said.append("There are deposits or withdrawals; returns are without them.")
    return said


def _grouped(values: Sequence[str], runs: Sequence[Record]) -> str:
    groups: dict[str, list[str]] = {}
    for value, run in zip(values, runs, strict=True):
        groups.setdefault(value, []).append(run.label)
    return ", ".join(" = ".join(labels) for labels in groups.values())


def _flat(node: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Yield every scalar and list with its dotted key; an empty mapping is a value too."""
    if isinstance(node, Mapping) and node:
        for key, item in node.items():
            yield from _flat(item, f"{path}.{key}" if path else str(key))
    elif path:
        yield path, _text(node)


def _text(value: Any) -> str:
    """Return a value as a config file has it; numbers that are equal have the same text."""
    if isinstance(value, str):
        return value
    if isinstance(value, float):
        return f"{value:.12g}"
    if value == {}:
        return "none"
    return json.dumps(value, ensure_ascii=False, default=str)


def _short(value: Any) -> str:
    text = ABSENT if value is None else str(value)
    changed = "+" if text.endswith("+") else ""
    return text if len(text) <= _SHORT + 2 else text[:_SHORT] + changed


def _versions(manifest: Mapping[str, Any]) -> dict[str, Any]:
    return {"python": manifest.get("python"), **dict(manifest.get("packages") or {})}
