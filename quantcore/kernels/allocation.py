r"""Target weights in whole lots: the greedy allocation of the account step, and the search that proves an optimum.

A symbol holds no lot, or from `least` to `most` lots on the side of its target. In weights of that side
(:math:`y_i = k_i x_i`, k lots of x equity each, target :math:`t_i \ge 0`) the task is

.. math::

    \min_k\; (t - y)^\top C (t - y) \quad\text{s.t.}\quad \sum_i y_i \le G,\; \sum_i y_i / L_i \le M,
    \qquad k_i \in \{0, l_i, l_i + 1, \dots, m_i\}

with the gross cap G, leverages L and the margin M. With C the identity it is the sum of squared deviations.
"""

from __future__ import annotations

import math
from enum import IntEnum
from typing import NamedTuple

import numpy as np
from numba import njit

from quantcore.kernels.compiled import inner
from quantcore.kernels.layout import (
    LEVERAGE,
    MARKET_MAX_LOTS,
    MIN_LOTS,
    MIN_NOTIONAL,
    NOTIONAL_MAX,
    ONE,
    Rules,
)
from quantcore.kernels.rules import quantity
from quantcore.types import FloatArray, IntArray


class Cut(IntEnum):
    """Why a symbol holds less than its target, other than rounding to a lot."""

    NONE = 0
    BELOW_STEP = 1
    BELOW_MINIMUM = 2
    MARKET_MAX = 3
    GROSS_CAP = 4
    MARGIN = 5
    NO_PRICE = 6
    """Or no equity."""
    TRACKING = 7
    """It was not needed: with the others as they are held, less of it tracks the targets better."""


_BELOW_STEP, _BELOW_MINIMUM = int(Cut.BELOW_STEP), int(Cut.BELOW_MINIMUM)
_MARKET_MAX, _GROSS_CAP, _MARGIN = int(Cut.MARKET_MAX), int(Cut.GROSS_CAP), int(Cut.MARGIN)
_NONE, _NO_PRICE, _TRACKING = int(Cut.NONE), int(Cut.NO_PRICE), int(Cut.TRACKING)

_ON_LOT = 1e-6  # a quotient that should be whole misses it by float error; so much of a lot counts as whole
_MANY = 2.0**53  # more lots than a float64 counts
_WITHIN = 1e-12  # a sum that should equal a cap misses it by float error, relative
_SAME = 1e-9  # objectives that differ by less, relative, are the same
_ROUNDING = 1e-13  # of the objective of holding nothing: what float error may do to a bound
_BISECTIONS = 24
_SWEEPS = 100
_ROOT_ROUNDS, _ROOT_DESCENTS, _ROOT_STEPS = 10, 50, 40
_DESCENTS, _STEPS = 3, 5


class Grid(NamedTuple):
    """What each symbol may hold, in weights of its target's side."""

    target: FloatArray
    """Absolute target weight, shape ``(n_symbols,)``."""
    share: FloatArray
    """One lot's notional over equity; 0 where there is no price."""
    use: FloatArray
    """What a unit of weight uses of each cap: 1 and 1 / leverage, shape ``(n_symbols, 2)``."""
    least: IntArray
    most: IntArray
    """Below `least` where the symbol can hold nothing."""
    wish: IntArray
    """Lots nearest to the target, caps aside."""
    cap: FloatArray
    """Gross cap and available margin over equity, with room for float error, shape ``(2,)``."""


@inner(forceinline=True)
def nearest_lots(target: float, share: float, least: int, most: int) -> int:
    """Return the lots nearest to a weight among none and `least` to `most`; of two equally near the fewer."""
    if not target > 0.0 or most < least:
        return 0
    lots = min(max(math.ceil(min(target / share, float(most)) - 0.5), least), most)
    return lots if lots * share < 2.0 * target else 0


