"""The six things that can go wrong in the domain; bad arguments stay `ValueError` and `TypeError`."""

from __future__ import annotations


class QuantcoreError(Exception):
    """A domain error whose message is one line: what, the rule, the value."""


class DataGap(QuantcoreError):
    """Data that a computation needs is not there."""


class SchemaMismatch(QuantcoreError):
    """Data is there, but not in the promised form."""


class ConfigError(QuantcoreError):
    """A setting is unknown, missing, of the wrong type or out of its range."""


class LimitBreach(QuantcoreError):
    """A risk limit forbids what was asked."""


class VenueError(QuantcoreError):
    """The exchange refused or did not answer."""


class JournalError(QuantcoreError):
    """The journal cannot be written or read, or contradicts itself."""
