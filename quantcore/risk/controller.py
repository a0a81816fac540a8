r"""Risk Controller: what of the wanted weights may be held, and the ladder down which a losing account steps.

It looks at every decision that has targets, and at what is held on every *risk bar* (an hour, or the execution
interval where that is longer). On every execution bar besides it tests all limits that need no covariance, and looks
whenever one is passed. The covariance of returns moves on risk bars: exponentially weighted, with a prior of high
volatility and correlation that fades as history comes in, so that an account which knows nothing yet is careful.

**Limits.** Wanted weights w, those not asked for at what is held and not leaving, only ever shrink, in this order:
each symbol to its cap; each cluster (a symbol with all that move with it, by correlation and sides) to the cluster's;
the heavier side until the net exposure fits; then all by one factor, until gross exposure fits the leverage, the
one-day value at risk :math:`q\sqrt{w^\top C w}` its budget, and the liquidation monitor its probability. Every later
step leaves the earlier limits kept, so of limits that conflict the stricter rules. What already exceeds a limit is
reduced at once, beyond the no-trade band and by whole lots up; a target that leaves a position is never held back.

**The ladder.** By the fall of the unit value from its peak and from the UTC day's start:

======= ================================================== ======================================================
level   entered when                                       left when
======= ================================================== ======================================================
normal                                                     a limit below is reached
reduce  the fall reaches `drawdown_reduce`                 the cool-down is over and the fall is under
                                                           `drawdown_restore`
halt    the day's loss reaches `daily_loss_max`            the cool-down is over and another day has begun
stopped the fall reaches `drawdown_max`, or there were     a person lets it go on (`limits.release`); a backtest
        more than `halts_max` halts                        may have one look after `resume_hours`
======= ================================================== ======================================================

In *reduce* every target is scaled down; in *halt* and *stopped* the account is flat. Peak, day's start, level and since
when are part of the account's state.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from quantcore.kernels.compiled import inner
from quantcore.kernels.ewm import ewm_cov_step
from quantcore.kernels.layout import (
    BINDING,
    CLUSTER_CORRELATION,
    CLUSTER_MAX,
    COOL_DOWN_US,
    DAILY_LOSS_MAX,
    DAY_NAV,
    DRAWDOWN_MAX,
    DRAWDOWN_REDUCE,
    DRAWDOWN_RESTORE,
    ENTRY,
    EQUITY,
    GOAL,
    HALTS,
    HALTS_MAX,
    LEVEL,
    LEVEL_TS,
    LEVERAGE_MAX,
    LIQUIDATION_CHANCE,
    LIQUIDATION_SIGMAS,
    LOTS,
    MARGIN,
    MARGIN_RATIO_MAX,
    MARGIN_TYPE,
    MARK,
    NAV_RATE,
    NET_MAX,
    NONE,
    PEAK,
    QTY,
    REDUCE_SCALE,
    RESUME_US,
    RISK_BAR_US,
    RISK_CLOSE,
    STATE,
    STRESS_MOVE,
    SYMBOL_MAX,
    VAR,
    VAR_MAX,
    VAR_SIGMAS,
    VOLATILITY_FLOOR,
    Account,
    Journal,
    Market,
    Rules,
    constant,
)
from quantcore.kernels.ledger import ISOLATED, explain, position_margin
from quantcore.kernels.rules import quantity
from quantcore.risk.liquidation_monitor import (
    account_ceiling,
    account_chance,
    isolated_is_near,
    lower_leverage,
    symbol_ceiling,
)
from quantcore.timegrid import DAY_US
from quantcore.types import Action, BoolArray, FloatArray, RiskLevel, Rule, Stage

_NORMAL = float(RiskLevel.NORMAL)
_REDUCE = float(RiskLevel.REDUCE)
_HALT = float(RiskLevel.HALT)
_STOPPED = float(RiskLevel.STOPPED)
_STAGE = constant(Stage.CONTROLLER)
_CUT = constant(Action.CUT)
_REDUCED = constant(Action.REDUCED)
_HALTED = constant(Action.HALTED)
_STOP = constant(Action.STOPPED)
_RELEASED = constant(Action.RELEASED)
_DRAWDOWN = constant(Rule.DRAWDOWN)
_DAILY_LOSS = constant(Rule.DAILY_LOSS)
_COOL_DOWN = constant(Rule.COOL_DOWN)
_DAILY_VAR = constant(Rule.DAILY_VAR)
_LEVERAGE = constant(Rule.LEVERAGE)
_NET = constant(Rule.NET_EXPOSURE)
_SYMBOL = constant(Rule.SYMBOL_CONCENTRATION)
_CLUSTER = constant(Rule.CLUSTER_CONCENTRATION)
_LIQUIDATION = constant(Rule.LIQUIDATION_PROBABILITY)

# Rows of the scratch array: weights held, wanted before the limits and after them, volatility of a day, factor of
# the cluster limits; how much less than the floor the volatility is, and weights enlarged by that.
HELD, BASE, WANTED, VOLATILITY, FACTOR, CALM, WILD = range(7)
_HELD, _WANTED = constant(HELD), constant(WANTED)
N_WORK = 7
_SAME = 1e-12  # weights that differ by less are the same


@inner()
def observe_returns(account: Account, market: Market, row: int, decay: float) -> None:
    """Move the covariance by a risk bar's returns, each since the symbol's last known close."""
    returns = np.empty(len(account.held))
    for s in range(len(account.held)):
        close, last = market.close[row, s], account.position[s, RISK_CLOSE]
        returns[s] = close / last - 1.0 if close > 0.0 and last > 0.0 else np.nan
        if close > 0.0:
            account.position[s, RISK_CLOSE] = close
    ewm_cov_step(account.pairs, returns, decay)


@inner()
def begin_day(account: Account) -> None:
    """Let the UTC day's loss count from here."""
    account.risk[DAY_NAV] = account.cash[EQUITY] * account.cash[NAV_RATE]


