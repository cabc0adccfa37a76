"""How what is made is written: whose children a total counts, and the random streams of blocks."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from outcome import value_of

from raysynth.related import writing
from raysynth.related.private import _line
from raysynth.related.writing import Blocks, Request, _is_meant


def test_a_rule_that_names_its_key_means_that_one() -> None:
    relation: Any = SimpleNamespace(child_key=("buyer",))
    means = {key: _is_meant(SimpleNamespace(child_key=key), relation) for key in ((), ("buyer",), ("seller",))}  # type: ignore[arg-type]
    assert means == {(): True, ("buyer",): True, ("seller",): False}


def test_blocks_and_what_they_share_have_streams_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[float] = []

    def made(models: Any, roots: Any, scale: Any, referenced: Any, rng: np.random.Generator, *shares: Any) -> Any:
        drawn.append(rng.random())
        return {}

    monkeypatch.setattr(writing, "make_tables", made)
    model: Any = SimpleNamespace(tables={}, roots={}, references={})
    blocks = Blocks(model, Request({}, 1.0, 5), 3, frozenset())
    common = blocks.made_once()
    for index in range(3):
        blocks.block(index, common)
    assert len({*drawn}) == 4


@pytest.mark.parametrize(
    ("keys", "dtype", "line"),
    [
        ([("order", "line")], "number", "line"),
        ([("order", "line")], "text", None),
        ([("order", "line", "part")], "number", None),
        ([("order",)], "number", None),
        ([("order", "product")], "number", None),
    ],
)
def test_a_number_that_completes_the_key_of_the_parent_numbers_its_rows(
    keys: list[tuple[str, ...]], dtype: str, line: str | None
) -> None:
    schema: Any = {"line": SimpleNamespace(arrow_type=pa.int64() if dtype == "number" else pa.string())}
    plan: Any = SimpleNamespace(primary=SimpleNamespace(child_key=("order",)), keys=keys, foreign={"order", "product"})
    assert value_of(lambda: _line(plan, schema)) == line
    root: Any = SimpleNamespace(primary=None, keys=keys, foreign=set())
    assert value_of(lambda: _line(root, schema)) is None