@njit(cache=True, error_model="numpy")
def lot_grid(
    weights: FloatArray, prices: FloatArray, equity: float, rules: Rules, caps: FloatArray, may_exceed: bool
) -> Grid:  # fmt: skip
    """Return what each symbol may hold.

    Parameters
    ----------
    weights : float64 array, shape (n_symbols,)
        Signed notional over equity; NaN counts as 0.
    prices : float64 array, shape (n_symbols,)
        USDT per coin; a symbol without one (NaN, 0) holds nothing.
    equity : float
        USDT; without any, nothing is held.
    rules : Rules
        Of which steps, minima, maxima and leverages are read.
    caps : float64 array, shape (2,)
        Gross cap and available initial margin, over equity, > 0.
    may_exceed : bool
        Whether the lot just beyond a target, or the minimum, may be held; else no target is enlarged.
    """
    return grid_of(weights, prices, equity, rules, caps, may_exceed)


@inner()
def grid_of(
    weights: FloatArray, prices: FloatArray, equity: float, rules: Rules, caps: FloatArray, may_exceed: bool
) -> Grid:  # fmt: skip
    """Do what `lot_grid` does, for other kernels."""
    n = len(weights)
    target, share, use = np.zeros(n), np.zeros(n), np.zeros((n, 2))
    least, most, wish = np.ones(n, np.int64), np.zeros(n, np.int64), np.zeros(n, np.int64)
    for s in range(n):
        if not abs(weights[s]) > 0.0:
            continue
        target[s] = abs(weights[s])
        lot_value = quantity(rules, s, ONE) * prices[s]
        if 0.0 < lot_value < math.inf and equity > 0.0:
            share[s] = lot_value / equity
            use[s, 0] = 1.0
            use[s, 1] = 1.0 / rules.rate[s, LEVERAGE]
            least[s], most[s] = _lot_range(rules, s, target[s] / share[s], lot_value, may_exceed)
            wish[s] = nearest_lots(target[s], share[s], least[s], most[s])
    return Grid(target, share, use, least, most, wish, caps * (1.0 + _WITHIN))


@inner(forceinline=True)
def _lot_range(
    rules: Rules, s: int, wanted: float, lot_value: float, may_exceed: bool
) -> tuple[int, int]:
    minimum = rules.rate[s, MIN_NOTIONAL]
    least = math.ceil(min(minimum / lot_value, _MANY))
    # The quotient may miss a whole number by float error, on either side.
    if (least - 1) * lot_value >= minimum:
        least -= 1
    elif least * lot_value < minimum:
        least += 1
    least = max(least, rules.size[s, MIN_LOTS], 1)
    bracket = rules.rate[s, NOTIONAL_MAX] / lot_value + _ON_LOT
    ceiling = math.floor(min(float(rules.size[s, MARKET_MAX_LOTS]), bracket))
    if may_exceed:
        return least, min(max(math.ceil(min(wanted, _MANY) - _ON_LOT), least), ceiling)
    return least, min(math.floor(min(wanted, _MANY) + _ON_LOT), ceiling)


@njit(cache=True, error_model="numpy")
def allocate_greedily(
    weights: FloatArray, prices: FloatArray, equity: float, rules: Rules, caps: FloatArray, may_exceed: bool,
    lots: IntArray, cuts: IntArray,
) -> None:  # fmt: skip
    """Write signed lots and the `Cut` of each symbol: the account step's allocation; arguments as in `lot_grid`."""
    grid = grid_of(weights, prices, equity, rules, caps, may_exceed)
    hold_greedily(grid, lots)
    explain_cuts(grid, lots, cuts)
    for s in range(len(lots)):
        if weights[s] < 0.0:
            lots[s] = -lots[s]


@njit(cache=True, error_model="numpy")
def greedy_lots(grid: Grid, lots: IntArray) -> None:
    """Write a good allocation for uncorrelated deviations: at most the wish, caps and minima kept.

    Where a cap binds, a price per unit of it takes the same from every target, and what rounding left over goes to
    the symbols that gain most by it.

    References
    ----------
    Everett, "Generalized Lagrange Multiplier Method", *Operations Research* 11(3), 1963, for the price; the filling
    is the greedy rule of the knapsack problem.
    """
    hold_greedily(grid, lots)


