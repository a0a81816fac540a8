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
# # Does choosing parameters survive the future?
#
# **Claim.** What a parameter set earned before it was chosen says little about what it earns afterwards, unless there
# is something to find. Walking forward tells the two apart, and the best number of a sweep does not.
#
# **Data.** Two invented markets of ten coins, 4-hourly over two years, whose truth is known: one in which no price
# can be predicted, and the same one with trends planted in it (seed 5 of both, taken as it comes).
#
# **Method.** Forty trend followers. On each training span one is chosen by its deflated Sharpe ratio and traded in
# the test after it, with days left out between the two; the tests are joined in one account. Beside it combinatorial
# purged cross-validation (López de Prado 2018, ch. 12) tests the choice on many records instead of one, and the
# probability of backtest overfitting (Bailey and others 2017) asks whether the best of one half is any good in the
# other.

# %%
import numpy as np
import pandas as pd
import plotly.graph_objects as go

import quantcore as qc
from quantcore.data.planted import plant_trends
from quantcore.data.synthetic import DEFAULT_SYMBOLS, SyntheticMarket, generate

# %%
SEED = 5
DRIFT, HALF_LIFE = 2.0, 20.0  # a year, and days: strong trends, to be found within two years
BLUE, ORANGE, GREY = "#3b7dd8", "#d4631c", "#8a94a3"
market = SyntheticMarket(
    interval="4h", symbols=DEFAULT_SYMBOLS[:10], first_day="2023-01-01", days=731, seed=SEED, late_listings=0
)  # fmt: skip
nothing = generate(market)
planted = plant_trends(
    nothing, annual_drift=DRIFT, half_life_days=HALF_LIFE, rng=np.random.default_rng(SEED)
)
markets = {"nothing to find": nothing, "planted trends": planted}

# %%
PARAMETERS = {
    "strategy.fast": [4, 8, 16, 32, 64],
    "strategy.slow": [96, 144, 192, 288],
    "strategy.volatility_half_life": [24, 96],
}
FIXED = {"portfolio.volatility_half_life": 48, "portfolio.covariance_half_life": 96}
HOW = {"walk_forward.folds": 6, "walk_forward.groups": 8, "walk_forward.test_groups": 2}
walked = {
    name: qc.walk_forward("quickstart", PARAMETERS, {**FIXED, **HOW}, data=bars)
    for name, bars in markets.items()
}
empty, found = walked.values()

# %% [markdown]
# ## 1. What was promised, and what came
#
# Each pair of bars is one test: what the chosen set showed in its training, and what it brought in the days after.
# The dash is the mean of all sets in the same days, which nobody had to choose.

# %%
print("Nothing to find")
empty.plot("folds")

# %%
print("Planted trends")
found.plot("folds")

# %%
rows = {
    name: {
        "promised in training": one.summary["sharpe_promised"],
        "brought in the tests": one.summary["sharpe_chosen"],
        "joined account": one.summary["sharpe_oos"],
        "mean of all sets": one.summary["sharpe_mean_of_sets"],
        "best in hindsight": one.summary["sharpe_best_in_hindsight"],
    }
    for name, one in walked.items()
}
pd.DataFrame(rows).round(2)

# %% [markdown]
# ## 2. Inside the sample against outside of it
#
# The record is cut into blocks, and these into halves in every way there is. A dot is one such cut: the best set of
# one half, and what the same set brought in the other half. Were the past worth what it shows, the dots would lie on
# the diagonal. A line that falls is no law of the market: what one half has taken of the whole record, the other half
# lacks.

