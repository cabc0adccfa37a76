"""Encoder of a whole table: one column encoder for each modelled column, rows to blocks and back."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol, TypeAlias

import numpy as np
import pyarrow as pa

from raysynth.encoding.block import EncodedBlock, EncodedColumn, PresenceEncoder, concat_blocks
from raysynth.encoding.categorical import CategoricalEncoder, build_categorical
from raysynth.encoding.numeric import BinEncoder, ModeEncoder, build_bins, build_modes, build_scaled
from raysynth.errors import ModelFileError
from raysynth.files.model_file import under
from raysynth.schema.columns import ColumnSchema
from raysynth.schema.constraints.base import one_array
from raysynth.schema.table import TableSchema
from raysynth.statistics.released import CategoryCounts, NumericDistribution, Released

ColumnEncoder: TypeAlias = CategoricalEncoder | BinEncoder | ModeEncoder | PresenceEncoder
Within: TypeAlias = tuple[float, float] | frozenset[Any]
NumericForm: TypeAlias = Literal["bins", "modes", "scaled"]
_CLASSES = {c.__name__: c for c in (CategoricalEncoder, BinEncoder, ModeEncoder, PresenceEncoder)}


class ReleasedColumn(Protocol):
    """What the encoder needs of one column's statistics."""

    @property
    def n_rows(self) -> float:
        """Rows seen."""
        ...

    @property
    def missing(self) -> float:
        """Rows without a value."""
        ...

    def categories(self) -> Released[CategoryCounts]:
        """Counts of a discrete column."""
        ...

    def distribution(self) -> Released[NumericDistribution]:
        """Distribution of a numeric column."""
        ...


