"""Attacks of others beside ours: the same tables, the same targets, one judge.

    python tests/benchmarks/bench_attack_peers.py membership --data TABLE.csv --peer SYNTH_MIA
    python tests/benchmarks/bench_attack_peers.py attributes --data TABLE.csv --peer RECONSTRUCTION --known a,b,c

`membership`: SYNTH_MIA is a checkout of joshward96/Synth-MIA; its ten attacks score the targets that ours score, with
the same reference rows. Numbers are standardised and categories one-hot; for its kernel densities, which need a
covariance of full rank, categories are ordinal. `prediction` stands for MIA-EPT (of midst-toolkit): how much better a
target's cells are predicted by trees of the synthetic rows than by trees of the reference; the original learns what to
make of such errors from models that the attacker trains. Tables: 5 % copies among rows of `trees`; a copy of
each row, numbers moved by 2 % of the standard deviation; a VAE trained for --epochs; `trees` and `copula` as they are.

`attributes`: RECONSTRUCTION is a checkout of steveng9/Reconstruction, which has CoBP-RA (arXiv 2606.08372). All attacks
know the same columns, and guess each of the others; success on training rows, on fresh ones, and the gain, which alone
is a leak. Prints a JSON line for each table and attack, means over repeats.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import sys
import types
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
from bench_attacks import PLANTED, long_vae, noisy
from sklearn.ensemble import ExtraTreesClassifier, ExtraTreesRegressor

from raysynth.api import new_synthesizer
from raysynth.attacks.attack import ThreatModel
from raysynth.attacks.attribute import AttributeAttack, ModelAttributeAttack, NearestAttributeAttack, column_of
from raysynth.comparison.rows import Rows, category_flags, linear_features, tree_features
from raysynth.privacy import MembershipAttack, Records, View, run_privacy_attacks

OURS = ("distance", "nearest", "density_ratio", "local_likelihood", "plagiarism", "tracing")
THEIRS = ("DCR", "DCRDiff", "GenLRA", "DOMIAS", "DPI", "MC", "LOGAN", "Classifier", "LocalNeighborhood")
BY_KERNELS, BINS = ("GenLRA", "DOMIAS", "DensityEstimate"), 20


class PeerAttack(MembershipAttack):
    """One of Synth-MIA's."""

    title, threat = "peer", ThreatModel(reference=True)

    def __init__(self, name: str) -> None:
        self.name = name  # type: ignore[misc]
        self.of = getattr(importlib.import_module("synth_mia.attackers"), name)

    def score(self, targets: Records, view: View, rng: np.random.Generator) -> np.ndarray:
        """As the peer scores them (N,)."""
        assert view.reference is not None
        reference, sides = view.reference.rows, (targets.rows, view.synthetic.rows, view.reference.rows)
        if self.name in BY_KERNELS:
            x = [np.nan_to_num(tree_features(rows)) for rows in sides]
            mean, std = x[2].mean(0), x[2].std(0)
            x = [((side - mean) / np.where(std > 0, std, 1))[:, (std > 0) & (x[1].std(0) > 0)] for side in x]
        else:
            x = [linear_features(rows, reference) for rows in sides]
        with open(os.devnull, "w") as nowhere:
            kept, sys.stderr = sys.stderr, nowhere  # a bar for each target
            try:
                return np.asarray(self.of()._compute_attack_scores(*x), dtype=float)
            finally:
                sys.stderr = kept


class PredictionAttack(MembershipAttack):
    """Cells of a target under trees of the synthetic rows less under trees of the reference."""

    name, title, threat = "prediction", "MIA-EPT, calibrated", ThreatModel(reference=True)  # type: ignore[misc]

    def score(self, targets: Records, view: View, rng: np.random.Generator) -> np.ndarray:
        """Sum over columns of the log ratio of errors, or of probabilities (N,)."""
        assert view.reference is not None
        sides = [np.nan_to_num(tree_features(r)) for r in (targets.rows, view.synthetic.rows, view.reference.rows)]
        flags, score_N = category_flags(targets.rows), np.zeros(len(targets))
        for j, is_category in enumerate(flags):
            x, asked = [np.delete(s, j, axis=1) for s in sides[1:]], np.delete(sides[0], j, axis=1)
            truth_N = sides[0][:, j]
            errors = [
                self._errors(a, s[:, j], asked, truth_N, bool(is_category)) for a, s in zip(x, sides[1:], strict=True)
            ]
            floor = max(0.01 * float(np.median(errors[1])), 1e-3)
            score_N += np.log(errors[1] + floor) - np.log(errors[0] + floor)
        return score_N

    @staticmethod
    def _errors(x: np.ndarray, y: np.ndarray, asked: np.ndarray, truth_N: np.ndarray, is_category: bool) -> np.ndarray:
        forest = (ExtraTreesClassifier if is_category else ExtraTreesRegressor)(50, random_state=0).fit(x, y)
        if not is_category:
            return np.abs(forest.predict(asked) - truth_N) / (y.std() or 1.0)
        place = {c: i for i, c in enumerate(forest.classes_)}
        found = forest.predict_proba(asked)
        return np.array([1 - found[i, place[v]] if v in place else 1.0 for i, v in enumerate(truth_N)])