@inner()
def hold_greedily(grid: Grid, lots: IntArray) -> None:
    """Do what `greedy_lots` does, for other kernels."""
    for s in range(len(lots)):
        lots[s] = grid.wish[s]
    used, price = np.zeros(2), np.zeros(2)
    _count(grid, lots, used)
    # The tighter cap first: its price often makes the other one needless.
    first = 0 if used[0] * grid.cap[1] >= used[1] * grid.cap[0] else 1
    for cap in (first, 1 - first):
        if used[cap] > grid.cap[cap]:
            _raise_price(grid, lots, price, cap)
            _count(grid, lots, used)
    while price[first] > 0.0 and _fill_best(grid, lots, used):
        pass


@inner(forceinline=True)
def _count(grid: Grid, lots: IntArray, used: FloatArray) -> None:
    used[0] = used[1] = 0.0
    for s in range(len(lots)):
        used[0] += lots[s] * grid.share[s]
        used[1] += lots[s] * grid.share[s] * grid.use[s, 1]


@inner(forceinline=True)
def _charge(grid: Grid, price: FloatArray, s: int) -> float:
    """Return what a unit of a symbol's weight costs at a price of each cap."""
    return float(price[0] + price[1] * grid.use[s, 1])


@inner()
def _raise_price(grid: Grid, lots: IntArray, price: FloatArray, cap: int) -> None:
    """Raise one cap's price until the lots that are still worth it fit."""
    low = high = 0.0
    for s in range(len(lots)):
        if lots[s] > 0:
            high = max(high, 2.0 * grid.target[s] / grid.use[s, cap])
    for k in range(_BISECTIONS):
        price[cap] = 0.5 * (low + high) if k + 1 < _BISECTIONS else high
        used = 0.0
        for s in range(len(lots)):
            if grid.wish[s] > 0:
                left = grid.target[s] - 0.5 * _charge(grid, price, s)
                lots[s] = nearest_lots(left, grid.share[s], grid.least[s], grid.most[s])
                used += lots[s] * grid.share[s] * grid.use[s, cap]
        if used > grid.cap[cap]:
            low = price[cap]
        else:
            high = price[cap]


@inner()
def _fill_best(grid: Grid, lots: IntArray, used: FloatArray) -> bool:
    """Give the symbol that gains most per unit of the caps as many lots as fit; return whether one took any."""
    best, best_gain, best_lots = -1, 0.0, 0
    for s in range(len(lots)):
        more = lots[s]
        if lots[s] < grid.wish[s]:
            more = min(grid.wish[s], _ceiling(grid, used[0], used[1], s, lots[s]))
        if more > lots[s] and more >= grid.least[s]:
            before = grid.target[s] - lots[s] * grid.share[s]
            grown = (more - lots[s]) * grid.share[s]
            need = 1.0 / grid.cap[0] + grid.use[s, 1] / grid.cap[1]
            gain = (2.0 * before - grown) / need
            if gain > best_gain:
                best, best_gain, best_lots = s, gain, more
    if best >= 0:
        _take(grid, lots, used, best, best_lots)
    return best >= 0


@inner(forceinline=True)
def _take(grid: Grid, lots: IntArray, used: FloatArray, s: int, to: int) -> None:
    grown = (to - lots[s]) * grid.share[s]
    used[0] += grown
    used[1] += grown * grid.use[s, 1]
    lots[s] = to


@inner(forceinline=True)
def _ceiling(grid: Grid, gross: float, margin: float, s: int, held: int) -> int:
    """Return the most lots of a symbol that the caps allow beside what the others use, -1 if not even none."""
    room = min(grid.cap[0] - gross, (grid.cap[1] - margin) / grid.use[s, 1])
    return math.floor(float(max(min(held + room / grid.share[s], grid.most[s]), -1.0)))


@njit(cache=True, error_model="numpy")
def explain_cuts(grid: Grid, lots: IntArray, cuts: IntArray) -> None:
    """Write for each symbol the `Cut` that kept it below its target."""
    used = np.zeros(2)
    _count(grid, lots, used)
    for s in range(len(lots)):
        cuts[s] = _NONE
        held = lots[s]
        if grid.share[s] == 0.0:
            cuts[s] = _NO_PRICE if grid.target[s] > 0.0 else _NONE
        elif held < grid.wish[s]:
            need = (grid.least[s] if held == 0 else 1) * grid.share[s]
            if used[0] + need > grid.cap[0]:
                cuts[s] = _GROSS_CAP
            elif used[1] + need * grid.use[s, 1] > grid.cap[1]:
                cuts[s] = _MARGIN
            else:
                cuts[s] = _TRACKING
        elif (held + 1) * grid.share[s] <= grid.target[s] and held == grid.most[s]:
            cuts[s] = _MARKET_MAX
        elif held == 0:
            cuts[s] = _BELOW_STEP if grid.least[s] == 1 else _BELOW_MINIMUM


