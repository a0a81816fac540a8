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
# # How much of the best of many parameter sets is luck?
#
# **Claim.** A sweep always has a best set, also where there is nothing to find. What tells luck from an edge is not
# how good the best set looks but three questions: is it above the best that luck alone would show, does what is best
# in one half of the time stay good in the other, and do its neighbours share it?
#
# **Data.** Invented markets of ten coins, 4-hourly over two years, whose truth is known. Four hold nothing: no price
# can be predicted (seeds 1 to 4, taken as they come). The fifth is the first with trends planted in it.
#
# **Method.** The same forty trend followers are swept over each, with all costs. The best of each is deflated by the
# number of independent trials among the forty (Bailey and López de Prado 2014), its choice is tested on halves of the
# record (PBO, Bailey and others 2017), and its neighbours on the grid are looked at.

# %%
import numpy as np
import plotly.graph_objects as go

import quantcore as qc
from quantcore.data.planted import plant_trends
from quantcore.data.synthetic import DEFAULT_SYMBOLS, SyntheticMarket, generate
from quantcore.finance.overfitting import expected_max_sharpe

# %%
SEEDS = (1, 2, 3, 4)
DRIFT, HALF_LIFE = 2.0, 20.0  # a year, and days: strong trends
BLUE, ORANGE, GREY = "#3b7dd8", "#d4631c", "#8a94a3"


def nothing(seed: int) -> qc.Bars:
    """Return a market in which no price can be predicted."""
    market = SyntheticMarket(
        interval="4h", symbols=DEFAULT_SYMBOLS[:10], first_day="2023-01-01", days=731, seed=seed, late_listings=0
    )  # fmt: skip
    return generate(market)


markets = {f"nothing, seed {seed}": nothing(seed) for seed in SEEDS}
markets["planted trends"] = plant_trends(
    markets["nothing, seed 1"], annual_drift=DRIFT, half_life_days=HALF_LIFE, rng=np.random.default_rng(SEEDS[0])
)  # fmt: skip

# %%
PARAMETERS = {
    "strategy.fast": [4, 8, 16, 32, 64],
    "strategy.slow": [96, 144, 192, 288],
    "strategy.volatility_half_life": [24, 96],
}
FIXED = {"portfolio.volatility_half_life": 48, "portfolio.covariance_half_life": 96}
swept = {
    name: qc.sweep("quickstart", PARAMETERS, FIXED, data=bars) for name, bars in markets.items()
}

# %% [markdown]
# ## 1. Every sweep has a best set
#
# One dot is one set. The bar is what the best of as many independent trials would be expected to show without any
# skill, over a record of this length. Forty sets of one strategy are far fewer independent trials than forty: they
# hold nearly the same positions, and so a whole market of them can be lucky at once.

# %%
figure = go.Figure()
rng = np.random.default_rng(0)  # places of the dots within their column only
for place, (name, sweep) in enumerate(swept.items()):
    ratios = sweep.table["sharpe"].to_numpy()
    colour = BLUE if name == "planted trends" else GREY
    figure.add_scatter(
        x=place + rng.uniform(-0.18, 0.18, len(ratios)), y=ratios, mode="markers", name=name, showlegend=False,
        marker={"color": colour, "size": 6, "opacity": 0.6}, hovertemplate="%{y:.2f}<extra>" + name + "</extra>",
    )  # fmt: skip
    figure.add_scatter(
        x=[place], y=[ratios.max()], mode="markers", name="Best set", showlegend=place == 0,
        marker={"color": "rgba(0,0,0,0)", "size": 13, "line": {"color": colour, "width": 2}},
    )  # fmt: skip
    figure.add_scatter(
        x=[place - 0.3, place + 0.3], y=[sweep.luck] * 2, mode="lines", name="Expected best of luck",
        showlegend=place == 0, line={"color": ORANGE, "width": 3},
    )  # fmt: skip
figure.add_hline(y=0.0, line_color=GREY, line_width=1)
figure.update_layout(
    template="plotly_white", height=400, margin={"l": 60, "r": 10, "t": 40, "b": 40},
    yaxis_title="Sharpe ratio, annual", xaxis={"tickvals": list(range(len(swept))), "ticktext": list(swept)},
    legend={"orientation": "h", "y": 1.12},
)  # fmt: skip
figure

