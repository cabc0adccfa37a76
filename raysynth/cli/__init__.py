"""The command line: `app` with one file for each command, and `main`, which runs it."""

from raysynth.cli.application import app
from raysynth.cli.commands import main

__all__ = ["app", "main"]
