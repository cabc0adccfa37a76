"""One database against another: keys, numbers of children, columns, relations along keys, and what gives it away.

After SyntheRela (Hudovernik, Jurkovic and Strumbelj 2024, arXiv 2410.03411): every figure stands beside what a
held-back real database scores, since "perfect" is not 1 on finitely many rows.

- Integrity: share of keys that name a row of the parent's table.
- Number of children: Kolmogorov-Smirnov and total variation complements of the children of each parent.
- Columns and pairs of each table: `similarity.py`. Along keys: the same pair scores for a column of the child and a
  column of an ancestor, one, two or three keys up.
- Told from real: area under the ROC curve of boosted trees that tell synthetic rows from real ones (two folds): child
  rows joined with their parent's, and parents' rows joined with aggregates of their children (C2ST-Agg).
- Usefulness: a column of the entities predicted from their other columns and the aggregates of their children.
- Copying and membership: entities with all that describes their children, nearer to one of the fit than to others.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from raysynth.comparison.intervals import UNDEFINED, Estimate
from raysynth.comparison.neighbours import gower_metric, nearest
from raysynth.comparison.pairing import Tables, pair_tables
from raysynth.data.database import Database, entity_table, lineage, read_database
from raysynth.data.keys import MISSING, NOWHERE, distinct, key_values
from raysynth.data.table import as_table
from raysynth.errors import DataError, ParameterError
from raysynth.evaluation.database_joins import OWNER, Aggregates, Chain, chains, choose_aggregates, joined
from raysynth.evaluation.database_results import (
    Beside,
    Copying,
    DatabaseEvaluation,
    HopFigures,
    RelationFigures,
    TableFigures,
)
from raysynth.evaluation.efficacy import TargetEfficacy, choose_target, targets_efficacy
from raysynth.evaluation.evaluate import compare_tables, read_rows
from raysynth.evaluation.measures import NAN, contingency_similarity, mean_of_defined
from raysynth.evaluation.metrics.realism import two_sample_test
from raysynth.evaluation.privacy import closer_to_training, copies_check, membership, membership_check, share_check
from raysynth.evaluation.similarity import Similarity
from raysynth.running.progress import progress
from raysynth.schema.relations import DatabaseSchema, Relation

MOST_ROWS = 50_000  # of a joined table
FEWEST_ROWS = 20  # of each side of a two-sample test


def evaluate_synthetic_database(
    real: Mapping[str, Any],
    synthetic: Mapping[str, Any],
    schema: DatabaseSchema,
    holdout: Mapping[str, Any] | None = None,
    *,
    entity: str | None = None,
    target: str | None = None,
    seed: int = 0,
) -> DatabaseEvaluation:
    """Compare a synthetic database with the real one that it was made from.

    Args:
        real: the tables that the synthesizer was fitted to, by name; anything that `fit` takes.
        synthetic: the synthetic tables, with the same names and columns.
        schema: keys between the tables. Reference tables, being kept as they are, are not compared, nor are tables of
            one real row or none.
        holdout: real tables of other entities (`split_database`); without them nothing stands beside the figures, and
            copying is not measured.
        entity: name of the table whose rows are the entities; None: as `split_database`.
        target: column of the entities that boosted trees predict from the others and from aggregates of their
            children, trained on real and on synthetic rows; None: one is chosen.
        seed: of subsamples and folds.

    Raises:
        DataError: a table is missing, has no rows, or cannot be compared; names it. SchemaError: a column is not there.
    """
    whole, left_out = _with_rows(_side("real", real, schema))
    schema = whole.schema
    made = _side("synthetic", synthetic, schema, whole)
    held = None if holdout is None else _side("holdout", holdout, schema, whole)
    named = [n for n in schema.names if not schema[n].reference]
    person = entity_table(schema, entity)
    below = {person, *lineage(schema, person)}

    def beside(*names: str) -> Database | None:
        """The held-back database, for figures of tables that were divided: others are whole in it, and equal."""
        return held if below >= set(names) else None

    with progress("keys and numbers of children"):
        relations = tuple(_relation(r, whole, made, beside(r.child)) for r in schema.relations)
    with progress("columns and pairs of each table", len(named)) as advance:
        tables_found = tuple(_advanced(_table(n, whole, made, beside(n), seed), advance) for n in named)
    ways = list(chains(whole))
    with progress("relations along keys", len(ways)) as advance:
        hops = [_advanced(_hop(c, whole, made, beside(c.child, c.ancestor), seed), advance) for c in ways]
    with progress("telling real entities from synthetic ones", len(named)) as advance:
        told = {n: _advanced(_told_by_children(n, whole, made, beside(n), seed), advance) for n in named}
    with progress("usefulness and copying of entities"):
        efficacy = _efficacy(person, whole, made, held, target, seed)
        copying = None if held is None else _copying(person, whole, made, held, seed)
    return DatabaseEvaluation(
        schema=schema,
        entity=person,
        relations=relations,
        tables=tables_found,
        hops=tuple(h for h in hops if h is not None),
        aggregated={n: t for n, t in told.items() if t is not None},
        efficacy=efficacy,
        copying=copying,
        has_holdout=held is not None,
        left_out=left_out,
    )


def _with_rows(real: Database) -> tuple[Database, tuple[str, ...]]:
    """The real database without tables of one row or none, of which nothing is learned, and their names."""
    small = tuple(n for n, t in real.tables.items() if t.num_rows < 2 and not real.schema[n].reference)
    if len(small) == len(real.tables):
        raise DataError("the real database: no table has the 2 rows that are needed to compare")
    schema = real.schema.without(small)
    return Database({n: real.tables[n] for n in schema.names}, schema, real.pointers), small


def _side(label: str, tables: Mapping[str, Any], schema: DatabaseSchema, real: Database | None = None) -> Database:
    """One of the databases, with all tables and columns of the `real` one, and rows in each."""
    if absent := [n for n in schema.names if n not in tables]:
        raise DataError(f"the {label} database has no table '{absent[0]}'; it has: {', '.join(tables)}")
    try:
        found = read_database(tables, schema)
    except DataError as error:
        raise DataError(f"the {label} database: {error}") from None
    for name, like in {} if real is None else real.tables.items():
        if lost := [c for c in like.column_names if c not in found.tables[name].column_names]:
            raise DataError(
                f"the {label} database: table '{name}' has no column '{lost[0]}', as the real one has; give it that "
                "column, or leave it out of the real one"
            )
        if found.tables[name].num_rows == 0 and not schema[name].reference:
            raise DataError(f"the {label} database: table '{name}' has no rows, and the real one has {like.num_rows:,}")
    return found


def _advanced(value: Any, advance: Any) -> Any:
    advance(1)
    return value


def _beside(measure: Any, made: Database, held: Database | None) -> Beside:
    """A figure of the synthetic database beside the same of the held-back one."""
    return Beside(measure(made), NAN if held is None else measure(held))


def _relation(relation: Relation, real: Database, made: Database, held: Database | None) -> RelationFigures:
    """Integrity and numbers of children of one key."""
    pointer = made.pointers[relation]
    missing = [float((d.pointers[relation] == MISSING).mean()) for d in (real, made)]
    own = real.children_each(relation)

    def ks(other: Database) -> float:
        return 1 - _largest_gap(own, other.children_each(relation))

    def tv(other: Database) -> float:
        counts = own, other.children_each(relation)
        width = max(int(c.max(initial=0)) for c in counts) + 1
        return contingency_similarity(*(np.bincount(c, minlength=width).astype(float) for c in counts))

    complete = int((pointer != MISSING).sum())
    return RelationFigures(
        relation=str(relation),
        integrity=1.0 if complete == 0 else 1 - float((pointer == NOWHERE).sum()) / complete,
        missing_real=missing[0],
        missing_synthetic=missing[1],
        mean_real=float(own.mean()),
        mean_synthetic=float(made.children_each(relation).mean()),
        ks=_beside(ks, made, held),
        tv=_beside(tv, made, held),
    )


def _largest_gap(a: np.ndarray, b: np.ndarray) -> float:
    """The Kolmogorov-Smirnov distance of two samples of whole numbers."""
    x = np.union1d(a, b)
    return float(
        max(abs(np.searchsorted(np.sort(a), x, "right") / len(a) - np.searchsorted(np.sort(b), x, "right") / len(b)))
    )


def _table(name: str, real: Database, made: Database, held: Database | None, seed: int) -> TableFigures:
    """Columns and pairs of one table, its own columns only; and whether its keys are unique."""
    columns = real.own_columns(name)
    key = real.schema[name].primary_key
    unique = NAN
    if key:
        values = key_values(as_table(made.tables[name], min_rows=0), key)
        unique = distinct(values).num_rows / max(1, values.num_rows)
    rows = real.tables[name].num_rows, made.tables[name].num_rows
    if not columns:
        return TableFigures(name, *rows, unique, None, Beside(NAN, NAN), Beside(NAN, NAN))
    found = _similarity(name, columns, (real, made), seed)
    fresh = None if held is None else _similarity(name, columns, (real, held), seed)
    return TableFigures(
        name,
        *rows,
        unique,
        found,
        Beside(found.column_shapes, NAN if fresh is None else fresh.column_shapes),
        Beside(found.all_pair_trends, NAN if fresh is None else fresh.all_pair_trends),
    )


def _similarity(name: str, columns: list[str], sides: tuple[Database, Database], seed: int) -> Similarity:
    try:
        return compare_tables(pair_tables(*(d.tables[name].select(columns) for d in sides)), seed)
    except DataError as error:
        raise DataError(f"table '{name}': {error}") from None


def _hop(chain: Chain, real: Database, made: Database, held: Database | None, seed: int) -> HopFigures | None:
    """Pairs of a child's and an ancestor's column, and whether joined rows give themselves away; None without any."""
    tables = {
        label: joined(d, chain, MOST_ROWS, np.random.default_rng(seed))
        for label, d in (("real", real), ("synthetic", made), ("holdout", held))
        if d is not None
    }
    own = tables.pop("real")
    if own is None or tables["synthetic"] is None:
        return None
    scores: dict[str, tuple[float, float, int]] = {}
    told: dict[str, Estimate] = {}
    for label, other in tables.items():
        if other is not None:
            pair = pair_tables(own, other, entity=OWNER)
            crossing = [
                p
                for p in compare_tables(pair, seed).pairs
                if p.first.startswith(f"{chain.child}.") != p.second.startswith(f"{chain.child}.")
            ]
            strong = mean_of_defined([p.score for p in crossing if p.is_strong])
            scores[label] = mean_of_defined([p.score for p in crossing]), strong, len(crossing)
            if len(chain.relations) == 1 and pair.compared:
                told[label] = _told(pair, seed)
    fresh = scores.get("holdout", (NAN, NAN, 0))
    return HopFigures(
        chain=str(chain),
        hops=len(chain.relations),
        n_pairs=scores["synthetic"][2],
        correlation=Beside(scores["synthetic"][0], fresh[0]),
        strong=Beside(scores["synthetic"][1], fresh[1]),
        told=told.get("synthetic", UNDEFINED),
        told_fresh=told.get("holdout", UNDEFINED),
    )


def _told(pair: Tables, seed: int) -> Estimate:
    """The AUC of the two-sample test; undefined for tables of so few rows that trees learn nothing of them."""
    rows = read_rows(pair, seed)
    if min(len(r) for r in rows.values()) < FEWEST_ROWS:
        return UNDEFINED
    return two_sample_test(rows["real"], rows["synthetic"], seed).auc


def _told_by_children(
    name: str, real: Database, made: Database, held: Database | None, seed: int
) -> tuple[Estimate, Estimate] | None:
    """C2ST-Agg of one table, and of held-back rows; None for tables without children."""
    aggregates = choose_aggregates(real, name)
    if aggregates is None:
        return None
    found = [
        _told(_aggregated(aggregates, real, other), seed) if other is not None else UNDEFINED for other in (made, held)
    ]
    return found[0], found[1]


def _aggregated(aggregates: Aggregates, *databases: Database) -> Tables:
    tables = [aggregates.of(d) for d in databases]
    return pair_tables(*(t for t, _ in tables), continuous_columns=tables[0][1])


def _efficacy(
    entity: str, real: Database, made: Database, held: Database | None, target: str | None, seed: int
) -> TargetEfficacy | None:
    """A column of the entities by the others and their children; None where no column can serve, and none was named."""
    aggregates = choose_aggregates(real, entity)
    own = real.own_columns(entity)
    if target is not None and (aggregates is None or target not in own):
        raise ParameterError(f"target '{target}' is no column of '{entity}' that its children could help to predict")
    if aggregates is None or not own:
        return None
    rows = read_rows(_aggregated(aggregates, *(d for d in (real, made, held) if d is not None)), seed)
    alone = target
    if alone is None:
        own_rows = read_rows(pair_tables(*(d.tables[entity].select(own) for d in (real, made))), seed)["real"]
        alone = own[0] if len(own) == 1 else choose_target(own_rows)
    if alone is None or alone not in rows["real"].space.names:
        return None
    try:
        sides = rows["real"], rows["synthetic"], rows.get("holdout")
        return targets_efficacy([alone], *sides, models=("gradient boosting",), seed=seed)[0]
    except DataError:
        if target is not None:
            raise
        return None  # the chosen column has too few values: nothing to be useful for


def _copying(entity: str, real: Database, made: Database, held: Database, seed: int) -> Copying | None:
    """Entities as their own columns and the aggregates of their children: how near the synthetic ones come."""
    aggregates = choose_aggregates(real, entity) or Aggregates(entity, {}, {})
    if not aggregates.numbers and not real.own_columns(entity):
        return None
    pair = _aggregated(aggregates, real, made, held)
    if not pair.compared:
        return None
    rows, rng = read_rows(pair, seed), np.random.default_rng(seed)
    metric = gower_metric(rows["real"])
    to_real = nearest(rows["synthetic"], rows["real"], metric, 2)
    others = nearest(rows["holdout"], rows["real"], metric, 2)
    closer, _ = closer_to_training(rows["synthetic"], rows["real"], rows["holdout"], to_real, rng)
    member, _ = membership(rows["real"], rows["synthetic"], rows["holdout"], metric, rng)
    return Copying(
        share_check("closer_to_training", f"Nearer to a '{entity}' of the fit", closer),
        membership_check(member),
        copies_check(rows["real"], (rows["synthetic"], to_real), (rows["holdout"], others)),
    )
