"""The command line: `app` with one file for each command, and `main`, which runs it."""

from raysynth.cli.commands import app, main

__all__ = ["app", "main"]
