"""Tuning: methods, hyper-parameters and epsilons against each other, on Ray Tune; which is best, and at what cost."""

from __future__ import annotations

from raysynth.tuning.front import Candidate
from raysynth.tuning.results import SweepResult
from raysynth.tuning.sweep import private_selection, proxy_sweep, sweep
from raysynth.tuning.trials import Setting, Trial, TrialResult

__all__ = ["Candidate", "Setting", "SweepResult", "Trial", "TrialResult", "private_selection", "proxy_sweep", "sweep"]
