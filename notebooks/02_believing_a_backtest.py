# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#       format_version: '1.3'
#       jupytext_version: 1.19.6
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Can this backtest be believed?
#
# **Claim.** The trend strategy of `majors_1h` earns money for a reason, and its risk is as small as it looks.
#
# **Data.** Hourly bars of the majors over 2023 and 2024 where the real data lies beside the project, else the
# seeded synthetic market of `quickstart`. No parameter was chosen by looking at the result.
#
# **Method.** Six questions that a result has to survive: the interval of its Sharpe ratio, its best days, the
# bar that trials raise, its risk forecasts, ruin, and liquidation. Each is one call of `quantcore.finance`.

# %%
from pathlib import Path

import numpy as np
import plotly.graph_objects as go

import quantcore
from quantcore import plots
from quantcore.backtest.curves import curves
from quantcore.backtest.experiment import run_experiment
from quantcore.backtest.liquidation_risk import liquidation_risk
from quantcore.finance import (
    bootstrap,
    calendar,
    overfitting,
    performance,
    ruin,
    tail_forecasts,
    var_backtests,
)
from quantcore.timegrid import to_index

SEED = 7
real = Path(quantcore.__file__).parents[2] / "shared" / "data"
if real.is_dir():
    run = run_experiment("majors_1h", ["data=folder", f"data.root={real}"])
else:
    run = run_experiment("quickstart")
curve = curves(run)
daily = curve.daily.dropna().to_numpy()
year = curve.days_per_year
print(
    f"{len(daily)} days from {curve.daily.index[0]:%Y-%m-%d}, {len(run.bars.symbols)} symbols,",
    end=" ",
)
print("real data" if real.is_dir() else "synthetic data")

# %%
plots.figure(
    plots.equity_curve(
        to_index(curve.ts_us),
        curve.nav * run.capital,
        curve.drawdown,
        curve.benchmark * run.capital,
        benchmark_name="BTC held",
    )
)

# %% [markdown]
# ## 1. Is it more than luck?
#
# The Sharpe ratio is an estimate. Resampling the record in blocks keeps its autocorrelation, its fat tails
# and its clusters of volatility; the studentised bootstrap turns them into an interval. If zero lies inside,
# luck explains the result.

# %%
rng = np.random.default_rng(SEED)
ratio = performance.sharpe(daily, periods_per_year=year)
interval = bootstrap.bootstrap_sharpe(
    daily, periods_per_year=year, confidence=0.95, n_paths=10_000, mean_block=None, rng=rng
)
print(f"Sharpe ratio {ratio:.2f}, 95 % interval {interval.low:.2f} to {interval.high:.2f}")
print("Zero lies", "inside: luck explains it." if interval.low <= 0.0 else "outside.")

# %% [markdown]
# ## 2. Does it hang on a few days?
#
# A trend follower earns on few days by design. How few tells how long one may have to wait for them.

# %%
counts = np.arange(0, 31)
without = [100.0 * calendar.without_best_days(curve.daily, count=int(n)) for n in counts]
figure = go.Figure(
    go.Bar(
        x=counts, y=without, marker_color=np.where(np.array(without) > 0.0, "#2a78d6", "#c2571a")
    )
)
figure.update_layout(
    template="plotly_white", height=320, margin={"l": 60, "r": 10, "t": 10, "b": 50},
    xaxis_title="Best days left out", yaxis_title="Return of the rest, %",
)  # fmt: skip
figure

# %%
lost = next((int(n) for n, value in zip(counts, without, strict=True) if value <= 0.0), None)
print(
    f"The profit is gone without its {lost} best days."
    if lost
    else "It survives without its 30 best days."
)

# %% [markdown]
# ## 3. Would it stand out among its trials?
#
# Whoever tries N worthless strategies and shows the best shows a Sharpe ratio above zero. The expected best
# of N over this span is the bar; the deflated Sharpe ratio is the probability of being above it.

# %%
trials = np.array([2, 5, 10, 20, 50, 100, 200, 500, 1000])
variance = 1.0 / curve.years
bar = [overfitting.expected_max_sharpe(int(n), variance=variance) for n in trials]
deflated = [
    overfitting.deflated_sharpe(
        ratio / np.sqrt(year),
        len(daily),
        skew=performance.skewness(daily),
        kurtosis=performance.raw_kurtosis(daily),
        n_trials=int(n),
        variance=variance / year,
    )
    for n in trials
]
figure = go.Figure()
figure.add_scatter(x=trials, y=bar, name="Best of N without skill", line_color="#52514e")
figure.add_scatter(
    x=trials, y=np.full(len(trials), ratio), name="This strategy", line_color="#2a78d6"
)
figure.update_layout(
    template="plotly_white", height=340, margin={"l": 60, "r": 10, "t": 30, "b": 50},
    xaxis={"type": "log", "title": "Trials N", "tickvals": trials}, yaxis_title="Annual Sharpe ratio",
    legend={"orientation": "h", "y": 1.12},
)  # fmt: skip
figure

