"""A run as a notebook sees it: the same numbers as elsewhere, tables that keep the run whole, pages that are whole."""

from __future__ import annotations

import html
import json
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from quantcore.backtest.curves import curves
from quantcore.backtest.entrance import open_run
from quantcore.backtest.metrics import compute_metrics, run_trades
from quantcore.backtest.page import Page
from quantcore.backtest.report import open_folder
from quantcore.backtest.result import METRIC_KEYS, RUN_TABLES, Run
from quantcore.backtest.run_cards import GROUPS, Metrics, metric_text
from quantcore.backtest.view import NewRun, OpenedRun
from quantcore.errors import ConfigError, DataGap, SchemaMismatch

SETTINGS = "data:\n  execution_interval: 1h\n  interval: 1h\nname: fake\n"


@pytest.fixture(scope="module")
def view(run: Run) -> NewRun:
    return NewRun(name="fake", result=Run(**{**vars(run), "config_yaml": SETTINGS}))


@pytest.fixture(scope="module")
def opened(view: NewRun, tmp_path_factory: pytest.TempPathFactory) -> OpenedRun:
    return open_run(view.save(tmp_path_factory.mktemp("runs")))


def test_metrics_are_those_of_the_command(view: NewRun, run: Run) -> None:
    assert view.metrics == compute_metrics(run)
    assert json.loads(json.dumps(view.metrics)) == view.metrics
    compared = pd.DataFrame({"one": view.metrics, "two": view.metrics})
    assert compared.loc["final_equity", "two"] == view.metrics["final_equity"]


def test_changing_what_was_handed_out_changes_nothing(view: NewRun) -> None:
    view.metrics["sharpe"] = 99.0
    assert view.metrics["sharpe"] != 99.0
    for name in ("equity", "fills", "trades", "targets", "positions"):
        before = getattr(view, name).copy()
        table = getattr(view, name)
        table.iloc[0, 0] = table.iloc[-1, 0]
        del table[table.columns[1]]
        pd.testing.assert_frame_equal(getattr(view, name), before)


def test_tables_are_those_of_the_run(view: NewRun, run: Run) -> None:
    for name in RUN_TABLES:
        table = getattr(view, name)
        expected = run.tables[name].set_index("ts") if name == "equity" else run.tables[name]
        pd.testing.assert_frame_equal(table, expected)
    pd.testing.assert_frame_equal(view.trades, run_trades(run))
    daily = curves(run).daily
    np.testing.assert_array_equal(view.daily_returns, daily)
    assert view.daily_returns.name == "daily_return"


def test_a_run_tells_its_settings_and_notes(view: NewRun, run: Run) -> None:
    assert view.config["data"] == {"interval": "1h", "execution_interval": "1h"}
    assert view.manifest == {"experiment": "fake", "seed": 7}
    assert view.notes == run.notes
    assert view.bars is view.result.bars
    with pytest.raises(DataGap, match="signals must be part of the run, which has none"):
        _ = view.signals


def test_a_run_says_what_became_of_the_money(view: NewRun) -> None:
    assert repr(view) == (
        f"fake: 1,000.00 USDT became {view.metrics['final_equity']:,.2f}; 2023-01-01 to 2023-03-02, "
        "3 symbols, 1h decisions"
    )


def test_its_card_holds_the_headline_and_how_far_to_believe_it(view: NewRun) -> None:
    shown = NewRun(name="<fake>", result=view.result)._repr_html_()
    assert "&lt;fake&gt;" in shown
    assert html.escape(view.verdict) in shown
    assert f"{view.metrics['final_equity']:,.2f}" in shown
    assert "1h execution bars" in shown
    assert "None" not in shown
    assert "nan" not in shown


def test_the_card_of_a_run_without_a_fill_has_no_empty_sentences(
    make_run: Callable[..., Run],
) -> None:
    idle = NewRun(name="idle", result=make_run(orders_per_bar=0.0, days=30, liquidation_at=None))
    shown = idle._repr_html_()
    assert "Nothing was traded" in shown
    assert "None" not in shown
    assert "– gained" not in shown


def test_metrics_show_every_key_once_with_its_unit(view: NewRun) -> None:
    shown = view.metrics._repr_html_()
    for key in METRIC_KEYS:
        assert shown.count(f"<span>{key}</span>") == 1, key
    assert len(repr(view.metrics).splitlines()) == len(METRIC_KEYS)
    assert len({key for keys in GROUPS.values() for key in keys} - set(METRIC_KEYS)) == 0


@pytest.mark.parametrize(
    ("key", "value", "text"),
    [
        ("start", "2024-01-01T01:00:00+00:00", "2024-01-01 01:00"),
        ("total_return", 0.0123, "+1.2 %"),
        ("max_drawdown", -0.1234, "−12.3 %"),
        ("ruin_probability", 0.0009, "0.09 %"),
        ("fees", 1234.567, "1,234.57"),
        ("mean_slippage_bps", 1.876, "1.88 bps"),
        ("trades", 1234, "1,234"),
        ("sharpe", 0.274, "0.27"),
        ("dsr", None, "–"),
    ],
)
def test_a_metric_reads_as_people_write_it(key: str, value: object, text: str) -> None:
    assert metric_text(key, value) == text


def test_metrics_without_a_key_show_the_others() -> None:
    assert repr(Metrics({"sharpe": 1.0})) == "sharpe  1.00"
    assert "Costs" not in Metrics({"sharpe": 1.0})._repr_html_()


def test_a_run_is_pickled_without_what_was_derived(view: NewRun, run: Run) -> None:
    fresh = len(pickle.dumps(NewRun(name="fake", result=view.result)))
    assert view.metrics
    assert view._tearsheet
    assert len(pickle.dumps(view)) == fresh
    again = pickle.loads(pickle.dumps(view))
    assert again.metrics == view.metrics
    pd.testing.assert_frame_equal(again.result.tables["fills"], run.tables["fills"])


