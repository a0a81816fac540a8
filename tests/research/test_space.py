"""The space of a sweep: Hydra's grammar in, sets out, which Hydra's parser reads back as the same values."""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter

import numpy as np
import pyarrow as pa
import pytest
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare, kstest

from quantcore.errors import ConfigError
from quantcore.research.parameter import Interval, Parameter, Value
from quantcore.research.sets import Sets, override_text
from quantcore.research.space import GRID_MAX, Space, parse_space

PLAIN = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**18), 10**18),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), max_size=12).filter(
        lambda text: "${" not in text
    ),
)


def only(text: str, **options: list[str]) -> Parameter:
    (parameter,) = parse_space([text], options=options).parameters
    return parameter


def numbers(sets: Sets, path: str) -> np.ndarray:
    return np.array(sets.columns[path], dtype=np.float64)


@pytest.mark.parametrize(
    ("text", "choices"),
    [
        ("a=1,2,3", (1, 2, 3)),
        ("a=choice( 1, 2.5, x )", (1, 2.5, "x")),
        ("a=range(16,40,8)", (16, 24, 32)),
        ("a=range(3)", (0, 1, 2)),
        ("a=range(1,2,0.25)", (1.0, 1.25, 1.5, 1.75)),
        ("a=range(5,1,-2)", (5, 3)),
        ("a=sort(3,1,2)", (1, 2, 3)),
        ("a=sort(3,1,2,reverse=true)", (3, 2, 1)),
        ("a='x, y',\"it's\",null,true,False", ("x, y", "it's", None, True, False)),
        ("a=[5,10],[10,20]", ([5, 10], [10, 20])),
        ("a=[x,'y z',[1,null]]", (["x", "y z", [1, None]],)),
        ("a=5", (5,)),
        ("a=null", (None,)),
        ("a=''", ("",)),
        ("a=int(1.9,3.2)", (1, 3)),
        ("a=1e3,1_000_000", (1000.0, 1_000_000)),
        ("group/inner=one,two", ("one", "two")),
    ],
)
def test_choices_are_read_as_hydra_reads_them(text: str, choices: tuple[Value, ...]) -> None:
    parameter = only(text)
    assert parameter.choices == choices
    assert [type(value) for value in parameter.choices] == [type(value) for value in choices]
    assert parameter.interval is None


@pytest.mark.parametrize(
    ("text", "interval"),
    [
        ("a=interval(0.1,2)", Interval(low=0.1, high=2.0)),
        ("a=interval(1,100)", Interval(low=1.0, high=100.0)),
        ("a=int(interval(4,64))", Interval(low=4, high=64, whole=True)),
        ("a=tag(int,interval(4,64))", Interval(low=4, high=64, whole=True)),
        ("a=tag(log,interval(1e-3,1))", Interval(low=1e-3, high=1.0, log=True)),
        ("a=tag(log,int(interval(4,64)))", Interval(low=4, high=64, log=True, whole=True)),
        ("a=tag(log,int,interval(4,64))", Interval(low=4, high=64, log=True, whole=True)),
    ],
)
def test_intervals_are_real_unless_they_say_int(text: str, interval: Interval) -> None:
    parameter = only(text)
    assert parameter.interval == interval
    assert parameter.choices == ()
    assert only(f"a={interval}").interval == interval


def test_shuffling_gives_one_text_always_the_same_order() -> None:
    first, again, other = (only(f"{path}=shuffle(range(100))").choices for path in "aab")
    assert first == again
    assert sorted(first) == list(range(100))  # type: ignore[type-var]  # whole numbers, all of them
    assert first not in (other, tuple(range(100)))


