"""One door to the private data, by reading the code: under a budget only noised values are made and handed on.

Types say it first (`NoisedColumn` gives `Noised`, mypy checks the callers); these tests fail where a later change goes
round them.
"""

from __future__ import annotations

import ast
import typing
from pathlib import Path

from import_graph import tree_of

from raysynth.dp.accounting.scope import PrivacyScope
from raysynth.statistics.noised import NoisedColumn, NoisedStatistics
from raysynth.statistics.released import Noised

PACKAGE = Path(__file__).parent.parent.parent / "raysynth"
WALKED = ("encoding", "training", "fitting", "methods", "sampling")
READS_ROWS = {
    "count",
    "summarise",
    "open_counts",
    "encoded",
    "for_each_fragment",
    "made_in_order",
    "gaussian_vector",
    "noised_counts",
    "chosen",
}
READS_ROWS |= {"summed_summaries"}


def modules(*folders: str) -> list[Path]:
    return [f for folder in folders for f in sorted((PACKAGE / folder).rglob("*.py"))]


def calls(node: ast.AST) -> list[tuple[int, str]]:
    """(line, name) of every call, in the order of lines."""
    found = []
    for call in (n for n in ast.walk(node) if isinstance(n, ast.Call)):
        name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
        found.append((call.lineno, name))
    return sorted(found)


def function(path: Path, name: str) -> ast.FunctionDef:
    tree = tree_of(path)
    return next(n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef) and n.name == name)


def reading(path: Path) -> set[str]:
    """Names that read rows or draw noise, with those of a module's own functions that call them."""
    functions = [n for n in tree_of(path).body if isinstance(n, ast.FunctionDef)]
    found = set(READS_ROWS)
    for _ in functions:  # until nothing is added
        found |= {f.name for f in functions if found & {name for _, name in calls(f)}}
    return found


def test_a_noised_column_gives_noised_values_by_its_types() -> None:
    for method in (NoisedColumn.categories, NoisedColumn.distribution):
        assert typing.get_origin(typing.get_type_hints(method)["return"]) is Noised
    assert typing.get_type_hints(NoisedStatistics)["columns"] == dict[str, NoisedColumn]


def test_no_encoder_or_method_makes_released_values_itself() -> None:
    """`Exact` and `Noised` are made in statistics/ alone, so what encoders get came through a door."""
    released = {"Exact", "Noised", "NoisedColumn", "NoisedStatistics"}
    assert [(path, name) for path in modules(*WALKED) for _, name in calls(tree_of(path)) if name in released] == []


def test_encoders_know_released_values_only() -> None:
    """No encoder sees a summary that is still exact, a table, or a source."""
    for node in (n for path in modules("encoding") for n in ast.walk(tree_of(path))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("raysynth."):
            home = (node.module or "").split(".")
            assert home[1] not in ("data", "running", "dp") or home[1:] == ["running", "compiled"]  # loops, no rows
            assert home[1] != "statistics" or home[2] not in ("table_statistics", "cell_counts", "noised", "numeric")


def test_the_private_door_makes_no_exact_value_and_charges_before_it_reads() -> None:
    path = PACKAGE / "statistics" / "noised.py"
    assert "Exact" not in {name for _, name in calls(tree_of(path))}
    order = [name for _, name in calls(function(path, "release_statistics"))]
    assert order.index("charge") < order.index("summarise")


def test_the_private_opening_infers_nothing_and_checks_no_row() -> None:
    made = {name for _, name in calls(function(PACKAGE / "fitting" / "opening.py", "open_privately"))}
    assert "release_statistics" in made
    assert not made & {"collect", "infer_schema", "check_constraints", "validate_rows", "require_rows"}


def test_the_public_schema_reads_no_row() -> None:
    made = {name for _, name in calls(function(PACKAGE / "statistics" / "public_schema.py", "public_schema"))}
    assert not made & {"blocks", "to_arrow", "summarise", "collect", "for_each_fragment", "made_in_order"}


def test_a_method_without_sgd_charges_before_it_touches_rows() -> None:
    paying = [
        (path, node)
        for path in modules("methods", "fitting", "training")
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.FunctionDef)
        and node.name.startswith("learn")
        and any("PrivacyScope" in ast.unparse(a.annotation) for a in node.args.args if a.annotation is not None)
    ]
    for path, node in paying:
        order, readers = calls(node), reading(path)
        charged = min(line for line, name in order if name == "charge")
        assert [(path, name) for line, name in order if name in readers and line <= charged] == []
    found = {f"{p.parent.name}/{p.name}" for p, _ in paying}
    assert found >= {"bayesian_network/private.py", "copula/private.py", "sequences/private.py"}


def test_private_sequences_are_divided_without_a_look_at_what_rows_hold() -> None:
    """Static columns, lengths, gaps across entities, kinds and patterns of keys would all be read from the rows."""
    for name in ("private_tables.py", "private.py"):
        tree = tree_of(PACKAGE / "methods" / "sequences" / name)
        made = {called for _, called in calls(tree)}
        assert not made & {"collect", "infer_schema", "divide", "static_columns", "longest", "gaps", "infer_pattern"}
        assert not made & {"array_of", "validate_rows", "check_constraints", "require_rows"}


def test_noise_is_never_seeded_outside_tests() -> None:
    """`InsecureSeededNoise` is named in dp/ alone: no fit can come to use it by its parameters."""
    for path in modules("."):
        if path.relative_to(PACKAGE).parts[0] != "dp":
            assert "InsecureSeededNoise(" not in path.read_text(encoding="utf-8"), path
    assert PrivacyScope.__init__.__annotations__["noise"] == "NoiseSource | None"
