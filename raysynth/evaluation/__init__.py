"""Evaluation: how alike, how useful and how private a synthetic table is, in figures that can be checked."""

from __future__ import annotations

from raysynth.evaluation.database import evaluate_synthetic_database
from raysynth.evaluation.database_results import DatabaseEvaluation
from raysynth.evaluation.dossier import Dossier, privacy_dossier
from raysynth.evaluation.evaluate import (
    evaluate_synthetic_data,
    machine_learning_efficacy,
    privacy_risk_score,
    statistical_similarity_score,
)
from raysynth.evaluation.report import EvaluationResults
from raysynth.evaluation.sequence_metrics import (
    autocorrelation_difference,
    cross_correlation_difference,
    discriminative_score,
    predictive_score,
)

__all__ = [
    "DatabaseEvaluation",
    "Dossier",
    "EvaluationResults",
    "autocorrelation_difference",
    "cross_correlation_difference",
    "discriminative_score",
    "evaluate_synthetic_data",
    "evaluate_synthetic_database",
    "machine_learning_efficacy",
    "predictive_score",
    "privacy_dossier",
    "privacy_risk_score",
    "statistical_similarity_score",
]