@inner()
def _move(
    account: Account, journal: Journal, ts: int, level: float, rule: int, action: int, limit: float, value: float
) -> None:  # fmt: skip
    account.risk[LEVEL] = level
    account.risk[LEVEL_TS] = ts
    explain(journal, ts, NONE, _STAGE, rule, action, limit, value)


@inner()
def climb(account: Account, journal: Journal, ts: int, config: FloatArray, on_risk_bar: bool) -> None:  # fmt: skip
    """Move along the ladder: down at any check, up again on risk bars only."""
    risk = account.risk
    nav = account.cash[EQUITY] * account.cash[NAV_RATE]
    fall, loss = 1.0 - nav / risk[PEAK], 1.0 - nav / risk[DAY_NAV]
    level, since = risk[LEVEL], ts - risk[LEVEL_TS]
    if level < _STOPPED and fall >= config[DRAWDOWN_MAX]:
        _move(account, journal, ts, _STOPPED, _DRAWDOWN, _STOP, config[DRAWDOWN_MAX], fall)
    elif level < _HALT and loss >= config[DAILY_LOSS_MAX]:
        risk[HALTS] += 1.0
        last = risk[HALTS] > config[HALTS_MAX]
        _move(
            account, journal, ts, _STOPPED if last else _HALT, _DAILY_LOSS, _STOP if last else _HALTED,
            config[DAILY_LOSS_MAX], loss,
        )  # fmt: skip
    elif level == _NORMAL and fall >= config[DRAWDOWN_REDUCE]:
        _move(account, journal, ts, _REDUCE, _DRAWDOWN, _REDUCED, config[DRAWDOWN_REDUCE], fall)
    elif on_risk_bar and level == _HALT:
        if since >= config[COOL_DOWN_US] and loss < config[DAILY_LOSS_MAX]:
            up = _REDUCE if fall >= config[DRAWDOWN_RESTORE] else _NORMAL
            _move(account, journal, ts, up, _COOL_DOWN, _RELEASED, config[COOL_DOWN_US], since)
    elif on_risk_bar and level == _REDUCE:
        if since >= config[COOL_DOWN_US] and fall < config[DRAWDOWN_RESTORE]:
            _move(
                account, journal, ts, _NORMAL, _DRAWDOWN, _RELEASED, config[DRAWDOWN_RESTORE], fall
            )
    elif on_risk_bar and level == _STOPPED and since >= config[RESUME_US] > 0.0:
        risk[PEAK] = risk[DAY_NAV] = nav
        risk[HALTS] = 0.0
        _move(account, journal, ts, _REDUCE, _COOL_DOWN, _RELEASED, config[RESUME_US], since)