@njit(cache=True, error_model="numpy")
def tracking_objective(grid: Grid, curvature: FloatArray, lots: IntArray) -> float:
    """Return the objective; equal lots give equal bits."""
    total = 0.0
    for i in range(len(lots)):
        row = 0.0
        for j in range(len(lots)):
            row += curvature[i, j] * (grid.target[j] - lots[j] * grid.share[j])
        total += row * (grid.target[i] - lots[i] * grid.share[i])
    return total


@njit(cache=True, error_model="numpy")
def improve_lots(grid: Grid, curvature: FloatArray, lots: IntArray) -> None:
    """Change one symbol, or one and then the best other, until no such change makes the objective smaller."""
    n = len(lots)
    slope, used = np.zeros(n), np.zeros(2)
    for i in range(n):
        for j in range(n):
            slope[i] += curvature[i, j] * (grid.target[j] - lots[j] * grid.share[j])
    _count(grid, lots, used)
    for _ in range(_SWEEPS):
        changed = False
        for i in range(n):
            if grid.most[i] >= grid.least[i]:
                changed |= _improve_one(grid, curvature, lots, slope, used, i)
                for to in (lots[i] - 1, lots[i] + 1, 0, grid.least[i]):
                    changed |= _improve_two(grid, curvature, lots, slope, used, i, to)
        if not changed:
            break


@inner(forceinline=True)
def _growth(curve: float, slope: float, move: float) -> float:
    """Return by how much a move makes the objective larger, and the rounding error of that with it."""
    return curve * move * move * (1.0 + _WITHIN) - 2.0 * slope * move + _WITHIN * abs(slope * move)


@inner()
def _move(
    grid: Grid, curvature: FloatArray, lots: IntArray, slope: FloatArray, used: FloatArray, s: int, to: int
) -> None:  # fmt: skip
    move = (to - lots[s]) * grid.share[s]
    for j in range(len(lots)):
        slope[j] -= curvature[s, j] * move
    _take(grid, lots, used, s, to)


@inner()
def _improve_one(
    grid: Grid, curvature: FloatArray, lots: IntArray, slope: FloatArray, used: FloatArray, i: int
) -> bool:
    share, curve = grid.share[i], curvature[i, i]
    ceiling = _ceiling(grid, used[0], used[1], i, lots[i])
    to = nearest_lots(lots[i] * share + slope[i] / curve, share, grid.least[i], ceiling)
    move = (to - lots[i]) * share
    better = to != lots[i] and _growth(curve, slope[i], move) < 0.0
    if better:
        _move(grid, curvature, lots, slope, used, i, to)
    return bool(better)


@inner()
def _improve_two(
    grid: Grid, curvature: FloatArray, lots: IntArray, slope: FloatArray, used: FloatArray, i: int, to: int
) -> bool:  # fmt: skip
    """Move one symbol to some lots and the best other one to where it is then best; return whether that gained."""
    if to == lots[i] or to > grid.most[i] or (to < grid.least[i] and to != 0):
        return False
    move = (to - lots[i]) * grid.share[i]
    first = _growth(curvature[i, i], slope[i], move)
    gross, margin = used[0] + move, used[1] + move * grid.use[i, 1]
    best, best_to, best_growth = -1, 0, 0.0
    for j in range(len(lots)):
        if j == i or grid.most[j] < grid.least[j]:
            continue
        ceiling = _ceiling(grid, gross, margin, j, lots[j])
        if ceiling >= 0:
            share, curve = grid.share[j], curvature[j, j]
            then = slope[j] - curvature[j, i] * move
            other = nearest_lots(lots[j] * share + then / curve, share, grid.least[j], ceiling)
            growth = first + _growth(curve, then, (other - lots[j]) * share)
            if growth < best_growth:
                best, best_to, best_growth = j, other, growth
    if best >= 0:
        _move(grid, curvature, lots, slope, used, i, to)
        _move(grid, curvature, lots, slope, used, best, best_to)
    return best >= 0


