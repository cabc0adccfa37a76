"""The one-call form: a real table in, a synthetic one out."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from raysynth.errors import ParameterError
from raysynth.methods.registry import AUTO, DEFAULT_METHOD, choose, synthesizer_class

if TYPE_CHECKING:
    import pandas as pd

    from raysynth.methods.base import Synthesizer
    from raysynth.schema.table import TableSchema


def generate_synthetic_data(
    data: Any,
    method: str = DEFAULT_METHOD,
    categorical_columns: Sequence[str] | None = None,
    continuous_columns: Sequence[str] | None = None,
    privacy_protection: bool = False,
    n_samples: int | None = None,
    seed: int | None = None,
    **parameters: Any,
) -> pd.DataFrame:
    """Learn from `data` and draw a synthetic table of the same columns.

    Args:
        data: pandas.DataFrame, pyarrow.Table, path or URI (Parquet file or folder, CSV), or ray.data.Dataset.
        method: 'auto' (by what is declared: 'trees', under a budget 'bayesian_network', with `sequence_key`
            'tree_sequences'; printed with its reason), or any other key of `methods.registry.METHODS`.
        categorical_columns: columns to model as categories; kinds left out are inferred and printed.
        continuous_columns: columns to model as numbers.
        privacy_protection: differential privacy with epsilon 1 and delta 1e-5, unless `epsilon` and `delta` are given
            among the parameters; no filter against the real rows follows. Methods without it refuse.
        n_samples: rows to draw; default: as many as `data` has (about as many, under differential privacy).
        seed: makes fit and sample repeatable.
        **parameters: further constructor arguments of the method's class, for example `epochs=100`.

    Returns:
        A DataFrame (n_samples, columns of `data`) with the columns' order and types.

    Raises:
        ParameterError: unknown method (the message lists those that exist) or unknown parameter.
        RaysynthError: anything that `fit` and `sample` raise.
    """
    if privacy_protection:
        parameters.setdefault("differential_privacy", True)
    model = new_synthesizer(
        method,
        categorical_columns=categorical_columns,
        continuous_columns=continuous_columns,
        seed=seed,
        **parameters,
    )
    model.fit(data)
    return model.sample(model.n_rows_ if n_samples is None else n_samples, seed=seed)


def infer_schema(
    data: Any,
    categorical_columns: Sequence[str] | None = None,
    continuous_columns: Sequence[str] | None = None,
    entity: str | None = None,
    *,
    epsilon: float | None = None,
    delta: float | None = None,
    privacy_unit: str | None = None,
    max_rows_per_unit: int = 1,
    odometer: str | os.PathLike[str] | None = None,
) -> TableSchema:
    """Infer the kind, type and domain of each column; print `.describe()`, edit, and pass it on as `schema=`.

    Change a kind by `schema.with_column('zip', kind='categorical')`; add constraints, or switch the protection of rare
    values off, by `dataclasses.replace(schema, constraints=(...), rare_threshold=1)`.

    Without `epsilon` the schema reveals single rows, such as the largest value: it is private, its fields are marked
    `inferred`, and fits under a privacy budget refuse it. With `epsilon` kinds follow from public facts, and domains,
    ranges, digits and missing values are released with noise. The schema says what that cost, and every fit with it
    pays for it out of its own budget.

    Args:
        data: any table, as in `generate_synthetic_data`.
        categorical_columns, continuous_columns: columns whose kind is known.
        entity: the column that says whose each row is; None: one that looks like it.
        epsilon: of the releases.
        delta: of the releases; None: 1e-5.
        privacy_unit, max_rows_per_unit: of the guarantee, as in the fits that are to use the schema.
        odometer: private folder that counts what is released of this table; the schema is charged there, once more
            beside the fits that pay for it.

    Raises:
        DataError, SchemaError: name the column and say what to do. ParameterError: epsilon or delta is out of range.
    """
    from raysynth.data.table import as_table
    from raysynth.dp.accounting.odometer import record_use
    from raysynth.fitting.opening import open_exactly
    from raysynth.schema.columns import Kind

    kinds = {Kind.CATEGORICAL: categorical_columns, Kind.CONTINUOUS: continuous_columns}
    if epsilon is not None:
        from raysynth.fitting.released_schema import released_schema

        return released_schema(data, kinds, epsilon, delta, privacy_unit, max_rows_per_unit, odometer)
    if delta is not None or privacy_unit is not None:
        raise ParameterError("delta and privacy_unit belong to differential privacy: give epsilon, too")
    record_use(odometer, "an exact schema")
    return open_exactly(as_table(data), None, kinds, entity).schema


def new_synthesizer(method: str, **parameters: Any) -> Synthesizer:
    """An unfitted synthesizer of `method`; what 'auto' takes is printed with its reason, unless `verbose=False`.

    Raises:
        ParameterError: unknown method or parameter; the message lists those that exist.
    """
    if method == AUTO:
        choice = choose(parameters)
        method = choice.method
        if parameters.get("verbose", True):
            print(choice)
    cls = synthesizer_class(method)
    known = cls._parameter_names()
    if unknown := sorted(set(parameters) - set(known)):
        raise ParameterError(f"method '{method}' has no parameter {', '.join(unknown)}; it has: {', '.join(known)}")
    return cls(**parameters)