@inner()
def next_step_down(risk: FloatArray, config: FloatArray) -> tuple[float, float]:
    """Return the fall and the unit value that move an account down the ladder; infinite and none at its end."""
    if risk[LEVEL] >= _STOPPED:
        return math.inf, -math.inf
    if risk[LEVEL] >= _HALT:
        return float(config[DRAWDOWN_MAX]), -math.inf
    fall = config[DRAWDOWN_REDUCE] if risk[LEVEL] == _NORMAL else config[DRAWDOWN_MAX]
    return float(fall), float(risk[DAY_NAV] * (1.0 - config[DAILY_LOSS_MAX]))


@inner(forceinline=True)
def beyond(
    config: FloatArray, nav: float, peak: float, fall: float, least: float, equity: float, gross: float, net: float,
    maintenance: float,
) -> bool:  # fmt: skip
    """Return whether the account's totals pass a limit at a close."""
    return bool(
        (nav <= peak * (1.0 - fall))
        | (nav <= least)
        | (gross > config[LEVERAGE_MAX] * equity)
        | (abs(net) > config[NET_MAX] * equity)
        | (maintenance > config[MARGIN_RATIO_MAX] * equity)
    )


@inner()
def calls(
    account: Account, rules: Rules, config: FloatArray, gross: float, net: float, maintenance: float
) -> bool:  # fmt: skip
    """Return whether a close that is no risk bar and has no target is to be looked at: a limit is passed."""
    equity = account.cash[EQUITY]
    fall, least = next_step_down(account.risk, config)
    nav = equity * account.cash[NAV_RATE]
    if beyond(config, nav, account.risk[PEAK], fall, least, equity, gross, net, maintenance):
        return True
    flat = account.risk[LEVEL] >= _HALT
    for s in range(len(account.held)):
        if flat and (account.held[s, LOTS] != 0 or _pending(account, s)):
            return True  # what a hole, or the largest order, left of it
        if abs(account.position[s, QTY]) * account.position[s, MARK] > config[SYMBOL_MAX] * equity:
            return True
        if account.held[s, LOTS] != 0 and rules.size[s, MARGIN_TYPE] == ISOLATED:
            own = account.position[s, MARGIN]
            own += account.position[s, QTY] * (
                account.position[s, MARK] - account.position[s, ENTRY]
            )
            needed = position_margin(account, rules, s, account.position[s, MARK])
            if needed > config[MARGIN_RATIO_MAX] * own:
                return True
    return False


