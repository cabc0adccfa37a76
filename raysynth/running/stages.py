"""Stages of a job: what took how long, over how many rows and bytes.

    with collect_stages() as stages:
        with stage("sampling") as done:
            ...
            done.rows, done.bytes = n, size
    print(stage_table(stages))

Each end of a stage is also a structured log line of the logger 'raysynth' (level INFO): the message for people, and the
fields `stage`, `rows`, `seconds`, `rows_per_second` and `bytes` for machines. Where the environment has
RAYSYNTH_LOG=text or RAYSYNTH_LOG=json, the command line writes these lines to standard error (`write_logs`).
"""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, TextIO

from raysynth.errors import ParameterError
from raysynth.running.progress import stage_line

LOG = "RAYSYNTH_LOG"
LONG_SECONDS = 60.0  # a job that took longer ends with its stage table
_FIELDS = ("stage", "rows", "seconds", "rows_per_second", "bytes")

_logger = logging.getLogger("raysynth")
_collected: ContextVar[list[Stage] | None] = ContextVar("collected", default=None)
_inner_seconds: ContextVar[list[float] | None] = ContextVar("inner_seconds", default=None)


@dataclass(frozen=True)
class Stage:
    """One line of a job's stage table.

    Args:
        name: of the stage.
        seconds: that it took; stages inside it are lines of their own and do not count here.
        rows: that went through it, 0 where it has none.
        bytes: that it wrote, None where it wrote nothing of size.
    """

    name: str
    seconds: float
    rows: int
    bytes: int | None = None

    @property
    def rows_per_second(self) -> float | None:
        """Rows by seconds; None without rows."""
        return self.rows / self.seconds if self.rows and self.seconds > 0 else None

    def record(self) -> dict[str, Any]:
        """Name, rows, bytes, seconds and rows per second as JSON values."""
        speed = self.rows_per_second
        return {
            "stage": self.name,
            "rows": self.rows,
            "seconds": round(self.seconds, 3),
            "rows_per_second": None if speed is None else round(speed),
            "bytes": self.bytes,
        }


@dataclass
class Done:
    """What a running stage knows of its work so far."""

    rows: int = 0
    bytes: int | None = None


@contextmanager
def stage(name: str, rows: int = 0) -> Iterator[Done]:
    """One stage, for the duration of the `with` block; a block that raises leaves no line."""
    done, begun = Done(rows), time.perf_counter()
    inner: list[float] = []
    token = _inner_seconds.set(inner)
    try:
        with stage_line(name):
            yield done
    finally:
        _inner_seconds.reset(token)
        seconds = time.perf_counter() - begun
        if (outer := _inner_seconds.get()) is not None:
            outer.append(seconds)
    ended = Stage(name, seconds - sum(inner), done.rows, done.bytes)
    if (stages := _collected.get()) is not None:
        stages.append(ended)
    _logger.info(_line(ended), extra=ended.record())


@contextmanager
def collect_stages() -> Iterator[list[Stage]]:
    """The stages that end inside the `with` block, in the order of their ends; outer lists get them too."""
    stages: list[Stage] = []
    token = _collected.set(stages)
    try:
        yield stages
    finally:
        _collected.reset(token)
        if (outer := _collected.get()) is not None:
            outer.extend(stages)


def stage_table(stages: Sequence[Stage]) -> str:
    """All stages as aligned text, with their sum of seconds."""
    head = f"{'stage':<32} {'seconds':>9} {'rows':>15} {'rows/s':>13} {'MB':>11}"
    lines = []
    for s in stages:
        speed = "" if s.rows_per_second is None else f"{s.rows_per_second:,.0f}"
        size = "" if s.bytes is None else f"{s.bytes / 1e6:,.1f}"
        rows = f"{s.rows:,}" if s.rows else ""
        lines.append(f"{s.name:<32} {s.seconds:>9.1f} {rows:>15} {speed:>13} {size:>11}".rstrip())
    return "\n".join([head, *lines, f"{'all':<32} {sum(s.seconds for s in stages):>9.1f}"])


def write_logs() -> None:
    """Write the log lines to standard error, as RAYSYNTH_LOG says ('text', 'json', or nothing).

    Raises:
        ParameterError: another value of RAYSYNTH_LOG.
    """
    wanted = os.environ.get(LOG, "")
    if wanted in ("", "0"):
        return
    if wanted not in ("text", "json"):
        raise ParameterError(f"{LOG} must be 'text' or 'json', or left out; found {wanted!r}")
    _logger.setLevel(logging.INFO)
    for handler in [h for h in _logger.handlers if isinstance(h, _OwnHandler)]:
        _logger.removeHandler(handler)
    own = _OwnHandler()
    own.setFormatter(_JsonLines() if wanted == "json" else logging.Formatter("%(asctime)s %(name)s %(message)s"))
    _logger.addHandler(own)


class _OwnHandler(logging.StreamHandler[TextIO]):
    """Writes to standard error; a class of its own, so that it is not taken for a handler that others added."""


class _JsonLines(logging.Formatter):
    """One JSON object a line: time, level, message, and the fields of a stage."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as one line of JSON."""
        content = {"time": self.formatTime(record), "level": record.levelname, "message": record.getMessage()}
        content |= {name: getattr(record, name) for name in _FIELDS if hasattr(record, name)}
        return json.dumps(content, ensure_ascii=False)


def _line(ended: Stage) -> str:
    record = ended.record()
    return " ".join(f"{name}={record[name]}" for name in _FIELDS if record[name] is not None)
