"""All commands: importing a file adds its command to the app, and `application.ORDER` says how the help lists them.

Results go to standard output (with `--json`: one JSON object and nothing else), progress and messages to standard
error. Exit codes: 0 done; 2 the input is at fault; 1 anything else; 130 interrupted with Ctrl-C.
"""

import io
import sys

from raysynth.cli import (  # noqa: F401
    attack,
    audit,
    compare,
    demo,
    dossier,
    evaluate,
    fit,
    info,
    ledger,
    look,
    sample,
    schema,
    submit,
    sweep,
    verify,
)
from raysynth.cli.application import app


def main() -> None:
    """Entry point of the `raysynth` command; what it prints reaches a pipe or a file line by line, as it is said."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)
    app()