@inner()
def check_risk(  # noqa: C901 - what is wanted, what may be held of it, and what is told of it
    account: Account, rules: Rules, journal: Journal, market: Market, row: int, config: FloatArray, targets: FloatArray,
    decision: int, work: FloatArray, allowed: FloatArray, forced: BoolArray,
) -> None:  # fmt: skip
    """Fill what may be held after a check at a row's close.

    Parameters
    ----------
    targets : float64 array, shape (n_decisions, n_symbols)
        Wanted weights; row `decision` counts, none where it is negative.
    work : float64 array, shape (N_WORK, n_symbols)
        Scratch.
    allowed : float64 array, shape (1, n_symbols)
        Filled: weights for the sizer, NaN where a symbol stays as it is.
    forced : bool array, shape (n_symbols,)
        Filled: whether what is held exceeds a limit and is to be reduced whatever the no-trade band.
    """
    ts, risk = market.ts_us[row], account.risk
    before, on_risk_bar = risk[LEVEL], ts % int(config[RISK_BAR_US]) == 0
    climb(account, journal, ts, config, on_risk_bar)
    level, equity = risk[LEVEL], account.cash[EQUITY]
    scale = config[REDUCE_SCALE] if level == _REDUCE else 1.0
    per_day = DAY_US / config[RISK_BAR_US]
    for s in range(len(account.held)):
        weight = targets[decision, s] if decision >= 0 else math.nan
        held = 0.0
        if account.held[s, LOTS] != 0 and equity > 0.0:
            held = account.position[s, QTY] * account.position[s, MARK] / equity
        base, acts = weight * scale, not math.isnan(weight)
        if not acts:
            decided = _decided_weight(account, rules, market, row, s, held)
            acts = level == _REDUCE and before == _NORMAL and decided != 0.0
            # What is leaving counts as far as it stays, what opens not before it is held.
            base = decided * scale if acts else _nearer(held, decided)
        if level >= _HALT:
            base, acts = 0.0, acts or held != 0.0 or _pending(account, s)
        work[HELD, s], work[BASE, s], work[WANTED, s] = held, base, base
        work[VOLATILITY, s] = math.sqrt(account.pairs[0, s, s] * per_day)
        work[CALM, s] = max(config[VOLATILITY_FLOOR] / work[VOLATILITY, s], 1.0)
        allowed[0, s], forced[s] = base if acts else math.nan, False
    if not equity > 0.0:
        return
    for s in range(len(account.held)):
        work[WILD, s] = work[HELD, s] * work[CALM, s]
    sigma, wild = _deviations(account.pairs, work, _HELD, WILD, per_day)
    risk[VAR] = config[VAR_SIGMAS] * sigma
    exceeded = _exceeds(account, rules, config, work, wild)
    _limit(account, rules, journal, ts, config, work, per_day)
    for s in range(len(account.held)):
        held, base, may = work[HELD, s], work[BASE, s], work[WANTED, s]
        limited = abs(may) < abs(base) - _SAME
        forced[s] = (limited or exceeded) and may != held and abs(may) < abs(held) - _SAME
        if limited or not math.isnan(allowed[0, s]):
            allowed[0, s] = may
        elif forced[s]:  # no more than to make haste
            allowed[0, s] = _decided_weight(account, rules, market, row, s, held)
    for s in range(len(account.held)):
        work[VOLATILITY, s] *= work[CALM, s]
    risk[LIQUIDATION_CHANCE] = account_chance(
        account, rules, work[HELD], work[VOLATILITY], equity, wild
    )


@inner()
def _exceeds(
    account: Account, rules: Rules, config: FloatArray, work: FloatArray, wild: float
) -> bool:
    """Return whether what is held exceeds a limit: then a plan that makes it smaller has no time."""
    n, equity = len(account.held), account.cash[EQUITY]
    gross = net = 0.0
    for s in range(n):
        held = work[HELD, s]
        if held == 0.0:
            continue
        gross += abs(held)
        net += held
        ceiling = symbol_ceiling(
            rules, s, abs(held) * equity, work[VOLATILITY, s] * work[CALM, s],
            config[LIQUIDATION_SIGMAS], config[STRESS_MOVE],
        )  # fmt: skip
        if abs(held) > min(config[SYMBOL_MAX], ceiling):
            return True
        if isolated_is_near(
            account, rules, s, abs(held) * equity, work[VOLATILITY, s] * work[CALM, s], config[LIQUIDATION_SIGMAS]
        ):  # fmt: skip
            return True
    if gross == 0.0:
        return False
    if gross > config[LEVERAGE_MAX] or abs(net) > config[NET_MAX]:
        return True
    if account.risk[VAR] > config[VAR_MAX]:
        return True
    sigmas, stress = config[LIQUIDATION_SIGMAS], config[STRESS_MOVE]
    if account_ceiling(rules, work[HELD], equity, wild, sigmas, stress) < 1.0:
        return True
    # No cluster is larger than everything that is held.
    return gross > config[CLUSTER_MAX] and _tightest_cluster(account, config, work, _HELD) < 1.0


@inner()
def _pending(account: Account, s: int) -> bool:
    """Return whether the router is asked for a position of a symbol."""
    return bool(
        len(account.route) > 0 and account.route[s, STATE] != 0 and account.route[s, GOAL] != 0
    )


