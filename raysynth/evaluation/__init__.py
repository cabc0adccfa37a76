"""Evaluation: how alike, how useful and how private a synthetic table is, in figures that can be checked."""

from __future__ import annotations

from raysynth.evaluation.evaluate import (
    evaluate_synthetic_data,
    machine_learning_efficacy,
    privacy_risk_score,
    statistical_similarity_score,
)
from raysynth.evaluation.results import EvaluationResults

__all__ = [
    "EvaluationResults",
    "evaluate_synthetic_data",
    "machine_learning_efficacy",
    "privacy_risk_score",
    "statistical_similarity_score",
]
