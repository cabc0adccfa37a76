"""Attacks: power, calibration, agreement with Anonymeter, DP regions, and campaigns.

    python tests/benchmarks/bench_attacks.py power --data ../shared/data/adult.csv [--epochs 3000] [--out DIR]
    python tests/benchmarks/bench_attacks.py calibration --data ../shared/data/adult.csv [--repeats 200] --out DIR
    python tests/benchmarks/bench_attacks.py agreement --data ../shared/data/adult.csv --peer PYTHON
        [--rows 16000] [--targets 12000]
    python tests/benchmarks/bench_attacks.py region [--models 4000] [--out DIR]
    python tests/benchmarks/bench_attacks.py campaign --data ../shared/data/adult.csv [--models 200] [--rows 5000]
    python tests/benchmarks/bench_attacks.py trees --data ../shared/data/adult.csv --rows 500 [--repeats 20]
    python tests/benchmarks/bench_attacks.py overhead [--models 10000]

`power`: copies of Adult rows with noise of 2 % of the standard deviation, and a VAE trained for 3,000 epochs on 500
rows that publishes 10,000; one file a synthesizer in DIR. Beside these what two attacks are for: twenty such copies of
each row (plagiarism), and rows of nobody whose columns are those of the real rows, each shuffled by itself (tracing).
`calibration`: real, synthetic and holdout rows are all drawn
from a Bayesian network fitted to Adult; one file a repetition in DIR. `agreement`: PYTHON has Anonymeter 1.1.0.
`region`: games against small private fits with their noise, a quarter of it, and none; resumable in DIR. `campaign`:
shadow fits of the Bayesian network, 1 and 2 workers.
`trees`: the method at its defaults on splits of a table; the advantage (true less false positives, Yeom et al. 2018) of
each membership attack, its upper end at 95 % (over splits where there are several), and of how many of these tables,
and of the same with 5 % copied rows, a check of the report fails by more than is minor.
Prints a JSON line for each figure.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import tempfile
import time
import warnings
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from region_game import noise_times, region_campaign

from raysynth import BayesianNetworkSynthesizer
from raysynth.api import new_synthesizer
from raysynth.attacks.attribute import NearestAttributeAttack
from raysynth.attacks.linkability import LinkabilityAttack
from raysynth.attacks.registry import FAMILIES
from raysynth.attacks.singling_out import MultivariateSinglingOut, UnivariateSinglingOut
from raysynth.campaigns import AttackCampaign
from raysynth.evaluation import evaluate_synthetic_data
from raysynth.privacy import MembershipAttack, Records, ThreatModel, View, run_privacy_attacks
from raysynth.running.runner import iter_tasks

TABLE_ATTACKS = (
    *("distance", "nearest", "density_ratio", "local_likelihood", "plagiarism", "tracing"),
    *("attribute_nearest", "attribute_model", "linkability"),
    *("singling_out_univariate", "singling_out_multivariate", "inversion_table"),
)
PLANTED = 0.05
SEEN_BY = {"dense": "plagiarism", "margins": "tracing"}  # tables that are made for one attack


def main() -> None:
    """Run the chosen part."""
    warnings.filterwarnings("ignore")
    os.environ["RAYSYNTH_QUIET"] = "1"
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("part", choices=tuple(PARTS))
    parser.add_argument("--data", help="Adult as CSV")
    parser.add_argument("--out", help="folder of a resumable run")
    parser.add_argument("--peer", help="python that has Anonymeter")
    parser.add_argument("--rows", type=int)
    parser.add_argument("--models", type=int)
    parser.add_argument("--epochs", type=int, default=3000)
    parser.add_argument("--repeats", type=int, help="200; of `trees` 20 splits")
    parser.add_argument("--targets", type=int, default=12_000)
    options = parser.parse_args()
    options.repeats = options.repeats or (20 if options.part == "trees" else 200)
    for figure in PARTS[options.part](options):
        print(json.dumps(figure), flush=True)


def adult(path: str, seed: int = 0) -> pd.DataFrame:
    """Adult in random order; missing values as Anonymeter can read them."""
    data = pd.read_csv(path, skipinitialspace=True)
    return data.sample(frac=1, random_state=seed).reset_index(drop=True)


# ------------------------------------------------------------------------------------------------------------- power


def power(options: Any) -> Any:
    """Each attack by itself on memorising synthesizers, beside what is demanded; resumable with --out."""
    n = options.rows or 500
    data = adult(options.data)
    real, holdout = data[:n], data[n : n + max(2 * n, 2000)]
    found: list[dict[str, Any]] = []
    signals = {
        "copies": lambda: (noisy(real, 1), None),
        "dense": lambda: (pd.concat([noisy(real, 1 + i) for i in range(20)], ignore_index=True), None),
        "margins": lambda: (shuffled(real), None),
        "tvae": lambda: long_vae(real, options.epochs),
    }
    for name, made in signals.items():
        kept = Path(options.out or tempfile.mkdtemp()) / f"power-{name}-{n}-{options.epochs}.json"
        if not kept.exists():
            kept.parent.mkdir(parents=True, exist_ok=True)
            written = kept.with_suffix(".tmp")
            written.write_text(json.dumps(list(powers(name, real, holdout, *made()))))
            written.rename(kept)
        figures = json.loads(kept.read_text())
        yield from figures
        found += figures
    missed = [f"{f['synthesizer']}: {f['attack']}" for f in found if f["meets"] is False]
    yield {"verdict": "power: PASSED" if not missed else "power: MISSED", "missed": missed, "of": len(found)}


def powers(name: str, real: pd.DataFrame, holdout: pd.DataFrame, synthetic: pd.DataFrame, model: Any) -> Any:
    """A line for each attack on one synthesizer."""
    types = [SEEN_BY[name]] if name in SEEN_BY else list(TABLE_ATTACKS)
    types += ["reconstruction", "inversion_model", "inversion_input"] if model else []
    for kind in types:
        begun = time.perf_counter()
        results = run_privacy_attacks(real, synthetic, [kind], holdout_data=holdout, synthesizer=model, seed=1)
        result = results.details[kind]
        is_membership = result.curve is not None
        figure = result.success.value if is_membership else result.gain.low
        is_demanded = result.family in ("membership_inference", "attribute_inference", "model_inversion")
        least, bound = ("AUC >= 0.9", 0.9) if is_membership else ("lower bound of gain > 0.1", 0.1)
        if name == "margins":  # theory is that of exact margins, which these are
            bound = result.measures["auc_of_exact_margins"].value - (result.success.high - result.success.value)
            least = f"AUC >= {bound:.3f}, that of exact margins less the half interval"
        yield {
            "synthesizer": name,
            "attack": kind,
            "family": result.family,
            "success": str(result.success),
            "baseline": round(result.baseline.value, 3),
            "gain": str(result.gain),
            "demanded": least if is_demanded else None,
            "figure": round(figure, 3),
            "meets": bool(figure >= bound if is_membership else figure > bound) if is_demanded else None,
            "seconds": round(time.perf_counter() - begun, 1),
        }


def noisy(real: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Copies of the rows, numbers moved by 2 % of their standard deviation."""
    rng = np.random.default_rng(seed)
    rows = real.sample(frac=1, random_state=seed).reset_index(drop=True)
    for name in rows.select_dtypes("number"):
        rows[name] = rows[name] + rng.normal(0, 0.02 * float(real[name].std()), len(rows))
    return rows