# %%
for name, sweep in swept.items():
    found = sweep.summary
    print(f"{name:<16} best {sweep.best.metrics['sharpe']:+.2f}", end=", ")
    print(f"{found['trials']:.0f} independent trials, luck {sweep.luck:.2f}", end=", ")
    print(f"deflated {found['dsr']:.0%}, PBO {found['pbo']:.0%}")

# %% [markdown]
# ## 2. How high luck reaches
#
# The expected best of N worthless independent trials grows without end, if slowly, and shrinks with the root of the
# length of the record. A ratio that would be remarkable of one trial over four years is nothing as the best of many
# over one.

# %%
trials = np.array([1, 2, 3, 5, 10, 20, 40, 100, 300, 1000])
figure = go.Figure()
for years, colour in ((1, ORANGE), (2, GREY), (4, BLUE)):
    figure.add_scatter(
        x=trials, y=[expected_max_sharpe(int(n), variance=1.0 / years) for n in trials],
        name=f"{years} year{'s' * (years > 1)} of data", mode="lines+markers", line_color=colour,
    )  # fmt: skip
figure.update_layout(
    template="plotly_white", height=340, margin={"l": 60, "r": 10, "t": 40, "b": 50},
    xaxis={"type": "log", "title": "Independent trials", "tickvals": trials},
    yaxis_title="Expected best Sharpe ratio of luck", legend={"orientation": "h", "y": 1.14},
)  # fmt: skip
figure

# %% [markdown]
# ## 3. A peak or a plateau
#
# The same two parameters over the luckiest of the empty markets, and over the one with trends. Luck can draw a
# plateau too, because neighbours hold nearly the same positions. So a plateau is necessary, not sufficient.

# %%
luckiest = max(list(swept)[:-1], key=lambda name: swept[name].best.metrics["sharpe"])
print(luckiest)
swept[luckiest].plot()

# %%
swept[luckiest]

# %%
print("planted trends")
swept["planted trends"].plot()

# %%
swept["planted trends"]

# %% [markdown]
# ## 4. Which set to take
#
# Not the best one but the centre of the best plateau: it gives up a little of the best number, and that little was
# the luckiest part of it. Both are sets that can be handed on to `qc.backtest`.

# %%
planted = swept["planted trends"]
print("best  ", planted.best)
print("rather", planted.rather)
run = qc.backtest("quickstart", {**FIXED, **planted.rather}, data=markets["planted trends"])
run

# %% [markdown]
# ## Verdict
#
# In the same words for whatever was found above.

# %%
questions = {
    "more than the luck of its trials (deflated Sharpe ratio from 95 %)": lambda sweep: (
        sweep.summary["dsr"] >= 0.95
    ),
    "good in the other half of the time as well (PBO under 50 %)": lambda sweep: (
        sweep.summary["pbo"] < 0.5
    ),
    "on a plateau": lambda sweep: sweep.swept.found.peak.holds is True,
}
empty = list(swept.values())[:-1]
for question, passes in questions.items():
    print(question)
    print(f"   empty markets {sum(map(passes, empty))} of {len(empty)}", end=", ")
    print("planted trends", "yes" if passes(planted) else "NO")
standing = [sweep for sweep in empty if all(passes(sweep) for passes in questions.values())]
print(f"all three: empty markets {len(standing)} of {len(empty)}", end=", ")
print("planted trends", "yes" if all(passes(planted) for passes in questions.values()) else "NO")

# %% [markdown]
# Planted trends pass. Most empty markets do not, however good their best set looks. But one does, and it was taken as
# it came: its forty sets were lucky together, and nothing within a single record can tell that from skill.
#
# How often does that happen? Over the empty markets of seeds 1 to 400, run once beside this notebook with the same
# forty sets, 22 of the best sets passed the deflated Sharpe ratio at 95 %: 5.5 %, where 5 % is what such a level
# promises. Fourteen of them had a PBO below one half as well. So the level is kept, and still one worthless sweep in
# twenty passes it. What passes has earned a walk-forward (`06_walk_forward`), not money.
#
# **What would falsify it.** If trends as strong as these did not pass, the bar would be too high; they are strong on
# purpose: at 1.5 instead of 2.0 and over one year, the best set's 2.0 reached a deflated Sharpe ratio of 94 %. If
# empty markets passed all three questions as often as markets with trends, the questions would be worth nothing. And
# none of this counts trials that were made elsewhere and not written down: the ledger knows only what ran through it.
