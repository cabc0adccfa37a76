"""`raysynth demo` as a newcomer runs it: the real entry point, on the real example table."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

from raysynth import load_synthetic_model
from raysynth.cli.demo import example_table

COMMAND = [sys.executable, "-c", "from raysynth.cli import main; main()", "demo"]
SECONDS_ALLOWED = 180  # the promise of the README's first command, on 2 cores


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict, str, float, Path]:
    """Record, what the terminal showed, seconds and folder of one demonstration without arguments."""
    folder = tmp_path_factory.mktemp("demo")
    ours, theirs = pty.openpty()  # standard error is a terminal, so that progress bars are drawn
    begun = time.perf_counter()
    with subprocess.Popen(
        [*COMMAND, "--json"],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=theirs,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "100", "RAYSYNTH_QUIET": ""},
    ) as process:
        os.close(theirs)
        shown = _read_all(ours)
        assert process.stdout is not None
        output = process.stdout.read().decode()
    seconds = time.perf_counter() - begun
    assert process.returncode == 0, shown
    return json.loads(output), shown, seconds, folder / "demo"


def _read_all(terminal: int) -> str:
    """Everything written to a terminal until its other end is closed."""
    parts = []
    while True:
        try:
            part = os.read(terminal, 65536)
        except OSError:  # how Linux tells that the other end is closed
            break
        if not part:
            break
        parts.append(part)
    os.close(terminal)
    return b"".join(parts).decode(errors="replace")


def test_ends_in_time_with_model_table_and_report(demo: tuple[dict, str, float, Path]) -> None:
    record, _, seconds, folder = demo
    assert seconds < SECONDS_ALLOWED
    assert sorted(os.listdir(folder)) == ["model.raysynth", "report.html", "synthetic.csv"]
    assert record["rows"] == 6366 and record["columns"] == 9
    assert record["evaluation"], "the figures of the report are in the record"


def test_synthetic_table_looks_like_the_real_one(demo: tuple[dict, str, float, Path]) -> None:
    folder = demo[3]
    real, synthetic = example_table(), pd.read_csv(folder / "synthetic.csv")
    assert list(synthetic.columns) == list(real.columns)
    assert len(synthetic) == 5093  # 80 %; the rest is the yardstick
    for column in real.select_dtypes("number"):
        spread = real[column].std()
        assert abs(synthetic[column].mean() - real[column].mean()) < 0.1 * spread, column
    for column in real.select_dtypes(exclude="number"):
        shares = [table[column].value_counts(normalize=True) for table in (real, synthetic)]
        assert shares[0].sub(shares[1], fill_value=0).abs().max() < 0.03, column


def test_every_slow_step_has_a_progress_bar(demo: tuple[dict, str, float, Path]) -> None:
    record, shown, _, _ = demo
    for number, step in enumerate(record["seconds"], start=1):
        assert f"{number}/4" in shown
        if record["seconds"][step] > 5:
            part = shown[shown.index(f"{number}/4") :]
            part = part[: part.index(f"{number + 1}/4")] if number < 4 else part
            assert "━" in part or "╸" in part, f"step '{step}' took {record['seconds'][step]} s without a progress bar"


def test_model_of_the_demo_loads_and_samples(demo: tuple[dict, str, float, Path]) -> None:
    model = load_synthetic_model(demo[3] / "model.raysynth")
    assert len(model.sample(100, seed=1)) == 100


@pytest.mark.slow  # a second demonstration
def test_own_table(tmp_path: Path) -> None:
    example_table().head(600).to_csv(tmp_path / "own.csv", index=False)
    result = subprocess.run(
        [*COMMAND, "own.csv", "--out", "out", "--method", "copula"], cwd=tmp_path, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    for word in ("own.csv: 600 rows x 9 columns", "out/report.html", "raysynth sample out/model.raysynth"):
        assert word in result.stdout
