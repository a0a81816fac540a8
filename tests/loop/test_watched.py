"""What stands beside a session: none of it may end the loop, and a copy that lacks too much stops what opens."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from live.journal import Journal, tables
from live.journal.mirror import Carried
from live.logs import FILE, Words
from live.watched import Copy, logged
from quantcore.config import build, compose
from quantcore.errors import ConfigError
from tests.journal.entries import opened


@dataclass
class Driven:
    journal: Journal
    stopped: dict[str, str] = field(default_factory=dict)

    @property
    def loop(self) -> Any:
        return self

    @property
    def broker(self) -> Any:
        return self

    def now_us(self) -> int:
        return 7


def notes(journal: Journal) -> list[str]:
    with journal.transaction() as connection:
        rows = connection.execute(tables.notes.select()).all()
    return [f"{row.source}: {row.message}" for row in rows]


def test_a_copy_that_lacks_too_much_stops_what_opens_until_it_has_caught_up(tmp_path: Path) -> None:
    with opened(tmp_path) as journal:
        driven: Any = Driven(journal)
        copy = Copy(driver=driven, most=10, place="elsewhere")
        copy.take(Carried(rows=3))
        for behind in (4, 10):
            copy.take(Carried(behind=behind, trouble="it is away"))
            assert driven.stopped == {}
        copy.take(Carried(behind=11, trouble="it is away"))
        assert driven.stopped == {
            "copy": "the journal's copy must lack at most 10 steps, lacks more"
        }
        assert copy.behind == 11
        copy.take(Carried(rows=50))
        assert driven.stopped == {}
        assert notes(journal) == ["copy: it is away", "copy: elsewhere has caught up"]


def test_the_log_is_beside_the_journal_and_what_is_shown_has_no_secrets(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import sys

    settings: Any = type("Settings", (), {"folder": tmp_path / "mine"})
    shown = logging.StreamHandler(sys.stderr)
    logging.getLogger().addHandler(shown)
    try:
        with logged(settings, ["MARKER"]):
            logging.getLogger("live.test").warning("signed with MARKER")
            assert isinstance(shown.formatter, Words)
        logging.getLogger("live.test").warning("after the end")
    finally:
        logging.getLogger().removeHandler(shown)
    lines = (tmp_path / "mine" / FILE).read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["message"] for line in lines] == ["signed with ***"]
    assert "signed with ***" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("conf.copy_behind_max=0", "conf.copy_behind_max must be >= 1, was 0"),
        ("conf.metrics_port=70000", "conf.metrics_port must be null or a port, was 70000"),
        ("conf.copy_url=mysql://there/it", "conf.copy_url: url must begin with sqlite:///"),
        (
            "conf.copy_url='${conf.journal}'",
            "conf.copy_url must be null where conf.journal is no file of its own",
        ),
    ],
)
def test_bad_settings_are_refused_in_one_line(override: str, message: str) -> None:
    with pytest.raises(ConfigError) as refused:
        build(compose("live", ["conf=sim", override]).conf)
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)
