"""What this program is, for whoever writes it into a file or a page: its version, and the command that started it."""

import shlex
import sys
from pathlib import Path

__version__ = "0.1.0"


def command_line() -> str:
    """The command that this program was started with, as it can be typed again; empty inside another program."""
    program = Path(sys.argv[0])
    if program.name not in ("raysynth", "raysynth.exe") and program.parts[-2:] != ("raysynth", "__main__.py"):
        return ""
    return shlex.join(["raysynth", *sys.argv[1:]])
