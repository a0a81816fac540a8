"""How the cases of `liquidation_probability.json` are run."""

from __future__ import annotations

import numpy as np

from quantcore.finance import first_passage as own
from tests.reference.runner import Case


def _passage(case: Case) -> dict[str, float]:
    x = case.inputs
    if "compensated" in x.get("process", "").replace("not compensated", ""):
        raise LookupError(f"jumps are not compensated here, were in {case.name}")
    jumps = own.Jumps(
        intensity=x.get("jump_intensity_per_year", 0.0),
        mean=x.get("jump_mean_log", 0.0),
        sd=x.get("jump_sd_log", 0.0),
    )
    process = own.JumpDiffusion(
        annual_vol=x["vol_annual"], annual_drift=x.get("drift_annual", 0.0), jumps=jumps
    )
    years = x["horizon_days"] / x["days_per_year"]
    probability, error = own.first_passage_with_jumps(
        x["distance_to_liquidation"],
        process,
        side={"long": 1.0, "short": -1.0}[x["side"]],
        horizon_hours=years * own.HOURS_PER_YEAR,
        rng=np.random.default_rng(1),
    )
    return {"probability": probability, "standard_error": error}


CASES = {"": _passage}