class Tree(NamedTuple):
    """The open branch of a depth-first search; at each depth the lots of one symbol are chosen."""

    depths: int
    """Symbols that may hold anything; the arrays by depth have room for all."""
    order: IntArray
    """Those symbols, the ones with the largest lots first."""
    depth_of: IntArray
    """Where a symbol stands in the order, -1 where it can hold nothing, shape ``(n_symbols,)``."""
    own: FloatArray
    """The diagonal that can be taken from the curvature and leaves it positive semidefinite."""
    correlated: bool
    """Whether it leaves anything."""
    slack: float
    """What float error may do to a bound."""
    tilt: FloatArray
    """Slope of the remainder's tangent in each symbol's deviation."""
    rest: FloatArray
    """By depth: a node's lower bound without the term of the symbol chosen there."""
    centre: FloatArray
    """The weight at which that term is least."""
    price: FloatArray
    """The price of each cap with which the bound was found, two columns."""
    used: FloatArray
    """What the symbols chosen before use of each cap."""
    next: IntArray
    """Lots to try next from the centre down, from it up, and whether none was tried, three columns."""


@njit(cache=True, error_model="numpy")
def branch_and_bound(
    grid: Grid, curvature: FloatArray, own: FloatArray, nodes_max: int, lots: IntArray
) -> tuple[float, float, int]:
    """Improve an allocation to the best there is, or until so many nodes were looked at.

    Depth first, nearest lots first. For a node's lower bound the curvature is split into the diagonal `own` and a
    convex remainder, which its tangent at the node's continuous solution replaces; what is left is separable, and its
    whole-lot minimum under priced caps (a Lagrangian relaxation) is found symbol by symbol.

    Parameters
    ----------
    grid : Grid
        From `lot_grid`.
    curvature : float64 array, shape (n_symbols, n_symbols)
        Positive definite, mirrored to the sides of the targets; the identity for the sum of squares.
    own : float64 array, shape (n_symbols,)
        > 0, such that `curvature` less this diagonal is positive semidefinite.
    nodes_max : int
        Nodes after which the search gives up.
    lots : int64 array, shape (n_symbols,)
        Feasible; improved in place.

    Returns
    -------
    (float, float, int)
        The objective; a lower bound of it, equal to it where the search came to its end (then no allocation is
        better by more than 1e-9 of it, float error aside); nodes looked at.

    References
    ----------
    Geoffrion, "Lagrangean Relaxation for Integer Programming", *Mathematical Programming Study* 2, 1974.
    """
    tree = _new_tree(grid, curvature, own)
    deviation, chosen = grid.target.copy(), np.zeros(len(lots), np.int64)
    best = tracking_objective(grid, curvature, lots)
    if tree.depths == 0:
        return best, best, 0
    root = _open(grid, curvature, tree, 0, deviation, best)
    depth, nodes = (0, 1) if root < _cutoff(tree, best) else (-1, 1)
    while depth >= 0:
        value, to = _next_child(grid, tree, depth)
        if value >= _cutoff(tree, best):
            depth -= 1
            continue
        if nodes >= nodes_max:
            bound = min(value, _open_bound(grid, tree, depth))
            return best, min(max(root, bound), best), nodes
        nodes += 1
        s = tree.order[depth]
        chosen[s] = to
        deviation[s] = grid.target[s] - to * grid.share[s]
        if depth + 1 == tree.depths:
            best = _keep_better(grid, curvature, chosen, lots, best)
            continue
        for cap in range(2):
            weight = to * grid.share[s]
            tree.used[depth + 1, cap] = tree.used[depth, cap] + weight * grid.use[s, cap]
        if _open(grid, curvature, tree, depth + 1, deviation, best) < _cutoff(tree, best):
            depth += 1
    return best, best, nodes


@inner(forceinline=True)
def _cutoff(tree: Tree, best: float) -> float:
    return best * (1.0 - _SAME) - tree.slack


