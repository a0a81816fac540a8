from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path

import pytest

from quantcore.errors import ConfigError
from quantcore.extras import EXTRAS, refusal, require

ROOT = Path(__file__).resolve().parents[1]
MODULES = {
    "hydra-core": "hydra",
    "hydra-ray-launcher": "hydra_plugins",
    "python-binance": "binance",
    "prometheus-client": "prometheus_client",
    "scikit-learn": "sklearn",
}
"""Packages whose module is not named as they are."""


def modules(requirements: list[str]) -> set[str]:
    names = [re.split(r"[^\w-]", text)[0] for text in requirements]
    return {MODULES.get(name, name.replace("-", "_")) for name in names}


def imported() -> set[str]:
    """Return the top names of all that our packages import, except while types are checked."""
    found: set[str] = set()
    for package in ("quantcore", "strategies", "live"):
        for path in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Import):
                    found |= {alias.name.partition(".")[0] for alias in node.names}
                elif isinstance(node, ast.ImportFrom) and node.module:
                    found.add(node.module.partition(".")[0])
    return found


def test_what_is_imported_and_not_always_installed_has_its_extra() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    always = modules(project["dependencies"])
    extras = {name: modules(listed) for name, listed in project["optional-dependencies"].items()}
    ours = set().union(*(extras[name] for name in ("research", "live", "cluster"))) - always
    assert imported() & ours <= set(EXTRAS)
    assert set(EXTRAS.values()) <= set(extras)
    for module, extra in EXTRAS.items():
        assert module in extras[extra] or module == "sqlalchemy"  # of research, by Optuna


def test_a_module_that_is_not_there_is_refused_with_its_extra(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    require("sklearn")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"^sklearn must be installed .*quantcore\[research\]'$"):
        require("sklearn")


def test_only_a_module_of_an_extra_is_told() -> None:
    missing = ModuleNotFoundError("No module named 'aiohttp.web'", name="aiohttp.web")
    assert refusal(missing) == "aiohttp must be installed for this: pip install 'quantcore[live]'"
    assert refusal(ModuleNotFoundError("No module named 'mine'", name="mine")) == ""
    assert refusal(ModuleNotFoundError("no name")) == ""
