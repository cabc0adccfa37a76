"""Results as plain JSON values."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from raysynth.evaluation.decision import guarantee_words
from raysynth.evaluation.metrics.registry import metrics

if TYPE_CHECKING:
    from raysynth.evaluation.figures import EvaluationFigures
    from raysynth.evaluation.similarity import Similarity


def results_to_dict(results: EvaluationFigures) -> dict[str, Any]:
    """All figures of an evaluation; NaN becomes None."""
    content: dict[str, Any] = {"table": results.source, "guarantee": guarantee_words(results)}
    content["columns"] = {n: str(k) for n, k in results.kinds.items()}
    if results.similarity is not None:
        content["statistical_similarity"] = similarity_to_dict(results.similarity)
    content["diagnostics"] = [asdict(d) for d in results.diagnostics]
    for name, found in results.measured.items():
        if (as_json := metrics()[name].plain) is not None:
            content[name] = as_json(found)
    if results.sequences is not None:
        content["sequences"] = {"discriminative": results.sequences.discriminative, **asdict(results.sequences)}
    if results.efficacy:
        content["ml_efficacy"] = {
            "score": results.ml_efficacy,
            "targets": [
                {**asdict(t), "score": t.score, "models": [{**asdict(m), "ratio": m.ratio(t.guess)} for m in t.models]}
                for t in results.efficacy
            ],
        }
    if results.privacy is not None:
        content["privacy_metrics"] = {"risk": results.privacy.risk, **asdict(results.privacy)}
    if results.attacks is not None:
        content["privacy_attacks"] = results.attacks.to_dict()
    content["has_holdout"] = results.has_holdout
    if results.model_info is not None:
        content["model_info"] = dict(results.model_info)
    content["notes"] = list(results.notes)
    return plain(content)


def similarity_to_dict(similarity: Similarity) -> dict[str, Any]:
    """The figures of every column, pair and triple, without the distributions behind them."""
    s = similarity
    intervals = {name: [e.low, e.high] for name, e in s.estimates.items()}
    return {
        "quality": s.quality,
        "column_shapes": s.column_shapes,
        "column_pair_trends": s.column_pair_trends,
        "all_pair_trends": s.all_pair_trends,
        "triple_trends": s.triple_trends,
        "intervals": intervals,
        "accuracy": {k: {"value": value, "fresh_rows": fresh} for k, (value, fresh) in s.accuracies.items()},
        "n_real": s.n_real,
        "n_synthetic": s.n_synthetic,
        "columns": [
            {
                "column": c.name,
                "kind": str(c.kind),
                "metric": c.metric,
                "score": c.score,
                "error": c.error,
                "interval": [c.estimate.low, c.estimate.high],
                "accuracy": c.accuracy,
                "accuracy_of_fresh_rows": c.expected,
                "wasserstein": c.wasserstein,
                "coverage": c.coverage,
                "missing_real": c.missing_real,
                "missing_synthetic": c.missing_synthetic,
                "missing_similarity": c.missing_score,
            }
            for c in s.columns
        ],
        "pairs": [
            {
                "columns": [p.first, p.second],
                "metric": p.metric,
                "score": p.score,
                "interval": [p.estimate.low, p.estimate.high],
                "accuracy": p.accuracy,
                "accuracy_of_fresh_rows": p.expected,
                "real": p.real,
                "synthetic": p.synthetic,
                "counts_in_quality": p.is_strong,
            }
            for p in s.pairs
        ],
        "triples": [{"columns": list(t.names), "score": t.score, "score_of_fresh_rows": t.expected} for t in s.triples],
    }


def plain(value: Any) -> Any:
    """Nested values as JSON knows them: NumPy scalars and arrays unpacked, NaN and infinities None."""
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(v) for v in value]
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    if isinstance(value, bool) or value is None or isinstance(value, int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return str(value)