class CoBPAttack(AttributeAttack):
    """CoBP-RA: random forests of all unknown columns, whose answers are reconciled by belief propagation."""

    name, title = "CoBP-RA", "CoBP-RA"  # type: ignore[misc]

    def guess(self, targets: Rows, synthetic: Rows, secret: str, known: Sequence[str]) -> np.ndarray:
        """The peer's answer for one of the unknown columns; numbers in 20 bins, answered by their median."""
        own, medians, asked = {}, np.zeros(0), {}
        for name in synthetic.space.names:
            values, of_targets = column_of(synthetic, name).astype(float), column_of(targets, name).astype(float)
            if name in synthetic.space.numbers:
                edges = np.unique(np.nanquantile(values, np.linspace(0, 1, BINS + 1)[1:-1]))
                bins = np.where(np.isnan(values), len(edges) + 1, np.searchsorted(edges, values, "right"))
                if name == secret:
                    at = [values[bins == b] for b in range(len(edges) + 2)]
                    medians = np.array([np.nanmedian(v) if len(v) and not np.isnan(v).all() else np.nan for v in at])
                asked[name] = np.where(
                    np.isnan(of_targets), len(edges) + 1, np.searchsorted(edges, of_targets, "right")
                )
                own[name] = bins
            else:
                own[name], asked[name] = values.astype(int), of_targets.astype(int)
        hidden = [n for n in synthetic.space.names if n not in known]
        attack = importlib.import_module("attacks.marginal_rf").marginal_rf_reconstruction
        tables = pd.DataFrame(own).astype(str), pd.DataFrame(asked)[list(known)].astype(str)
        found = attack({"attack_params": {}, "data_type": "categorical"}, *tables, list(known), hidden)[0][secret]
        codes = found.astype(int).to_numpy()
        return medians[codes] if len(medians) else codes


def main() -> None:
    """Run the chosen part."""
    warnings.filterwarnings("ignore")
    os.environ["RAYSYNTH_QUIET"] = "1"
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("part", choices=("membership", "attributes"))
    parser.add_argument("--data", required=True, help="a CSV of at least 5 times as many rows")
    parser.add_argument("--peer", required=True, help="checkout of the peer")
    parser.add_argument("--rows", type=int, default=500)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=3000, help="of the VAE")
    parser.add_argument("--known", default="", help="columns that all attacks on attributes know")
    parser.add_argument("--tables", default="copied,moved,tvae,trees,copula")
    options = parser.parse_args()
    sys.path.insert(0, options.peer)
    data = pd.read_csv(options.data, skipinitialspace=True)
    for line in (membership if options.part == "membership" else attributes)(options, data):
        print(json.dumps(line), flush=True)


def tables(options: Any, data: pd.DataFrame) -> Iterator[tuple[str, int, pd.DataFrame, pd.DataFrame, pd.DataFrame]]:
    """Name, repeat, real, holdout and synthetic rows."""
    for name in options.tables.split(","):
        for repeat in range(options.repeats):
            rows = data.sample(frac=1, random_state=repeat).reset_index(drop=True)
            real, holdout = rows[: options.rows], rows[options.rows : 5 * options.rows].reset_index(drop=True)
            yield name, repeat, real, holdout, made(name, repeat, real, options.epochs)


def made(name: str, seed: int, real: pd.DataFrame, epochs: int) -> pd.DataFrame:
    """A synthetic table."""
    if name == "moved":
        return noisy(real, 1 + seed)
    if name == "tvae":
        return long_vae(real, epochs)[0]
    method = "copula" if name == "copula" else "trees"
    rows = new_synthesizer(method, seed=seed, verbose=False).fit(real).sample(len(real), seed=seed)
    if name == "copied":
        n = round(PLANTED * len(real))
        rows.iloc[:n] = real.iloc[:n].to_numpy()
    return rows


def membership(options: Any, data: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """AUC and the share of members found at 1 % false alarms, ours and theirs."""
    found: dict[tuple[str, str], list[list[float]]] = {}
    for table, repeat, real, holdout, synthetic in tables(options, data):
        attacks = [*OURS, PredictionAttack(), *map(PeerAttack, (*THEIRS, "DensityEstimate"))]
        results = run_privacy_attacks(real, synthetic, attacks, 1, holdout, n_targets=2 * options.rows, seed=repeat)
        for attack, r in results.details.items():
            found.setdefault((table, attack), []).append([r.success.value, r.measures["tpr_at_1%"].value])
        yield {"table": table, "repeat": repeat, "verdict": results.summary().splitlines()[0]}
    for (table, attack), values in found.items():
        auc, tpr = np.mean(values, axis=0).round(3).tolist()
        each = [round(v, 3) for v, _ in values]
        yield {"table": table, "attack": attack, "AUC": auc, "TPR at 1 %": tpr, "AUCs": each}


def attributes(options: Any, data: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """Success, baseline and gain, means over the unknown columns."""
    package, without = types.ModuleType("attacks"), types.ModuleType("lightgbm")
    package.__path__ = [f"{options.peer}/attacks"]  # not its __init__, which imports all attacks
    sys.modules.update({"attacks": package, "lightgbm": without})
    known, found = options.known.split(","), {}
    for table, repeat, real, holdout, synthetic in tables(options, data):
        for secret in (c for c in data if c not in known):
            for new in (NearestAttributeAttack, ModelAttributeAttack, CoBPAttack):
                r = next(iter(run_privacy_attacks(
                    real, synthetic, [new(secret, known)], 1, holdout, n_targets=2 * options.rows, seed=repeat
                ).details.values()))  # fmt: skip
                found.setdefault((table, new.name), []).append([r.success.value, r.baseline.value, r.gain.value])
    for (table, attack), values in found.items():
        success, baseline, gain = np.mean(values, axis=0).round(4).tolist()
        yield {"table": table, "attack": attack, "success": success, "baseline": baseline, "gain": gain}


if __name__ == "__main__":
    main()
