"""When two trials are the same one: a hash over what decides a result, apart from the data it was tried on."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

SETTINGS = (
    "strategy",
    "universe",
    "regime",
    "matrix",
    "portfolio",
    "account",
    "risk",
    "execution",
)
"""Parts of the settings that decide a result. What the data is, its fingerprint says; names, folders and seeds decide
nothing (a seed that does is part of the option that uses it)."""

DIGITS = 16
"""Hexadecimal digits of a trial's hash: of ten million trials, one pair in 400,000 such ledgers is mistaken."""


def trial_hash(
    settings: Mapping[str, Any], *, source: str | None, parts: Sequence[str] = SETTINGS
) -> str:
    """Return what identifies a trial on given data.

    Parameters
    ----------
    settings : mapping of str to Any
        The resolved settings as plain values; others than `parts` are not looked at, and a missing part is as an empty
        one.
    source : str or None
        Hash of the strategy's own source (``strategy_source`` of a manifest): a changed formula is another trial.
    parts : sequence of str
        Of the settings; a command that has further ones that decide a result, such as a walk-forward's grid, adds them.

    Returns
    -------
    str
        `DIGITS` hexadecimal digits.

    Examples
    --------
    >>> one = trial_hash({"account": {"capital": 770}}, source=None)
    >>> one == trial_hash({"account": {"capital": 770.0}, "name": "other"}, source=None)
    True
    >>> one == trial_hash({"account": {"capital": 771}}, source=None)
    False
    """
    return _hash([_text(settings.get(part)) for part in parts], source)


def trial_hashes(
    settings: Mapping[str, Any], sets: Iterable[Mapping[str, Any]], *, source: str | None
) -> list[str]:
    """Return what identifies each parameter set: the same as `trial_hash` of the settings that hold its values.

    Ten thousand sets take a fraction of a second: only the parts that a set changes are written out anew.

    Parameters
    ----------
    settings : mapping of str to Any
        The resolved settings that the sets change.
    sets : iterable of mapping of str to Any
        Values by override path, such as ``{"strategy.fast": 24}``. A path outside of `SETTINGS` changes nothing.
    source : str or None
        As for `trial_hash`.

    Raises
    ------
    ValueError
        If a path names no setting that is there.

    Examples
    --------
    >>> base = {"strategy": {"fast": 8, "slow": 32}}
    >>> [found] = trial_hashes(base, [{"strategy.fast": 16}], source=None)
    >>> found == trial_hash({"strategy": {"fast": 16, "slow": 32}}, source=None)
    True
    """
    unchanged = {part: _text(settings.get(part)) for part in SETTINGS}
    found = []
    for values in sets:
        changed: dict[str, Any] = {}
        for path, value in values.items():
            part = re.split(r"[.\[]", path, maxsplit=1)[0]
            if part in SETTINGS:
                node = changed.get(part, settings.get(part))
                changed[part] = _with(node, _steps(path)[1:], value, path)
        texts = unchanged | {part: _text(node) for part, node in changed.items()}
        found.append(_hash([texts[part] for part in SETTINGS], source))
    return found


def _hash(texts: Sequence[str], source: str | None) -> str:
    whole = "\n".join([*texts, source or ""])
    return hashlib.sha256(whole.encode()).hexdigest()[:DIGITS]


def _text(node: Any) -> str:
    return json.dumps(_plain(node), sort_keys=True, separators=(",", ":"), default=str)


def _plain(node: Any) -> Any:
    """Return a node with one spelling for what means the same: whole numbers as floats, nothing as an empty part."""
    if isinstance(node, Mapping):
        return {str(key): _plain(item) for key, item in node.items()}
    if isinstance(node, list | tuple):
        return [_plain(item) for item in node]
    if isinstance(node, int) and not isinstance(node, bool):
        return float(node)
    return {} if node is None else node


def _steps(path: str) -> list[str]:
    return [step for step in re.split(r"[.\[\]]+", path) if step]


def _with(node: Any, steps: Sequence[str], value: Any, path: str) -> Any:
    """Return a copy of a node with one value changed; what is not on the way is shared with the original."""
    if not steps:
        return value
    first = steps[0]
    if isinstance(node, Mapping) and first in node:
        return {**node, first: _with(node[first], steps[1:], value, path)}
    if isinstance(node, list | tuple) and first.isdigit() and int(first) < len(node):
        changed = list(node)
        changed[int(first)] = _with(node[int(first)], steps[1:], value, path)
        return changed
    raise ValueError(f"a set must change settings that are there, was {path}")
