"""Every kind's description: it holds together with the others, and tells columns as it says."""

from __future__ import annotations

import pickle

import pyarrow as pa
import pytest

from raysynth.data.table import as_table
from raysynth.errors import SchemaError
from raysynth.kinds.description import Family
from raysynth.kinds.evidence import Evidence, PublicField
from raysynth.kinds.registry import Kind, kind_held, told, told_publicly
from raysynth.schema.columns import ColumnSchema
from raysynth.statistics.table_statistics import collect

TYPES = (pa.int8(), pa.int64(), pa.float64(), pa.decimal128(9, 2), pa.bool_(), pa.string(), pa.date32())
TIMES = (pa.timestamp("ns"), pa.timestamp("us", tz="UTC"), pa.duration("s"))
FAMILY_WORDS = ("is_number", "is_numeric", "is_discrete", "is_made", "is_constant")


def evidence(values: list[object], type_: pa.DataType, name: str = "x", **more: object) -> Evidence:
    table = as_table(pa.table({name: pa.array(values, type_)}))
    return Evidence(collect(table, check_values=False).columns[name], **more)  # type: ignore[arg-type]


def test_descriptions_do_not_claim_the_same() -> None:
    """A word of a codebook, and what a type holds, belong to one kind; a kind that makes values has a maker."""
    words = [word for kind in Kind for word in kind.about.words]
    held = [kind.about.held for kind in Kind if kind.about.held is not None]
    assert len(words) == len(set(words)) and len(held) == len(set(held))
    for kind in Kind:
        assert kind.is_made == (kind.about.maker is not None)
        assert set(kind.about.fills) | set(kind.about.needs) | kind.about.takes <= set(
            ColumnSchema.__dataclass_fields__
        )
        assert pickle.loads(pickle.dumps(kind)) is kind


def test_a_kind_is_of_one_family() -> None:
    for kind in Kind:
        said = [word for word in FAMILY_WORDS if getattr(kind, word)]
        assert said == ["is_number", "is_numeric"] if kind.about.family is Family.NUMBER else len(said) == 1
        assert kind.is_modelled == (kind.is_numeric or kind.is_discrete)


@pytest.mark.parametrize("type_", (*TYPES, *TIMES), ids=str)
def test_every_type_is_of_some_kind_that_it_fits(type_: pa.DataType) -> None:
    """From its values, and publicly; a kind that is told fits what it was told of."""
    seen = evidence([None] * 3, type_)
    assert told(seen)[0] is Kind.CONSTANT  # no value in any row
    kind, found = told_publicly(PublicField("x", type_, public_types=True))
    assert found.fields["dtype"] == ("string" if seen.is_text else str(type_))
    assert kind is (kind_held(seen.held) or (Kind.CATEGORICAL if seen.is_text else Kind.CONTINUOUS))
    assert kind.about.fits(seen)


def test_the_first_by_rank_has_a_column() -> None:
    """A key by its name comes before a list of two values, that before the rest."""
    numbers = [float(i % 2) for i in range(60)]
    assert told(evidence(numbers, pa.float64(), rare=20))[0] is Kind.CATEGORICAL
    assert told(evidence(numbers, pa.float64(), rare=40))[0] is Kind.CONTINUOUS  # too few rows of each
    assert told(evidence(list(range(7, 67)), pa.int64(), "customer_id"))[0] is Kind.IDENTIFIER
    assert told(evidence(list(range(60)), pa.int64()))[0] is Kind.IDENTIFIER  # a sequence without gaps
    assert told(evidence([i * i for i in range(60)], pa.int64()))[0] is Kind.CONTINUOUS
    assert told(evidence(["a", "b"] * 30, pa.string(), pandas_dtype="category"))[1].reason.startswith("pandas")
    assert told(evidence([f"{i}@example.com" for i in range(60)], pa.string()))[1].fields == {"personal": "email"}


def test_a_column_without_a_type_is_no_kind_under_a_budget() -> None:
    with pytest.raises(SchemaError, match="'empty' has no type"):
        told_publicly(PublicField("empty", pa.null()))