@inner()
def _decided_weight(
    account: Account, rules: Rules, market: Market, row: int, s: int, held: float
) -> float:
    """Return the weight that the router is asked for, or what is held where it is not at work or has no price."""
    equity = account.cash[EQUITY]
    if len(account.route) == 0 or account.route[s, STATE] == 0 or not equity > 0.0:
        return held
    mark = market.mark_close[row, s]
    price = mark if mark > 0.0 else market.close[row, s]
    if not price > 0.0:
        return held
    return float(quantity(rules, s, account.route[s, GOAL]) * price / equity)


@inner()
def _nearer(held: float, decided: float) -> float:
    """Return what stays of a weight held on the way to the one decided: none of it where that turns."""
    if held * decided <= 0.0:
        return 0.0
    return held if abs(decided) >= abs(held) else decided


@inner()
def _limit(  # noqa: C901 - one limit after another, in the order that keeps the earlier ones
    account: Account, rules: Rules, journal: Journal, ts: int, config: FloatArray, work: FloatArray, per_day: float
) -> None:  # fmt: skip
    """Shrink the wanted weights until every limit is kept."""
    equity, n = account.cash[EQUITY], len(account.held)
    any_wanted = False
    for s in range(n):
        weight = abs(work[WANTED, s])
        if weight == 0.0:
            continue
        any_wanted = True
        cap, rule = config[SYMBOL_MAX], _SYMBOL
        volatility, sigmas = work[VOLATILITY, s] * work[CALM, s], config[LIQUIDATION_SIGMAS]
        ceiling = symbol_ceiling(rules, s, weight * equity, volatility, sigmas, config[STRESS_MOVE])
        lower_leverage(account, rules, s, ceiling)
        near = isolated_is_near(account, rules, s, abs(work[HELD, s]) * equity, volatility, sigmas)
        if near or ceiling < cap:
            cap, rule = 0.0 if near else ceiling, _LIQUIDATION
        if weight > cap:
            _bind(account, journal, ts, s, rule, cap, weight)
            work[WANTED, s] *= cap / weight
    if not any_wanted:
        account.risk[BINDING] = 0.0
        return
    bound = 0.0
    if config[CLUSTER_MAX] < math.inf:
        bound += _limit_clusters(account, journal, ts, config, work)
    longs = shorts = 0.0
    for s in range(n):
        longs += max(work[WANTED, s], 0.0)
        shorts += max(-work[WANTED, s], 0.0)
    net = abs(longs - shorts)
    if net > config[NET_MAX]:
        _bind(account, journal, ts, NONE, _NET, config[NET_MAX], net)
        bound += 2.0**_NET
        heavy = 1.0 if longs > shorts else -1.0
        factor = (config[NET_MAX] + min(longs, shorts)) / max(longs, shorts)
        for s in range(n):
            if work[WANTED, s] * heavy > 0.0:
                work[WANTED, s] *= factor
        if heavy > 0.0:
            longs *= factor
        else:
            shorts *= factor
    factor, gross = 1.0, longs + shorts
    if gross > config[LEVERAGE_MAX]:
        _bind(account, journal, ts, NONE, _LEVERAGE, config[LEVERAGE_MAX], gross)
        bound += 2.0**_LEVERAGE
        factor = config[LEVERAGE_MAX] / gross
    for s in range(n):
        work[WILD, s] = work[WANTED, s] * work[CALM, s]
    sigma, wild = _deviations(account.pairs, work, _WANTED, WILD, per_day)
    at_risk = config[VAR_SIGMAS] * sigma
    if at_risk > config[VAR_MAX]:
        _bind(account, journal, ts, NONE, _DAILY_VAR, config[VAR_MAX], at_risk)
        bound += 2.0**_DAILY_VAR
        factor = min(factor, config[VAR_MAX] / at_risk)
    ceiling = account_ceiling(
        rules, work[WANTED], equity, wild, config[LIQUIDATION_SIGMAS], config[STRESS_MOVE]
    )
    if ceiling < 1.0:
        _bind(account, journal, ts, NONE, _LIQUIDATION, 1.0, 1.0 / ceiling)
        bound += 2.0**_LIQUIDATION
        factor = min(factor, ceiling)
    if factor < 1.0:
        for s in range(n):
            work[WANTED, s] *= factor
    account.risk[BINDING] = bound


