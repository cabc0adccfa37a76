"""What an evaluation found: figures, a summary in words, JSON, and the report."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from raysynth.evaluation.diagnostics import Diagnostic
from raysynth.evaluation.efficacy import TargetEfficacy, relative_score
from raysynth.evaluation.embedding import Embedding
from raysynth.evaluation.manifold import Manifold
from raysynth.evaluation.privacy import PrivacyFigures
from raysynth.evaluation.realism import Realism
from raysynth.evaluation.section import Section
from raysynth.evaluation.sequence_comparison import SequenceFigures
from raysynth.evaluation.similarity import Similarity
from raysynth.evaluation.synthetic_alone import SyntheticColumn
from raysynth.schema.table import Kind

if TYPE_CHECKING:
    from raysynth.attacks.results import AttackResults


@dataclass(frozen=True)
class EvaluationResults:
    """Figures of one evaluation; a part that was not asked for is None or empty.

    Args:
        kinds: kind of each column.
        diagnostics: whether the synthetic table is valid at all.
        similarity: columns, pairs and triples.
        efficacy: one entry for each target.
        privacy: checks of distances and copies, and one for each type of attack.
        attacks: what each attack found, with ROC curves.
        realism: the classifier two-sample test.
        manifold: precision, recall, density and coverage.
        embedding: some rows of both tables in two dimensions.
        has_holdout: whether real rows that the synthesizer has not seen were given.
        model_info: how the synthetic table was made, as given by the caller (method, parameters, seeds, versions,
            ledger); shown, never judged. 'rows' and 'network' are figures of the real rows: not in a shareable report.
        notes: what the reader must know about how the figures were made.
        sections: further sections of the report.
        sequences: figures along time, of long tables whose sequence_key was given.
        shareable_columns: what a shareable report shows of the columns.
    """

    kinds: dict[str, Kind]
    diagnostics: tuple[Diagnostic, ...] = ()
    similarity: Similarity | None = None
    efficacy: tuple[TargetEfficacy, ...] = ()
    privacy: PrivacyFigures | None = None
    attacks: AttackResults | None = None
    realism: Realism | None = None
    manifold: Manifold | None = None
    embedding: Embedding | None = None
    has_holdout: bool = False
    model_info: Mapping[str, Any] | None = None
    notes: tuple[str, ...] = ()
    sections: tuple[Section, ...] = ()
    sequences: SequenceFigures | None = None
    shareable_columns: tuple[SyntheticColumn, ...] = ()

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

    def summary(self) -> str:
        """The deciding figures as text, one a line."""
        return "\n".join(["Evaluation of the synthetic table", *_lines(self), *(f"  Note: {n}" for n in self.notes)])

    def to_dict(self) -> dict[str, Any]:
        """All figures as plain JSON values; undefined figures are None."""
        from raysynth.evaluation.plain import results_to_dict

        return results_to_dict(self)

    def to_json(self, indent: int | None = 2) -> str:
        """`to_dict` as JSON text."""
        return json.dumps(self.to_dict(), indent=indent, ensure_ascii=False, allow_nan=False)

    def generate_report(
        self, path: str | os.PathLike[str], shareable: bool = False, sections: Sequence[Section] = ()
    ) -> None:
        """Write one self-contained HTML file, readable offline.

        Args:
            path: where to; the folder is made where it is missing.
            shareable: leave out every figure that was computed from real rows without noise.
            sections: further sections, after those of these results.
        """
        from raysynth.evaluation.report import write_report

        write_report(self, path, shareable=shareable, sections=sections)

    def _repr_html_(self) -> str:
        from raysynth.evaluation.report import render_card

        return render_card(self)


def _lines(results: EvaluationResults) -> list[str]:
    failed = [d for d in results.diagnostics if not d.passed]
    lines = [_line("Diagnostics", f"{len(results.diagnostics) - len(failed)} of {len(results.diagnostics)} passed")]
    lines += [_line(f"  failed: {d.name}", d.detail) for d in failed]
    if results.similarity is not None:
        lines += _similarity_lines(results.similarity)
    if results.realism is not None:
        lines.append(_line("Told from real (AUC)", str(results.realism.auc), "0.5: cannot be told apart"))
    if (m := results.manifold) is not None:
        for name in ("coverage", "precision"):
            what = "real neighbourhoods reached" if name == "coverage" else "synthetic rows among real ones"
            fresh = getattr(m.fresh, name).value
            lines.append(_line(f"  {name.title()}", str(getattr(m.synthetic, name)), f"{what}; fresh rows {fresh:.3f}"))
    if results.sequences is not None:
        lines += _sequence_lines(results.sequences)
    for t in results.efficacy:
        best = max(t.models, key=lambda m: m.real.value)
        figures = f"{best.synthetic.value:.3f} against {best.real.value:.3f} trained on real rows"
        seen = "" if t.held_out else "; test rows may have been seen"
        lines.append(_line(f"ML efficacy, {t.target}", _text(t.score), f"{best.model}, {t.measure} {figures}{seen}"))
    if results.privacy is not None:
        lines.append(_line("Privacy risk", _text(results.privacy.risk), "0: no leak was found, which proves nothing"))
        for check in results.privacy.checks:
            verdict = {True: "pass", False: "FAIL", None: "not measured"}[check.passed]
            baseline = "" if check.passed is None else f" (baseline {check.baseline:.3f})"
            lines.append(_line(f"  {check.title}", f"{verdict}: {check.figure}{baseline}"))
    return lines


def _similarity_lines(s: Similarity) -> list[str]:
    strong, intervals = sum(p.is_strong for p in s.pairs), s.estimates
    accuracy = {k: f"fresh real rows {fresh:.4f}" for k, (_, fresh) in s.accuracies.items()}
    return [
        _line("Quality", str(intervals["quality"]), "1 is alike; mean of the next two, as SDMetrics 0.32"),
        _line("  Column shapes", str(intervals["column_shapes"]), f"mean over {len(s.columns)} columns"),
        _line("  Column pair trends", str(intervals["column_pair_trends"]), f"mean over {strong} related pairs"),
        _line("  All pairs", _text(s.all_pair_trends), f"mean over {len(s.pairs)} pairs"),
        *(_line(f"  {k.title()} accuracy", _text(s.accuracies[k][0]), note) for k, note in accuracy.items()),
    ]


def _sequence_lines(s: SequenceFigures) -> list[str]:
    real = f"one step ahead, '{s.predicted}'; {s.predictive_real:.4f} trained on real sequences"
    return [
        _line("Sequences told from real (accuracy)", str(s.accuracy), "0.5: cannot be told apart"),
        _line("  Predictive score", _text(s.predictive), real),
        _line("  Autocorrelation difference", _text(s.autocorrelation_difference), "0 is alike"),
        _line("  Cross-correlation difference", _text(s.cross_correlation_difference), "0 is alike"),
    ]


def _line(label: str, value: str, note: str = "") -> str:
    return f"  {label:<42} {value}" + (f"  ({note})" if note else "")


def _text(value: float) -> str:
    return "not defined" if math.isnan(value) else f"{value:.4f}"