def shuffled(real: pd.DataFrame) -> pd.DataFrame:
    """Each column as it is, in an order of its own: rows of nobody with the margins of the real ones."""
    rng = np.random.default_rng(1)
    return pd.DataFrame({name: rng.permutation(real[name].to_numpy()) for name in real})


def long_vae(real: pd.DataFrame, epochs: int) -> tuple[pd.DataFrame, Any]:
    """A VAE that has seen the same few rows too often; few latent dimensions and a place for each row."""
    places = {"latent_dim": 4, "prior_components": 2 * len(real), "warm_up": 0.5, "weight_decay": 0.0}
    model = new_synthesizer("tvae", epochs=epochs, batch_size=50, **places, seed=0, verbose=False).fit(real)
    return model.sample(20 * len(real), seed=1), model


# ------------------------------------------------------------------------------------------------------- calibration


def calibration(options: Any) -> Any:
    """How often each attack's interval covers its baseline where nothing can leak, and whether a bias is caught."""
    folder = Path(options.out or tempfile.mkdtemp())
    folder.mkdir(parents=True, exist_ok=True)
    n = options.rows or 2000
    model = BayesianNetworkSynthesizer(seed=0, verbose=False).fit(adult(options.data))
    missing = [r for r in range(options.repeats) if not (folder / f"{r}.json").exists()]
    for _ in iter_tasks(partial(one_repetition, model, n, folder), missing, where="local"):
        pass
    found = [json.loads((folder / f"{r}.json").read_text()) for r in range(options.repeats)]
    yield from judged(found, options.repeats)


