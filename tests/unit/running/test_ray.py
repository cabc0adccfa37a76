"""What tasks of Ray Data do, in this process: Ray is imported, and not started."""

from __future__ import annotations

import logging
import subprocess
import sys

import pyarrow as pa
import pytest

from raysynth.data.fragments import Table
from raysynth.errors import DataError
from raysynth.running import ray as passes
from raysynth.running.local import FAN_IN, MergeTree


class Text:
    """A summary that tells how it was merged."""

    def __init__(self, text: str) -> None:
        self.text = text

    def update(self, batch: pa.RecordBatch) -> None:
        raise AssertionError("not reached")

    def merge(self, other: Text) -> None:
        self.text = f"({self.text}+{other.text})"


def merged_by_tasks(rows: pa.Table, levels: int) -> pa.Table:
    for level in range(levels):
        merge = passes._MergeSummaries(level)
        rows = pa.concat_tables([merge(rows.slice(at, FAN_IN)) for at in range(0, rows.num_rows, FAN_IN)])
    return rows


@pytest.mark.parametrize("n", [1, 7, 8, 9, 63, 64, 65, 84, 123, 512, 600])
def test_tasks_and_driver_merge_in_the_tree_of_one_process(n: int) -> None:
    expected: MergeTree[Text] = MergeTree()
    for i in range(n):
        expected.add(Text(str(i)))
    rows = pa.concat_tables([passes._row(i, 0, lambda i=i: Text(str(i))) for i in range(n)])  # type: ignore[misc]
    left = merged_by_tasks(rows, passes._levels(n))
    assert left.num_rows <= FAN_IN * max(1, passes._levels(n) + 1), "few are left for the driver"
    tree: MergeTree[Text] = MergeTree()
    for _, level, part in passes._unpickled(left):
        tree.add(part, level)
    assert tree.result().text == expected.result().text


def test_an_error_of_a_fragment_travels_through_the_tree_as_a_result() -> None:
    def refused() -> None:
        raise DataError("column 'a' is refused")

    rows = pa.concat_tables([passes._row(i, 0, refused if i == 3 else lambda: Text("x")) for i in range(FAN_IN)])
    ((_, level, part),) = passes._unpickled(merged_by_tasks(rows, 1))
    assert level == 1 and isinstance(part, DataError) and str(part) == "column 'a' is refused"


def test_where_there_is_nothing_to_do_ray_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """A sample whose files are all there already; a table without rows, which is no error under a budget."""
    monkeypatch.delattr(passes, "start_ray")
    empty = Table(pa.schema([("a", pa.int64())]), (), 0, "a table")
    assert list(passes.iter_items_on_ray(lambda item: item, [])) == []
    assert passes.for_each_fragment_on_ray(empty, lambda index, blocks: index, None, "reading") == []
    assert passes.summarise_on_ray(empty, lambda: Text("nothing"), None, "reading").text == "nothing"


def test_the_memory_of_a_task_follows_from_the_number_of_columns_alone() -> None:
    assert passes._task_bytes(15) == passes.WORKER_BYTES + 15 * (1 << 20) * passes._VALUE_BYTES
    assert passes._task_bytes(1_000) < 1 << 30, "blocks of a wide table have fewer rows"


def test_lines_of_ray_data_go_to_its_files_while_a_pass_of_ours_runs() -> None:
    logger = logging.getLogger("ray.data.test")
    hidden = []
    logger.addFilter(lambda record: not hidden.append(getattr(record, "hide", False)))
    logger.info("before")
    with passes._only_in_files.here():
        logger.filters.reverse()  # ours first
        for level in (logging.INFO, logging.WARNING, logging.ERROR):
            logger.handle(logging.makeLogRecord({"levelno": level, "msg": "", "name": logger.name}))
    logger.handle(logging.makeLogRecord({"levelno": logging.WARNING, "msg": "", "name": logger.name}))
    assert hidden[-4:] == [True, True, False, False]


def test_the_first_execution_s_own_lines_are_kept_off_too() -> None:
    """Its logger is made while it runs: in a new process, where Ray Data is imported and nothing has run."""
    code = """
import logging, ray.data
from raysynth.running import ray as passes
with passes._only_in_files.here():
    from ray.data._internal.execution import streaming_executor
    record = logging.makeLogRecord({"levelno": logging.INFO, "name": streaming_executor.logger.name})
    assert streaming_executor.logger.filter(record) and record.hide
"""
    subprocess.run([sys.executable, "-c", code], check=True)
