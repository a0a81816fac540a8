r"""Conditional variance of GARCH(1,1) and GJR: the recursion, the log-likelihood with its gradient, and its maximum.

.. math:: h_{t+1} = \omega + (\alpha + \gamma 1[e_t < 0])\, e_t^2 + \beta h_t

with residuals :math:`e_t = r_t - \mu`; :math:`\gamma = 0` is the symmetric model. A missing residual (NaN) enters by
its expectation :math:`E\,e_t^2 = h_t`, half of it on the negative side: time passes, but nothing is learnt.

(Bollerslev 1986; Glosten, Jagannathan and Runkle 1993; gradient: Fiorentini, Calzolari and Panattoni 1996.)
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numba import njit
from scipy import optimize, special

from quantcore.types import BoolArray, FloatArray

N_PARAMETERS = 6
"""Length of a parameter vector: mu, omega, alpha, gamma, beta, nu."""
MU, OMEGA, ALPHA, GAMMA, BETA, NU = range(N_PARAMETERS)

PERSISTENCE_MAX = 1.0 - 1e-6
NU_MIN, NU_MAX = 2.05, 500.0
"""Bounds of a fit; one that binds is reported."""
_AT_BOUND = 1e-7


@njit(cache=True, error_model="numpy")
def garch_scan(
    residuals: FloatArray,
    omega: float,
    alpha: float,
    gamma: float,
    beta: float,
    start_variance: float,
) -> FloatArray:
    """Return the variance of each residual given those before it, and the forecast after the last.

    Parameters
    ----------
    residuals : float64 array, shape (n,)
        Returns less their mean; NaN enters by its expectation.
    omega, alpha, gamma, beta : float
        Of the recursion; omega in the square of the residuals' unit.
    start_variance : float
        Variance of the first residual, entry 0 of the result.

    Returns
    -------
    float64 array, shape (n + 1,)
        In the square of the residuals' unit; entry t uses residuals before t, the last is the forecast.
    """
    n = residuals.shape[0]
    variances = np.empty(n + 1)
    variance = start_variance
    variances[0] = variance
    for t in range(n):
        e = residuals[t]
        if np.isnan(e):
            variance = omega + (alpha + 0.5 * gamma + beta) * variance
        else:
            reaction = alpha + gamma if e < 0.0 else alpha
            variance = omega + reaction * e * e + beta * variance
        variances[t + 1] = variance
    return variances


@njit(cache=True, error_model="numpy")
def mean_square(returns: FloatArray, mu: float) -> tuple[float, float]:
    """Return the mean of the squared residuals about `mu` and its derivative by `mu`; NaN does not count."""
    total, slope, count = 0.0, 0.0, 0
    for t in range(returns.shape[0]):
        e = returns[t] - mu
        if not np.isnan(e):
            total += e * e
            slope -= 2.0 * e
            count += 1
    return total / count, slope / count


@njit(cache=True, error_model="numpy")
def garch_likelihood(
    returns: FloatArray, parameters: FloatArray, presample: float, gradient: FloatArray
) -> float:
    r"""Return the log-likelihood less its constant, and write the gradient of that.

    The sum of :math:`-\tfrac12 \ln h_t - \tfrac12 e_t^2/h_t` for normal innovations, of
    :math:`-\tfrac12 \ln h_t - \tfrac{\nu+1}{2} \ln(1 + e_t^2 / ((\nu-2) h_t))` for t ones of unit variance. What
    depends on neither data nor path, and needs the gamma function, is `density_constant`.

    Parameters
    ----------
    returns : float64 array, shape (n,)
        NaN where missing: no term in the sum.
    parameters : float64 array, shape (6,)
        mu, omega, alpha, gamma, beta, nu; nu is infinite for normal innovations. Variances must come out positive.
    presample : float
        Variance and squared residual before the first row, so that
        :math:`h_0 = \omega + (\alpha + \gamma/2 + \beta) s`; NaN for the mean squared residual at mu.
    gradient : float64 array, shape (6,)
        Overwritten; the entry of nu is 0 for normal innovations.

    Returns
    -------
    float
        Of the known returns.
    """
    mu, omega, alpha = parameters[MU], parameters[OMEGA], parameters[ALPHA]
    gamma, beta, nu = parameters[GAMMA], parameters[BETA], parameters[NU]
    normal = np.isinf(nu)
    persistence = alpha + 0.5 * gamma + beta
    start, start_slope = presample, 0.0
    if np.isnan(presample):
        start, start_slope = mean_square(returns, mu)
    h = omega + persistence * start
    # Derivatives of h by mu, omega, alpha, gamma, beta.
    h_mu, h_omega, h_alpha, h_gamma, h_beta = (
        persistence * start_slope,
        1.0,
        start,
        0.5 * start,
        start,
    )
    total = 0.0
    by_mu, by_omega, by_alpha, by_gamma, by_beta, by_nu = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    for t in range(returns.shape[0]):
        e = returns[t] - mu
        if np.isnan(e):
            h_mu *= persistence
            h_omega = 1.0 + persistence * h_omega
            h_alpha = h + persistence * h_alpha
            h_gamma = 0.5 * h + persistence * h_gamma
            h_beta = h + persistence * h_beta
            h = omega + persistence * h
            continue
        square, precision = e * e, 1.0 / h
        if normal:
            total -= 0.5 * (math.log(h) + square * precision)
            weight = 1.0
        else:
            ratio = square * precision / (nu - 2.0)
            log_tail = math.log1p(ratio)
            total -= 0.5 * (math.log(h) + (nu + 1.0) * log_tail)
            weight = (nu + 1.0) / ((nu - 2.0) * (1.0 + ratio))
            by_nu += 0.5 * (weight * ratio - log_tail)
        by_h = 0.5 * (weight * square * precision - 1.0) * precision
        by_mu += by_h * h_mu + weight * e * precision
        by_omega += by_h * h_omega
        by_alpha += by_h * h_alpha
        by_gamma += by_h * h_gamma
        by_beta += by_h * h_beta
        below = 1.0 if e < 0.0 else 0.0
        reaction = alpha + gamma * below
        h_mu = beta * h_mu - 2.0 * reaction * e
        h_omega = 1.0 + beta * h_omega
        h_alpha = square + beta * h_alpha
        h_gamma = below * square + beta * h_gamma
        h_beta = h + beta * h_beta
        h = omega + reaction * square + beta * h
    gradient[MU], gradient[OMEGA], gradient[ALPHA] = by_mu, by_omega, by_alpha
    gradient[GAMMA], gradient[BETA], gradient[NU] = by_gamma, by_beta, by_nu
    return total


@njit(cache=True, error_model="numpy")
def _point_parameters(point: FloatArray) -> FloatArray:
    """Return mu, omega, alpha, gamma, beta, nu of a point of `_Problem`."""
    p, s, w, tail = point[2], point[3], point[4], point[5]
    vector = np.empty(N_PARAMETERS)
    vector[MU], vector[OMEGA] = point[0], math.exp(point[1])
    vector[ALPHA] = 2.0 * p * w * (1.0 - s)
    vector[GAMMA] = 2.0 * p * w * (2.0 * s - 1.0)
    vector[BETA] = p * (1.0 - w)
    vector[NU] = 1.0 / tail if tail > 0.0 else np.inf
    return vector


@njit(cache=True, error_model="numpy")
def _point_likelihood(
    returns: FloatArray, point: FloatArray, presample: float, gradient: FloatArray
) -> float:
    """`garch_likelihood` by the coordinates of `_Problem`: the chain rule of its `jacobian`."""
    p, s, w, tail = point[2], point[3], point[4], point[5]
    vector, by = _point_parameters(point), np.empty(N_PARAMETERS)
    value = garch_likelihood(returns, vector, presample, by)
    reaction = 2.0 * ((1.0 - s) * by[ALPHA] + (2.0 * s - 1.0) * by[GAMMA])
    gradient[0] = by[MU]
    gradient[1] = by[OMEGA] * vector[OMEGA]
    gradient[2] = w * reaction + (1.0 - w) * by[BETA]
    gradient[3] = 2.0 * p * w * (2.0 * by[GAMMA] - by[ALPHA])
    gradient[4] = p * (reaction - by[BETA])
    gradient[5] = -by[NU] / tail**2 if tail > 0.0 else 0.0
    return value


def density_constant(nu: float) -> tuple[float, float]:
    """Return what each return adds to the log-likelihood whatever its value, and the derivative of that by nu."""
    if math.isinf(nu):
        return -0.5 * math.log(2.0 * math.pi), 0.0
    upper, lower = (nu + 1.0) / 2.0, nu / 2.0
    value = special.gammaln(upper) - special.gammaln(lower) - 0.5 * math.log(math.pi * (nu - 2.0))
    slope = 0.5 * (special.digamma(upper) - special.digamma(lower) - 1.0 / (nu - 2.0))
    return float(value), float(slope)


class GarchMaximum(NamedTuple):
    """Where the likelihood is largest.

    `parameters` and `standard_errors` have shape (6,); `slope` is the steepest way up that is left, per return; the
    names in `at_bound` are bounds that bind.
    """

    parameters: FloatArray
    standard_errors: FloatArray
    slope: float
    at_bound: tuple[str, ...]


def maximise_garch(returns: FloatArray, presample: float, free: BoolArray) -> GarchMaximum:
    """Return the maximum of the likelihood for standardised returns.

    Parameters
    ----------
    returns : float64 array, shape (n,)
        Of mean square about 1, NaN where missing; more known values than free parameters.
    presample : float
        Variance before the first row, or NaN; see `garch_likelihood`.
    free : bool array, shape (6,)
        Which of mu, omega, alpha, gamma, beta, nu to estimate; omega, alpha and beta always. Held are mu and gamma at
        0 and nu at infinity.

    Returns
    -------
    GarchMaximum
        Standard errors by the observed information; NaN where a bound binds, where they would mean nothing.
    """
    problem = _Problem(returns, presample, free)
    point = problem.maximise()
    return GarchMaximum(
        _point_parameters(point),
        problem.standard_errors(point),
        problem.slope(point),
        problem.binding(point),
    )


class _Problem:
    """The likelihood over a box, in which no step leaves the model.

    A point is mu, log omega, persistence p, share s of falls in the reaction, weight w of the reaction in the
    persistence, 1 / nu: alpha = 2pw(1 - s), alpha + gamma = 2pws, beta = p(1 - w). Held are mu 0, s 1/2 and 1 / nu 0.
    """

    LOW = np.array([-np.inf, -30.0, 0.0, 0.0, 0.0, 1.0 / NU_MAX])
    HIGH = np.array([np.inf, 3.0, PERSISTENCE_MAX, 1.0, 1.0, 1.0 / NU_MIN])

    def __init__(self, returns: FloatArray, presample: float, free: BoolArray) -> None:
        self.returns, self.presample, self.free = returns, presample, free
        self.n = int((~np.isnan(returns)).sum())

    def jacobian(self, point: FloatArray) -> FloatArray:
        """Return the derivatives of the parameters (rows) by the coordinates of the point (columns)."""
        _, log_omega, p, s, w, tail = point
        j = np.zeros((N_PARAMETERS, N_PARAMETERS))
        j[MU, 0] = 1.0
        j[OMEGA, 1] = math.exp(log_omega)
        j[ALPHA, 2:5] = 2 * w * (1 - s), -2 * p * w, 2 * p * (1 - s)
        j[GAMMA, 2:5] = 2 * w * (2 * s - 1), 4 * p * w, 2 * p * (2 * s - 1)
        j[BETA, 2:5] = 1.0 - w, 0.0, -p
        j[NU, 5] = -1.0 / tail**2 if tail > 0.0 else 0.0
        return j

    def evaluate(self, point: FloatArray) -> tuple[float, FloatArray]:
        """Return the log-likelihood and its gradient by the point, 0 where a coordinate is held."""
        gradient = np.empty(N_PARAMETERS)
        value = _point_likelihood(self.returns, point, self.presample, gradient)
        tail = point[NU]
        constant, slope = density_constant(1.0 / tail if tail > 0.0 else math.inf)
        if tail > 0.0:
            gradient[NU] -= self.n * slope / tail**2
        return value + self.n * constant, gradient * self.free

    def maximise(self) -> FloatArray:
        """Return the best point of a search from each of a few starts: weak reactions have several maxima."""
        rough = [self._search(start, tolerance=1e-8) for start in self._starts()]
        best = max(rough, key=lambda point: self.evaluate(point)[0])
        for _ in range(4):
            best = self._finish(self._search(best, tolerance=1e-12))
            if self.slope(best) < 1e-7:  # else a bound that held must be left again
                break
        return best

    def _starts(self) -> list[FloatArray]:
        """Return the best start for each of four persistences."""
        tail = 0.15 if self.free[NU] else 0.0
        shares = (0.2, 0.5, 0.8) if self.free[GAMMA] else (0.5,)
        grid = [
            [
                np.array([0.0, math.log(1.0 - p), p, s, w, tail])
                for w in (0.03, 0.12, 0.5)
                for s in shares
            ]
            for p in (0.2, 0.9, 0.98, 0.999)
        ]
        return [max(points, key=lambda point: self.evaluate(point)[0]) for points in grid]

    def _search(self, start: FloatArray, *, tolerance: float) -> FloatArray:
        free = self.free

        def loss(coordinates: FloatArray) -> tuple[float, FloatArray]:
            value, gradient = self.evaluate(_with(start, free, coordinates))
            return -value / self.n, -gradient[free] / self.n

        found = optimize.minimize(
            loss,
            start[free],
            jac=True,
            method="SLSQP",
            bounds=list(zip(self.LOW[free], self.HIGH[free], strict=True)),
            options={"maxiter": 500, "ftol": tolerance},
        )
        return _snapped(_with(start, free, np.asarray(found.x)), free, self.LOW, self.HIGH)

    def _finish(self, point: FloatArray) -> FloatArray:
        """Return the point after Newton's steps, each turned uphill and shortened until it gains within the box."""
        value, gradient = self.evaluate(point)
        for _ in range(30):
            inner = self._inner(point)
            if np.linalg.norm(gradient[inner]) < 1e-9 * self.n:
                break
            roots, vectors = np.linalg.eigh(self._hessian(point)[np.ix_(inner, inner)])
            sizes = np.maximum(np.abs(roots), 1e-12 * self.n)
            step = np.zeros(N_PARAMETERS)
            step[inner] = vectors @ (vectors.T @ gradient[inner] / sizes)
            for halvings in range(12):
                moved = _snapped(point + step * 0.5**halvings, self.free, self.LOW, self.HIGH)
                moved_value, moved_gradient = self.evaluate(moved)
                if moved_value > value - 1e-12 * self.n:
                    break
            else:
                break
            point, value, gradient = moved, moved_value, moved_gradient
        return point

    def _inner(self, point: FloatArray) -> BoolArray:
        inside = (point > self.LOW + _AT_BOUND) & (point < self.HIGH - _AT_BOUND)
        return np.asarray(self.free & inside)

    def _hessian(self, point: FloatArray) -> FloatArray:
        """Return the second derivatives by the point: central differences of the gradient."""
        room = np.minimum(point - self.LOW, self.HIGH - point)
        steps = np.minimum(1e-5, 0.1 * room) * self._inner(point)
        hessian = np.zeros((N_PARAMETERS, N_PARAMETERS))
        for k in np.flatnonzero(steps):
            step = np.zeros(N_PARAMETERS)
            step[k] = steps[k]
            ahead, behind = self.evaluate(point + step)[1], self.evaluate(point - step)[1]
            hessian[k] = (ahead - behind) / (2.0 * steps[k])
        return 0.5 * (hessian + hessian.T)

    def standard_errors(self, point: FloatArray) -> FloatArray:
        """Return those of the parameters: at a maximum the Hessian transforms by the Jacobian alone."""
        free = np.ix_(self.free, self.free)
        errors = np.full(N_PARAMETERS, np.nan)
        information = -self._hessian(point)[free]
        if self.binding(point) or not np.linalg.eigvalsh(information)[0] > 0.0:
            return errors
        jacobian = self.jacobian(point)[free]
        covariance = jacobian @ np.linalg.inv(information) @ jacobian.T
        errors[self.free] = np.sqrt(np.diag(covariance))
        return errors

    def slope(self, point: FloatArray) -> float:
        """Return the steepest way up per return that the bounds leave open, on the scale of standardised returns."""
        gradient = self.evaluate(point)[1] / self.n
        blocked = ((point <= self.LOW) & (gradient < 0.0)) | (
            (point >= self.HIGH) & (gradient > 0.0)
        )
        return float(np.abs(gradient[~blocked]).max())

    def binding(self, point: FloatArray) -> tuple[str, ...]:
        """Return the names of the bounds on which the point lies."""
        _, log_omega, p, _, _, tail = point
        _, _, alpha, gamma, beta, _ = _point_parameters(point)
        low, high = self.LOW + _AT_BOUND, self.HIGH - _AT_BOUND
        bounds = {
            "omega": not low[1] < log_omega < high[1],
            "alpha": alpha <= _AT_BOUND,
            "alpha + gamma": bool(self.free[GAMMA]) and alpha + gamma <= _AT_BOUND,
            "beta": beta <= _AT_BOUND,
            "nu": bool(self.free[NU]) and not low[5] < tail < high[5],
            "persistence": p >= high[2],
        }
        return tuple(name for name, binds in bounds.items() if binds)


def _with(point: FloatArray, at: BoolArray, values: FloatArray) -> FloatArray:
    changed = point.copy()
    changed[at] = values
    return changed


def _snapped(point: FloatArray, free: BoolArray, low: FloatArray, high: FloatArray) -> FloatArray:
    """Return the point within the box, on a bound where it all but touches it."""
    raised = np.where(free & (point < low + _AT_BOUND), low, point)
    return np.where(free & (raised > high - _AT_BOUND), high, raised)
