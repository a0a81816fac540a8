"""Where the keys of a composed configuration come from: the option files of a run, and its command line."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

COMMAND_LINE = "command line"
DIFF_GROUPS = ("experiment",)
"""Groups whose options change what the others define, and define nothing themselves."""


@dataclass(frozen=True)
class OptionFile:
    """One option file, its values placed where they stand in the whole configuration.

    Parameters
    ----------
    label : str
        How messages name it, such as ``"conf/account/cross.yaml"``.
    tree : mapping
        Its values, below the package that it fills.
    diff : bool
        Whether it may only change what other files define.
    """

    label: str
    tree: Mapping[str, Any]
    diff: bool


@dataclass(frozen=True)
class Origins:
    """The option files of one run from the weakest to the strongest, and the keys its command line set."""

    files: tuple[OptionFile, ...] = ()
    overridden: tuple[str, ...] = ()
    groups: frozenset[str] = frozenset()

    @classmethod
    def of_run(
        cls,
        *,
        folders: Mapping[Path, str],
        primary: str,
        choices: Mapping[str, Sequence[str]],
        overrides: Sequence[str],
    ) -> Origins:
        """Read the files that a run chose.

        Parameters
        ----------
        folders : mapping of Path to str
            The folders of option files, and how messages name them; the first that holds a file counts.
        primary : str
            The primary option file, such as ``"backtest"``.
        choices : mapping of str to sequence of str
            The options chosen of each group, the group with its package as Hydra writes it: ``"group@package"``.
        overrides : sequence of str
            The command line's overrides.
        """
        files = list(_read(folders, primary, "", diff=False))
        for choice, options in choices.items():
            group, _, package = choice.partition("@")
            package = package or group.replace("/", ".")
            for option in options:
                diff = group in DIFF_GROUPS
                files += _read(folders, f"{group}/{option}", package, diff=diff)
        files.sort(key=lambda file: file.diff)
        matches = [re.match(r"\+*([^=@~]+)=", text) for text in overrides]
        keys = [match[1] for match in matches if match]
        return cls(
            files=tuple(files),
            overridden=tuple(key for key in keys if key not in choices),
            groups=frozenset(choices) | set(DIFF_GROUPS),
        )

    def locate(self, path: str) -> str:
        """Return the place that sets a key, or its nearest parent where no place holds the key itself.

        Parameters
        ----------
        path : str
            Such as ``"account.cash_flows[0].amount"``.

        Returns
        -------
        str
            A file's label, `COMMAND_LINE`, or ``""``.
        """
        path = re.sub(r"\[\d+\]", "", path)
        while path:
            if any(path == key or path.startswith(f"{key}.") for key in self.overridden):
                return COMMAND_LINE
            for file in reversed(self.files):
                if _holds(file.tree, path):
                    return file.label
            path = path.rpartition(".")[0]
        return ""

    def defined(self, path: str) -> set[str]:
        """Return the keys below a path that files other than diffs hold."""
        keys: set[str] = set()
        for file in self.files:
            node = _below(file.tree, path)
            if not file.diff and isinstance(node, Mapping):
                keys |= {str(key) for key in node}
        return keys


def _below(tree: Mapping[str, Any], path: str) -> object:
    node: object = tree
    for key in path.split(".") if path else ():
        node = node.get(key) if isinstance(node, Mapping) else None
    return node


def _holds(tree: Mapping[str, Any], path: str) -> bool:
    parent, _, key = path.rpartition(".")
    node = _below(tree, parent)
    return isinstance(node, Mapping) and key in node


def _read(
    folders: Mapping[Path, str], name: str, package: str, *, diff: bool
) -> Iterator[OptionFile]:
    """Yield an option file after the files that its defaults list names without a group."""
    folder = next((f for f in folders if (f / f"{name}.yaml").is_file()), None)
    if folder is None:
        return
    path = folder / f"{name}.yaml"
    tree: Any = OmegaConf.to_container(OmegaConf.load(path), resolve=False)
    if not isinstance(tree, dict):
        return
    for entry in tree.pop("defaults", ()):
        if isinstance(entry, str) and entry != "_self_":
            inner = entry[1:] if entry[0] == "/" else (Path(name).parent / entry).as_posix()
            yield from _read(folders, inner.partition("@")[0], package, diff=diff)
    header = re.match(r"\s*#\s*@package\s+(\S+)", path.read_text(encoding="utf-8"))
    if header and header[1] != "_group_":
        package = "" if header[1] == "_global_" else header[1]
    for key in reversed(package.split(".") if package else ()):
        tree = {key: tree}
    yield OptionFile(f"{folders[folder]}/{name}.yaml", tree, diff)
