"""Where a test's journal is: in a file of SQLite, and once more in a database of PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.journal.entries import url_of
from tests.journal.server import Server, postgresql


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """A server for all tests of one process."""
    with postgresql() as server:
        server.say("ALTER SYSTEM SET fsync = off", "SELECT pg_reload_conf()")
        yield server


@pytest.fixture
def own_server() -> Iterator[Server]:
    """A server that a test may end and kill."""
    with postgresql() as server:
        yield server


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.integration)])
def url_at(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[str], str]:
    """Return the URL of a journal of the test's own by a name; a test that takes it runs on both databases."""
    if request.param == "sqlite":
        return lambda name: url_of(tmp_path / name)
    server: Server = request.getfixturevalue("server")
    urls: dict[str, str] = {}

    def at(name: str) -> str:
        if name not in urls:
            urls[name] = server.database(name)
        return urls[name]

    return at


@pytest.fixture
def url(url_at: Callable[[str], str]) -> str:
    """The URL of a journal of the test's own, on both databases."""
    return url_at("one")


@pytest.fixture
def empty_url(request: pytest.FixtureRequest, url: str) -> str:
    """The URL of a journal that nobody has made yet, on both databases."""
    if url.startswith("sqlite"):
        return url
    server: Server = request.getfixturevalue("server")
    return server.empty()
