"""One simulator for the tests of a process."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.broker.on_simulator import Simulator, simulator


@pytest.fixture(scope="session")
def exchange(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Simulator]:
    """A simulator in real time that all tests of a process share: each leaves its account flat."""
    with simulator(tmp_path_factory.mktemp("exchange"), "clock=real") as found:
        yield found