# %%
for n, value, probability in zip(trials, bar, deflated, strict=True):
    print(f"{n:>5} trials: bar {value:.2f}, deflated Sharpe ratio {probability:.2f}")

# %% [markdown]
# ## 4. Do its risk numbers hold out of sample?
#
# Each day's value at risk is forecast from the days before it alone. Losses beyond it should come on one day
# in twenty, and not in clusters.

# %%
first = int(np.flatnonzero(daily)[0])  # before the first position there is no risk to forecast
traded, days = daily[first:], curve.daily.dropna().index[first:]
window = min(250, len(traded) // 2)
forecast, _ = tail_forecasts.rolling_tail_loss(traded, window=window, tail_probability=0.05)
test = var_backtests.tail_backtest(traded, window=window, tail_probability=0.05)
exceeded = traded < -forecast
figure = go.Figure()
figure.add_bar(
    x=days[window:], y=100.0 * traded[window:], name="Daily return", marker_color="#b9c4d0"
)
figure.add_scatter(
    x=days[window:], y=-100.0 * forecast[window:], name="VaR forecast", line_color="#52514e"
)
figure.add_scatter(
    x=days[exceeded], y=100.0 * traded[exceeded], name="Exceeded", mode="markers",
    marker={"color": "#c2571a", "size": 7},
)  # fmt: skip
figure.update_layout(
    template="plotly_white", height=360, margin={"l": 60, "r": 10, "t": 30, "b": 40}, yaxis_title="%",
    legend={"orientation": "h", "y": 1.1}, bargap=0.0,
)  # fmt: skip
figure

# %%
print(
    f"exceeded on {test.failures} of {test.days} days, {test.expected_failures:.0f} expected ({test.zone})"
)
print(
    f"as often as they should: p = {test.kupiec_p:.2f}; not in clusters: p = {test.independence_p:.2f}"
)
print(f"shortfall as large as forecast: p = {test.shortfall_p:.2f}")

# %% [markdown]
# ## 5. How deep may it fall, and could it ruin the account?
#
# Ten thousand futures of a year, resampled from the record. The band counts that the record itself is only a
# sample.

# %%
block = max(bootstrap.politis_white_block(np.abs(daily)).stationary, 1.0)
future = ruin.bootstrap_ruin(
    daily, threshold=0.5, horizon_days=365, n_paths=10_000, mean_block=block, rng=rng
)
figure = go.Figure(go.Histogram(x=100.0 * future.max_drawdowns, nbinsx=60, marker_color="#2a78d6"))
measured = 100.0 * float(np.nanmin(curve.drawdown))
figure.add_vline(x=measured, line_color="#c2571a", annotation_text="this record")
figure.update_layout(
    template="plotly_white", height=320, margin={"l": 60, "r": 10, "t": 30, "b": 50},
    xaxis_title="Maximum drawdown within a year, %", yaxis_title="Futures",
)  # fmt: skip
figure

# %%
print(
    f"probability of losing half within a year: {future.probability:.2%}, band {future.low:.2%} to {future.high:.2%}"
)
for level in (-0.12, -0.20, -0.30):
    deeper = future.drawdown_probability(level)
    print(
        f"drawdown beyond {-level:.0%}: {deeper.value:.0%} (band {deeper.low:.0%} to {deeper.high:.0%})"
    )

# %% [markdown]
# ## 6. How near was liquidation?
#
# The account on its riskiest day, put before the joint hourly shocks of the year before it.

# %%
near = liquidation_risk(run)
if near is None:
    print("Nothing was held for long enough to say.")
else:
    day = to_index(np.array([near.ts_us]))[0]
    print(
        f"{day:%Y-%m-%d}: leverage {near.leverage:.2f}, liquidated within 24 h with probability",
        end=" ",
    )
    print(f"{near.estimate.probability:.3%} (± {near.estimate.standard_error:.3%})")

# %% [markdown]
# ## Verdict
#
# The next cell says it in the same words for whatever data was read above.

# %%
checks = {
    "zero lies outside the Sharpe interval": interval.low > 0.0,
    "it earns without its ten best days": without[10] > 0.0,
    "it beats the best of ten worthless strategies": ratio > bar[2],
    "its value at risk holds out of sample": test.zone == "green"
    and test.conditional_coverage_p >= 0.05,
    "ruin within a year is under 1 %, band included": future.high < 0.01,
    "24 h liquidation is under 0.5 %": near is None or near.estimate.probability < 0.005,
}
for claim, holds in checks.items():
    print("yes " if holds else "NO  ", claim)

# %% [markdown]
# **What would falsify it.** A claim of skill falls with the first NO in the first three lines: then the
# record cannot be told from luck, whatever its return. The risk claims fall with a NO in the last three. A
# yes everywhere is still one span of one market: later data, other symbols, and an honest count of trials
# decide.
