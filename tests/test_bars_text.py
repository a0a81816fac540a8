"""What bars say of themselves: the numbers counted by hand on a grid small enough to see."""

from __future__ import annotations

import copy
import pickle

import numpy as np

from quantcore.frames import Bars, Settlements
from quantcore.timegrid import HOUR_US, to_us

NAN = np.nan


def small_bars() -> Bars:
    """Five hours: A complete, B listed two hours late with a hole of one, C ending early, D never there."""
    close = np.array(
        [
            [1.0, NAN, 3.0, NAN],
            [1.0, NAN, 3.0, NAN],
            [1.0, 2.0, 3.0, NAN],
            [1.0, NAN, NAN, NAN],
            [1.0, 2.0, NAN, NAN],
        ]
    )
    first = to_us("2024-03-09T22:00")
    return Bars(
        interval="1h",
        ts_us=first + HOUR_US * np.arange(1, 6),
        symbols=("AUSDT", "BUSDT", "CUSDT", "DUSDT"),
        fields={"close": close, "volume": close},
        settlements=Settlements(
            time_us=np.full(3, first + HOUR_US),
            symbol=np.array([0, 2, 2]),
            rate=np.zeros(3),
            mark_price=np.full(3, NAN),
        ),
    )


def test_bars_say_what_they_hold() -> None:
    assert repr(small_bars()).splitlines() == [
        "5 bars of 1h, 4 symbols, 2024-03-09 22:00 to 2024-03-10 03:00 UTC",
        "  symbols      AUSDT, BUSDT, CUSDT, DUSDT",
        "  fields       close, volume",
        "  funding      3 settlements of 2 of 4 symbols",
        "  listed late  BUSDT from 2024-03-10",
        "  ending early CUSDT until 2024-03-10",
        "  without bars DUSDT",
        "  holes        BUSDT 1 bar",
    ]


def test_a_notebook_shows_the_same_words() -> None:
    bars = small_bars()
    shown = bars._repr_html_()
    for line in repr(bars).splitlines()[1:]:
        assert f"<dt>{line[2:14].strip()}</dt><dd>{line[15:]}</dd>" in shown


def test_empty_and_single_bars_say_so() -> None:
    bars = small_bars()
    assert repr(bars.rows(0, 0)).startswith("No bars of 1h, 4 symbols\n")
    assert repr(bars.select(["AUSDT"]).rows(0, 1)).startswith("1 bar of 1h, 1 symbol, ")
    assert repr(bars.select(["AUSDT"])).endswith("\n  holes        none")


def test_a_long_list_is_cut() -> None:
    close = np.ones((2, 10))
    close[0, 1:] = NAN
    bars = Bars(
        interval="1h",
        ts_us=to_us("2024-01-01") + HOUR_US * np.arange(1, 3),
        symbols=tuple(f"S{k}USDT" for k in range(10)),
        fields={"close": close},
    )
    late = next(line for line in repr(bars).splitlines() if "listed late" in line)
    assert late.count(" from ") == 8
    assert late.endswith(" and 1 more")


def test_bars_survive_pickle_and_copy() -> None:
    bars = small_bars()
    for again in (pickle.loads(pickle.dumps(bars)), copy.deepcopy(bars), copy.copy(bars)):
        assert again.fingerprint() == bars.fingerprint()
        assert not again.array("close").flags.writeable
