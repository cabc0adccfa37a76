"""Rows with unknown cells: a DataFrame to codes and a mask, and the completed cells back into it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow as pa

from raysynth.encoding.block import EncodedBlock
from raysynth.encoding.numeric import BinEncoder
from raysynth.encoding.table_encoder import TableEncoder
from raysynth.errors import DataError
from raysynth.kinds.date_text import DateFormat
from raysynth.sampling.chunks import written
from raysynth.sampling.frame import to_frame
from raysynth.schema.table import TableSchema


@dataclass(frozen=True)
class PartialRows:
    """Encoded rows of which some cells are unknown.

    Args:
        frame: as the user gave it, index reset.
        codes_NC: codes; 'missing' for unknown cells.
        known_NC: which cells are known.
    """

    frame: pd.DataFrame
    codes_NC: np.ndarray
    known_NC: np.ndarray


def partial_rows(frame: pd.DataFrame, schema: TableSchema, encoder: TableEncoder) -> PartialRows:
    """The modelled columns of a DataFrame as codes; a column that it lacks is unknown throughout.

    Raises:
        DataError: a column that the model does not know, or values of another type than the column's.
    """
    if unknown := [str(c) for c in frame.columns if c not in schema.names]:
        raise DataError(f"the model has no column {', '.join(map(repr, unknown))}; it has: {', '.join(schema.names)}")
    frame = frame.reset_index(drop=True)
    arrays = {}
    for column in encoder.columns:
        kind = schema[column.name]
        values = frame[column.name].astype(object) if column.name in frame else [None] * len(frame)
        try:
            array = pa.array(values, type=kind.arrow_type, from_pandas=True)
        except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError, OverflowError) as error:
            raise DataError(
                f"column '{column.name}': the model learned {kind.dtype}, but the rows hold something else ({error}); "
                "convert the column"
            ) from None
        if kind.date_format is not None:
            array = DateFormat(kind.date_format).parse(array.cast(pa.string()))
        arrays[column.name] = array
    known = [~arrays[c.name].is_null().to_numpy(zero_copy_only=False) for c in encoder.columns]
    return PartialRows(frame, encoder.encode(pa.table(arrays)).codes_NC, np.stack(known, 1))


def filled(
    rows: PartialRows, codes_NC: np.ndarray, schema: TableSchema, encoder: TableEncoder, rng: np.random.Generator
) -> pd.DataFrame:
    """The frame with its unknown cells decoded from codes; known cells are as they were."""
    decoded = encoder.decode(EncodedBlock(codes_NC, np.empty((len(codes_NC), 0), np.float32)), rng)
    return _merged(rows, decoded, schema, encoder)


def filled_with_best(
    rows: PartialRows,
    conditionals: Iterable[tuple[int, np.ndarray, np.ndarray]],
    schema: TableSchema,
    encoder: TableEncoder,
    rng: np.random.Generator,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The frame with its unknown cells at their best guess, and the probability of each guess (NaN for known cells).

    The best guess of a category is the most probable one; of a number, its expected value, whose probability is that of
    the bin that it lies in.

    Args:
        conditionals: for each column with unknown cells its index, their rows, and the probabilities of its codes.
        rng: chooses among the categories of a tail.
    """
    codes_NC = rows.codes_NC.copy()
    numbers: dict[str, np.ndarray] = {}
    confidence = pd.DataFrame(np.nan, index=rows.frame.index, columns=[c.name for c in encoder.columns])
    for c, at, p_NV in conditionals:
        column = encoder.columns[c]
        codes_NC[at, c] = p_NV.argmax(1)
        if isinstance(column, BinEncoder):
            values = np.zeros(len(rows.frame))
            values[at] = p_NV[:, :-1] @ middles(column)
            numbers[column.name] = values
            codes_NC[at, c] = column.encode(column.to_arrow(values[at], np.zeros(len(at), bool)))[0]
        confidence.iloc[at, c] = np.take_along_axis(p_NV, codes_NC[at, c][:, None].astype(int), 1)[:, 0]
    decoded = encoder.decode(EncodedBlock(codes_NC, np.empty((len(codes_NC), 0), np.float32)), rng)
    for column in encoder.columns:
        if isinstance(column, BinEncoder) and column.name in numbers:
            place = decoded.column_names.index(column.name)
            whole = column.to_arrow(numbers[column.name], np.zeros(len(rows.frame), bool))
            decoded = decoded.set_column(place, column.name, whole)
    return _merged(rows, decoded, schema, encoder), confidence


def middles(column: BinEncoder) -> np.ndarray:
    """The value at the middle rank of each code of a number, 'missing' apart: shape (cardinality - 1,)."""
    ranks = column.ranks
    return column.distribution.quantile((ranks[:-1] + ranks[1:]) / 2)


def _merged(rows: PartialRows, decoded: pa.Table, schema: TableSchema, encoder: TableEncoder) -> pd.DataFrame:
    """Decoded cells where the frame has none; columns that are not modelled stay as they are."""
    names = [c.name for c in encoder.columns]
    modelled = TableSchema(tuple(schema[name] for name in names))
    text = pa.table({n: written(decoded.column(n), schema[n]) for n in names})
    new, result = to_frame(text, modelled), rows.frame.copy()
    for i, name in enumerate(names):
        known_N = rows.known_NC[:, i]
        if name not in result or not known_N.any():
            result[name] = new[name]
        elif not known_N.all():
            old = result[name]
            merged = old.astype(object).where(known_N, new[name].astype(object))
            result[name] = merged.astype(new[name].dtype)
    return result[[n for n in schema.names if n in result]]