@inner()
def _new_tree(grid: Grid, curvature: FloatArray, own: FloatArray) -> Tree:
    n = len(own)
    order, depth_of, size = np.zeros(n, np.int64), np.zeros(n, np.int64), np.zeros(n)
    depths, correlated = 0, False
    for s in range(n):
        for j in range(n):
            correlated |= curvature[s, j] != (own[s] if j == s else 0.0)
        depth_of[s] = -1
        size[s] = grid.share[s] * math.sqrt(curvature[s, s])
        if grid.most[s] >= grid.least[s]:
            k = depths
            while k > 0 and size[order[k - 1]] < size[s]:
                order[k] = order[k - 1]
                k -= 1
            order[k] = s
            depths += 1
    for depth in range(depths):
        depth_of[order[depth]] = depth
    slack = _ROUNDING * tracking_objective(grid, curvature, np.zeros(n, np.int64))
    return Tree(
        depths, order, depth_of, own, correlated, slack, np.zeros(n), np.zeros(n), np.zeros(n),
        np.zeros((n, 2)), np.zeros((n, 2)), np.zeros((n, 3), np.int64),
    )  # fmt: skip


@inner()
def _keep_better(
    grid: Grid, curvature: FloatArray, chosen: IntArray, lots: IntArray, best: float
) -> float:
    if tracking_objective(grid, curvature, chosen) >= best:
        return best
    for s in range(len(lots)):
        lots[s] = chosen[s]
    improve_lots(grid, curvature, lots)
    return tracking_objective(grid, curvature, lots)


@inner()
def _peek(grid: Grid, tree: Tree, depth: int, ceiling: int) -> tuple[float, int, int]:
    """Return the bound of a node's nearest untried child, its lots, and the column of `next` that they come from."""
    s = tree.order[depth]
    share, centre, own = grid.share[s], tree.centre[depth], tree.own[s]
    best, to, column = math.inf, 0, -1
    low, high = min(tree.next[depth, 0], ceiling), tree.next[depth, 1]
    if low >= grid.least[s]:
        best, to, column = own * (low * share - centre) ** 2, low, 0
    if high <= ceiling and own * (high * share - centre) ** 2 < best:
        best, to, column = own * (high * share - centre) ** 2, high, 1
    if tree.next[depth, 2] == 0 and own * centre * centre < best:
        best, to, column = own * centre * centre, 0, 2
    return tree.rest[depth] + best, to, column


@inner()
def _next_child(grid: Grid, tree: Tree, depth: int) -> tuple[float, int]:
    ceiling = _ceiling(grid, tree.used[depth, 0], tree.used[depth, 1], tree.order[depth], 0)
    value, to, column = _peek(grid, tree, depth, ceiling)
    if column == 0:
        tree.next[depth, 0] = to - 1
    elif column == 1:
        tree.next[depth, 1] = to + 1
    elif column == 2:
        tree.next[depth, 2] = 1
    return value, to


@inner()
def _open_bound(grid: Grid, tree: Tree, depth: int) -> float:
    """Return the least bound of the children that were not looked at."""
    least = math.inf
    for d in range(depth + 1):
        least = min(least, _peek(grid, tree, d, grid.most[tree.order[d]])[0])
    return least


@inner()
def _open(
    grid: Grid, curvature: FloatArray, tree: Tree, depth: int, deviation: FloatArray, best: float
) -> float:
    """Return a node's lower bound and prepare its children."""
    if depth > 0:
        for cap in range(2):
            tree.price[depth, cap] = tree.price[depth - 1, cap]
    value = 0.0
    for _ in range(_ROOT_ROUNDS if depth == 0 and tree.correlated else 1):
        if tree.correlated:
            _relax(grid, curvature, tree, depth, deviation)
        value = _settled(tree, depth, deviation)
        value += _raise_prices(grid, tree, depth, _cutoff(tree, best) - value)
    s = tree.order[depth]
    share, own = grid.share[s], tree.own[s]
    centre = grid.target[s] + (tree.tilt[s] - _charge(grid, tree.price[depth], s)) / (2.0 * own)
    nearest = nearest_lots(centre, share, grid.least[s], grid.most[s])
    start = min(max(math.ceil(centre / share - 0.5), grid.least[s]), grid.most[s])
    tree.centre[depth] = centre
    tree.rest[depth] = value - own * (nearest * share - centre) ** 2
    tree.next[depth, 0], tree.next[depth, 1], tree.next[depth, 2] = start, start + 1, 0
    return value


