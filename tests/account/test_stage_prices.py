"""A stage among symbols of which some have no price yet."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from quantcore.account_plane import market_arrays
from quantcore.kernels import layout as at
from quantcore.kernels.layout import Account
from quantcore.risk.stage import hold_what_fits
from tests.account.random_cases import Case, case_bars, case_plane
from tests.account.several import NAN, limits


def test_a_symbol_without_a_price_is_left_out_also_where_the_kernel_runs_interpreted() -> None:
    case = Case(risk=limits(size_limit=0.5), n_bars=2, marks=False, capital=1e5, leverage=1)
    plane, made = case_plane(case), case_bars(case)
    closes = made.array("close").copy()
    closes[:, 1] = NAN
    market = market_arrays(replace(made, fields={**made.fields, "close": closes}))
    state = plane.start().copies()
    account = Account(**{name: state[name] for name in Account._fields})
    allowed, forced = np.array([[0.4, 0.4, 0.4]]), np.zeros(3, dtype=np.bool_)
    hold_what_fits(account, plane.rules, market, 0, plane.config, allowed, forced)
    assert allowed[0, 1] == 0.0
    assert 0.55 < allowed.sum() <= 0.6  # half of what is wanted, spread over the other two
    assert account.held[:, at.CHOSEN].tolist() == [1, 0, 1]
