"""The space of a sweep: several parameters, and the sets that a grid, chance or a Sobol sequence takes from it."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from quantcore.errors import ConfigError
from quantcore.research.parameter import Interval, Parameter
from quantcore.research.parameter_grammar import parse_parameter
from quantcore.research.sets import Sets, override_text
from quantcore.types import FloatArray

Sampling = Literal["grid", "random", "sobol"]
GRID_MAX = 50_000_000
"""Most sets that a grid makes."""
_DRAWS_MAX = 64
"""Draws per wanted set after which what is still missing is looked for among the sets not yet drawn."""


@dataclass(frozen=True)
class Space:
    """Several parameters, whose values are combined freely.

    Parameters
    ----------
    parameters : tuple of Parameter
        At least one; of a grid the last runs fastest.

    Raises
    ------
    ConfigError
        If there is none, or two set the same path.
    """

    parameters: tuple[Parameter, ...]

    def __post_init__(self) -> None:
        if not self.parameters:
            raise ConfigError("parameters must name at least one, such as strategy.fast=4,8,16")
        for k, path in enumerate(self.paths):
            if path in self.paths[:k]:
                raise ConfigError(f"parameters must name each path once, was {path} twice")

    @property
    def paths(self) -> tuple[str, ...]:
        """Override paths, in the order of the parameters."""
        return tuple(parameter.path for parameter in self.parameters)

    @property
    def size(self) -> int | None:
        """How many different sets there are, None where an interval of real numbers makes them innumerable."""
        counts = [parameter.count for parameter in self.parameters]
        return math.prod(count for count in counts if count is not None) if all(counts) else None

    def grid_size(self) -> int:
        """Return how many sets `grid` would make, without making them.

        Raises
        ------
        ConfigError
            If a parameter is an interval.
        """
        for parameter in self.parameters:
            if parameter.interval:
                raise ConfigError(
                    f"{parameter.path} must have single values or a range on a grid, was {parameter.interval}; "
                    "random and sobol sampling take intervals"
                )
        return math.prod(len(parameter.choices) for parameter in self.parameters)

    def grid(self) -> Sets:
        """Return every combination of the choices in lexicographic order, the last parameter fastest.

        Raises
        ------
        ConfigError
            If a parameter is an interval, or there are more than `GRID_MAX` combinations.
        """
        size = self.grid_size()
        if size > GRID_MAX:
            raise ConfigError(f"grid must have at most {GRID_MAX:,} sets, was {size:,}")
        return self._decoded(self._cells(np.arange(size)))

    def random(self, n: int, rng: np.random.Generator) -> Sets:
        """Return `n` different sets drawn at random: each value of a parameter is as likely as every other.

        Parameters
        ----------
        n : int
            Sets, >= 1. Where the space holds no more, all of it is returned in the order of a grid, and a note says so.
        rng : Generator
            Source of the randomness.

        Raises
        ------
        ConfigError
            If `n` is below 1.
        """

        def draw(count: int) -> FloatArray:
            return rng.random((count, len(self.parameters)))

        return self._sampled(n, draw, rng)

    def sobol(self, n: int, rng: np.random.Generator) -> Sets:
        """Return the first `n` different sets of a scrambled Sobol sequence, which fills the space more evenly.

        The sequence is balanced after each power of two; other numbers of sets are allowed. A point that falls on a
        set which is already there is passed over.

        Parameters
        ----------
        n : int
            Sets, >= 1. Where the space holds no more, all of it is returned in the order of a grid, and a note says so.
        rng : Generator
            Source of the scrambling.

        Raises
        ------
        ConfigError
            If `n` is below 1.

        References
        ----------
        Owen, "Scrambling Sobol' and Niederreiter-Xing Points", *Journal of Complexity* 14, 1998; implementation:
        `scipy.stats.qmc.Sobol`.
        """
        from scipy.stats import qmc

        sequence = qmc.Sobol(len(self.parameters), scramble=True, rng=rng)

        def draw(count: int) -> FloatArray:
            return np.asarray(sequence.random(count), dtype=np.float64)

        return self._sampled(n, draw, rng)

    def sample(self, sampling: Sampling, *, n: int, seed: int) -> Sets:
        """Return the sets of one of the three ways of sampling; a grid needs neither `n` nor `seed`.

        Raises
        ------
        ConfigError
            As the method for that sampling; or if there is no such sampling.
        """
        rng = np.random.default_rng(seed)
        if sampling == "grid":
            return self.grid()
        if sampling == "random":
            return self.random(n, rng)
        if sampling == "sobol":
            return self.sobol(n, rng)
        raise ConfigError(f"sampling must be one of grid, random, sobol, was {sampling}")

    def digest(self, sampling: str = "", *, n: int = 0, seed: int = 0) -> str:
        """Return a hash of the space and how it is sampled, as 64 hexadecimal digits, the same on every machine.

        Of a grid `n` and `seed` count for nothing.
        """
        drawn = [sampling] if sampling == "grid" else [sampling, n, seed]
        told = [[p.path, _domain(p)] for p in self.parameters]
        return hashlib.sha256(json.dumps([told, drawn]).encode()).hexdigest()

    def _sampled(self, n: int, draw: Callable[[int], FloatArray], rng: np.random.Generator) -> Sets:
        if n < 1:
            raise ConfigError(f"number of sets must be >= 1, was {n}")
        size = self.size
        if size is not None and size <= n:
            note = f"{n:,} sets asked for, the space holds {size:,}: all of them" * (size < n)
            return self._decoded(self._cells(np.arange(size)), note)
        codes = self._distinct(n, draw)
        if len(codes) < n and size is not None:
            others = self._cells(rng.permutation(size))
            codes = _without_repeats(np.concatenate([codes, others]))[:n]
        return self._decoded(codes)

    def _distinct(self, n: int, draw: Callable[[int], FloatArray]) -> FloatArray:
        """Return the codes of the first `n` different sets drawn, or fewer after very many draws."""
        block = 1 << (n - 1).bit_length()  # a power of two: what a Sobol sequence is balanced by
        codes = np.empty((0, len(self.parameters)))
        drawn = 0
        while len(codes) < n and drawn < _DRAWS_MAX * block:
            unit = draw(max(block, drawn))
            drawn += len(unit)
            columns = [p.codes_at(unit[:, j]) for j, p in enumerate(self.parameters)]
            codes = _without_repeats(np.concatenate([codes, np.column_stack(columns)]))
        return codes[:n]

    def _cells(self, numbers: np.typing.NDArray[np.int64]) -> FloatArray:
        """Return the codes of sets by their number in lexicographic order, one row each."""
        columns = []
        for parameter in reversed(self.parameters):
            numbers, cells = np.divmod(numbers, parameter.count or 1)
            columns.append(parameter.codes_of_cells(cells.astype(np.float64)))
        return np.column_stack(columns[::-1])

    def _decoded(self, codes: FloatArray, note: str = "") -> Sets:
        columns = {p.path: p.decode(codes[:, j]) for j, p in enumerate(self.parameters)}
        return Sets(columns=columns, note=note)


def parse_space(
    texts: Sequence[str], *, options: Mapping[str, Sequence[str]] | None = None
) -> Space:
    """Return the space that texts in Hydra's sweep grammar describe, one parameter each.

    See `parameter_grammar.parse_parameter` for the grammar.

    Parameters
    ----------
    texts : sequence of str
        Such as ``["strategy.fast=4,8,16", "portfolio=half_kelly,risk_parity"]``.
    options : mapping of str to sequence of str, optional
        The options of each config group, for ``group=glob(*)``.

    Raises
    ------
    ConfigError
        If a text is not of the grammar, there is none, or two name the same path.
    """
    return Space(tuple(parse_parameter(text, options) for text in texts))


def _domain(parameter: Parameter) -> str | list[str]:
    if isinstance(parameter.interval, Interval):
        return str(parameter.interval)
    return [override_text(choice) for choice in parameter.choices]


def _without_repeats(codes: FloatArray) -> FloatArray:
    """Return the rows in their order, each only where it comes first."""
    _, first = np.unique(codes, axis=0, return_index=True)
    return codes[np.sort(first)]
