"""Reference cases: known input, expected output, tolerance, source; read from JSON and compared number by number.

A folder holds one file per topic, in the form of `../shared/reference`; `topics/<topic>.py` says how each kind of case
is run. `QUANTCORE_REFERENCE` names another folder of the same form; the project's own cases lie in `cases/`.
"""

from __future__ import annotations

import importlib
import json
import math
import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

OWN = Path(__file__).with_name("cases")
ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Case:
    """One case of a file; `folder` holds the series that `inputs` may name."""

    topic: str
    name: str
    inputs: Mapping[str, Any]
    expected: Mapping[str, Any]
    tolerance: Mapping[str, Any]
    status: str
    folder: Path = field(repr=False)

    def __str__(self) -> str:
        return f"{self.topic}: {self.name}"


Compute = Callable[[Case], Mapping[str, Any]]
"""Runs a case: from its inputs, a value for each key of `expected` that our own code can give."""


def reference_folder() -> Path:
    """Return the folder of outside cases, whether it exists or not."""
    named = os.environ.get("QUANTCORE_REFERENCE")
    return Path(named) if named else ROOT.parent / "shared" / "reference"


def cases_of(folder: Path) -> Iterator[Case]:
    """Yield every case of every file of a folder."""
    for path in sorted(folder.glob("*.json")):
        for entry in json.loads(path.read_text("utf-8"))["cases"]:
            yield Case(
                topic=path.stem,
                name=entry["name"],
                inputs=entry["inputs"],
                expected=entry["expected"],
                tolerance=entry["tolerance"],
                status=entry["status"],
                folder=folder,
            )


def compute_of(case: Case) -> Compute:
    """Return how a case is run: the first pattern of its topic that its name begins with.

    Raises
    ------
    LookupError
        If nobody knows.
    """
    try:
        topic = importlib.import_module(f"tests.reference.topics.{case.topic}")
    except ModuleNotFoundError:
        raise LookupError(f"no topic {case.topic!r} in tests/reference/topics") from None
    for pattern, compute in topic.CASES.items():
        if re.match(pattern, case.name):
            return compute  # type: ignore[no-any-return] # a module's attribute has no type
    raise LookupError(f"no pattern of tests/reference/topics/{case.topic}.py fits {case.name!r}")


def groups_of(case: Case) -> Mapping[str, str]:
    """Return a topic's names of tolerances by key of `expected`: ``{"mu": "params"}`` reads `params_abs`."""
    topic = importlib.import_module(f"tests.reference.topics.{case.topic}")
    return getattr(topic, "GROUPS", {})


def differences(case: Case) -> list[str]:
    """Return a line per number that differs by more than the case allows, or that our code did not give."""
    computed = compute_of(case)(case)
    groups = groups_of(case)
    found = []
    for key, expected in case.expected.items():
        if key not in computed:
            found.append(f"{key}: not computed")
            continue
        tolerance = tolerance_of(case, key, groups.get(key, key))
        found += _compared(key, expected, computed[key], tolerance)
    return found


def tolerance_of(case: Case, key: str, group: str) -> tuple[float, float]:
    """Return the absolute and relative tolerance of one entry of `expected`."""
    given = case.tolerance
    if given.get("exact") or "exact" in (given.get(key), given.get(group)):
        return 0.0, 0.0
    for prefix in (f"{key}_", f"{group}_", ""):
        if f"{prefix}abs" in given or f"{prefix}rel" in given:
            return float(given.get(f"{prefix}abs", 0.0)), float(given.get(f"{prefix}rel", 0.0))
    if f"abs_{group}" in given or f"rel_{group}" in given:
        return float(given.get(f"abs_{group}", 0.0)), float(given.get(f"rel_{group}", 0.0))
    # A case that names one group only means it for what it expects besides.
    numbers = [(k, v) for k, v in given.items() if isinstance(v, (int, float)) and v is not True]
    if len(numbers) == 1:
        ((name, value),) = numbers
        return (0.0, float(value)) if name.endswith("rel") else (float(value), 0.0)
    raise LookupError(f"no tolerance for {key!r} (group {group!r}) among {sorted(given)}")


def _compared(at: str, expected: Any, computed: Any, tolerance: tuple[float, float]) -> list[str]:
    if isinstance(expected, Mapping):
        if not isinstance(computed, Mapping):
            return [f"{at}: expected entries, computed {computed!r}"]
        return [
            line
            for key, value in expected.items()
            for line in (
                _compared(f"{at}.{key}", value, computed[key], tolerance)
                if key in computed
                else [f"{at}.{key}: not computed"]
            )
        ]
    if isinstance(expected, list):
        values = list(computed)
        if len(values) != len(expected):
            return [f"{at}: expected {len(expected)} values, computed {len(values)}"]
        return [
            line
            for k, (one, other) in enumerate(zip(expected, values, strict=True))
            for line in _compared(f"{at}[{k}]", one, other, tolerance)
        ]
    if expected in ("inf", "-inf", "nan"):
        expected = float(expected)
    if isinstance(expected, (int, float)) and not isinstance(expected, bool):
        return _number(at, float(expected), computed, tolerance)
    return [] if computed == expected else [f"{at}: expected {expected!r}, computed {computed!r}"]


def _number(at: str, expected: float, computed: Any, tolerance: tuple[float, float]) -> list[str]:
    if computed is None:
        return [f"{at}: expected {expected}, computed None"]
    value = float(computed)
    if math.isnan(expected) or math.isinf(expected):
        same = value == expected or (math.isnan(expected) and math.isnan(value))
    else:
        same = abs(value - expected) <= max(tolerance[0], tolerance[1] * abs(expected))
    return [] if same else [f"{at}: expected {expected!r}, computed {value!r}"]