def test_what_was_derived_is_kept(view: NewRun) -> None:
    assert view._metrics is view._metrics
    assert view.curve is view.curve


def test_the_tearsheet_is_that_of_the_results_folder(view: NewRun, opened: OpenedRun) -> None:
    assert view.tearsheet().html == (opened.saved.folder / "tearsheet.html").read_text("utf-8")
    assert opened.tearsheet().html == view.tearsheet().html


def test_the_tearsheet_is_written_where_it_is_wanted(view: NewRun, tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    path.write_text("older")
    page = view.tearsheet(str(path))
    assert page.path == path
    assert path.read_text("utf-8") == page.html
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("name", "rule"),
    [
        ("", "must be a file, was a folder"),
        ("none/report.html", "must lie in a folder that exists"),
    ],
)
def test_a_tearsheet_is_not_written_where_it_cannot_be(
    view: NewRun, tmp_path: Path, name: str, rule: str
) -> None:
    with pytest.raises(ConfigError, match=rule):
        view.tearsheet(tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_a_write_that_fails_leaves_the_older_page(
    view: NewRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "report.html"
    path.write_text("older")

    def full(self: Path, *_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(ConfigError, match=r"path must be writable, was .*: No space left"):
        view.tearsheet(path)
    assert path.read_text() == "older"
    assert list(tmp_path.iterdir()) == [path]


def test_a_page_stands_in_a_frame_of_its_own(tmp_path: Path) -> None:
    source = '<p title="a &amp; b">x</p>'
    shown = Page(source)._repr_html_()
    inner = shown.split('srcdoc="')[1].split('"')[0]
    assert html.unescape(inner) == source
    assert Page(source, tmp_path / "<x>.html")._repr_html_().startswith("<p>Written to ")
    assert "<x>" not in Page("", tmp_path / "<x>.html")._repr_html_()
    assert repr(Page(source)) == "page of 26 characters, not written to a file"


def test_the_plot_has_the_theme_that_was_asked_for(view: NewRun) -> None:
    assert view.plot().layout.font.color == "#7b818b"
    assert view.plot(theme="dark").layout.font.color == "#9aa4b2"
    with pytest.raises(ValueError, match="theme must be one of"):
        view.plot(theme="sepia")


def test_the_summary_is_what_the_command_prints(
    view: NewRun, opened: OpenedRun, capsys: pytest.CaptureFixture[str]
) -> None:
    view.summary()
    printed = capsys.readouterr().out
    assert printed.startswith("fake  2023-01-01 to 2023-03-02, 3 symbols, 1h decisions\n")
    assert "Scorecard" in printed
    opened.summary()
    again = capsys.readouterr().out
    # What else was tried, and the notes, stand only in the page of a results folder.
    assert again.partition("trials:")[0] == printed.partition("trials:")[0]
    assert "was not counted when it was run" in again


def test_an_opened_run_is_the_run_that_was_saved(view: NewRun, opened: OpenedRun) -> None:
    assert opened.name == "fake"
    assert opened.metrics == view.metrics
    for name in RUN_TABLES:
        found, wanted = (
            table.astype(object).where(table.notna(), None)
            for table in (getattr(opened, name), getattr(view, name))
        )
        pd.testing.assert_frame_equal(found, wanted, check_freq=False)
    pd.testing.assert_series_equal(opened.daily_returns, view.daily_returns)
    assert opened.verdict == view.verdict
    assert repr(opened) == repr(view)
    assert opened.config == view.config
    assert opened.manifest == view.manifest
    names = [trace.name for trace in opened.plot().data]
    assert names == [trace.name for trace in view.plot().data if trace.name != "BTC held"]
    assert "BTC held" in opened._repr_html_()


def test_an_opened_run_refuses_what_its_folder_does_not_keep(opened: OpenedRun) -> None:
    for name in ("bars", "signals"):
        with pytest.raises(DataGap, match=f"{name} are not kept in a results folder"):
            getattr(opened, name)
    with pytest.raises(DataGap, match="a run that was opened is saved already, in "):
        opened.save()


def test_a_run_is_saved_only_where_it_can_be(view: NewRun, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="runs must be a writable folder"):
        view.save(tmp_path / "file")


@pytest.mark.parametrize("missing", ["metrics.json", "config.yaml", "trades.parquet"])
def test_a_folder_that_lacks_a_file_is_refused(view: NewRun, tmp_path: Path, missing: str) -> None:
    folder = view.save(tmp_path)
    (folder / missing).unlink()
    with pytest.raises(DataGap, match=f"must hold {missing}, .* does not"):
        open_run(str(folder))


@pytest.mark.parametrize("damaged", ["metrics.json", "fills.parquet"])
def test_a_folder_with_a_damaged_file_is_refused(
    view: NewRun, tmp_path: Path, damaged: str
) -> None:
    folder = view.save(tmp_path)
    (folder / damaged).write_bytes(b"{")
    with pytest.raises(SchemaMismatch, match="must be readable, was not") as refused:
        open_run(folder)
    assert "\n" not in str(refused.value)


def test_a_folder_without_the_interval_or_the_page_is_refused_when_they_are_needed(
    view: NewRun, tmp_path: Path
) -> None:
    folder = view.save(tmp_path)
    (folder / "config.yaml").write_text("name: fake\n")
    (folder / "tearsheet.html").unlink()
    with pytest.raises(SchemaMismatch, match=r"config\.yaml must hold data\.interval, does not"):
        _ = open_folder(folder).interval
    with pytest.raises(DataGap, match=r"must hold tearsheet\.html"):
        open_run(folder).tearsheet()
