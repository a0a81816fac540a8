"""What a caller in Python sets: a mapping or a sequence of texts, written as the command line would have it."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

from hydra.core.override_parser.types import Quote, QuotedString

from quantcore.errors import ConfigError, QuantcoreError
from quantcore.origins import COMMAND_LINE

Overrides: TypeAlias = Mapping[str, Any] | Sequence[str] | str
"""Settings by their path, or texts ``key=value``."""


def override_list(overrides: Overrides) -> list[str]:
    """Return overrides as the command line writes them.

    Parameters
    ----------
    overrides : mapping of str to Any, sequence of str, or str
        A mapping from a setting's path to a plain value: text, number, boolean, None, date or time, path, or lists and
        mappings of such. Text is taken literally. A group may be named with its option (``"risk": "paper"``) or with
        a mapping of its settings (``"account": {"capital": 770}``). Or texts ``key=value`` in Hydra's grammar.

    Returns
    -------
    list of str
        One override each.

    Raises
    ------
    ConfigError
        If a text is not ``key=value``, a key is not a text, or a value has no plain form.

    Examples
    --------
    >>> override_list({"account.capital": 770, "data.symbols": ["BTCUSDT"], "risk": "paper"})
    ['account.capital=770', "data.symbols=['BTCUSDT']", "risk='paper'"]
    >>> override_list({"account": {"capital": 770, "margin": "isolated"}})
    ['account.capital=770', "account.margin='isolated'"]
    """
    given: Any = [overrides] if isinstance(overrides, str) else overrides  # whatever was handed in
    if isinstance(given, Mapping):
        return [f"{key}={_text(value, key)}" for key, value in _flat(given)]
    if not isinstance(given, Sequence):
        raise ConfigError(
            f"overrides must be a mapping or texts key=value, was {type(given).__name__}"
        )
    for text in given:
        if not (isinstance(text, str) and re.match(r"[^-=].*=|~", text)):
            raise ConfigError(f"an override must be text key=value, was {text!r}")
    return list(given)


def override_keys(overrides: Sequence[str]) -> list[str]:
    """Return the path that each override sets.

    Examples
    --------
    >>> override_keys(["+experiment=trend", "data.start='2024-01-01'"])
    ['experiment', 'data.start']
    """
    return [text.partition("=")[0].lstrip("+~") for text in overrides]


def place_overrides(place: str | Path) -> list[str]:
    """Return the overrides that choose a source of data.

    Parameters
    ----------
    place : str or Path
        An option of the group ``data`` by name, or the path of a folder of real data, or the path or URL of a store
        (known by its ``kind=`` folders).

    Examples
    --------
    >>> place_overrides("synthetic")
    ["data='synthetic'"]
    >>> place_overrides("~/no such folder")[0]
    "data='folder'"
    """
    given: Any = place
    if given in ("synthetic", "store", "folder"):
        return override_list({"data": given})
    if not isinstance(given, str | Path) or not str(given):
        raise ConfigError(
            f"data must be synthetic, store, or the path of a folder or store, was {place!r}"
        )
    if "://" in str(place):
        return override_list({"data": "store", "data.root": str(place)})
    path = Path(place).expanduser()
    kind = "store" if any(path.glob("kind=*")) else "folder"
    return override_list({"data": kind, "data.root": path})


def check_text(value: Any, name: str) -> str:
    """Return a value that must be text, such as the name of an experiment; `name` is that of the argument.

    Raises
    ------
    ConfigError
        If it is something else, or empty.
    """
    if not isinstance(value, str) or not value:
        raise ConfigError(f"{name} must be text, was {value!r}")
    return value


def told(error: QuantcoreError) -> QuantcoreError:
    """Return a refusal as a caller in Python is told it: one line, without the way it took or a command line.

    With ``QUANTCORE_TRACEBACK`` at 1 a notebook shows the way all the same.
    """
    again = type(error)(str(error).replace(f"({COMMAND_LINE})", "(overrides)"))
    if cause(error) is None:
        vars(again)["_render_traceback_"] = partial(
            _one_line, again
        )  # what IPython asks an error for
    return again


def _one_line(error: QuantcoreError) -> list[str]:
    return [f"\x1b[31m{type(error).__name__}\x1b[0m: {error}"]


def cause(error: QuantcoreError) -> QuantcoreError | None:
    """Return what a traceback shows beneath a refusal: nothing, unless ``QUANTCORE_TRACEBACK`` is 1."""
    return error if os.environ.get("QUANTCORE_TRACEBACK") == "1" else None


def _flat(overrides: Mapping[Any, Any]) -> Iterator[tuple[str, Any]]:
    """Yield paths and values; a group's mapping is taken apart, so that each of its keys is checked and named."""
    for key, value in overrides.items():
        if not (isinstance(key, str) and re.fullmatch(r"[+~]*[\w./@-]+", key)):
            raise ConfigError(
                f"an override's key must be the path of a setting, such as account.capital, was {key!r}"
            )
        if isinstance(value, Mapping) and "." not in key and value:
            yield from ((f"{key}.{inner}", item) for inner, item in value.items())
        else:
            yield key, value


def _text(value: Any, key: str) -> str:
    """Return a plain value in Hydra's grammar."""
    if hasattr(value, "item") and getattr(value, "ndim", 0) == 0:  # a number of numpy's
        value = value.item()
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int) or (isinstance(value, float) and math.isfinite(value)):
        return repr(value)
    if isinstance(value, str | Path | date):
        plain = value.isoformat() if isinstance(value, date) else str(value)
        return QuotedString(text=plain, quote=Quote.single).with_quotes()
    if isinstance(value, Mapping):
        items = (f"{_word(inner, key)}: {_text(item, key)}" for inner, item in value.items())
        return f"{{{', '.join(items)}}}"
    if isinstance(value, list | tuple | set | frozenset):
        items = (_text(item, key) for item in value)
        return f"[{', '.join(sorted(items) if isinstance(value, set | frozenset) else items)}]"
    raise ConfigError(
        f"{key} must be text, a finite number, true, false, none, a date, or a list or mapping of such, was {value!r}"
    )


def _word(name: object, key: str) -> str:
    """Return the key of a mapping, which the grammar does not let be quoted."""
    if not (isinstance(name, str) and re.fullmatch(r"\w+", name)):
        raise ConfigError(f"{key}: names must be letters, digits and underscores, was {name!r}")
    return name
