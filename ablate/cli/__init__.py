"""The command ``ablate``. Each command imports what it needs when it runs, so that ``--help`` is quick."""

from ablate.cli.app import app, main

__all__ = ["app", "main"]
