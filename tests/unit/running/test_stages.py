"""Stages: seconds that add up, nesting, log lines for machines, and the table."""

from __future__ import annotations

import json
import logging
import time

import pytest

from raysynth.errors import ParameterError
from raysynth.running.stages import LOG, Stage, collect_stages, stage, stage_table, write_logs


def pause(seconds: float) -> None:
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        pass


def test_a_stage_does_not_count_the_stages_inside_it() -> None:
    with collect_stages() as stages, stage("fit", rows=10), stage("shards") as done:
        pause(0.05)
        done.rows, done.bytes = 10, 2000
    inner, outer = stages
    assert (inner.name, inner.rows, inner.bytes) == ("shards", 10, 2000)
    assert (outer.name, outer.rows, outer.bytes) == ("fit", 10, None)
    assert inner.seconds >= 0.05 > outer.seconds


def test_an_outer_list_gets_the_stages_of_an_inner_one() -> None:
    with collect_stages() as all_stages:
        with stage("read"):
            pass
        with collect_stages() as of_fit, stage("fit"):
            pass
    assert [s.name for s in all_stages] == ["read", "fit"]
    assert [s.name for s in of_fit] == ["fit"]


def test_a_stage_that_fails_leaves_no_line() -> None:
    with collect_stages() as stages:
        with pytest.raises(ValueError, match="broken"), stage("read"):
            raise ValueError("broken")
        with stage("next"):
            pass
    assert [s.name for s in stages] == ["next"]


def test_the_table_names_rows_speed_and_size() -> None:
    lines = stage_table([Stage("statistics", 2.0, 1_000_000), Stage("sampling", 4.0, 1000, 5_000_000)]).splitlines()
    assert lines[1].split() == ["statistics", "2.0", "1,000,000", "500,000"]
    assert lines[2].split() == ["sampling", "4.0", "1,000", "250", "5.0"]
    assert lines[3].split() == ["all", "6.0"]
    assert Stage("fit", 0.0, 5).rows_per_second is None
    assert "fit" in stage_table([Stage("fit", 1.0, 0)])


def test_log_lines_for_machines(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv(LOG, "json")
    logger = logging.getLogger("raysynth")
    before = list(logger.handlers)
    try:
        write_logs()
        write_logs()
        with stage("sampling", rows=100) as done:
            pause(0.01)
            done.bytes = 12
        (line,) = capsys.readouterr().err.splitlines()
    finally:
        logger.handlers = before
        logger.setLevel(logging.NOTSET)
    record = json.loads(line)
    assert (record["stage"], record["rows"], record["bytes"]) == ("sampling", 100, 12)
    assert 0 < record["rows_per_second"] <= 10_000 and record["seconds"] >= 0.01


def test_unknown_form_of_logs_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(LOG, "xml")
    with pytest.raises(ParameterError, match="RAYSYNTH_LOG must be 'text' or 'json'"):
        write_logs()