# %%
figure = go.Figure()
for (name, one), colour in zip(walked.items(), (GREY, BLUE), strict=True):
    halves = one.overfitting.iloc[:: max(len(one.overfitting) // 600, 1)]
    figure.add_scatter(
        x=halves["in_sample"], y=halves["out_of_sample"], mode="markers", name=name,
        marker={"color": colour, "size": 5, "opacity": 0.55},
        hovertemplate="in %{x:.2f}, out %{y:.2f}<extra></extra>",
    )  # fmt: skip
top = max(float(one.overfitting["in_sample"].max()) for one in walked.values())
figure.add_scatter(
    x=[0.0, top], y=[0.0, top], mode="lines", name="kept in full", line={"color": ORANGE, "dash": "dot"},
)  # fmt: skip
figure.add_hline(y=0.0, line_color=GREY, line_width=1)
figure.update_layout(
    template="plotly_white", height=420, margin={"l": 60, "r": 10, "t": 40, "b": 50},
    xaxis_title="Sharpe ratio of the best set in one half", yaxis_title="Of the same set in the other half",
    legend={"orientation": "h", "y": 1.1},
)  # fmt: skip
figure

# %%
for name, one in walked.items():
    s = one.summary
    print(f"{name}: PBO {s['pbo']:.0%}", end=", ")
    print(f"loses in the other half with probability {s['probability_of_loss']:.0%}")

# %% [markdown]
# ## 3. Many records instead of one
#
# Walking forward makes one record, and one record can be lucky. Cross-validation tests two of eight groups of days at
# a time with what was chosen on the other six, days next to the test left out, and puts the tests together to seven
# records. Every one of them covers all days and has seen none of them in its choice.

# %%
figure = go.Figure()
for (name, one), colour in zip(walked.items(), (GREY, BLUE), strict=True):
    s = one.summary
    figure.add_scatter(
        x=one.paths["sharpe"], y=[name] * len(one.paths), mode="markers", name=name, showlegend=False,
        marker={"color": colour, "size": 10, "opacity": 0.7}, hovertemplate="%{x:.2f}<extra></extra>",
    )  # fmt: skip
    for value, symbol, label in (
        (s["sharpe_promised"], "diamond-open", "Promised in training"),
        (s["sharpe_oos"], "line-ns-open", "Walk-forward, joined account"),
    ):
        figure.add_scatter(
            x=[value], y=[name], mode="markers", name=label, showlegend=one is empty,
            marker={"symbol": symbol, "size": 18, "color": ORANGE, "line": {"width": 3}},
            hovertemplate=label + " %{x:.2f}<extra></extra>",
        )  # fmt: skip
figure.add_vline(x=0.0, line_color=GREY, line_width=1)
figure.update_layout(
    template="plotly_white", height=280, margin={"l": 120, "r": 10, "t": 50, "b": 50},
    xaxis_title="Sharpe ratio, annual: dots are the records of cross-validation",
    yaxis={"categoryorder": "array", "categoryarray": list(walked)[::-1]},
    legend={"orientation": "h", "y": 1.25},
)  # fmt: skip
figure

# %% [markdown]
# ## 4. The account that chose for itself
#
# The joined account is a run like any other, beside the experiment's own settings that never changed.

# %%
print("Nothing to find")
empty.plot()

# %%
print("Planted trends")
found.plot()

# %%
found.run

# %% [markdown]
# Was choosing better than leaving the settings alone? The two accounts traded the same days, so that their daily
# returns can be compared in pairs.

# %%
qc.compare([found.own, found.run])

# %% [markdown]
# ## Verdict
#
# Each in the words of its own report.

# %%
empty

# %%
found

# %%
checks = {
    "with nothing to find, the joined account does not hold": empty.summary["verdict"] != "holds",
    "and choosing is hardly better than drawing lots": empty.summary["pbo"] >= 0.4,
    "and the tests bring less than was promised": empty.summary["sharpe_chosen"]
    < empty.summary["sharpe_promised"],
    "with trends, the joined account holds": found.summary["verdict"] == "holds",
    "and so does every record of cross-validation": bool((found.paths["sharpe"] > 0.0).all()),
    "and choosing is better than drawing lots": found.summary["pbo"] < 0.4,
}
for claim, holds in checks.items():
    print("yes " if holds else "NO  ", claim)

# %% [markdown]
# **What would falsify it.** If the empty market held out of sample in clearly more than one seed of forty, the test
# would let luck through. If trends as strong as these did not hold, it would be blind.
# The trends are strong on purpose: at 1.5 instead of 2.0 this seed stays undecided, with a PBO of 70 %, because all
# sets then earn about the same. Neither says that a market of
# tomorrow is like the record: walking forward tests the choice, and takes for granted that what could be found before
# can be found again. And who walks forward often enough, changing the sets until it holds, has made the tests part of
# the training; the ledger of trials counts that.
