"""Settings given in Python arrive as the values they are, and what cannot arrive is refused in one line."""

from __future__ import annotations

from datetime import date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from omegaconf import OmegaConf

from quantcore.config import compose
from quantcore.errors import ConfigError, DataGap
from quantcore.overrides import (
    cause,
    check_text,
    override_keys,
    override_list,
    place_overrides,
    told,
)


def composed(overrides: Any, node: str) -> Any:
    """What Hydra and OmegaConf make of overrides."""
    return OmegaConf.to_container(
        OmegaConf.select(compose("backtest", override_list(overrides)), node)
    )


@pytest.mark.parametrize(
    ("key", "value", "arrives"),
    [
        ("account.capital", 770, 770),
        ("account.capital", 1e-7, 1e-7),
        ("account.capital", np.float64(770.5), 770.5),
        ("account.leverage_max", np.int64(3), 3),
        ("strategy.exits.stop_loss", None, None),
        ("strategy.exits.stop_loss", True, True),
        (
            "data.root",
            "a 'quoted' \"path\" with = , [ and \\",
            "a 'quoted' \"path\" with = , [ and \\",
        ),
        ("data.root", "null", "null"),
        ("data.root", "007", "007"),
        ("data.root", Path("/a b/c"), "/a b/c"),
        ("data.root", "", ""),
        ("data.start", date(2024, 3, 1), "2024-03-01"),
        ("data.start", datetime(2024, 3, 1, 12), "2024-03-01T12:00:00"),  # noqa: DTZ001  (a user's own)
        ("data.start", pd.Timestamp("2024-03-01", tz="UTC"), "2024-03-01T00:00:00+00:00"),
        ("data.symbols", ("1000PEPEUSDT", "A,B"), ["1000PEPEUSDT", "A,B"]),
        ("data.symbols", {"B", "A"}, ["A", "B"]),
        ("data.ends", {"BTCUSDT": "2024-05-01"}, {"BTCUSDT": "2024-05-01"}),
        (
            "account.cash_flows",
            [{"ts": date(2024, 3, 1), "amount": -10.5}],
            [{"ts": "2024-03-01", "amount": -10.5}],
        ),
    ],
)
def test_a_plain_value_arrives_as_it_is(key: str, value: object, arrives: object) -> None:
    found = composed({key: value}, key.split(".")[0])
    for part in key.split(".")[1:]:
        found = found[part]
    assert found == arrives
    assert type(found) is type(arrives)


def test_a_group_is_chosen_by_its_options_name() -> None:
    assert composed({"account": "isolated"}, "account")["margin"] == "isolated"


def test_a_groups_mapping_changes_what_it_names_and_keeps_the_rest() -> None:
    account = composed({"account": {"capital": 770, "leverage_max": 2}}, "account")
    assert (account["capital"], account["leverage_max"], account["margin"]) == (770, 2, "cross")


def test_texts_are_taken_as_on_the_command_line() -> None:
    texts = ["account.capital=770", "+experiment=quickstart", "~data.ends"]
    assert override_list(texts) == override_list(tuple(texts)) == texts
    assert override_list("risk=paper") == ["risk=paper"]
    assert override_list(()) == override_list({}) == []
    assert override_keys(texts) == ["account.capital", "experiment", "data.ends"]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"account capital": 1}, r"must be the path of a setting, .* was 'account capital'"),
        ({"a=b": 1}, r"must be the path of a setting, .* was 'a=b'"),
        ({3: 1}, r"must be the path of a setting, .* was 3"),
        ({"account.capital": float("nan")}, r"account\.capital must be .* finite number.* was nan"),
        ({"account.capital": float("inf")}, r"account\.capital must be .* was inf"),
        ({"account.capital": object}, r"account\.capital must be .* was <class 'object'>"),
        ({"data.ends": {"A B": 1}}, r"data\.ends: names must be letters, .* was 'A B'"),
        (["account.capital"], r"an override must be text key=value, was 'account\.capital'"),
        (["--multirun"], r"an override must be text key=value, was '--multirun'"),
        ([("account.capital", 1)], r"an override must be text key=value, was \("),
        (7, r"overrides must be a mapping or texts key=value, was int"),
        (None, r"overrides must be a mapping or texts key=value, was NoneType"),
    ],
)
def test_what_is_no_override_is_refused(overrides: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as refused:
        override_list(overrides)
    assert "\n" not in str(refused.value)


def test_a_place_is_an_option_a_folder_or_a_store(tmp_path: Path) -> None:
    assert place_overrides("synthetic") == ["data='synthetic'"]
    assert place_overrides(tmp_path) == ["data='folder'", f"data.root='{tmp_path}'"]
    assert place_overrides(str(tmp_path)) == place_overrides(tmp_path)
    (tmp_path / "kind=klines").mkdir()
    assert place_overrides(tmp_path) == ["data='store'", f"data.root='{tmp_path}'"]
    assert place_overrides("s3://bucket/store") == ["data='store'", "data.root='s3://bucket/store'"]


def test_a_home_folder_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert place_overrides("~/x")[1] == f"data.root='{tmp_path}/x'"


@pytest.mark.parametrize("place", ["", 3, None])
def test_what_is_no_place_is_refused(place: Any) -> None:
    with pytest.raises(ConfigError, match="data must be synthetic, store, or the path"):
        place_overrides(place)


@pytest.mark.parametrize("value", ["", 3, None])
def test_what_must_be_text_is_refused_otherwise(value: object) -> None:
    assert check_text("trend", "experiment") == "trend"
    with pytest.raises(ConfigError, match="experiment must be text, was"):
        check_text(value, "experiment")


def test_a_refusal_is_one_line_in_a_notebook_and_names_no_command_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    error = DataGap("account.capital must be > 0, was -1 (command line)")
    again = told(error)
    assert type(again) is DataGap
    assert str(again) == "account.capital must be > 0, was -1 (overrides)"
    shown = vars(again)["_render_traceback_"]()
    assert shown == ["\x1b[31mDataGap\x1b[0m: account.capital must be > 0, was -1 (overrides)"]
    assert cause(error) is None
    monkeypatch.setenv("QUANTCORE_TRACEBACK", "1")
    assert "_render_traceback_" not in vars(told(error))
    assert cause(error) is error
