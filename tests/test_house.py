"""The house stands as DESIGN.md 2 draws it: imports run downwards, effects have their places, kernels are cached."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

PACKAGES = ("quantcore", "strategies", "live")
WORDS = ("types", "errors", "timegrid", "fold", "exits")
ROWS: tuple[tuple[str, ...], ...] = (
    WORDS,
    ("kernels",),
    (
        "frames",
        "cluster",
        "config",
        "extras",
        "settings",
        "origins",
        "overrides",
        "bars_text",
        "cards",
    ),
    ("data",),
    ("features",),
    ("finance",),
    ("regime",),
    ("signals",),
    ("risk",),
    ("execution",),
    (
        "signal_plane",
        "account_plane",
        "account_adopt",
        "account_follow",
        "account_glide",
        "account_hold",
        "account_solo",
        "account_step",
        "orders",
        "settlements",
    ),
    ("plots",),
    ("research.trials",),
    ("backtest",),
    ("research",),
    ("face",),
)
"""The rows of `quantcore`, top first; a row imports itself and the rows before it; `quantcore` itself stands last."""
STRATEGIES_MAY_IMPORT = {"features", "regime", "signals", "kernels", "frames", *WORDS}
JUDGES = {
    "quantcore.finance.calendar",
    "quantcore.finance.performance",
    "quantcore.finance.sharpe",
    "quantcore.finance.overfitting",
    "quantcore.finance.paired",
    "quantcore.finance.bootstrap",
}
JUDGES_MAY_IMPORT = {"finance", "kernels", "frames", *WORDS}

EFFECTS = (
    "quantcore.cluster",
    "quantcore.data.archive",
    "quantcore.data.rest",
    "quantcore.data.store",
    "quantcore.data.__main__",
    "quantcore.research.trials",
    "quantcore.research.executors",
    "quantcore.research.search_storage",
    "quantcore.research.sweep",
    "quantcore.backtest.report",
    "quantcore.backtest.__main__",
    "live.parity.lockstep",
    "live.parity.exchange",
    "live.run",
    "live.place",
    "live.feed",
    "live.broker",
    "live.execution",
    "live.journal",
    "live.alerts",
    "live.clock",
    "live.heartbeat",
    "live.latency",
    "live.logs",
    "live.metrics",
    "live.guard.terminal",
    "live.kill_switch",
    "live.monitor.beats",
    "live.monitor.view",
    "live.monitor.record",
    "live.monitor.standing",
    "live.monitor.account",
    "live.monitor.open_orders",
    "live.monitor.positions",
    "live.dashboard.gate",
    "live.dashboard.pace",
    "live.dashboard.page",
    "live.dashboard.running",
    "live.dashboard.server",
    "live.simulator.connection",
    "live.simulator.rest",
    "live.simulator.streams",
    "live.simulator.control",
    "live.simulator.listener",
    "live.simulator.server",
    "live.simulator.state_file",
    "live.simulator.__main__",
)
"""The modules and packages that DESIGN.md marks with a star."""
EFFECTFUL = {
    "aiohttp", "apprise", "binance", "fastapi", "ftplib", "http", "httpx", "nicegui", "prometheus_client", "psycopg",
    "requests", "smtplib", "socket", "socketserver", "sqlalchemy", "sqlite3", "time", "urllib.error", "urllib.request",
    "websockets",
}  # fmt: skip
HEAVY = {
    "arch", "binance", "cvxpy", "nicegui", "optuna", "plotly", "ray", "skfolio", "sklearn", "statsmodels", "vectorbt",
}  # fmt: skip
"""Libraries whose import takes long: `quantcore` imports them inside the functions that use them."""

Sources = Mapping[str, str]


def house(root: Path) -> Sources:
    """Return the source of every module of the three packages by its dotted name."""
    found = {}
    for package in PACKAGES:
        for path in sorted((root / package).rglob("*.py")):
            parts = path.relative_to(root).with_suffix("").parts
            name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
            found[name] = path.read_text(encoding="utf-8")
    return found


def imports(source: str, *, top: bool = False) -> Iterator[tuple[str, str]]:
    """Yield what a module imports as (module, name or ""); with `top` only what it does on being imported."""
    for node in _walk(ast.parse(source), top=top):
        if isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield from ((str(node.module), alias.name) for alias in node.names)


def _walk(node: ast.AST, *, top: bool) -> Iterator[ast.AST]:
    for child in ast.iter_child_nodes(node):
        lazy = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        checking = isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test)
        if top and (lazy or checking):
            continue
        yield child
        yield from _walk(child, top=top)


def arrows(sources: Sources) -> Iterator[tuple[str, str]]:
    """Yield pairs of a module of ours and one that it imports."""
    for module, source in sources.items():
        for parent, name in imports(source):
            target = f"{parent}.{name}" if f"{parent}.{name}" in sources else parent
            if target.split(".")[0] in PACKAGES and target not in (module, "quantcore"):
                yield module, target


def is_below(module: str, parents: tuple[str, ...] | set[str]) -> bool:
    return any(module == parent or module.startswith(f"{parent}.") for parent in parents)


def row(module: str) -> int:
    """Return the row of a module of `quantcore`."""
    if module == "quantcore":
        return len(ROWS) - 1
    inner = module.removeprefix("quantcore.")
    for i, names in enumerate(ROWS):
        if is_below(inner, names):
            return i
    raise AssertionError(f"{module} stands in no row of the house (DESIGN.md 2)")


def wrong_arrows(sources: Sources) -> list[str]:
    wrong = []
    for module, target in arrows(sources):
        package, to = module.split(".")[0], target.split(".")[0]
        if package == "quantcore":
            bad = to != "quantcore" or row(target) > row(module)
            if module in JUDGES:
                bad = bad or not is_below(target.removeprefix("quantcore."), JUDGES_MAY_IMPORT)
        elif package == "strategies":
            inner = target.removeprefix("quantcore.")
            bad = to == "live" or (to == "quantcore" and not is_below(inner, STRATEGIES_MAY_IMPORT))
        else:
            bad = False
        if bad:
            wrong.append(f"{module} imports {target}")
    return wrong


def cycle(sources: Sources) -> list[str]:
    graph: dict[str, set[str]] = {module: set() for module in sources}
    for module, target in arrows(sources):
        graph[module].add(target)
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return [str(name) for name in error.args[1]]
    return []


def misplaced_effects(sources: Sources) -> list[str]:
    return [
        f"{module} imports {parent}.{name}"
        for module, source in sources.items()
        if not is_below(module, EFFECTS)
        for parent, name in imports(source)
        if is_below(f"{parent}.{name}", EFFECTFUL)
    ]


def heavy_imports(sources: Sources) -> list[str]:
    return [
        f"{module} imports {parent} on import"
        for module, source in sources.items()
        if module.split(".")[0] != "live"
        for parent, _ in imports(source, top=True)
        if is_below(parent, HEAVY)
    ]


def uncached_kernels(source: str) -> list[str]:
    """Return the lines on which something is compiled without ``cache=True`` or with ``fastmath``."""
    found = []
    tree = ast.parse(source)
    called = {id(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and _compiles(node.func):
            words = {word.arg: ast.unparse(word.value) for word in node.keywords}
            if words.get("cache") != "True" or "fastmath" in words or node.args:
                found.append(f"line {node.lineno}: {ast.unparse(node)}")
        elif isinstance(node, ast.FunctionDef):
            found += [
                f"line {node.lineno}: @{ast.unparse(mark)} {node.name}"
                for mark in node.decorator_list
                if _compiles(mark) and id(mark) not in called
            ]
    return found


def _compiles(node: ast.expr) -> bool:
    name = ast.unparse(node).removeprefix("numba.")
    return name in ("njit", "jit", "vectorize", "guvectorize", "cfunc", "stencil")


def misplaced_caches(sources: Sources) -> list[str]:
    """Return the modules that compile something before anything told numba where to keep it."""
    graph: dict[str, set[str]] = {}
    for module, target in arrows(sources):
        graph.setdefault(module, set()).add(target)

    def told(module: str, seen: frozenset[str] = frozenset()) -> bool:
        return is_below(module, {"quantcore.kernels"}) or any(
            told(target, seen | {module}) for target in graph.get(module, set()) - seen
        )

    return [
        module
        for module, source in sources.items()
        if ("from numba import" in source or "import numba" in source) and not told(module)
    ]


@pytest.fixture(scope="module")
def sources(root: Path) -> Sources:
    return house(root)


def test_imports_run_downwards(sources: Sources) -> None:
    assert len(sources) > 10
    assert wrong_arrows(sources) == []


def test_every_module_of_quantcore_stands_in_a_row(sources: Sources) -> None:
    assert all(row(m) >= 0 for m in sources if m.startswith("quantcore."))


def test_no_import_runs_in_a_circle(sources: Sources) -> None:
    assert cycle(sources) == []


def test_effects_stand_only_where_the_design_marks_them(sources: Sources) -> None:
    assert misplaced_effects(sources) == []


def test_heavy_libraries_are_imported_where_they_are_used(sources: Sources) -> None:
    assert heavy_imports(sources) == []


def test_kernels_know_no_frames(sources: Sources) -> None:
    kernels = {m: s for m, s in sources.items() if m.startswith("quantcore.kernels")}
    assert kernels
    assert [
        m for m, s in kernels.items() if any(is_below(n, {"pandas"}) for n, _ in imports(s))
    ] == []


def test_every_kernel_is_cached_and_keeps_strict_arithmetic(sources: Sources) -> None:
    bad = {module: uncached_kernels(source) for module, source in sources.items()}
    assert {module: lines for module, lines in bad.items() if lines} == {}


def test_what_compiles_is_kept_where_the_kernels_are(sources: Sources) -> None:
    assert misplaced_caches(sources) == []


def test_a_cache_elsewhere_is_seen() -> None:
    alone = {"quantcore.features.lag": "from numba import njit\nfrom quantcore.types import Panel"}
    assert misplaced_caches(alone) == ["quantcore.features.lag"]


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("quantcore.kernels.ewm", "import quantcore.frames"),
        ("quantcore.frames", "from quantcore.data import store"),
        ("quantcore.finance.kelly", "def f():\n    from quantcore.regime.hmm import fit"),
        ("quantcore.finance.performance", "from quantcore.data.store import Store"),
        ("quantcore.research.trials", "from quantcore.backtest.engine import run"),
        ("quantcore.signal_plane", "from strategies.trend import forecast"),
        ("quantcore.backtest.engine", "from live.journal import Journal"),
        ("quantcore.research.sweep", "from quantcore.face import load"),
        ("strategies.trend", "from quantcore.account_plane import scan"),
        ("strategies.trend", "import live.clock"),
    ],
)
def test_a_wrong_arrow_is_seen(module: str, source: str) -> None:
    assert len(wrong_arrows({module: source})) == 1


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("quantcore.backtest.engine", "from quantcore.account_plane import scan"),
        ("quantcore.backtest.engine", "from quantcore.research.trials import Ledger"),
        ("quantcore.research.sweep", "from quantcore.backtest.engine import run"),
        ("quantcore.face", "from quantcore.research.sweep import sweep"),
        ("quantcore", "from quantcore.face import load"),
        ("strategies.trend", "from quantcore.kernels.ewm import step\nimport quantcore.fold"),
        ("live.loop", "from quantcore.signal_plane import target_weights\nimport strategies.trend"),
    ],
)
def test_a_right_arrow_passes(module: str, source: str) -> None:
    assert wrong_arrows({module: source}) == []


def test_a_module_outside_the_house_is_seen() -> None:
    with pytest.raises(AssertionError, match=r"quantcore\.helpers stands in no row"):
        wrong_arrows({"quantcore.helpers": "import quantcore.frames"})


def test_a_circle_is_seen() -> None:
    circle = {
        "quantcore.risk.a": "import quantcore.risk.b",
        "quantcore.risk.b": "import quantcore.risk.a",
    }
    assert set(cycle(circle)) == set(circle)


@pytest.mark.parametrize(
    "source", ["import socket", "from urllib.request import urlopen", "def f():\n    import time"]
)
def test_a_misplaced_effect_is_seen(source: str) -> None:
    assert len(misplaced_effects({"quantcore.risk.sizer": source})) == 1
    assert misplaced_effects({"quantcore.data.rest": source}) == []


def test_a_heavy_import_is_seen_only_on_import() -> None:
    assert len(heavy_imports({"quantcore.plots": "import plotly.graph_objects as go"})) == 1
    assert heavy_imports({"quantcore.plots": "def draw():\n    import plotly.graph_objects"}) == []


@pytest.mark.parametrize(
    "mark", ["@njit", "@njit()", "@numba.njit(cache=False)", "@njit(cache=True, fastmath=True)"]
)
def test_an_uncached_or_loose_kernel_is_seen(mark: str) -> None:
    assert len(uncached_kernels(f"{mark}\ndef step(x):\n    return x\n")) == 1


def test_a_cached_kernel_passes() -> None:
    assert uncached_kernels("@njit(cache=True)\ndef step(x):\n    return x\n") == []


def test_no_file_is_left_in_the_middle_of_a_merge() -> None:
    root = Path(__file__).resolve().parents[1]
    texts = [*root.glob("*.md")]
    texts += [path for name in ("docs", "conf", "notebooks") for path in (root / name).rglob("*")]
    kinds = (".md", ".yaml", ".py")
    found = [
        path.name for path in texts if path.suffix in kinds and "\n<<<<<<< " in path.read_text()
    ]
    assert found == []
