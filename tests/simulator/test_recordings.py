"""Recorded lines are read as they were sent, in all their forms, and what is wrong with them is told in one line."""

from __future__ import annotations

import bz2
import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from live.simulator import recorded_lines
from live.simulator.recordings import read_recording
from quantcore.errors import ConfigError, DataGap, QuantcoreError
from tests.simulator.recording_made import START_MS, START_US, SYMBOL, Lines, snapshot


def some(*, wrapped: bool = True) -> Lines:
    return (
        Lines(wrapped=wrapped)
        .touch(0, ("99.9", "2"), ("100.1", "3"))
        .trade(10, "100.1", "0.5", n=3)
        .depth(100, [("99.9", "0"), ("99.8", "4")], [("100.2", "1.25")])
        .trade(150, "99.8", "1.5", sold=True)
        .mark(1000, "100.01", "0.00012", START_MS + 60_000)
        .depth(200, [], [("100.2", "0")])
    )


@pytest.mark.parametrize("wrapped", [True, False])
def test_all_kinds_are_read_with_their_numbers(tmp_path: Path, wrapped: bool) -> None:
    found = read_recording(some(wrapped=wrapped).write(tmp_path / "a.jsonl"))
    assert (found.start_us, found.last_us) == (START_US, START_US + 1_000_000)
    assert found.notes == ()
    events = found.symbols[SYMBOL].events
    prints = events["aggTrade"]
    assert prints.time_us.tolist() == [START_US + 10_000, START_US + 150_000]
    assert {name: column.tolist() for name, column in prints.columns.items() if name != "T"} == {
        "a": [70, 71], "f": [500, 503], "l": [502, 503], "p": [100.1, 99.8], "q": [0.5, 1.5],
        "m": [False, True],
    }  # fmt: skip
    touches = events["bookTicker"].columns
    assert [touches[name].tolist() for name in "bBaA"] == [[99.9], [2.0], [100.1], [3.0]]
    differences = events["depthUpdate"]
    assert differences.columns["pu"].tolist() == [9000, 9020]
    assert differences.levels["b"].offset.tolist() == [0, 2, 2]
    assert differences.levels["b"].price.tolist() == [99.9, 99.8]
    assert differences.levels["a"].qty.tolist() == [1.25, 0.0]
    marks = events["markPriceUpdate"].columns
    assert [marks[name].tolist() for name in "prT"] == [[100.01], [0.00012], [START_MS + 60_000]]


def test_both_forms_may_stand_in_one_file_and_blocks_and_files_join(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorded_lines, "_BLOCK_BYTES", 150)
    whole = some()
    (tmp_path / "b.jsonl").write_text("\n".join(whole.lines[3:]), encoding="utf-8")
    first = [json.dumps(json.loads(line)["message"]) for line in whole.lines[:3]]
    (tmp_path / "a.jsonl").write_text("\n\n".join(first) + "\n\n", encoding="utf-8")
    joined = read_recording(tmp_path).symbols[SYMBOL].events
    alone = read_recording(whole.write(tmp_path / "alone.jsonl")).symbols[SYMBOL].events
    for kind, events in alone.items():
        assert joined[kind].time_us.tolist() == events.time_us.tolist()
        for name, side in events.levels.items():
            assert joined[kind].levels[name].offset.tolist() == side.offset.tolist()


@pytest.mark.parametrize("suffix", ["gz", "zst"])
def test_compressed_files_are_read_as_plain_ones(tmp_path: Path, suffix: str) -> None:
    raw = "\n".join(some().lines).encode()
    zstd = pa.compress(raw, codec="zstd", asbytes=True)
    packed = gzip.compress(raw) if suffix == "gz" else zstd
    (tmp_path / f"a.jsonl.{suffix}").write_bytes(packed)
    assert len(read_recording(tmp_path).symbols[SYMBOL].events["aggTrade"]) == 2


def test_lists_of_mark_prices_are_read_symbol_by_symbol(tmp_path: Path) -> None:
    lines = some().trade(160, "5.0", "1", symbol="OTHERUSDT")
    marks = [
        {"e": "markPriceUpdate", "E": START_MS + 2000, "s": s, "p": p, "r": "0.0001", "T": START_MS}
        for s, p in ((SYMBOL, "100.5"), ("OTHERUSDT", "5.1"))
    ]
    lines.add("!markPrice@arr@1s", marks)
    found = read_recording(lines.write(tmp_path / "a.jsonl")).symbols
    assert found[SYMBOL].events["markPriceUpdate"].columns["p"].tolist() == [100.01, 100.5]
    assert found["OTHERUSDT"].events["markPriceUpdate"].columns["p"].tolist() == [5.1]


def test_what_is_not_read_is_counted(tmp_path: Path) -> None:
    lines = some().depth(300, [("1.0", "1")], stream="depth5@100ms")
    lines.add("newusdt@kline_1m", {"e": "kline"}).add(
        "!bookTicker", json.loads(lines.lines[0])["message"]["data"]
    )
    lines.lines.append('{"result": null, "id": 1}')
    found = read_recording(lines.write(tmp_path / "a.jsonl"))
    assert found.notes == (
        "1 lines are not read: bookTicker of other streams",
        "1 lines are not read: depthUpdate of other streams",
        "1 lines are not read: kline",
        "1 lines are not read: no event",
    )
    assert len(found.symbols[SYMBOL].events["depthUpdate"]) == 2