def one_repetition(model: BayesianNetworkSynthesizer, n: int, folder: Path, repetition: int) -> None:
    """Three independent tables, every attack; each attack's gain and interval in one file."""
    rows = model.sample(4 * n, seed=1000 + repetition)
    real, synthetic, holdout = rows[:n], rows[n : 2 * n].reset_index(drop=True), rows[2 * n :].reset_index(drop=True)
    results = run_privacy_attacks(real, synthetic, TABLE_ATTACKS, 5, holdout, n_targets=1000, seed=repetition)
    record = {name: [r.gain.value, r.gain.low, r.gain.high] for name, r in results.details.items()}
    temporary = folder / f".{repetition}.tmp"
    temporary.write_text(json.dumps(record))
    temporary.rename(folder / f"{repetition}.json")


def judged(found: list[dict[str, list[float]]], n: int) -> Any:
    """Coverage of each attack against a threshold that a correct set of attacks fails once in a thousand runs."""
    from scipy.stats import binom

    # all attacks together fail with probability below 1e-3: Bonferroni over the attacks
    fewest = int(binom.ppf(1e-3 / len(TABLE_ATTACKS), n, 0.95))
    wrong, uncaught = [], []
    for name in TABLE_ATTACKS:
        intervals = np.array([record[name] for record in found])
        covered = int(((intervals[:, 1] <= 0) & (intervals[:, 2] >= 0)).sum())
        biased = int(((intervals[:, 1] + PLANTED <= 0) & (intervals[:, 2] + PLANTED >= 0)).sum())
        wrong += [name] if covered < fewest else []
        uncaught += [name] if biased >= fewest else []
        yield {
            "attack": name,
            "covered": covered,
            "of": n,
            "fewest": fewest,
            "passes": covered >= fewest,
            "mean_gain": round(float(intervals[:, 0].mean()), 4),
            "covered_with_planted_bias": biased,
            "bias_caught": biased < fewest,
        }
    verdict = "calibration: PASSED" if not wrong + uncaught else "calibration: MISSED"
    yield {"verdict": verdict, "intervals_too_short": wrong, "planted_bias_not_caught": uncaught, "repetitions": n}


# ------------------------------------------------------------------------------------------------- trees at defaults


def trees(options: Any) -> Any:
    """How much membership attacks gain against `trees` as it is, and whether copies among the same rows are found."""
    n, members = options.rows or 500, list(FAMILIES["membership_inference"][:3]) + ["local_likelihood", "plagiarism"]
    advantages: dict[str, list[list[float]]] = {name: [] for name in members}
    accused = {"as it is": 0, "5 % copies": 0}
    for split in range(options.repeats):
        data = adult(options.data, split)
        real, holdout = data[:n], data[n : 3 * n].reset_index(drop=True)
        made = new_synthesizer("trees", seed=split, verbose=False).fit(real).sample(n, seed=split)
        copied = made.copy()
        copied.iloc[: round(PLANTED * n)] = real.iloc[: round(PLANTED * n)].to_numpy()
        for name, rows in (("as it is", made), ("5 % copies", copied)):
            found = evaluate_synthetic_data(
                real, rows, holdout_data=holdout, metrics="privacy_metrics", attack_types=members, seed=split
            )
            assert found.privacy is not None and found.attacks is not None
            by = [c.key for c in found.privacy.checks if c.passed is False and not c.minor]
            accused[name] += bool(by)
            yield {"split": split, "table": name, "fails": by}
            if name == "as it is":
                for attack, result in found.attacks.details.items():
                    gained = result.measures["advantage"]
                    advantages[attack].append([gained.value, gained.high - gained.value, result.success.value])
    most = 0.05 if n >= 5000 else 0.10
    for attack, own in advantages.items():
        value, half, auc = (round(float(x), 4) for x in np.mean(own, axis=0))
        if len(own) > 1:
            half = 1.96 * float(np.std([v for v, *_ in own], ddof=1)) / len(own) ** 0.5
        upper = round(value + half, 4)
        yield {"attack": attack, "AUC": auc, "advantage": value, "upper": upper, "meets": upper <= most}
    power = accused["5 % copies"] / options.repeats
    yield {"rows": n, "splits": options.repeats, "accused": accused, "power": power, "meets": power >= 0.9}


# --------------------------------------------------------------------------------------------------------- agreement


