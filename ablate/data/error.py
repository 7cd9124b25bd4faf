"""The one error of this room."""

from __future__ import annotations


class DataError(Exception):
    """Data that cannot be used. The message names the file (and row) and says what to do."""