def test_a_single_trade_stream_is_read_without_what_the_insurance_fund_does(tmp_path: Path) -> None:
    lines = Lines()
    for number, qty in ((5, "1.5"), (6, "0"), (7, "2")):
        trade = {
            "e": "trade",
            "T": START_MS,
            "s": SYMBOL,
            "t": number,
            "p": "10",
            "q": qty,
            "m": True,
        }
        lines.add("newusdt@trade", trade)
    found = read_recording(lines.write(tmp_path / "a.jsonl")).symbols[SYMBOL].events["trade"]
    assert found.columns["t"].tolist() == [5, 7]


def test_snapshots_of_a_folder_are_read_and_ordered(tmp_path: Path) -> None:
    some().write(tmp_path / "a.jsonl")
    snapshot(tmp_path, 50, 9015, [("99.9", "2")], [("100.1", "3"), ("100.2", "4")], name="b")
    snapshot(tmp_path, 20, 9012, [], [], name="c")
    snapshot(tmp_path, 20, 1, [], [], symbol="OTHERUSDT")
    found = read_recording(tmp_path).symbols[SYMBOL].snapshots
    assert [each.update_id for each in found] == [9012, 9015]
    assert found[1].asks.tolist() == [[100.1, 3.0], [100.2, 4.0]]
    assert found[1].time_us == START_US + 50_000
    assert read_recording(tmp_path / "a.jsonl").symbols[SYMBOL].snapshots == ()


def changed(line: str, **values: Any) -> str:
    body = json.loads(line)
    body["message"]["data"] |= values
    return json.dumps(body)


BROKEN: list[tuple[int, str | dict[str, Any], str]] = [
    (2, "{oops", "line 3 must be JSON, was '{oops'"),
    (1, '{"message": {"stream": "x@aggTrade", "data": {"e": "aggTrade", "p":', "line 2 must be JSON"),
    (5, '{"message": {"stream": "newusdt@depth", "data": {"e": "depthUpdate"', "line 6 must be JSON"),
    (3, {"T": START_MS}, rf"line 4: T of NEWUSDT aggTrade must not fall, was {START_MS} after {START_MS + 10}"),
    (3, {"a": 70}, "line 4: a of NEWUSDT aggTrade must rise, was 70 after 70"),
    (5, {"u": 9001}, "line 6: u of NEWUSDT depthUpdate must rise, was 9001 after 9020"),
    (1, {"p": None}, "line 2: aggTrade must have p, had none"),
    (1, {"p": "dear"}, "p of aggTrade must be decimal"),
    (1, {"T": "late"}, "aggTrade must be what the exchange sends"),
    (2, {"b": [["99.9"]]}, r"levels of depthUpdate must be pairs, were of lengths \[1\]"),
    (2, {"a": "none"}, "depthUpdate must be what the exchange sends"),
]  # fmt: skip


@pytest.mark.parametrize(("row", "change", "message"), BROKEN)
def test_a_broken_line_is_named(
    tmp_path: Path, row: int, change: str | dict[str, Any], message: str
) -> None:
    lines = some()
    old = lines.lines[row]
    lines.lines[row] = change if isinstance(change, str) else changed(old, **change)
    with pytest.raises(DataGap, match=message) as refused:
        read_recording(lines.write(tmp_path / "a.jsonl"))
    assert "a.jsonl" in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_message_without_its_stream_is_named(tmp_path: Path) -> None:
    lines = some()
    lines.lines[1] = json.dumps({"data": json.loads(lines.lines[1])["message"]["data"]})
    with pytest.raises(DataGap, match="line 2: aggTrade must have stream, had none"):
        read_recording(lines.write(tmp_path / "a.jsonl"))


def refusal_of(path: Path) -> str:
    with pytest.raises(QuantcoreError) as refused:
        read_recording(path)
    assert "\n" not in str(refused.value)
    return str(refused.value)


def test_places_without_recordings_are_refused(tmp_path: Path) -> None:
    missing = tmp_path / "missing.jsonl"
    with pytest.raises(ConfigError):
        read_recording(missing)
    assert (
        refusal_of(missing) == f"data.path must name a file or folder that is there, was {missing}"
    )
    assert refusal_of(tmp_path).startswith("data.path must hold files *.jsonl, *.jsonl.gz")
    empty = tmp_path / "empty.jsonl"
    empty.write_text("")
    assert refusal_of(empty).endswith("held nothing")
    other = Lines().add("newusdt@kline_1m", {"e": "kline"}).write(tmp_path / "other.jsonl")
    assert refusal_of(other).endswith("markPriceUpdate, held kline")
    packed = tmp_path / "a.jsonl.gz"
    packed.write_bytes(bz2.compress(b"{}"))
    assert "must be readable, was not" in refusal_of(packed)


@pytest.mark.parametrize(
    "body",
    [
        "[]",
        "{",
        '{"lastUpdateId": 1, "bids": [], "asks": []}',
        '{"T": 1, "lastUpdateId": 1, "bids": [["1"]], "asks": []}',
    ],
)
def test_a_file_that_is_no_snapshot_is_named(tmp_path: Path, body: str) -> None:
    some().write(tmp_path / "a.jsonl")
    (tmp_path / f"depth_snapshot_{SYMBOL}.json").write_text(body, encoding="utf-8")
    assert f"depth_snapshot_{SYMBOL}.json must be an answer of GET /fapi/v1/depth" in refusal_of(
        tmp_path
    )
