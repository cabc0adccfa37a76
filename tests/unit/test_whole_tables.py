"""No stage gathers a whole table, by reading the code; `tests/integration/test_execution_ray.py` does it by running it.

Whatever turns all rows of something into one value in this process is named below with the reason why it is small; a
new place fails here until it has such a reason.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from import_graph import tree_of

PACKAGE = Path(__file__).parent.parent.parent / "raysynth"
# of Ray Data: never, anywhere; `materialize` keeps blocks where Ray has room, and brings none of them here
OF_A_DATASET = {
    "take_all",
    "to_arrow_refs",
    "to_numpy_refs",
    "to_pandas_refs",
    "take",
    "take_batch",
    "count",
    "sort",
    "random_shuffle",
    "repartition",
    "get_internal_block_refs",
}
NEVER = {"take_all", "to_arrow_refs", "to_numpy_refs", "to_pandas_refs", "iter_internal_ref_bundles"}
GATHERING = {"to_pandas", "to_arrow", "encoded", "_read_all", "read_table", "to_table", "read_all", "read_pandas"}
ALLOWED = {
    "campaigns/results.py to_pandas": "one line a trial",
    "campaigns/plan.py read_table": "one trial's scores",
    "cli/demo.py to_arrow": "the demonstration divides a table that fits in memory",
    "evaluation/sequence_comparison.py to_arrow": "sequences are compared in memory (README, 'Limits')",
    "attacks/audit/units.py to_arrow": "an audit refits hundreds of times, on few rows",
    "attacks/inversion.py to_pandas": "the attack's targets",
    "sampling/frame.py to_pandas": "rows that the user asked for as a DataFrame",
    "data/sequences.py to_arrow": "sequences are learned in memory (README, 'Limits')",
    "data/sources/frame.py to_arrow": "private CSV below the size that is streamed",
    "data/sources/json_lines.py read_table": "Arrow and JSON files, which are read whole (README, 'Limits')",
    "data/table.py to_table": "a Scanner, which can be read once only",
    "fitting/code_store.py encoded": "below IN_MEMORY_CELLS",
    "methods/shared/neural.py encoded": "where `Prepared.fits_in_memory`",
    "methods/sequences/private_tables.py to_arrow": "sequences are learned in memory (README, 'Limits')",
    "methods/sequences/private.py to_arrow": "sequences are learned in memory (README, 'Limits')",
    "methods/sequences/data.py to_arrow": "sequences are learned in memory (README, 'Limits')",
    "fitting/prepared.py encoded": "where there are at most `most_rows`",
    "cli/audit.py to_arrow": "an audit refits hundreds of times, on few rows",
    "cli/audit.py to_pandas": "an audit refits hundreds of times, on few rows",
    "cli/database.py to_arrow": "several tables are held in memory (README, 'Limits')",
    "data/database.py to_arrow": "several tables are held in memory (README, 'Limits')",
    "data/sources/databases.py to_arrow": "several tables are held in memory (README, 'Limits')",
    "fitting/prepared.py to_arrow": "one column: whose each row is",
    "related/opened.py to_arrow": "several tables are held in memory (README, 'Limits')",
    "related/private.py to_arrow": "several tables are held in memory (README, 'Limits')",
    "related/state.py read_all": "a reference table, which a model file keeps",
    "related/synthesizer.py to_arrow": "parents that the user gives",
    "tuning/one_trial.py encoded": "where `Prepared.fits_in_memory`",
}


def calls(path: Path) -> Iterator[tuple[str, ast.Call]]:
    """(name, call) of each call in a module."""
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Call):
            yield node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", ""), node


def gathering(path: Path) -> set[str]:
    """What a module calls that gathers; encoders' own `to_arrow(values, missing)` has arguments."""
    return {name for name, call in calls(path) if name in GATHERING and not (name == "to_arrow" and call.args)}


MODULES = sorted(PACKAGE.rglob("*.py"))


def test_nothing_asks_ray_data_for_all_rows() -> None:
    assert [(m.name, name) for m in MODULES for name, _ in calls(m) if name in NEVER] == []


def test_a_dataset_is_mapped_and_streamed_only() -> None:
    """In the one module that knows Datasets, and in the one that runs passes over them."""
    for module in ("data/sources/dataset.py", "running/ray.py"):
        assert not {name for name, _ in calls(PACKAGE / module)} & OF_A_DATASET


def test_whole_tables_are_gathered_only_where_they_are_small() -> None:
    found = {f"{m.relative_to(PACKAGE).as_posix()} {name}" for m in MODULES for name in gathering(m)}
    assert sorted(found - ALLOWED.keys()) == [], "give the reason why this is no table of any size, or stream it"
    assert sorted(ALLOWED.keys() - found) == [], "a reason without its place"


def test_the_walk_finds_what_it_looks_for(tmp_path: Path) -> None:
    module = tmp_path / "module.py"
    module.write_text(
        "def f(table, dataset, column):\n    column.to_arrow(1, 2)\n    return table.to_arrow(), _read_all()"
    )
    assert gathering(module) == {"to_arrow", "_read_all"}
