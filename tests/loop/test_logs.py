"""The log: whole JSON lines, without secrets, its owner's alone, and bounded."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from live import logs
from live.journal.codec import Redactor
from quantcore.errors import ConfigError

SECRET = "MARKER-of-a-secret"


@pytest.fixture
def log(tmp_path: Path) -> Iterator[logging.Logger]:
    handler = logs.log_into(tmp_path / "mine", Redactor([SECRET]))
    yield logging.getLogger("live.test")
    logging.getLogger().removeHandler(handler)
    handler.close()


def lines(folder: Path) -> list[dict[str, str]]:
    text = (folder / "mine" / logs.FILE).read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def test_each_record_is_one_line_whatever_it_says(log: logging.Logger, tmp_path: Path) -> None:
    log.info('two\nlines, a "quote" and %s', "an ö")
    log.debug("unheard")
    logging.getLogger("someone.else").info("unheard")
    logging.getLogger("someone.else").warning("heard")
    said = lines(tmp_path)
    assert [line["message"] for line in said] == ['two\nlines, a "quote" and an ö', "heard"]
    assert set(said[0]) == {"time", "level", "logger", "message"}
    assert said[0]["time"].endswith("Z")
    assert (said[0]["level"], said[0]["logger"]) == ("info", "live.test")


def test_no_secret_is_in_it_nor_in_a_trace(log: logging.Logger, tmp_path: Path) -> None:
    log.warning("signed with %s", SECRET)
    try:
        raise ValueError(f"refused {SECRET}")
    except ValueError:
        log.exception("trouble")
    said = lines(tmp_path)
    assert said[0]["message"] == "signed with ***"
    assert "ValueError: refused ***" in said[1]["trace"]
    assert SECRET not in json.dumps(said)


def test_a_persons_line_is_one_line_without_secrets() -> None:
    record = logging.LogRecord("live", logging.WARNING, "", 1, f"a\nb {SECRET}", None, None)
    assert logs.Words(Redactor([SECRET])).format(record).endswith(" live: a b ***")


def test_files_are_their_owners_alone_and_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "MAX_BYTES", 2_000)
    before = os.umask(0)
    try:
        handler = logs.log_into(tmp_path / "mine", Redactor([]))
        for number in range(300):
            logging.getLogger("live.test").info("line %d of many that fill the files", number)
    finally:
        os.umask(before)
        logging.getLogger().removeHandler(handler)
        handler.close()
    files = sorted((tmp_path / "mine").iterdir())
    assert len(files) == 1 + logs.KEPT
    assert {path.stat().st_mode & 0o777 for path in files} == {0o600}
    assert max(path.stat().st_size for path in files) <= 2_000
    assert lines(tmp_path)[-1]["message"].startswith("line 299")


def test_a_folder_that_takes_no_file_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=r"log.jsonl must be writable, was not: Not a directory$"):
        logs.log_into(tmp_path / "file" / "folder", Redactor([]))
