"""Ray starts late on a busy machine: a second attempt is made, and what is refused is told in one line."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from quantcore.cluster import check_address, connect
from quantcore.errors import ConfigError, QuantcoreError

LATE = Exception("The current node timed out during startup.\n This could happen")


class Ray(SimpleNamespace):
    """Stands for Ray: each start fails as told, one after the other."""

    def __init__(self, *failures: Exception) -> None:
        super().__init__(left=list(failures), started=[])

    def is_initialized(self) -> bool:
        return False

    def init(self, address: str, **options: Any) -> None:
        self.started.append((address, options))
        if self.left:
            raise self.left.pop(0)

    def shutdown(self) -> None:
        pass


def stand_in(monkeypatch: pytest.MonkeyPatch, failures: Sequence[Exception]) -> Ray:
    ray = Ray(*failures)
    monkeypatch.setitem(sys.modules, "ray", ray)
    return ray


def test_a_late_start_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    ray = stand_in(monkeypatch, [LATE, LATE])
    connect(None, log_to_driver=True)
    assert [address for address, _ in ray.started] == ["local"] * 3
    assert ray.started[-1][1]["log_to_driver"] is True
    assert ray.started[-1][1]["num_cpus"] >= 1


def test_a_start_that_never_comes_is_told_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(monkeypatch, [LATE] * 9)
    with pytest.raises(QuantcoreError, match=r"did not in 4 attempts: .* startup\. This could"):
        connect(None)


def test_another_failure_is_not_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    ray = stand_in(monkeypatch, [OSError("no memory")])
    with pytest.raises(OSError, match="no memory"):
        connect(None)
    assert len(ray.started) == 1


def test_ray_that_is_not_installed_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(
        ConfigError, match=r"Ray must be installed: pip install 'quantcore\[cluster\]'"
    ):
        connect(None)


def test_an_address_is_named_by_its_setting() -> None:
    check_address("auto")
    with pytest.raises(ConfigError, match=r"^its\.address must be .*, was ray://127\.0\.0\.1:1: "):
        check_address("ray://127.0.0.1:1", name="its.address")