@dataclass(frozen=True)
class TableEncoder:
    """Rows of the modelled columns to `EncodedBlock` and back. Pure: no error depends on a row.

    Args:
        columns: one encoder for each modelled column, in the order of the schema.
    """

    columns: tuple[ColumnEncoder, ...]

    @property
    def layout(self) -> tuple[EncodedColumn, ...]:
        """Where each column stands in a block."""
        result, index = [], 0
        for column in self.columns:
            place = column.layout()
            if place.value_index is not None:
                place, index = replace(place, value_index=index), index + 1
            result.append(place)
        return tuple(result)

    @property
    def cardinalities(self) -> tuple[int, ...]:
        """Number of codes of each column, 'missing' included."""
        return tuple(c.cardinality for c in self.columns)

    @property
    def n_values(self) -> int:
        """Number of columns that carry a float beside the code."""
        return sum(place.value_index is not None for place in self.layout)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the modelled columns."""
        return tuple(c.name for c in self.columns)

    def frequencies(self) -> list[np.ndarray]:
        """Released share of rows of each code, one array (cardinality,) a column; each sums to 1."""
        return [c.shares / max(c.shares.sum(), 1e-300) for c in self.columns]

    def encode(self, batch: pa.RecordBatch | pa.Table) -> EncodedBlock:
        """Encoded rows of a batch that has the modelled columns (others are ignored).

        Values far out overflow and are clipped in silence: a warning would tell of a row.
        """
        codes = np.empty((batch.num_rows, len(self.columns)), np.uint16, order="F")
        values = np.empty((batch.num_rows, self.n_values), np.float32, order="F")
        for i, (column, place) in enumerate(zip(self.columns, self.layout, strict=True)):
            array = one_array(batch.column(column.name))
            with np.errstate(all="ignore"):
                codes[:, i], value = column.encode(array)
            if place.value_index is not None:
                values[:, place.value_index] = value
        return EncodedBlock(codes, values)

    def encode_all(self, batches: Iterable[pa.RecordBatch]) -> EncodedBlock:
        """Encoded rows of all batches together; of none, too, since under a privacy budget no rows are no error."""
        nothing = EncodedBlock(np.empty((0, len(self.columns)), np.uint16), np.empty((0, self.n_values), np.float32))
        return concat_blocks([nothing, *(self.encode(batch) for batch in batches)])

    def decode(
        self, block: EncodedBlock, rng: np.random.Generator, within: Mapping[str, Within] | None = None
    ) -> pa.Table:
        """The modelled columns as an Arrow table.

        Args:
            block: encoded rows.
            rng: draws the value inside a bin and the category inside a tail.
            within: what the values of some columns are drawn from, where the code allows: a closed range of numbers,
                or a set of categories.
        """
        arrays = {}
        for i, (column, place) in enumerate(zip(self.columns, self.layout, strict=True)):
            value: Any = None if place.value_index is None else block.values_NV[:, place.value_index]
            limits: Any = (within or {}).get(column.name)
            arrays[column.name] = column.decode(block.codes_NC[:, i], value, rng, limits)
        return pa.table(arrays)

    def to_state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """JSON values and named arrays that `from_state` reads."""
        metas, arrays = [], {}
        for i, column in enumerate(self.columns):
            meta, own = column.to_state()
            metas.append({"name": column.name, "class": type(column).__name__, "state": meta})
            arrays.update({f"encoder.{i}.{k}": v for k, v in own.items()})
        return {"columns": metas}, arrays

    @classmethod
    def from_state(cls, schema: TableSchema, meta: dict[str, Any], arrays: Mapping[str, np.ndarray]) -> TableEncoder:
        """The inverse of `to_state`; raises `ModelFileError` where the state does not fit the schema."""
        columns: list[ColumnEncoder] = []
        for i, entry in enumerate(meta["columns"]):
            own = under(f"encoder.{i}.", arrays)
            if entry["class"] not in _CLASSES or entry["name"] not in schema:
                raise ModelFileError(
                    f"the model file's encoder of column '{entry['name']}' is not known; refit the model"
                )
            columns.append(_CLASSES[entry["class"]].from_state(schema[entry["name"]], entry["state"], own))
        return cls(tuple(columns))


def build_encoder(
    schema: TableSchema,
    statistics: Mapping[str, ReleasedColumn],
    *,
    numeric: NumericForm,
    n_bins: int = 100,
    n_modes: int = 10,
    binned: Collection[str] = (),
) -> TableEncoder:
    """Encoder of all modelled columns from released statistics.

    Args:
        schema: decides kind, declared domain and protection.
        statistics: released statistics of each modelled column.
        numeric: form of the numbers: codes of quantile bins, CTGAN's modes, or the range scaled to [-1, 1].
        n_bins: bins of a number ('bins').
        n_modes: Gaussian modes of a number ('modes').
        binned: numbers that become bins whatever the form of the others.
    """
    columns: list[ColumnEncoder] = []
    for column in schema.columns:
        if column.kind.is_modelled:
            form: NumericForm = "bins" if column.name in binned else numeric
            columns.append(_build(column, schema, statistics[column.name], form, n_bins, n_modes))
        elif column.name in statistics:  # declared ones, and keys under a budget, may have none
            missing = statistics[column.name].missing / max(statistics[column.name].n_rows, 1e-300)
            if 0 < missing < 1:
                columns.append(PresenceEncoder(column.name, column.kind, np.array([1 - missing, missing])))
    if not columns and schema.columns:  # nothing but keys: a code that says that each row has one
        columns.append(PresenceEncoder(schema.columns[0].name, schema.columns[0].kind, np.array([1.0, 0.0])))
    return TableEncoder(tuple(columns))


def _build(
    column: ColumnSchema,
    schema: TableSchema,
    released: ReleasedColumn,
    numeric: NumericForm,
    n_bins: int,
    n_modes: int,
) -> ColumnEncoder:
    rare = schema.rare_threshold
    if column.kind.is_discrete:
        counts = released.categories().value
        return build_categorical(column, counts, rare_threshold=rare, max_categories=schema.max_categories)
    distribution = released.distribution().value
    if numeric == "bins":
        return build_bins(column, distribution, rare_threshold=rare, n_bins=n_bins)
    if numeric == "scaled":
        return build_scaled(column, distribution, rare_threshold=rare)
    return build_modes(column, distribution, rare_threshold=rare, n_modes=n_modes)
