from __future__ import annotations

import pickle

import pytest

from quantcore.config import compose
from quantcore.errors import ConfigError
from quantcore.research.study import Study, study_of
from quantcore.signals.fixed import FixedSettings


@pytest.fixture(scope="module")
def study() -> Study:
    narrow = ["data.n_symbols=2", "data.days=60", "data.late_listings=0"]
    return study_of(compose("sweep", ["+experiment=quickstart", *narrow]))


def test_a_set_means_what_the_same_overrides_mean_on_the_command_line(study: Study) -> None:
    values = {
        "strategy.fast": 24,
        "account.capital": 770,
        "portfolio": "fixed",
        "portfolio.weight": 0.1,
    }
    built = study.variant(values)
    assert built.signal.strategy.fast == 24
    assert built.account.capital == 770.0
    assert built.signal.portfolio == FixedSettings(weight=0.1)
    cfg = study.configured(values)
    assert (cfg.strategy.fast, cfg.account.capital, cfg.portfolio.weight) == (24, 770, 0.1)


def test_the_study_itself_is_left_as_it_was(study: Study) -> None:
    before = study.variant({})
    study.variant({"strategy.fast": 7, "risk": "prod"})
    assert study.variant({}) == before
    assert before.risk is None


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"strategy.fast": 500}, "strategy.slow must be > fast = 500, was 192"),
        ({"strategy.fast": "many"}, "strategy.fast must be a whole number, was 'many'"),
        ({"portfolio": "nope"}, "no portfolio 'nope'"),
        ({"risk.leverage_max": 2.0}, "risk.leverage_max must be a setting of the chosen options"),
    ],
)
def test_what_a_set_cannot_be_is_refused(
    study: Study, values: dict[str, object], told: str
) -> None:
    with pytest.raises(ConfigError, match=told):
        study.variant(values)


def test_sets_that_differ_in_the_account_alone_share_a_signal_plane(study: Study) -> None:
    one, other = {"strategy.fast": 5, "account.capital": 1}, {"strategy.fast": 5, "risk": "prod"}
    assert study.signal_key(one) == study.signal_key(other)
    assert study.signal_key(one) != study.signal_key({"strategy.fast": 6})
    assert study.portfolio_key({"strategy.fast": 5}) == study.portfolio_key({"strategy.fast": 6})


def test_whether_a_universe_reviews_the_symbols_cannot_vary(study: Study) -> None:
    with pytest.raises(ConfigError, match="universe must be reviewed in all sets or in none"):
        study.decided({"universe": "liquid"})


def test_a_study_can_be_sent_to_another_process(study: Study) -> None:
    study.prepare([{"portfolio": "risk_parity"}])
    there = pickle.loads(pickle.dumps(study))
    values = {"portfolio": "risk_parity", "strategy.fast": 9}
    assert there.variant(values) == study.variant(values)
    assert there.data.bars.fingerprint() == study.data.bars.fingerprint()
