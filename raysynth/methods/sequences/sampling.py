"""The half of a method for sequences that is used after a fit: its parameters, and how it makes rows.

The sequences' own columns are drawn first, of all of them; then the steps in chunks, each from a random stream of its
own, so that rows in memory and in a folder are the same, and workers make chunks apart.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import field
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import pyarrow as pa

from raysynth.arguments import check_whole
from raysynth.encoding.table_encoder import TableEncoder
from raysynth.errors import ConditionError
from raysynth.methods.base import Synthesizer
from raysynth.methods.parameters import Computed, Parameter
from raysynth.methods.sequences.rows import SequenceForm, SequenceMaker, chunks_of, drawn_entities
from raysynth.sampling.effects import Rules
from raysynth.schema.table import TableSchema

if TYPE_CHECKING:
    from ray.data import Dataset

    from raysynth.sampling.writer import Chunks, Manifest


class SampledSequences(Synthesizer):
    """What makes sequences: parameters of the data, what a fit leaves, samples."""

    sequence_length: Annotated[
        int | None,
        Parameter(
            "steps of a sequence; of an array: its steps; of a table: the most rows of a sequence, and longer entities "
            "are learned in windows of so many rows",
            at_least=1,
            otherwise=Computed("as in the data"),
            under_budget=Computed("to be declared for a table"),
        ),
    ] = None
    features: Annotated[
        int | None,
        Parameter("numbers in each step of an array; not for tables", at_least=1, otherwise=Computed("as in the data")),
    ] = None
    sequence_key: Annotated[
        str | None,
        Parameter("column that says which rows belong to one sequence (tables); keys are made anew, never copied"),
    ] = None
    time_column: Annotated[
        str | None,
        Parameter("column of dates, times or numbers that orders the rows; None: they are in order"),
    ] = None
    static_columns: Annotated[
        Sequence[str] | None,
        Parameter(
            "columns of the entity",
            otherwise=Computed("those that never change within one"),
            under_budget=Computed("none, since that is not read from the rows"),
        ),
    ] = None
    window_step: Annotated[
        int,
        Parameter(
            "rows from the start of one window to the next in entities longer than `sequence_length`", at_least=1
        ),
    ] = 1
    max_rows: Annotated[
        int,
        Parameter(
            "rows to learn from; of a larger table of many sequences so many are drawn by their keys, whole, and "
            "memory does not grow with it; not under a budget",
            at_least=1000,
        ),
    ] = 1_000_000

    sampler_: SequenceMaker = field(init=False)
    history_: list[dict[str, float]] = field(init=False)
    context_encoder_: TableEncoder = field(init=False)
    entity_schema_: TableSchema = field(init=False)
    entities_: Synthesizer | None = field(init=False)
    static_columns_: tuple[str, ...] = field(init=False)
    sequence_length_: int = field(init=False)

    def _maker(self) -> SequenceMaker:
        """What makes steps, as the parameters of now ask."""
        return self.sampler_

    # ---- sample ------------------------------------------------------------------------------------------------------

    def sample(  # type: ignore[override]  # no constraints: their columns vary over steps
        self, n_sequences: int | None = None, conditions: Any = None, seed: int | None = None
    ) -> Any:
        """Synthetic sequences: an array (n, steps, features), or a long table as a DataFrame, as `fit` was given.

        The same (model, seed, n_sequences, conditions) gives the same sequences.

        Args:
            n_sequences: sequences; None: about as many rows as were learned from, or as the quotas or the rows of a
                DataFrame of contexts ask for.
            conditions: on static columns, in the forms of `Synthesizer.sample`; 'sequence length' may be asked for too.
            seed: 0 .. 2^62; None takes the constructor's, else a fresh one.

        Raises:
            ConditionError: on a column that varies, outside the domain, too rare, or for an array.
        """
        rows = self.sample_arrow(n_sequences, conditions, seed)
        if self.sequence_key is None:
            columns = [rows.column(name).to_numpy() for name in self.schema_.names]
            return np.stack(columns, axis=1).reshape(-1, self.sequence_length_, len(columns))
        from raysynth.sampling.frame import to_frame

        return to_frame(rows, self.schema_)

    def sample_arrow(  # type: ignore[override]  # no constraints: their columns vary over steps
        self, n_sequences: int | None = None, conditions: Any = None, seed: int | None = None
    ) -> pa.Table:
        """`sample` (`n_sequences`, `conditions`, `seed`) as an Arrow table of all steps."""
        from raysynth.sampling.frame import one_torch_thread

        form, drawn = self._form(), self._sampling_seed(seed)
        entities = self._draw_entities(n_sequences, conditions, drawn)
        with one_torch_thread():
            return form.rows(self._maker(), entities, drawn)

    def _form(self) -> SequenceForm:
        fitted = self._require_fitted()
        return SequenceForm(
            schema=fitted.schema,
            step_schema=fitted.modelled_schema,
            encoder=fitted.encoder,
            context=self.context_encoder_,
            static=self.static_columns_,
            key=self.sequence_key,
            time=self.time_column,
            identifier_key=fitted.identifier_key,
        )

    def sample_to(  # type: ignore[override]  # files hold whole sequences, so that their rows are not asked for
        self,
        path: str | os.PathLike[str],
        n_sequences: int | None = None,
        conditions: Any = None,
        seed: int | None = None,
        *,
        row_group_rows: int = 65_536,
        partition_by: str | None = None,
        compression: str = "zstd",
        where: str = "auto",
    ) -> Manifest:
        """Write a folder of Parquet, from all workers; started again it writes what is missing.

        Args:
            path: folder or URI (s3://); made where missing. A folder that holds another run is refused.
            n_sequences, conditions, seed: as in `sample`; the rows are the same. A file holds whole sequences.
            row_group_rows, partition_by, compression, where: as in `Synthesizer.sample_to`.

        Raises `StorageError` where the disk is full or the folder holds another run; finished files stay.
        """
        return super().sample_to(
            path,
            n_sequences,
            conditions,
            seed,
            row_group_rows=row_group_rows,
            partition_by=partition_by,
            compression=compression,
            where=where,
        )

    def sample_dataset(
        self, n_sequences: int | None = None, conditions: Any = None, seed: int | None = None
    ) -> Dataset:
        """`sample` (`n_sequences`, `conditions`, `seed`) as a lazy Ray Dataset of steps: the same rows, in order.

        What is drawn once for each sequence is drawn at once; its steps as they are consumed. Ray is started where it
        does not run. Raises `ConditionError`.
        """
        return super().sample_dataset(n_sequences, conditions, seed)

    def _chunks(self, n_sequences: int | None, conditions: Any, constraints: Rules = ()) -> Chunks:
        """Chunks of whole sequences; no `constraints`, since columns vary over steps."""
        from raysynth.sampling.writer import Chunks, text_of

        form, wanted = self._form(), self._number(n_sequences, conditions)
        self._check_conditions(conditions)
        if self.entities_ is None:
            check_whole("n_sequences", wanted, 0)
            n, text = wanted or 0, ""
        else:
            segments = self.entities_._asked(wanted, conditions, ())[1]
            n, text = sum(s.n for s in segments), text_of(segments)

        def made(seed: int) -> Callable[[int], pa.Table]:
            drawn = self._draw_entities(n_sequences, conditions, seed)
            return partial(form.chunk, self._maker(), drawn, seed)

        own = (c for c in form.context.columns if c.name in form.static)
        return Chunks(form.schema, n, text, chunks_of(n), TableEncoder((*form.encoder.columns, *own)), made)

    def _draw_entities(self, n_sequences: int | None, conditions: Any, seed: int) -> pa.Table:
        """Modelled columns of so many sequences, and their lengths."""
        self._check_conditions(conditions)
        return drawn_entities(
            self.entities_, self.entity_schema_, self._number(n_sequences, conditions), conditions, seed
        )

    def _number(self, n_sequences: int | None, conditions: Any) -> int | None:
        """How many sequences; None: as many as the conditions say."""
        has_number = isinstance(conditions, (list, tuple)) or type(conditions).__name__ == "DataFrame"
        return self.n_rows_ if n_sequences is None and not has_number else n_sequences

    def _check_conditions(self, conditions: Any) -> None:
        if conditions is None:
            return
        if self.sequence_key is None:
            raise ConditionError(
                "an array has no columns that a condition could name; give a long table with sequence_key, and its "
                "static columns can be asked for"
            )
        if self.entities_ is None:
            raise ConditionError("these sequences have no static columns, which conditions are for; leave them out")
        parts = [c[0] for c in conditions if c] if isinstance(conditions, (list, tuple)) else [conditions]
        for name in (n for part in parts if hasattr(part, "keys") for n in part.keys()):  # noqa: SIM118
            if name in self.schema_ and name not in self.entities_.schema_:
                asked = ", ".join(n for n in self.entities_.schema_.names if n != self.time_column)
                raise ConditionError(
                    f"condition on '{name}': the column is made along each sequence; conditions may name: {asked}"
                )
