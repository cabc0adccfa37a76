"""Risks by Anonymeter on three CSV files (run in an environment that has it); prints one JSON object."""

from __future__ import annotations

import json
import sys
import warnings
from typing import Any

import numpy as np
import pandas as pd
from anonymeter.evaluators import InferenceEvaluator, LinkabilityEvaluator, SinglingOutEvaluator


def main(folder: str, settings: dict[str, Any]) -> None:
    """Every risk with its interval."""
    warnings.filterwarnings("ignore")
    np.random.seed(0)
    ori, syn, control = (pd.read_csv(f"{folder}/{name}.csv") for name in ("real", "synthetic", "holdout"))
    n = settings["n_targets"]
    found = {}
    for mode in ("univariate", "multivariate"):
        evaluator = SinglingOutEvaluator(ori, syn, n_attacks=n, n_cols=settings["n_columns"], control=control, seed=0)
        evaluator.evaluate(mode=mode)
        found[f"singling_out_{mode}"] = {**told(evaluator), "n_claims": len(evaluator.queries())}
    first, second = settings["parts"]
    evaluator = LinkabilityEvaluator(
        ori=ori, syn=syn, aux_cols=(first, second), n_attacks=n, n_neighbors=settings["k"], control=control
    )
    evaluator.evaluate(n_jobs=2)
    found["linkability"] = told(evaluator)
    for secret in settings["secrets"]:
        known = [c for c in ori if c != secret]
        regression = bool(pd.api.types.is_numeric_dtype(ori[secret]))
        evaluator = InferenceEvaluator(
            ori=ori, syn=syn, aux_cols=known, secret=secret, regression=regression, n_attacks=n, control=control
        )
        evaluator.evaluate(n_jobs=2)
        found[f"inference_{secret}"] = told(evaluator)
    print(json.dumps(found))


def told(evaluator: Any) -> dict[str, float]:
    """Success on training rows, on control rows, and the risk."""
    results, risk = evaluator.results(), evaluator.risk()
    return {
        "success": results.attack_rate.value,
        "baseline": results.control_rate.value,
        "risk": risk.value,
        "low": risk.ci[0],
        "high": risk.ci[1],
    }


if __name__ == "__main__":
    main(sys.argv[1], json.loads(sys.argv[2]))