@inner()
def _limit_clusters(
    account: Account, journal: Journal, ts: int, config: FloatArray, work: FloatArray
) -> float:
    """Scale the members of every cluster that is too large, each by its tightest; the order of symbols is nothing."""
    if not _tightest_cluster(account, config, work, _WANTED) < 1.0:
        return 0.0
    tightest = 1.0
    for s in range(len(account.held)):
        tightest = min(tightest, work[FACTOR, s])
        work[WANTED, s] *= work[FACTOR, s]
    most = config[CLUSTER_MAX]
    _bind(account, journal, ts, NONE, _CLUSTER, most, most / tightest)
    return float(2.0**_CLUSTER)


@inner()
def _tightest_cluster(account: Account, config: FloatArray, work: FloatArray, which: int) -> float:
    """Fill `FACTOR`, by which each symbol's clusters ask to scale its weight; return the smallest of them."""
    n, pairs = len(account.held), account.pairs
    # Of a risk bar's covariance.
    correlation = config[CLUSTER_CORRELATION] * config[RISK_BAR_US] / DAY_US
    tightest = 1.0
    for s in range(n):
        work[FACTOR, s] = 1.0
    for s in range(n):
        weight = work[which, s]
        if weight == 0.0:
            continue
        side = 1.0 if weight > 0.0 else -1.0
        least = correlation * work[VOLATILITY, s]
        total = 0.0
        for j in range(n):
            # Together: of one side and correlated, or of two sides and correlated the other way round.
            both = side * work[which, j]
            alike = pairs[0, s, j] if both > 0.0 else -pairs[0, s, j]
            total += abs(both) if alike >= least * work[VOLATILITY, j] or j == s else 0.0
        if total > config[CLUSTER_MAX]:
            most = config[CLUSTER_MAX] / total
            tightest = min(tightest, most)
            for j in range(n):
                both = side * work[which, j]
                alike = pairs[0, s, j] if both > 0.0 else -pairs[0, s, j]
                if alike >= least * work[VOLATILITY, j] or j == s:
                    work[FACTOR, j] = min(work[FACTOR, j], most)
    return tightest


@inner()
def _deviations(
    pairs: FloatArray, work: FloatArray, plain: int, wild: int, bars: float
) -> tuple[float, float]:
    """Return the volatilities of two portfolios over some risk bars; 0 where estimates that do not fit say less."""
    first = second = 0.0
    for i in range(pairs.shape[1]):
        if work[plain, i] == 0.0:
            continue
        row, wild_row = 0.5 * work[plain, i] * pairs[0, i, i], 0.5 * work[wild, i] * pairs[0, i, i]
        for j in range(i):
            row += work[plain, j] * pairs[0, i, j]
            wild_row += work[wild, j] * pairs[0, i, j]
        first += 2.0 * work[plain, i] * row
        second += 2.0 * work[wild, i] * wild_row
    return math.sqrt(max(first, 0.0) * bars), math.sqrt(max(second, 0.0) * bars)


@inner()
def _bind(
    account: Account, journal: Journal, ts: int, s: int, rule: int, limit: float, value: float
) -> None:
    """Write that a limit binds when it begins; a symbol's own limits have no memory but that of what is held."""
    if s < 0 and (int(account.risk[BINDING]) >> rule) & 1:
        return
    explain(journal, ts, s, _STAGE, rule, _CUT, limit, value)


@njit(cache=True, error_model="numpy")
def check_alone(
    account: Account, rules: Rules, journal: Journal, market: Market, row: int, config: FloatArray, targets: FloatArray,
    decision: int, work: FloatArray, allowed: FloatArray, forced: BoolArray,
) -> None:  # fmt: skip
    """Do what `check_risk` does, for callers outside the account step."""
    check_risk(
        account, rules, journal, market, row, config, targets, decision, work, allowed, forced
    )
