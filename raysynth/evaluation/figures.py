"""The figures of one evaluation, as the report, the JSON and the words take them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from raysynth.evaluation.diagnostics import Diagnostic, SyntheticColumn
from raysynth.evaluation.efficacy import TargetEfficacy, relative_score
from raysynth.evaluation.metrics.embedding import Embedding
from raysynth.evaluation.metrics.manifold import Manifold
from raysynth.evaluation.metrics.realism import Realism
from raysynth.evaluation.privacy import PrivacyFigures
from raysynth.evaluation.section import Section
from raysynth.evaluation.sequence_comparison import SequenceFigures
from raysynth.evaluation.similarity import Similarity
from raysynth.schema.columns import Kind

if TYPE_CHECKING:
    from raysynth.attacks.results import AttackResults
    from raysynth.dp.accounting.privacy_spent import PrivacySpent


@dataclass(frozen=True)
class EvaluationFigures:
    """Figures of one evaluation, and what can be made of them; a part that was not asked for is None or empty.

    Args:
        kinds: kind of each column.
        diagnostics: whether the synthetic table is valid at all.
        similarity: columns, pairs and triples.
        efficacy: one entry for each target.
        privacy: checks of distances and copies, and one for each type of attack.
        attacks: what each attack found, with ROC curves.
        measured: what each figure of `metrics/registry.py` found, by its name.
        has_holdout: whether real rows that the synthesizer has not seen were given.
        model_info: how the synthetic table was made, as given by the caller (method, parameters, seeds, versions,
            ledger); shown, never judged. 'rows' and 'network' are figures of the real rows: not in a shareable report.
        notes: what the reader must know about how the figures were made.
        sections: further sections of the report.
        sequences: figures along time, of long tables whose sequence_key was given.
        shareable_columns: what a shareable report shows of the columns.
        spent: what the model that made the table spent; None: no budget, or no model was given.
        source: name or path of the real table, for the header; private, as is `command`.
        command: the command line that makes the evaluation again.
    """

    kinds: dict[str, Kind]
    diagnostics: tuple[Diagnostic, ...] = ()
    similarity: Similarity | None = None
    efficacy: tuple[TargetEfficacy, ...] = ()
    privacy: PrivacyFigures | None = None
    attacks: AttackResults | None = None
    measured: Mapping[str, Any] = field(default_factory=dict)
    has_holdout: bool = False
    model_info: Mapping[str, Any] | None = None
    notes: tuple[str, ...] = ()
    sections: tuple[Section, ...] = ()
    sequences: SequenceFigures | None = None
    shareable_columns: tuple[SyntheticColumn, ...] = ()
    spent: PrivacySpent | None = None
    source: str = ""
    command: str = ""

    @property
    def realism(self) -> Realism | None:
        """The classifier two-sample test."""
        return self.measured.get("realism")

    @property
    def manifold(self) -> Manifold | None:
        """Precision, recall, density and coverage."""
        return self.measured.get("manifold")

    @property
    def embedding(self) -> Embedding | None:
        """Some rows of both tables in two dimensions."""
        return self.measured.get("embedding")

    @property
    def is_valid(self) -> bool:
        """Whether every diagnostic passed."""
        return all(d.passed for d in self.diagnostics)

    @property
    def ml_efficacy(self) -> float:
        """Mean over targets of the share of the real table's use that the synthetic one keeps; NaN without any."""
        return relative_score(self.efficacy)

    @property
    def target(self) -> str:
        """What machine-learning efficacy predicts, in words: the target's name, or of several how many they are."""
        names = [t.target for t in self.efficacy]
        return f"'{names[0]}'" if len(names) == 1 else f"{len(names)} targets"
