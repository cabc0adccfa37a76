"""What the evaluation of a database found: figures, a summary in words, JSON, and a page."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from raysynth.comparison.intervals import Estimate
from raysynth.evaluation.decision import ANSWERS, Purpose
from raysynth.evaluation.efficacy import TargetEfficacy
from raysynth.evaluation.measures import NAN, mean_of_defined
from raysynth.evaluation.network_drawing import draw_network
from raysynth.evaluation.page import page_heading, write_page
from raysynth.evaluation.plain import plain, similarity_to_dict
from raysynth.evaluation.privacy import Check
from raysynth.evaluation.section import Section, as_percent, line, section_body
from raysynth.evaluation.similarity import Similarity
from raysynth.schema.relations import DatabaseSchema


@dataclass(frozen=True)
class Beside:
    """A figure of the synthetic database, and the same of a held-back real one (NaN without it)."""

    value: float
    fresh: float = NAN

    def __str__(self) -> str:
        return _number(self.value) + ("" if math.isnan(self.fresh) else f" (held-back rows {_number(self.fresh)})")


@dataclass(frozen=True)
class RelationFigures:
    """One key.

    Args:
        relation: as text.
        integrity: share of the keys that are not missing which name a row of the parent's table, in [0, 1].
        missing_real, missing_synthetic: shares of rows whose key is missing.
        mean_real, mean_synthetic: children of a parent.
        ks, tv: Kolmogorov-Smirnov and total variation complements of their number, in [0, 1]; 1 is alike.
    """

    relation: str
    integrity: float
    missing_real: float
    missing_synthetic: float
    mean_real: float
    mean_synthetic: float
    ks: Beside
    tv: Beside


@dataclass(frozen=True)
class TableFigures:
    """One table by itself, its keys left out.

    Args:
        unique_keys: share of the synthetic primary keys that are different; NaN without a primary key.
        similarity: of its columns; None where it has none of its own.
        shapes, pairs: mean scores of columns and of all pairs.
    """

    table: str
    n_real: int
    n_synthetic: int
    unique_keys: float
    similarity: Similarity | None
    shapes: Beside
    pairs: Beside


@dataclass(frozen=True)
class HopFigures:
    """A table and an ancestor of it.

    Args:
        chain: tables and keys from the child up.
        hops: keys between both.
        n_pairs: of a column of the one and a column of the other.
        correlation, strong: mean pair scores, of all and of those that belong together in the real tables.
        told, told_fresh: AUC of trees that tell synthetic (held-back) joined rows from real ones; one hop only. The
            interval takes rows as independent, though rows of one ancestor are alike: it is too narrow.
    """

    chain: str
    hops: int
    n_pairs: int
    correlation: Beside
    strong: Beside
    told: Estimate
    told_fresh: Estimate


@dataclass(frozen=True)
class Copying:
    """Entities with all that describes their children, judged as the rows of one table are.

    Args:
        closer: share of synthetic ones nearer to one of the fit than to a held-back one; 0.5 is what nobody's give.
        membership: AUC of the attack that calls an entity a member where a synthetic one is near; 0.5 is guessing.
        copies: share of synthetic ones that equal one of the fit; its baseline is that of held-back ones.
    """

    closer: Check
    membership: Check
    copies: Check

    @property
    def checks(self) -> tuple[Check, ...]:
        """The three checks of copying."""
        return self.closer, self.membership, self.copies


@dataclass(frozen=True)
class DatabaseEvaluation:
    """All figures of one synthetic database beside those of held-back rows.

    Args:
        schema: keys and tables that were compared.
        entity: the table whose rows are the entities.
        relations, tables, hops: figures of each key, of each table, and of columns along each chain of keys.
        aggregated: C2ST-Agg of each table with children: the AUC of trees that tell its synthetic rows, with aggregates
            of their children, from real ones; and the same of held-back rows.
        efficacy: of a column of the entities, with aggregates of their children; None where none can be predicted.
        copying: whether synthetic rows lie nearer to learned rows than to held-back ones; None without such rows.
        has_holdout: whether real rows that the model has not seen were given.
        left_out: tables that were not compared, since they have one real row or none.
        source, method, guarantee: name of the real tables, and how the others were made, for the page's header.
    """

    schema: DatabaseSchema
    entity: str
    relations: tuple[RelationFigures, ...]
    tables: tuple[TableFigures, ...]
    hops: tuple[HopFigures, ...]
    aggregated: Mapping[str, tuple[Estimate, Estimate]]
    efficacy: TargetEfficacy | None
    copying: Copying | None
    has_holdout: bool
    left_out: tuple[str, ...] = ()
    source: str = ""
    method: str = ""
    guarantee: str = "not known: no model was given"

    @property
    def integrity(self) -> float:
        """Of the worst foreign key, the share of values that point to a row; 1: all do."""
        return min((r.integrity for r in self.relations), default=NAN)

    @property
    def cardinality(self) -> Beside:
        """Mean over the keys of the Kolmogorov-Smirnov complement of the number of children."""
        return _mean([r.ks for r in self.relations])

    def correlation(self, hops: int) -> Beside:
        """Mean pair score of columns that are so many keys (`hops`) apart."""
        return _mean([h.correlation for h in self.hops if h.hops == hops])

    @property
    def c2st_aggregated(self) -> Beside:
        """Mean over the tables with children of the AUC of C2ST-Agg; 0.5: cannot be told apart."""
        return _mean([Beside(a.value, b.value) for a, b in self.aggregated.values()])

    def summary(self) -> str:
        """The deciding figures as text, one a line."""
        lines = [
            "Evaluation of the synthetic database",
            line("Keys that point somewhere", "not defined" if math.isnan(self.integrity) else f"{self.integrity:.2%}"),
            line("Number of children", str(self.cardinality), "1 is alike; Kolmogorov-Smirnov complement"),
            *(
                line(f"  {r.relation}", str(r.ks), f"{r.mean_real:.2f} each, now {r.mean_synthetic:.2f}")
                for r in self.relations
            ),
            line("Columns", str(_mean([t.shapes for t in self.tables])), "1 is alike"),
            line("Pairs within a table", str(_mean([t.pairs for t in self.tables]))),
        ]
        for hops in sorted({h.hops for h in self.hops}):
            words = "one key" if hops == 1 else f"{hops} keys"
            lines.append(line(f"Pairs along {words}", str(self.correlation(hops))))
        lines.append(line("Told from real with children (AUC)", str(self.c2st_aggregated), "0.5: cannot be told apart"))
        lines += [line(f"  {n}", str(a), _fresh(b)) for n, (a, b) in self.aggregated.items()]
        joined = [h for h in self.hops if h.hops == 1 and not math.isnan(h.told.value)]
        lines += [line(f"Told from real, {h.chain}", str(h.told), _fresh(h.told_fresh)) for h in joined]
        if self.efficacy is not None:
            model = self.efficacy.models[0]
            note = f"{self.efficacy.measure}; trained on real rows {model.real}"
            lines.append(line(f"Predicting '{self.efficacy.target}' with children", str(model.synthetic), note))
        if self.copying is not None:
            for c in self.copying.checks:
                beside = f"{c.in_words}; others' rows {c.baseline:.3f}{c.to_decide and '; '}{c.to_decide}"
                lines.append(line(c.title, str(c.figure), beside))
        if self.left_out:
            lines.append(f"  Not compared, since they have one row or none: {', '.join(self.left_out)}")
        if not self.has_holdout:
            lines.append(
                "  Note: give holdout=, real tables of other entities (split_database), to see what fresh rows score"
            )
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """All figures as plain JSON values; undefined figures are None."""
        tables = [
            {
                **{k: v for k, v in vars(t).items() if k != "similarity"},
                "shapes": asdict(t.shapes),
                "pairs": asdict(t.pairs),
            }
            | {"similarity": None if t.similarity is None else similarity_to_dict(t.similarity)}
            for t in self.tables
        ]
        told = {n: {"auc": asdict(a), "auc_of_fresh_rows": asdict(b)} for n, (a, b) in self.aggregated.items()}
        content = {
            "schema": self.schema.to_dict(),
            "entity": self.entity,
            "left_out": list(self.left_out),
            "integrity": self.integrity,
            "cardinality": asdict(self.cardinality),
            "c2st_aggregated": asdict(self.c2st_aggregated),
            "relations": [asdict(r) for r in self.relations],
            "tables": tables,
            "along_keys": [asdict(h) for h in self.hops],
            "told_with_children": told,
            "efficacy": None if self.efficacy is None else {"score": self.efficacy.score, **asdict(self.efficacy)},
            "copying": None if self.copying is None else asdict(self.copying),
        }
        return dict(plain(content))

    def to_json(self, indent: int | None = 2) -> str:
        """`to_dict` as JSON text, indented by `indent` blanks; None: in one line."""
        return json.dumps(self.to_dict(), indent=indent, ensure_ascii=False, allow_nan=False)

    def write_report(self, path: str | os.PathLike[str]) -> None:
        """Write one self-contained HTML page to `path`, private like the real tables; raises `StorageError`."""
        edges = sorted({(r.parent, r.child) for r in self.schema.relations if not r.is_self_reference})
        aside = {(r.parent, r.child) for r in self.schema.set_aside()}
        drawing = draw_network([e for e in edges if e not in aside]) if set(edges) - aside else None
        parts = {"keys": "Keys", "tables": "Tables", "along": "Along keys", "told": "Told from real"}
        sections = [
            Section(
                anchor,
                title,
                section_body("raysynth.evaluation", "database.html.j2", part=anchor, e=self, drawing=drawing),
            )
            for anchor, title in parts.items()
        ]
        head = page_heading(
            "Synthetic database",
            table=self.source,
            method=self.method,
            guarantee=self.guarantee,
            rows=f"{sum(t.n_real for t in self.tables):,} real, {sum(t.n_synthetic for t in self.tables):,} synthetic, "
            f"{'with' if self.has_holdout else 'without'} held-back tables",
            more=[("Tables", str(len(self.tables))), ("Keys", str(len(self.relations)))],
        )
        write_page(path, head, sections, _purposes(self))

    generate_report = write_report


def _purposes(e: DatabaseEvaluation) -> list[Purpose]:
    """What the tables can be used for: analysis over keys, prediction, and sharing outside."""
    told, columns = e.c2st_aggregated.value, _mean([t.shapes for t in e.tables])
    keys = "every key points somewhere" if e.integrity == 1 else f"only {e.integrity:.1%} of a key points somewhere"
    level = "bad" if e.integrity < 1 or told > 0.8 or columns.value < 0.85 else "fair" if told > 0.65 else "good"
    worst = min(e.tables, key=lambda t: 2.0 if math.isnan(t.shapes.value) else t.shapes.value)
    analysis = Purpose(
        "Analysis over keys: counts, joins",
        ANSWERS[level],
        level,
        f"{keys.capitalize()}; columns are {as_percent(columns.value)} alike; whole entities with their children are "
        f"told from real ones with an AUC of {_number(told)} (0.5: they cannot be).",
        f"Look at table '{worst.table}' first ({_number(worst.shapes.value)}).",
    )
    predicting = Purpose(
        "Learning to predict",
        "not decided",
        "none",
        "No column of the entities could be predicted.",
        "Judge by the joins.",
    )
    if (target := e.efficacy) is not None:
        score, model = target.score, target.models[0]
        level = "none" if math.isnan(score) else "good" if score >= 0.95 else "fair" if score >= 0.8 else "bad"
        predicting = Purpose(
            f"Learning to predict '{target.target}'",
            ANSWERS[level],
            level,
            f"{target.measure} {model.synthetic} where models learned from synthetic rows, {model.real} from real ones."
            + (" The real rows themselves teach next to nothing." if level == "none" else ""),
            "Decide by the other answers: on real rows, too, such a model would only guess."
            if level == "none"
            else f"Test the final model on real rows {'all the same' if level == 'good' else 'before you rely on it'}.",
        )
    return [analysis, predicting, _sharing(e)]


def _sharing(e: DatabaseEvaluation) -> Purpose:
    name, guaranteed = "Sharing outside", e.guarantee.startswith("epsilon")
    if e.copying is None:
        step = "Keep real entities out of the fit and give them: --holdout."
        return Purpose(name, "not decided", "none", "Without held-back tables copying does not show.", step)
    if failed := [f"{c.title.lower()} {c.figure}" for c in e.copying.checks if c.passed is False]:
        reason = f"Real entities may be recognised: {', '.join(failed)}."
        return Purpose(name, "no", "bad", reason, "Do not share it yet: fit with a budget, or learn from more rows.")
    if guaranteed:
        step = "State epsilon, delta and the unit with the tables."
        return Purpose(name, "yes", "good", f"A guarantee holds: {e.guarantee}.", step)
    reason = "No leak was found by distance and copies, and no guarantee is known."
    undecided = max((c for c in e.copying.checks if c.to_decide), key=lambda c: c.rows_to_decide, default=None)
    if undecided is not None:
        reason += f" Too few rows to decide: {undecided.title.lower()} {undecided.figure}; {undecided.to_decide}."
    return Purpose(name, "with care", "fair", reason, "Share under contract; to publish, fit with a budget.")


def _mean(figures: list[Beside]) -> Beside:
    """Means over the same figures: those of undivided tables, which nothing stands beside, are left out of both."""
    kept = [f for f in figures if not math.isnan(f.fresh)] or figures
    return Beside(mean_of_defined([f.value for f in kept]), mean_of_defined([f.fresh for f in kept]))


def _number(value: float) -> str:
    return "not defined" if math.isnan(value) else f"{value:.3f}"


def _fresh(estimate: Estimate) -> str:
    return "" if math.isnan(estimate.value) else f"held-back rows {estimate}"
