"""The ledger of what was tried, and how many independent trials that makes.

A backtest is the best of everything that was looked at before it. So every backtest, sweep and fold writes a line to a
ledger, and every report deflates its Sharpe ratio by what it finds there:

>>> from quantcore.research.trials import open_ledger
>>> open_ledger("off") is None
True

`identity` says when two trials are the same, `market` when two sets of bars are, `entries` what a line holds, `ledger`
where it is kept, `clusters` how many trials are independent, `count` what a report makes of it, and `record` is what
the commands call.
"""

from quantcore.research.trials.count import TrialCount, count_trials
from quantcore.research.trials.identity import SETTINGS, trial_hash, trial_hashes
from quantcore.research.trials.ledger import Contents, Ledger, open_ledger
from quantcore.research.trials.market import Market
from quantcore.research.trials.record import Occasion, Recorded, record_run, record_sets

__all__ = [
    "SETTINGS", "Contents", "Ledger", "Market", "Occasion", "Recorded", "TrialCount", "count_trials", "open_ledger",
    "record_run", "record_sets", "trial_hash", "trial_hashes",
]  # fmt: skip
