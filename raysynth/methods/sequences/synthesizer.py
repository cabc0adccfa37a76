"""What methods for sequences share: an array or a long table in, entities and steps modelled apart, the same out."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar, Self

import numpy as np

from raysynth.data.sequences import (
    array_of,
    check_order,
    longest,
    order_rows,
    rows_of_array,
    rows_of_sliding_windows,
    static_columns,
    windows_of,
)
from raysynth.encoding.table_encoder import NumericForm, TableEncoder
from raysynth.errors import DataError, ModelFileError, ParameterError, SchemaError
from raysynth.files.model_file import ModelContent, under
from raysynth.fitting.checks import is_private
from raysynth.methods.base import Synthesizer
from raysynth.methods.fitted import Fitted
from raysynth.methods.sequences.data import SequenceTables, WindowRows, divide, drawn_sequences
from raysynth.methods.sequences.rows import Coders, Keep, Learned, SequenceMaker
from raysynth.methods.sequences.sampling import SampledSequences
from raysynth.running.stages import stage
from raysynth.schema.columns import Kind
from raysynth.schema.table import TableSchema


class SequenceSynthesizer(SampledSequences):
    """Base of the methods that learn sequences.

    They take an array (sequences, steps, features) of numbers, or a long table: one row for each moment of each entity,
    with a key column and, where there is one, a time column. Columns of the table may be of any kind, with missing
    values; columns that never change within an entity are its static columns. Sequences may differ in length.

    The static columns, the time of the first row and the length are learned together by a model of rows, one row for
    each sequence, and drawn first, so that conditions on them are exact; the method's own model makes the steps and
    sees them as context.

    Rare categories and extreme numbers are protected: protection counts the values of `entity`, else those of the key
    where there are at least 20 of them, else (a few series, an array) rows.

    Attributes:
        history_: for each epoch a dict of 'epoch', the losses, and 'seconds'.
        static_columns_: the static columns. sequence_length_: the most steps of a sequence.
    """

    can_resume: ClassVar[bool] = True
    learns_sequences: ClassVar[bool] = True
    has_differential_privacy: ClassVar[bool] = True
    private_encoding: ClassVar[NumericForm] = "scaled"  # of the steps under a budget
    joins_windows: ClassVar[bool] = False  # whether sequences of an array that overlap are taken for one series

    # ---- hooks of a method -------------------------------------------------------------------------------------------

    def _entity_class(self) -> type[Synthesizer]:
        """The method that learns the sequences' own columns."""
        raise NotImplementedError

    def _step_encoder(self, tables: SequenceTables) -> TableEncoder:
        """Codes and values of each step."""
        return tables.step_encoder()

    def _train(self, tables: SequenceTables, rows: WindowRows, coders: Coders, seed: int, fitted: Keep) -> Fitted:
        """Learn the steps: `fitted(sampler, history)`."""
        raise NotImplementedError

    def _fit_privately(self, data: Any) -> Fitted:
        """Within a budget: `methods/sequences/private.fit_privately` with how the method trains."""
        raise NotImplementedError

    def _sampler_of(
        self, network: Mapping[str, Any], arrays: Mapping[str, np.ndarray], coders: Coders
    ) -> SequenceMaker:
        """From `sampler_.to_state()` and encoders; raises `KeyError`, `ValueError`, `TypeError` or `RuntimeError`."""
        raise NotImplementedError

    def _fits_encoders(self) -> bool:
        """Whether `sampler_` makes what the encoders decode."""
        raise NotImplementedError

    # ---- fit -------------------------------------------------------------------------------------------------------

    def fit(self, data: Any, *, resume: str | os.PathLike[str] | None = None) -> Self:
        """Learn sequences.

        Args:
            data: an array (sequences, steps, features), or a long table in any form that `Synthesizer.fit` takes.
            resume: STORAGE_PATH/NAME of a lost run (same data, parameters, seed) to resume from.

        Raises:
            DataError, SchemaError, ParameterError: name the column and say what to do.
        """
        return super().fit(data, resume=resume)

    # ---- hooks of the base class -------------------------------------------------------------------------------------

    def _check_together(self) -> None:
        name = type(self).__name__
        private = is_private(self) and self.has_differential_privacy  # others refuse a budget with their own reason
        if self.scaling_config is not None and private:
            raise ParameterError(f"under a privacy budget {name} trains in this process only; leave out scaling_config")
        if self.keep_shards:
            raise ParameterError(f"{name} keeps no encoded rows for a second fit; leave out keep_shards")
        if private:
            self.check_private()

    def check_private(self) -> None:
        """Raise `ParameterError` for what a fit under a budget cannot do, before any row is read."""
        if self.privacy_unit is not None or self.max_rows_per_unit != 1:
            raise ParameterError(
                f"privacy_unit: {type(self).__name__} protects whole sequences, which sequence_key names; leave out "
                "privacy_unit and max_rows_per_unit"
            )
        if self.sequence_key is not None and self.sequence_length is None:
            raise ParameterError(
                "sequence_length is missing: under a privacy budget the longest sequence must not be read from the "
                "rows; declare the most rows that one sequence may have (for example 24); of longer ones a window is "
                "learned"
            )

    def _fit_table(self, data: Any) -> Fitted:
        if is_private(self):
            return self._fit_privately(data)
        with stage("statistics") as done:
            tables, length = self._divided_array(data) if is_array(data) else self._divided_table(data)
            done.rows = tables.ordered.rows.num_rows
            coders = Coders(self._step_encoder(tables), tables.context_encoder(), length)
            rows = tables.window_rows(*coders)
        if self.verbose:
            self._describe(tables, length)
        wanted = tables.ordered.rows.num_rows / float(tables.windows.length.mean()) / tables.share
        begun = Fitted(
            schema=tables.schema,
            modelled_schema=tables.step_schema,
            encoder=coders.step,
            rules=None,
            n_rows=len(data) if is_array(data) else max(1, round(wanted)),
            identifier_key=self._new_identifier_key(),
        )
        seed = self._fit_seed()
        wholes = (coders.context, tables.entity_schema, self._learn_entities(tables, seed), tables.static, length)

        def fitted(sampler: SequenceMaker, history: list[dict[str, float]]) -> Fitted:
            return begun.with_learned(Learned(sampler, history, *wholes))

        with stage("fit", len(rows)):
            return self._train(tables, rows, coders, seed, fitted)

    def _model_state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        from raysynth.fitting.private_run import releasable_history

        network, arrays = self.sampler_.to_state()
        context, context_arrays = self.context_encoder_.to_state()
        entities = None if self.entities_ is None else self.entities_._content()
        meta = {
            "network": network,
            "context": context,
            "entity_schema": self.entity_schema_.to_dict(),
            "entities": None if entities is None else entities.meta,
            "static_columns": list(self.static_columns_),
            "sequence_length": self.sequence_length_,
            "history": releasable_history(self.history_, self.privacy_spent_),
        }
        all_arrays = {f"network.{k}": v for k, v in arrays.items()}
        all_arrays |= {f"context.{k}": v for k, v in context_arrays.items()}
        all_arrays |= {f"entities.{k}": v for k, v in (entities.arrays if entities else {}).items()}
        return meta, all_arrays

    def _from_state(self, meta: dict[str, Any], arrays: dict[str, np.ndarray], begun: Fitted) -> Fitted:
        schema, entities = TableSchema.from_dict(meta["entity_schema"]), None
        context = TableEncoder.from_state(schema, meta["context"], under("context.", arrays))
        if meta["entities"] is not None:
            content = ModelContent(meta["entities"], under("entities.", arrays))
            entities = self._entity_class()._from_content(content)
        static, length = tuple(meta["static_columns"]), int(meta["sequence_length"])
        sampler = self._sampler_of(meta["network"], under("network.", arrays), Coders(begun.encoder, context, length))
        return begun.with_learned(Learned(sampler, list(meta["history"]), context, schema, entities, static, length))

    def _try_out(self) -> None:
        if not self._fits_encoders():
            raise ModelFileError("the model file's networks and encoders do not belong together; refit the model")
        self.sample_arrow(2, seed=0)

    # ---- stages of a fit ---------------------------------------------------------------------------------------------

    def _divided_array(self, data: Any) -> tuple[SequenceTables, int]:
        """The tables to learn, and the most steps of a sequence."""
        for name in ("sequence_key", "time_column", "static_columns", "schema", "entity"):
            if getattr(self, name) is not None:
                raise ParameterError(f"{name} belongs to a long table; for an array leave it out")
        values = array_of(data, length=self.sequence_length, features=self.features)
        length = int(values.shape[1])
        ordered = rows_of_sliding_windows(values) if self.joins_windows else rows_of_array(values)
        kinds = {Kind.CONTINUOUS: list(ordered.rows.column_names)}
        windows = windows_of(ordered, length, self.window_step)
        return divide(ordered, windows, (), declared=None, kinds=kinds), length

    def _divided_table(self, data: Any) -> tuple[SequenceTables, int]:
        from raysynth.data.table import as_table
        from raysynth.statistics.dated_table import as_written, dated, declared_types
        from raysynth.statistics.table_statistics import collect

        if self.features is not None:
            raise ParameterError("features belongs to an array; a long table has its columns, so leave it out")
        declared = self._declared_schema()
        table = as_table(data, declared=declared_types(declared))
        named = [*(self.categorical_columns or ()), *(self.continuous_columns or ())]
        named += [] if declared is None else list(declared.names)
        if unknown := [n for n in named if n not in table.names]:
            raise SchemaError(f"the table has no column '{unknown[0]}'; it has: {', '.join(table.names)}")
        kinds = {Kind.CATEGORICAL: self.categorical_columns, Kind.CONTINUOUS: self.continuous_columns}
        statistics = collect(table, label="statistics")
        table, _ = dated(table, statistics, declared, kinds)  # rows are ordered by time
        key = check_order(table, self.sequence_key, self.time_column)
        table, share = drawn_sequences(table, key, self.time_column, self.max_rows, statistics)
        ordered = order_rows(table, key, self.time_column)
        static = static_columns(ordered, self.static_columns)
        length = longest(ordered, self.sequence_length)
        windows = windows_of(ordered, length, self.window_step)
        if len(windows) < 2:
            raise DataError(
                f"sequence_key '{self.sequence_key}' names one sequence of {ordered.rows.num_rows:,} rows, and it is "
                f"learned in windows of {length:,}; give a smaller sequence_length, or more rows"
            )
        tables = divide(ordered, windows, static, declared=declared, kinds=kinds, given=table, entity=self.entity)
        return replace(tables, schema=as_written(tables.schema, table), share=share), length

    def _describe(self, tables: SequenceTables, length: int) -> None:
        ordered, cut = tables.ordered, len(tables.windows) != tables.ordered.n_entities
        windows = f", learned in {len(tables.windows):,} windows of {length} rows" if cut else ""
        drawn = "" if tables.share == 1 else f", drawn from {ordered.rows.num_rows / tables.share:,.0f}"
        print(f"{ordered.n_entities:,} sequences, {ordered.rows.num_rows:,} rows{drawn}{windows}")
        print(tables.schema.describe())
        if tables.static:
            print(f"static columns: {', '.join(tables.static)}")
        counts = (
            f"the values of '{tables.persons}'" if tables.persons else "rows, for want of many sequences with a key"
        )
        print(f"protection of rare values counts {counts}")

    def _learn_entities(self, tables: SequenceTables, seed: int) -> Synthesizer | None:
        """A model of the sequences' own columns; None where they are the same for all."""
        if not any(c.kind.is_modelled for c in tables.entity_schema.columns):
            return None
        rows = tables.of_windows()
        persons = tables.persons if tables.persons in rows.column_names else None
        model = self._entity_class()(schema=tables.entity_schema, entity=persons, seed=seed % 2**62, verbose=False)
        return model.fit(rows)


def is_array(data: Any) -> bool:
    """Whether data is an array of sequences (NumPy, torch, nested lists) rather than a table."""
    return isinstance(data, (np.ndarray, list, tuple)) or type(data).__module__.split(".")[0] == "torch"