@inner()
def _relax(
    grid: Grid, curvature: FloatArray, tree: Tree, depth: int, deviation: FloatArray
) -> None:
    """Move the open symbols to where fractions of lots would be best at the caps' prices; keep the tangent there."""
    n = len(deviation)
    slope = tree.tilt
    for i in range(n):
        slope[i] = 0.0
        for j in range(n):
            slope[i] += curvature[i, j] * deviation[j]
    for _ in range(_ROOT_DESCENTS if depth == 0 else _DESCENTS):
        for d in range(depth, tree.depths):
            i = tree.order[d]
            pull = 0.5 * _charge(grid, tree.price[depth], i) - slope[i]
            lowest = grid.target[i] - grid.most[i] * grid.share[i]
            moved = min(max(deviation[i] + pull / curvature[i, i], lowest), grid.target[i])
            change = moved - deviation[i]
            if change != 0.0:
                deviation[i] = moved
                for j in range(n):
                    slope[j] += curvature[i, j] * change
    for i in range(n):
        slope[i] = 2.0 * (slope[i] - tree.own[i] * deviation[i])


@inner()
def _settled(tree: Tree, depth: int, deviation: FloatArray) -> float:
    """Return the part of the lower bound that the open symbols do not change."""
    value = 0.0
    for i in range(len(deviation)):
        e = deviation[i]
        value -= 0.5 * tree.tilt[i] * e
        if tree.depth_of[i] < depth:
            value += (tree.own[i] * e + tree.tilt[i]) * e
    return value


@inner()
def _raise_prices(grid: Grid, tree: Tree, depth: int, enough: float) -> float:
    """Return the open symbols' part of the lower bound at prices of the caps that make it large; keep the prices."""
    price, over, bend = np.zeros(2), np.zeros(2), np.zeros(2)
    price[0], price[1] = tree.price[depth, 0], tree.price[depth, 1]
    best = -math.inf
    for _ in range(_ROOT_STEPS if depth == 0 else _STEPS):
        value = _lagrangian(grid, tree, depth, price, over, bend)
        if value > best:
            best = value
            tree.price[depth, 0], tree.price[depth, 1] = price[0], price[1]
        # One Newton step on the price that promises more; a price of zero that is not needed stays.
        gain_0 = over[0] ** 2 / bend[0] if over[0] > 0.0 or price[0] > 0.0 else 0.0
        gain_1 = over[1] ** 2 / bend[1] if over[1] > 0.0 or price[1] > 0.0 else 0.0
        if best >= enough or not max(gain_0, gain_1) > 0.0:
            break
        cap = 0 if gain_0 >= gain_1 else 1
        price[cap] = max(price[cap] + over[cap] / bend[cap], 0.0)
    return best


@inner()
def _lagrangian(
    grid: Grid, tree: Tree, depth: int, price: FloatArray, over: FloatArray, bend: FloatArray
) -> float:
    """Return the minimum over the open symbols; write by how much each cap is exceeded, and how prices change that."""
    value = 0.0
    for cap in range(2):
        over[cap] = tree.used[depth, cap] - grid.cap[cap]
        value += price[cap] * over[cap]
        bend[cap] = _WITHIN
    for d in range(depth, tree.depths):
        s = tree.order[d]
        share, own, tilt = grid.share[s], tree.own[s], tree.tilt[s]
        charge = _charge(grid, price, s)
        centre = grid.target[s] + (tilt - charge) / (2.0 * own)
        weight = nearest_lots(centre, share, grid.least[s], grid.most[s]) * share
        left = grid.target[s] - weight
        value += (own * left + tilt) * left + charge * weight
        over[0] += weight
        over[1] += weight * grid.use[s, 1]
        if weight > 0.0:
            bend[0] += 1.0 / (2.0 * own)
            bend[1] += grid.use[s, 1] ** 2 / (2.0 * own)
    return value
