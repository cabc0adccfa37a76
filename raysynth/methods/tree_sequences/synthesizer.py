"""TreeSequences: arrays and long tables, row after row, by sequential trees."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Annotated, Any, ClassVar

import numpy as np

from raysynth.data.sequences import codes_of
from raysynth.encoding.table_encoder import NumericForm
from raysynth.kinds.identifier.kind import MANY
from raysynth.methods.base import Synthesizer
from raysynth.methods.fitted import Fitted
from raysynth.methods.parameters import Parameter
from raysynth.methods.sequences.data import SequenceTables, WindowRows
from raysynth.methods.sequences.rows import Coders, Keep
from raysynth.methods.sequences.synthesizer import SequenceSynthesizer
from raysynth.methods.tree_sequences.recipe import Steps, TreesRule
from raysynth.methods.tree_sequences.sampler import TreeSequenceSampler
from raysynth.methods.tree_sequences.steps import StepForm
from raysynth.methods.trees.grow import GrowthRule
from raysynth.methods.trees.synthesizer import SequentialTrees

BAG_SHARE = 0.632
MOST_ROWS = 100_000  # that trees learn from, steps of random places beyond that


class TreeSequences(SequenceSynthesizer):
    """Sequences drawn row after row by sequential trees, each row given what is known of those before it.

    What trees see of the rows before: the last row, how its numbers moved, their means so far, their first values and
    how rough they were; the place in the sequence, its length and its own columns. A number is predicted by a linear
    function of the last two rows, of the row's earlier numbers and of the place; trees draw what that leaves, in bins
    of about `rare_threshold` persons' rows or more, and the sum is put on the column's own grid. Heavy values,
    categories and whether something is missing are drawn as codes. Trees and their back-off are those of
    `SequentialTrees`: a leaf holds at least `leaf_rows` rows, and what is drawn from has at least half as many
    sequences behind it (persons where `entity` names them; not of fewer than 20 sequences).

    What a sequence has of its own (static columns, time of the first row, length) is learned by a `SequentialTrees` and
    drawn first: conditions on it are exact. It takes and gives arrays or long tables, as `SequenceSynthesizer`
    describes. There are no epochs: `history_` is empty. It has no differential privacy; `AutoregressiveSequences` and
    `TimeSeriesGAN` have.
    """

    method: ClassVar[str] = "tree_sequences"
    numeric_encoding: ClassVar[NumericForm] = "scaled"
    joins_windows: ClassVar[bool] = True
    can_resume: ClassVar[bool] = False
    has_differential_privacy: ClassVar[bool] = False

    n_trees: Annotated[int, Parameter("trees of each column", at_least=1, at_most=1000, tried=(3, 5, 10))] = 5
    leaf_rows: Annotated[
        int,
        Parameter(
            "least rows of a leaf, of half as many sequences where there are several; at least 2 x `rare_threshold`",
            at_least=1,
            tried=(10, 20, 40),
        ),
    ] = 20
    n_bins: Annotated[int, Parameter("bins of what a prediction leaves of a number", at_least=1, at_most=10_000)] = 100

    sampler_: TreeSequenceSampler = field(init=False)

    # ---- hooks of the base class -------------------------------------------------------------------------------------

    def _entity_class(self) -> type[Synthesizer]:
        return SequentialTrees

    def _train(self, tables: SequenceTables, rows: WindowRows, coders: Coders, seed: int, fitted: Keep) -> Fitted:
        rare, ordered, persons_R = tables.step_schema.rare_threshold, tables.ordered, None
        if tables.persons is not None:
            persons_R = codes_of(ordered.rows.column(tables.persons))
        elif ordered.n_entities >= MANY:
            persons_R = np.repeat(np.arange(ordered.n_entities), ordered.lengths)
        leaf_rows, leaf_persons = max(self.leaf_rows, 2 * rare), max(self.leaf_rows // 2, 2 * rare, 1)
        growth = GrowthRule(self.n_trees, leaf_rows, BAG_SHARE, leaf_persons=leaf_persons)
        rule = TreesRule(growth, self.n_bins, tables.rare_rows, rare, min(self.max_rows, MOST_ROWS))
        steps = Steps.of(StepForm(*coders), rows, ordered.starts, persons_R)
        return fitted(steps.learn(rule, seed), [])

    def _sampler_of(
        self, network: Mapping[str, Any], arrays: Mapping[str, np.ndarray], coders: Coders
    ) -> TreeSequenceSampler:
        return TreeSequenceSampler.from_state(StepForm(*coders), network, arrays)

    def _fits_encoders(self) -> bool:
        return True  # the sampler is made with them