def test_glob_chooses_among_the_options_of_a_group() -> None:
    options = ["half_kelly", "hierarchical", "inverse_volatility"]
    assert only("portfolio=glob(h*)", portfolio=options).choices == ("half_kelly", "hierarchical")
    with pytest.raises(ConfigError, match="portfolio must have at least one value, was empty"):
        only("portfolio=glob(x*)", portfolio=options)


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ([], "parameters must name at least one"),
        (["a=1", "b=2", "a=3"], "parameters must name each path once, was a twice"),
        (["a"], r"sweep grammar, was 'a': missing EQUAL at '<EOF>'$"),
        (["a=1,"], r"sweep grammar, was 'a=1,': mismatched input '<EOF>'$"),
        (["a=choice()"], "sweep grammar, was 'a=choice.*empty choice"),
        (["a=interval(x,y)"], "sweep grammar.*start: str"),
        (["=1"], "must be a path of names such as strategy.fast, was ''"),
        (["+a=1"], r"must change a setting, not add or remove one, was '\+a=1'"),
        (["++a=1,2"], "not add or remove one"),
        (["~a"], "not add or remove one"),
        (["a@b=1"], "must not name a package, was 'a@b=1'"),
        (["a="], "a must have at least one value, was empty"),
        (["a=range(4,4)"], r"a must have at least one value, was empty: range\(4, 4, 1\)"),
        (["a=range(1,5,0)"], "a step other than 0"),
        (["a=range(0,inf)"], "finite bounds and a step"),
        (["a=range(0,1e12)"], "at most 1,000,000 values"),
        (["a=interval(5,5)"], r"a: interval must be finite with low < high, was interval\(5.0, 5"),
        (["a=interval(1,inf)"], "must be finite with low < high"),
        (["a=tag(log,interval(0,1))"], "low > 0 to be logarithmic, was tag.log, interval.0.0, 1"),
        (["a=tag(int,interval(1.5,4))"], "whole bounds"),
        (["a=int(interval(1,1e300))"], "whole bounds within"),
        (["a=tag(lg,interval(1,4))"], "a must have tags of log and int, was lg; nearest: log"),
        (["a=tag(log,choice(1,4))"], "a must be an interval to take a tag"),
        (["a=interval(1,2),3"], "a must not mix single values with a range"),
        (["a=1,2,1.0"], "a must have no value twice, was 1.0 again"),
        (["a=x,'x'"], "a must have no value twice, was 'x' again"),
        (["a=[1],[1.0]"], "no value twice"),
        (["a=nan"], "a must be finite, was nan"),
        (["a=[1,inf]"], "a must be finite, was inf"),
        (["a={b:1}"], "a must be a number, a word, true, false, null or a list, was {'b': 1}"),
        (["a=${b}"], r"not an interpolation, was \$\{b\}"),
        (["a=glob(*)"], "a must have at least one value"),
    ],
)
def test_what_is_no_parameter_is_refused_in_one_line(texts: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as refused:
        parse_space(texts)
    assert "\n" not in str(refused.value)


def test_what_is_not_text_is_refused() -> None:
    with pytest.raises(ConfigError, match="parameter must be text such as"):
        parse_space([{"a": 1}])  # type: ignore[list-item]  # what a list without quotes becomes


def test_one_and_true_are_different_values() -> None:
    assert only("a=1,true,'1','true'").choices == (1, True, "1", "true")


def test_a_parameter_has_choices_or_an_interval() -> None:
    with pytest.raises(ConfigError, match="a must have choices or an interval, not both"):
        Parameter(path="a", choices=(1,), interval=Interval(low=1, high=2))
    with pytest.raises(ConfigError, match="a must have at least one value"):
        Parameter(path="a")


def test_a_grid_is_the_multirun_of_hydra() -> None:
    texts = ["a.b=1,2.5,1e-7", "c='x y',null,true", "d=[1,2],[]", "e=range(0.1,0.5,0.1)", "f=7"]
    sets = parse_space(texts).grid()
    parser = OverridesParser.create()
    (jobs,) = BasicSweeper.split_arguments(parser.parse_overrides(texts), max_batch_size=None)
    values = [[parser.parse_override(text).value() for text in job] for job in jobs]
    assert [list(sets.row(k).values()) for k in range(len(sets))] == values
    assert len(sets) == 3 * 3 * 2 * 4


def test_a_grid_is_counted_without_being_made() -> None:
    space = parse_space([f"p{k}=range(1000)" for k in range(8)])
    assert space.grid_size() == space.size == 10**24
    with pytest.raises(ConfigError, match=f"grid must have at most {GRID_MAX:,} sets, was 1,000,"):
        space.grid()


def test_a_grid_takes_no_interval() -> None:
    space = parse_space(["a=1,2", "b=int(interval(1,3))"])
    assert space.size == 6
    for refused in (space.grid, space.grid_size):
        with pytest.raises(ConfigError, match=r"b must have single values.*interval\(1, 3\)"):
            refused()


@settings(max_examples=40)
@given(st.lists(PLAIN | st.lists(PLAIN, max_size=3), min_size=1, max_size=5))
def test_overrides_are_read_back_as_the_same_values(values: list[Value]) -> None:
    sets = Sets(columns={f"a.b{k}": [value] for k, value in enumerate(values)})
    parsed = OverridesParser.create().parse_overrides(sets.overrides(0))
    read = {override.key_or_group: override.value() for override in parsed}
    assert repr(read) == repr(sets.row(0))


def test_a_space_survives_its_own_text() -> None:
    space = parse_space(["a=1,2.5,null", "b=[x,'y z']", "c=tag(log,int(interval(1,8)))", "d=0.1"])
    again = [
        f"{p.path}={p.interval or ','.join(map(override_text, p.choices))}"
        for p in space.parameters
    ]
    assert parse_space(again) == space


def test_random_choices_are_equally_likely() -> None:
    sets = parse_space(["a=1,2,3,4,5,6,7", "b=interval(0,1)"]).random(
        7000, np.random.default_rng(1)
    )
    counts = Counter(sets.columns["a"])
    assert len(counts) == 7
    assert chisquare(list(counts.values())).pvalue > 0.01


def test_random_whole_numbers_are_equally_likely_to_their_bounds() -> None:
    sets = parse_space(["a=int(interval(-3,6))", "b=interval(0,1)"]).random(
        10_000, np.random.default_rng(2)
    )
    counts = Counter(sets.columns["a"])
    assert sorted(counts) == list(range(-3, 7))  # type: ignore[type-var]  # whole numbers
    assert all(type(value) is int for value in counts)
    assert chisquare(list(counts.values())).pvalue > 0.01


def test_random_logarithmic_whole_numbers_follow_their_ratios() -> None:
    space = parse_space(["a=tag(log,int(interval(1,5)))", "b=interval(0,1)"])
    counts = Counter(space.random(20_000, np.random.default_rng(3)).columns["a"])
    share = [math.log((k + 0.5) / (k - 0.5)) / math.log(5.5 / 0.5) for k in range(1, 6)]
    observed = [counts[k] for k in range(1, 6)]
    assert chisquare(observed, [20_000 * s for s in share]).pvalue > 0.01


def test_random_real_numbers_are_uniform_or_log_uniform() -> None:
    sets = parse_space(["a=interval(-2,3)", "b=tag(log,interval(0.001,10))"]).random(
        5000, np.random.default_rng(4)
    )
    assert kstest(numbers(sets, "a"), "uniform", (-2, 5)).pvalue > 0.01
    assert kstest(np.log10(numbers(sets, "b")), "uniform", (-3, 4)).pvalue > 0.01


def test_a_sobol_sequence_is_balanced_at_a_power_of_two() -> None:
    space = parse_space(["a=1,2,3,4", "b=interval(0,8)", "c=tag(log,interval(1,256))"])
    sets = space.sobol(64, np.random.default_rng(5))
    assert set(Counter(sets.columns["a"]).values()) == {16}
    assert set(Counter(np.floor(numbers(sets, "b"))).values()) == {8}
    assert set(Counter(np.floor(np.log2(numbers(sets, "c")))).values()) == {8}


def test_a_sobol_sequence_needs_no_power_of_two_and_goes_on_where_it_ended() -> None:
    space = parse_space(["a=interval(0,1)", "b=1,2,3"])
    few = space.sobol(37, np.random.default_rng(6))
    more = space.sobol(100, np.random.default_rng(6))
    assert len(few) == 37
    assert more.chunk(0, 37).columns == few.columns


@pytest.mark.parametrize("sampling", ["random", "sobol"])
@pytest.mark.parametrize("n", [1, 2, 37, 119])
def test_no_set_comes_twice(sampling: str, n: int) -> None:
    space = parse_space(["a=range(5)", "b=tag(log,int(interval(1,4)))", "c=x,y,null", "d=0.5,1.5"])
    assert space.size == 120
    sets = space.sample(sampling, n=n, seed=7)  # type: ignore[arg-type]  # one of the three
    assert len({json.dumps(sets.row(k)) for k in range(len(sets))}) == n == len(sets)
    assert sets.note == ""


@pytest.mark.parametrize("sampling", ["random", "sobol"])
def test_the_rarest_sets_are_found_where_all_others_are_there(sampling: str) -> None:
    space = parse_space(["a=tag(log,int(interval(1,3000)))"])
    sets = space.sample(sampling, n=2999, seed=8)  # type: ignore[arg-type]  # one of the three
    assert len(set(numbers(sets, "a"))) == 2999


def test_what_is_not_drawn_for_long_is_taken_from_the_rest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("quantcore.research.space._DRAWS_MAX", 1)
    sets = parse_space(["a=range(50)"]).random(49, np.random.default_rng(8))
    assert len(set(numbers(sets, "a"))) == 49


@pytest.mark.parametrize(
    "word", ["null", "True", "false", "nan", "INF", "1", "1e5", "", " a", "a,b"]
)
def test_text_that_reads_as_something_else_is_quoted(word: str) -> None:
    assert OverridesParser.create().parse_override(f"a={override_text(word)}").value() == word


def test_a_space_that_holds_fewer_sets_is_returned_whole_with_a_note() -> None:
    space = parse_space(["a=1,2", "b=int(interval(4,6))"])
    sets = space.random(1000, np.random.default_rng(9))
    assert [list(sets.row(k).values()) for k in range(6)] == [
        [1, 4], [1, 5], [1, 6], [2, 4], [2, 5], [2, 6],
    ]  # fmt: skip
    assert len(sets) == 6
    assert sets.note == "1,000 sets asked for, the space holds 6: all of them"
    exactly = space.sobol(6, np.random.default_rng(9))
    assert (exactly.columns, exactly.note) == (sets.columns, "")


def test_a_seed_gives_the_same_sets_again() -> None:
    space = parse_space(["a=interval(0,1)", "b=range(9)"])
    for sampling in ("random", "sobol"):
        one, two, other = (space.sample(sampling, n=50, seed=seed) for seed in (1, 1, 2))
        assert one == two
        assert one != other


def test_sampling_refuses_what_it_cannot_do() -> None:
    space = parse_space(["a=1,2"])
    with pytest.raises(ConfigError, match="number of sets must be >= 1, was 0"):
        space.random(0, np.random.default_rng(0))
    with pytest.raises(ConfigError, match="sampling must be one of grid, random, sobol, was lhs"):
        space.sample("lhs", n=1, seed=0)  # type: ignore[arg-type]  # the error under test


def test_a_digest_changes_with_all_that_the_sets_depend_on_and_with_nothing_else() -> None:
    space = parse_space(["a=1,2", "b=interval(0,1)"])
    told = [["a", ["1", "2"]], ["b", "interval(0.0, 1.0)"]]
    expected = hashlib.sha256(json.dumps([told, ["random", 5, 1]]).encode()).hexdigest()
    assert space.digest("random", n=5, seed=1) == expected
    unit = "b=interval(0,1)"
    others = [
        ["a=1,3", unit],
        ["a=1,2.0", unit],
        ["a=2,1", unit],
        ["a='1',2", unit],
        [unit, "a=1,2"],
    ]
    others.append(["a=1,2", "b=tag(log,interval(0.5,1))"])
    digests = {parse_space(texts).digest("random", n=5, seed=1) for texts in others}
    digests |= {space.digest("random", n=6, seed=1), space.digest("random", n=5, seed=2)}
    digests |= {space.digest("sobol", n=5, seed=1), space.digest()}
    assert len(digests) == 10
    assert expected not in digests
    assert space.digest("grid", n=5) == space.digest("grid", seed=3)


def test_a_table_has_each_column_in_its_natural_type() -> None:
    sets = Sets(
        columns={
            "whole": [1, -2, 3],
            "real": [0.5, 1e-7, -0.0],
            "both": [1, 2.5, 3],
            "truth": [True, False, True],
            "word": ["trend", "a b", "null"],
            "mixed": [None, 0.1, "a b"],
            "lists": [[5, 10], [], ["x"]],
            "nothing": [None, None, None],
            "truth_or_number": [True, 1, 0],
            "huge": [2**70, 1, 2],
        }
    )
    table = sets.to_table()
    assert table.schema.names == list(sets.paths)
    types = [pa.int64(), pa.float64(), pa.float64(), pa.bool_(), *[pa.string()] * 6]
    assert table.schema.types == types
    assert table["both"].to_pylist() == [1.0, 2.5, 3.0]
    assert table["word"].to_pylist() == ["trend", "a b", "null"]
    assert table["mixed"].to_pylist() == ["null", "0.1", "'a b'"]
    assert table["lists"].to_pylist() == ["[5,10]", "[]", "[x]"]
    assert table["nothing"].to_pylist() == ["null"] * 3
    assert table["truth_or_number"].to_pylist() == ["true", "1", "0"]
    assert table["huge"].to_pylist()[0] == str(2**70)


def test_a_cell_of_a_table_makes_a_valid_override() -> None:
    space = parse_space(["a=1e-7,2.5", "b=4,8", "c=true,false", "portfolio=half_kelly,risk_parity"])
    sets = space.grid()
    rows = sets.to_table().to_pylist()
    parser = OverridesParser.create()
    for k, row in enumerate(rows):
        parsed = [parser.parse_override(f"{path}={value}").value() for path, value in row.items()]
        assert parsed == list(sets.row(k).values())


def test_chunks_are_the_sets_in_pieces() -> None:
    sets = parse_space(["a=range(10)", "b=x,y"]).grid()
    pieces = [sets.chunk(start, start + 7) for start in range(0, 20, 7)]
    assert [len(piece) for piece in pieces] == [7, 7, 6]
    assert [piece.row(k) for piece in pieces for k in range(len(piece))] == [
        sets.row(k) for k in range(20)
    ]


def test_sets_given_one_by_one_have_the_same_paths() -> None:
    sets = Sets.of_rows([{"a": 1, "b": "x"}, {"b": "y", "a": 2}])
    assert sets.columns == {"a": [1, 2], "b": ["x", "y"]}
    with pytest.raises(ValueError, match="rows must all have the paths"):
        Sets.of_rows([{"a": 1}, {"b": 2}])
    with pytest.raises(ValueError, match="columns must be of one length"):
        Sets.of_rows([])
    with pytest.raises(ValueError, match="columns must be of one length"):
        Sets(columns={"a": [1], "b": [1, 2]})


def test_a_space_of_no_parameter_is_refused() -> None:
    with pytest.raises(ConfigError, match="at least one"):
        Space(())
