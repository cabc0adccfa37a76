"""SequentialTrees: each column given those before it, by a few bagged trees over codes.

The rows are read twice: for the statistics, and for their codes, of which at most `max_rows` are kept; so memory does
not grow with the rows. Columns are learned independently of each other, each from real predecessors.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar

import numpy as np

from raysynth.encoding.table_encoder import NumericForm
from raysynth.fitting.prepared import Prepared, learned_rows
from raysynth.fitting.remarks import ROWS_A_VALUE
from raysynth.methods.base import Synthesizer
from raysynth.methods.fitted import Fitted
from raysynth.methods.parameters import Parameter
from raysynth.methods.shared.grouping import GROUPS, GroupedGenerator, Grouping, group_values
from raysynth.methods.trees.boosting import grouped
from raysynth.methods.trees.busy import busy_from, learn_busy
from raysynth.methods.trees.columns import RowsOfPersons, drawing_order, evened, views
from raysynth.methods.trees.grow import GrowthRule
from raysynth.methods.trees.ratio import Ratio, WeightedTrees, learn_ratio, learn_ratio_of_persons
from raysynth.methods.trees.recipe import learn_table
from raysynth.methods.trees.sampler import TreesGenerator
from raysynth.methods.trees.state import from_state, ratio_from, ratio_state, to_state

FEWEST_ROWS = ROWS_A_VALUE // 10  # of a value, on average, that splits tell apart: as many as a few leaves have
ROWS_A_GROUP, MOST_GROUPS = 100, 256  # of values that have fewer
N_BINS = 2000  # every protected cell of a number is a code of its own


def _of_persons(prepared: Prepared, persons: RowsOfPersons | None, given: Sequence[str]) -> list[str]:
    """Columns that are the same in all rows of each person, those first whose very values are."""
    if persons is None:
        return []
    names = prepared.encoder.names
    return [
        *(n for n in names if n in prepared.constant and n not in given),
        *(n for c, n in enumerate(names) if c in persons.constant and n not in (*prepared.constant, *given)),
    ]


@dataclass(frozen=True)
class Learned:
    """The trees, how values of columns of many are grouped, and how drawn rows, and drawn persons, are weighted."""

    model: TreesGenerator
    grouping: Grouping | None
    ratio: Ratio | None
    persons_ratio: Ratio | None = None


class SequentialTrees(Synthesizer):
    """Sequential trees (Reiter 2005; Nowok et al. 2016, synthpop), bagged, with leaves that copy no row.

    Each column is predicted from those before it by a few trees over codes; a row draws a tree and takes a code from
    its leaf. Splits lie on the encoder's grid, of which at least `rare_threshold` rows share each cell; a leaf holds
    counts of at least `leaf_rows` rows, mixed with those of its ancestors; the value inside a cell comes from the
    protected distribution of the whole column. Rows left out decide for each column whether a prediction from all
    columns before it (additive; from 3,000 rows on corrected by boosted trees, where that helps) is one more input,
    whether it is learned as the residual of a sum of a few others (bills, sums of parts; not where persons have several
    rows), and, where it has few values, whether its leaves may be larger. Rows of a sample share out trees and entries
    of leaves evenly, so that shares vary less than those of separate draws do.
    At last boosted trees learn how much more often the table has a row than it is drawn (`ratio.py`); of more rows than
    are asked for, those stay that this ratio speaks for.
    Columns that are the same in all rows of a person come first, whatever `order` says, and are drawn once for each.

    After `fit`: `order_`, the names of the columns as they are drawn.
    """

    method: ClassVar[str] = "trees"
    numeric_encoding: ClassVar[NumericForm] = "bins"
    completes_rows: ClassVar[bool] = True  # its generator has `generate_given`

    n_trees: Annotated[int, Parameter("trees of each column", at_least=1, at_most=1000, tried=(1, 3, 5, 10))] = 5
    leaf_rows: Annotated[
        int,
        Parameter(
            "least rows of a leaf, of half as many persons where these have several; where values are few up to 16 "
            "times so many; at least 2 x `rare_threshold` count",
            at_least=1,
            tried=(5, 10, 20, 40),
        ),
    ] = 20
    bag_share: Annotated[
        float, Parameter("share of the rows that the splits of one tree are found from", above=0, at_most=0.95)
    ] = 0.632
    order: Annotated[
        Sequence[str] | None,
        Parameter("columns in the order of drawing; those left out follow as in the table"),
    ] = None
    weighted: Annotated[
        bool,
        Parameter("whether drawn rows are chosen by how much more often the table has such ones"),
    ] = True
    max_rows: Annotated[int, Parameter("rows to learn from; of a larger table a random sample", at_least=100)] = 200_000

    model_: TreesGenerator = field(init=False)
    grouping_: Grouping | None = field(init=False)
    ratio_: Ratio | None = field(init=False)
    persons_ratio_: Ratio | None = field(init=False)
    _given: tuple[str, ...] = field(default=(), init=False)  # columns that rows are completed from, never drawn

    @property
    def order_(self) -> tuple[str, ...]:
        """Names of the modelled columns in the order of drawing; conditions on the first ones cost least."""
        return tuple(self.encoder_.names[c] for c in self._learned().order)

    def log_prob(self, data: Any) -> np.ndarray:
        """Log-probability of the codes of each row, in nats, shape (N,): of the mean over the trees, column by column,
        and the logarithm of the row's weight.

        A column in which no tree has seen such a row counts as half a row of those that were learned from.

        Args:
            data: rows in any form that `fit` takes, or their codes (N, C) by `encoder_` as a NumPy array.
        """
        generator, floor = self._learned(), 0.5 / (self.n_rows_ + 1.0)
        if isinstance(data, np.ndarray):
            codes_NC = data if self.grouping_ is None else self.grouping_.codes(data)
            result = generator.log_prob(codes_NC, floor)
            ratio = self.persons_ratio_ if self.ratio_ is not None and self.ratio_.known else self.ratio_
            if ratio is not None:
                result += ratio.log_weights(grouped(ratio.group, codes_NC.T))
            return result if self.grouping_ is None else result + self.grouping_.log_prob_within(data)
        from raysynth.fitting.prepared import encoded_blocks

        parts = [self.log_prob(block.codes_NC) for block in encoded_blocks(self, data, min_rows=0)]
        return np.concatenate(parts) if parts else np.empty(0)

    # ---- hooks -------------------------------------------------------------------------------------------------------

    def _encoder_options(self) -> dict[str, Any]:
        return {"n_bins": N_BINS}

    def _fit_encoded(self, prepared: Prepared, begun: Fitted) -> Fitted:
        n_groups = int(np.clip(prepared.n_rows // ROWS_A_GROUP, GROUPS, MOST_GROUPS))
        prepared, encoder, grouping = group_values(prepared, self.verbose, FEWEST_ROWS, n_groups)
        codes_CN, persons_N = learned_rows(prepared, self.max_rows)
        rare = prepared.schema.rare_threshold
        leaf_rows, leaf_persons = max(self.leaf_rows, 2 * rare), max(self.leaf_rows // 2, 2 * rare, 1)
        rule = GrowthRule(self.n_trees, leaf_rows, self.bag_share, leaf_persons=leaf_persons)
        names = tuple(prepared.encoder.names)
        given = [n for n in self._given if n in names]
        persons = RowsOfPersons.of(persons_N, codes_CN)
        if persons is not None and (odd := [c for c in prepared.repeated_columns if c not in persons.constant]):
            codes_CN = codes_CN.copy()  # it may be a view of encoded rows that other fits share
            codes_CN[odd] = [persons.usual(codes_CN[c]) for c in odd]  # they vary by error alone
            persons = RowsOfPersons.of(persons_N, codes_CN)
        once = [] if given else [c for c, name in enumerate(names) if name in prepared.constant]
        encoder = evened(encoder, codes_CN, persons, once, rare)
        columns = views((encoder if grouping is None else grouping.encoder(encoder)).columns)
        first = [*given, *_of_persons(prepared, persons, given)]
        order = drawing_order(names, [*first, *(n for n in self.order or () if n not in first)])
        forests = learn_table(codes_CN, columns, order, rule, rare, prepared.seed, len(given), persons, len(once))
        ratio, of_persons, busy = None, None, None
        if persons is not None:
            busy = learn_busy(codes_CN, columns, once, persons)
        model = TreesGenerator(forests, order, names, even=True, busy=busy)
        if self.weighted and len(given) < len(order):
            known = order[: sum(n in given or n in prepared.constant for n in first)]
            ratio = learn_ratio(codes_CN, columns, model, known, rare, persons, prepared.seed)
            if known and not given and persons is not None:
                of_persons = learn_ratio_of_persons(codes_CN, columns, model, known, rare, persons, prepared.seed)
        return begun.with_learned(Learned(model, grouping, ratio, of_persons), encoder)

    def _generator(self) -> TreesGenerator | WeightedTrees | GroupedGenerator:
        own = self.model_ if self.ratio_ is None else WeightedTrees(self.model_, self.ratio_, self.persons_ratio_)
        return own if self.grouping_ is None else GroupedGenerator(own, self.grouping_)

    def _learned(self) -> TreesGenerator:
        self._require_fitted()
        return self.model_

    def _model_state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        meta, arrays = to_state(self.model_.forests, self.model_.order)
        grouping = {} if self.grouping_ is None else self.grouping_.to_arrays()
        if self.model_.busy is not None:
            said, scoring = self.model_.busy.to_state()
            meta, arrays = {**meta, **said}, {**arrays, **scoring}
        for ratio, called in ((self.ratio_, "ratio"), (self.persons_ratio_, "persons_ratio")):
            said, weighing = ratio_state(ratio, called)
            meta, arrays = {**meta, **said}, {**arrays, **weighing}
        return {**meta, "even": self.model_.even}, {**arrays, **grouping}

    def _from_state(self, meta: dict[str, Any], arrays: dict[str, np.ndarray], begun: Fitted) -> Fitted:
        grouping = Grouping.from_arrays(begun.encoder, arrays)
        encoder = begun.encoder if grouping is None else grouping.encoder(begun.encoder)
        columns = views(encoder.columns)
        forests, order = from_state(meta, arrays, columns)
        busy = busy_from(meta, arrays, columns)
        model = TreesGenerator(forests, order, tuple(encoder.names), meta.get("even") is True, busy)
        ratio, of_persons = (ratio_from(meta, arrays, columns, order, name) for name in ("ratio", "persons_ratio"))
        return begun.with_learned(Learned(model, grouping, ratio, of_persons))
