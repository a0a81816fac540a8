"""Migrations of the journal's tables, inside the package and run when a journal is opened.

A change of `tables` needs a new file in ``migrations/versions`` with the next number; a test compares the two.
"""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

_FOLDER = Path(__file__).resolve().parent / "migrations"


def head() -> str:
    """Return the revision that this code writes; revisions are numbers of four digits, which rise."""
    return str(ScriptDirectory(str(_FOLDER)).get_current_head())


def upgrade(connection: Connection, to: str = "head") -> None:
    """Bring a database to a revision inside the connection's transaction."""
    config = Config()
    config.set_main_option("script_location", str(_FOLDER).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, to)