def agreement(options: Any) -> Any:
    """Risks beside Anonymeter's on the same tables: half-widths and overlap.

    Secrets are columns that are not nearly known beforehand: a risk's interval grows with 1 / (1 - baseline). Claims
    that one row bears out depend on each other, so that more claims need more rows, too: of 10,000 rows 9,000
    multivariate claims give a half-width of 0.022, of 16,000 rows 12,000 give 0.019.
    """
    n = options.rows or 16_000
    data = adult(options.data)
    # raysynth keeps half of the holdout as the attacker's reference, so it takes twice as many rows
    real, holdout = data[:n], data[n : 3 * n].reset_index(drop=True)
    model = BayesianNetworkSynthesizer(seed=0, verbose=False).fit(real)
    leaking = pd.concat([model.sample(n - n // 3, seed=1), real[: n // 3]], ignore_index=True)
    leaking = leaking.sample(frac=1, random_state=2).reset_index(drop=True)
    names = list(real)
    parts = [names[:7], names[7:]]
    settings = {
        "n_targets": options.targets,
        "n_columns": 5,
        "parts": parts,
        "k": 1,
        "secrets": ["occupation", "age"],
    }
    with tempfile.TemporaryDirectory() as folder:
        for name, table in (("real", real), ("synthetic", leaking), ("holdout", holdout[:n]), ("more", holdout)):
            table.to_csv(f"{folder}/{name}.csv", index=False)
        script = str(Path(__file__).with_name("peer_anonymeter.py"))
        peer = subprocess.run(
            [options.peer, script, folder, json.dumps(settings)], capture_output=True, text=True, check=True
        )
        theirs = json.loads(peer.stdout.splitlines()[-1])
        tables = [pd.read_csv(f"{folder}/{name}.csv") for name in ("real", "synthetic", "more")]
    ours = our_risks(*tables, settings)
    missed = []
    for key, result in ours.items():
        risk, peer_risk = result.risk, theirs[key]
        low, high = max(risk.low, 0.0), max(risk.high, 0.0)
        half_width = (risk.high - risk.low) / 2
        overlap = bool(low <= peer_risk["high"] and peer_risk["low"] <= high)
        if half_width > 0.02 or not overlap:
            missed.append(key)
        yield {
            "risk": key,
            "ours": [round(max(risk.value, 0), 4), round(low, 4), round(high, 4)],
            "anonymeter": [round(peer_risk[k], 4) for k in ("risk", "low", "high")],
            "success": [round(result.success.value, 4), round(peer_risk["success"], 4)],
            "baseline": [round(result.baseline.value, 4), round(peer_risk["baseline"], 4)],
            "trials": result.n_trials,
            "half_width": round(half_width, 4),
            "demanded": "half width <= 0.02, overlap",
            "overlap": overlap,
        }
    yield {"verdict": "agreement: PASSED" if not missed else "agreement: MISSED", "missed": missed}


def our_risks(real: pd.DataFrame, synthetic: pd.DataFrame, holdout: pd.DataFrame, settings: dict[str, Any]) -> Any:
    """The same attacks by raysynth, each with as many targets."""
    n = settings["n_targets"]
    run = partial(run_privacy_attacks, real, synthetic, n_experiments=1, holdout_data=holdout, n_targets=n, seed=0)
    found = {
        "singling_out_univariate": run([UnivariateSinglingOut(n)]),
        "singling_out_multivariate": run([MultivariateSinglingOut(n, settings["n_columns"])]),
        "linkability": run([LinkabilityAttack(tuple(settings["parts"]), settings["k"])]),
    }
    for secret in settings["secrets"]:
        found[f"inference_{secret}"] = run([NearestAttributeAttack(secret)])
    return {key: next(iter(results.details.values())) for key, results in found.items()}


# ------------------------------------------------------------------------------------------------------------ region


def region(options: Any) -> Any:
    """Games against raysynth's own private fits: inside the region; outside it without noise, and with too little.

    Resumable with --out. A game of a correct build is accused with probability below 0.001.
    """
    n = options.models or 4000
    folder = Path(options.out or tempfile.mkdtemp())
    wrong = []
    for factor, shown in ((1.0, n), (0.25, n), (0.0, max(n // 16, 240) // 2 * 2)):
        for game in ("add_remove", "replace_one"):
            begun = time.perf_counter()
            with noise_times(factor):
                results = region_campaign(folder / f"{game}-{factor:g}", game, shown).run()
            for found in results.games:
                outside = len(found.outside(*results.plan.guarantee(found.epsilon or 0.0)))
                if (outside > 0) != (factor == 0) and factor != 0.25:
                    wrong.append([game, found.epsilon, factor])
                yield {
                    "game": game,
                    "epsilon": found.epsilon,
                    "noise_times": factor,
                    "models": len(found.models_S),
                    "auc": str(found.auc()),
                    "epsilon_shown": round(found.epsilon_bound(results.plan.delta).low, 3),
                    "outside": outside,
                    "demanded": {1.0: "none outside", 0.0: "some outside"}.get(factor),
                }
            yield {"seconds": round(time.perf_counter() - begun, 1)}
    yield {"verdict": "region: PASSED" if not wrong else "region: MISSED", "wrong": wrong}


# ---------------------------------------------------------------------------------------------------------- campaign


def campaign(options: Any) -> Any:
    """Shadow fits of the Bayesian network with one and two workers, threads pinned."""
    n = options.rows or 5000
    data = adult(options.data)[: 4 * n]
    seconds = {}
    for workers in (1, 2):
        with tempfile.TemporaryDirectory() as folder:
            started(workers)
            new = partial(
                AttackCampaign,
                data,
                ["bayesian_network"],
                attacks=["distance"],
                n_targets=20,
                targets="random",
                n_training=n,
                n_synthetic=n,
                where="ray",
            )
            new(f"{folder}/warm", n_models=2 * workers).run()
            begun = time.perf_counter()
            results = new(f"{folder}/timed", n_models=options.models or 200).run()
            seconds[workers] = time.perf_counter() - begun
            stopped()
        game = results.games[0]
        yield {
            "workers": workers,
            "models": len(game.models_S),
            "seconds": round(seconds[workers], 1),
            "auc": str(game.auc()),
        }
    faster = seconds[1] / seconds[2]
    yield {"two_workers_times_faster": round(faster, 2), "demanded": 1.6, "meets": faster >= 1.6}


class Nothing:
    """A method that does nothing."""

    def get_params(self) -> dict[str, Any]:
        """None."""
        return {}

    def set_params(self, **parameters: Any) -> Nothing:
        """Nothing to set."""
        return self

    def clone(self) -> Nothing:
        """Another."""
        return Nothing()

    def fit(self, table: pa.Table) -> Nothing:
        """Keep some rows."""
        self.rows = table.slice(0, 20)
        return self

    def sample_arrow(self, n: int, seed: int | None = None) -> pa.Table:
        """The same rows."""
        return self.rows

    def __repr__(self) -> str:
        return "Nothing()"


class Coin(MembershipAttack):
    """Guesses."""

    name = "coin"
    title = "Coin"
    threat = ThreatModel()

    def score(self, targets: Records, view: View, rng: np.random.Generator) -> np.ndarray:
        """Random numbers."""
        return rng.random(len(targets))


def overhead(options: Any) -> Any:
    """Seconds for each trial that does nothing, and the driver's memory, over Ray on two workers."""
    n = options.models or 10_000
    rng = np.random.default_rng(0)
    data = pd.DataFrame({"x": rng.normal(0, 1, 200), "c": rng.choice(["a", "b"], 200)})
    started(2)
    with tempfile.TemporaryDirectory() as folder:
        new = partial(AttackCampaign, data, {"nothing": Nothing()}, attacks=[Coin()], n_targets=1, where="ray")
        new(f"{folder}/warm", n_models=4).run()
        begun = time.perf_counter()
        results = new(f"{folder}/timed", n_models=n).run()
        seconds = time.perf_counter() - begun
    stopped()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    yield {
        "trials": len(results.games[0].models_S),
        "milliseconds_a_trial": round(1000 * seconds / n, 2),
        "driver_peak_mb": round(peak),
    }


def started(workers: int) -> None:
    """Ray with so many cores, threads pinned."""
    import ray

    os.environ["OMP_NUM_THREADS"] = "1"
    here = {"PYTHONPATH": str(Path(__file__).parent)}  # this file's classes travel by name
    ray.init(
        num_cpus=workers,
        include_dashboard=False,
        log_to_driver=False,
        object_store_memory=3 * 10**8,
        runtime_env={"env_vars": here},
    )


def stopped() -> None:
    """Ray ends."""
    import ray

    ray.shutdown()


PARTS = {
    "power": power,
    "calibration": calibration,
    "agreement": agreement,
    "region": region,
    "campaign": campaign,
    "trees": trees,
    "overhead": overhead,
}

if __name__ == "__main__":
    main()
