"""Wide tables and many categories: time, processor time and memory of a fit by number of columns.

    python tests/benchmarks/bench_wide.py --columns 50 150 500 --methods copula bayesian_network trees
    python tests/benchmarks/bench_wide.py --key        # a key of 10,000 values, and 20 columns of 1,000
    python tests/benchmarks/bench_wide.py --evaluate 100 500 --pages DIR   # the pages
    python tests/benchmarks/bench_wide.py --open DIR/*.html   # seconds until Chromium has loaded each
    python tests/benchmarks/bench_wide.py --budgets    # figures under the budgets of 500 columns beside the full ones
    python tests/benchmarks/bench_wide.py --speed      # counting beside DuckDB, sampling a network to Parquet

Each fit is a process of its own, whose peak is what the kernel counted (`ru_maxrss`). Prints a row of JSON a fit, and
the exponent of the processor time between the fewest and the most columns. With `--out FILE` the rows are kept there,
and a later run does not repeat what is there already.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from typing import Any

import numpy as np
import pandas as pd

LATENT = 8  # factors that all columns depend on
PRESENT_TOGETHER = 7  # every so manyth column has gaps, those of a factor together


def wide_table(n_columns: int, n_rows: int = 20_000, seed: int = 0) -> pd.DataFrame:
    """Mixed columns with latent factors: numbers, counts, categories, booleans and dates, some with missing cells."""
    rng = np.random.default_rng(seed)
    factors = rng.standard_normal((n_rows, LATENT))
    columns: dict[str, Any] = {}
    for c in range(n_columns):
        loading = rng.standard_normal(LATENT) * (rng.random(LATENT) < 0.3)
        x = factors @ loading + rng.standard_normal(n_rows)
        kind = ("number", "category", "count", "boolean", "date")[c % 5]
        ranks = pd.Series(x).rank(pct=True).to_numpy()
        values: Any = np.round(np.exp(x / 2) if c % 2 else x, 3)
        if kind == "category":
            shares = rng.dirichlet(np.ones(rng.integers(3, 12)))
            values = np.array([f"c{c}_{k}" for k in rng.permutation(len(shares))])[
                np.searchsorted(np.cumsum(shares)[:-1], ranks)
            ]
        elif kind == "count":
            values = np.floor(np.exp(x / 3 + 1)).astype(int)
        elif kind == "boolean":
            values = ranks > rng.uniform(0.2, 0.8)
        elif kind == "date":
            values = pd.Timestamp("2020-01-01") + pd.to_timedelta((ranks * 1500).astype(int), unit="D")
        column = pd.Series(values)
        if c % PRESENT_TOGETHER == 3:
            column = column.astype(object if kind in ("category", "boolean") else column.dtype)
            column = column.mask(factors[:, c % LATENT] > 1.2)
        columns[f"{kind}_{c}"] = column
    return pd.DataFrame(columns)


def keyed_table(n_rows: int = 300_000, n_keys: int = 10_000, seed: int = 0) -> pd.DataFrame:
    """A key of many values, the group of which explains .82 of a number, and two columns that depend on it."""
    rng = np.random.default_rng(seed)
    mean = rng.choice(np.linspace(-2, 2, 12), n_keys)
    key = rng.choice(n_keys, n_rows, p=rng.dirichlet(np.full(n_keys, 5.0)))
    number = mean[key] + rng.standard_normal(n_rows) * mean.std() * np.sqrt(0.18 / 0.82)
    other = np.digitize(number + rng.standard_normal(n_rows), [-1, 0, 1])
    return pd.DataFrame({"shop": [f"s{k}" for k in key], "number": number, "other": [f"o{k}" for k in other]})


def many_valued(n_rows: int = 100_000, n_columns: int = 20, n_values: int = 1000, seed: int = 0) -> pd.DataFrame:
    """Columns of many values; neighbours depend on each other through ten groups of values."""
    rng = np.random.default_rng(seed)
    group = rng.integers(0, 10, n_rows)
    columns = {}
    for c in range(n_columns):
        group = np.where(rng.random(n_rows) < 0.7, group, rng.integers(0, 10, n_rows))
        labels = rng.permutation(n_values)
        columns[f"v{c}"] = [f"x{k}" for k in labels[group * (n_values // 10) + rng.integers(0, n_values // 10, n_rows)]]
    return pd.DataFrame(columns)


def explained(frame: pd.DataFrame, key: str, number: str, groups: pd.Series) -> float:
    """Share of a number's variance that the key's mean (of the real rows: `groups`) explains, in some rows."""
    predicted = frame[key].map(groups).fillna(groups.mean()).to_numpy(float)
    return float(np.corrcoef(predicted, frame[number].to_numpy(float))[0, 1] ** 2)


def cramers_v(a: pd.Series, b: pd.Series) -> float:
    """Bias-corrected Cramer's V (Bergsma 2013), without a dense table."""
    n = len(a)
    cells = pd.DataFrame({"a": a.to_numpy(), "b": b.to_numpy()}).groupby(["a", "b"], observed=True).size()
    rows, columns = a.value_counts(), b.value_counts()
    expected = (
        rows.loc[cells.index.get_level_values(0)].to_numpy() * columns.loc[cells.index.get_level_values(1)].to_numpy()
    )
    phi2 = (cells.to_numpy() ** 2 / expected).sum() - 1
    r, k = len(rows), len(columns)
    phi2 = max(0.0, phi2 - (r - 1) * (k - 1) / (n - 1))
    r, k = r - (r - 1) ** 2 / (n - 1), k - (k - 1) ** 2 / (n - 1)
    return float(np.sqrt(phi2 / min(r - 1, k - 1)))


def fit_once(method: str, n_columns: int, n_rows: int, epochs: int | None = None) -> dict[str, Any]:
    """Fit and sample in this process."""
    from raysynth.api import new_synthesizer

    table = wide_table(n_columns, n_rows)
    start, cpu = time.perf_counter(), time.process_time()
    model = new_synthesizer(method, seed=0, verbose=False, **({"epochs": epochs} if epochs else {})).fit(table)
    seconds, used = time.perf_counter() - start, time.process_time() - cpu
    made = model.sample(10_000, seed=1)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    return {
        "method": method,
        "columns": n_columns,
        "rows": n_rows,
        "fit_seconds": round(seconds, 1),
        "fit_cpu_seconds": round(used, 1),
        "peak_mb": peak,
        "sample_seconds": round(time.perf_counter() - start - seconds, 1),
        "pair_error": pair_error(table, made),
    }


def pair_error(real: pd.DataFrame, made: pd.DataFrame, n_pairs: int = 300) -> float:
    """Mean absolute difference of the rank correlations of some pairs of columns (categories by their code)."""
    rng = np.random.default_rng(0)
    pairs = rng.choice(real.shape[1], (n_pairs, 2))
    codes = []
    for frame in (real, made):
        numbers = {}
        for c in {int(i) for i in pairs.ravel()}:
            column = frame.iloc[:, c]
            if column.dtype == object or str(column.dtype) in ("str", "category"):
                categories = sorted(real.iloc[:, c].dropna().astype(str).unique())
                column = pd.Series(pd.Categorical(column.astype(str), categories).codes)
            numbers[c] = column.astype("int64") if str(column.dtype).startswith("datetime") else column
        codes.append(pd.DataFrame(numbers).rank())
    wrong = [abs(codes[0][a].corr(codes[0][b]) - codes[1][a].corr(codes[1][b])) for a, b in pairs.tolist() if a != b]
    return round(float(np.nanmean(wrong)), 4)


def keys_once(method: str, n_rows: int) -> dict[str, Any]:
    """How much of the key's dependence a method keeps."""
    from raysynth.api import new_synthesizer

    table = keyed_table(n_rows)
    groups = table.groupby("shop")["number"].mean()
    start = time.process_time()
    made = new_synthesizer(method, seed=0, verbose=False).fit(table).sample(50_000, seed=1)
    return {
        "method": method,
        "rows": n_rows,
        "cpu_seconds": round(time.process_time() - start, 1),
        "real": round(explained(table, "shop", "number", groups), 3),
        "made": round(explained(made, "shop", "number", groups), 3),
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10,
    }


def values_once(method: str, n_rows: int = 100_000) -> dict[str, Any]:
    """Mean strength of neighbouring columns of 1,000 values, real and made."""
    from raysynth.api import new_synthesizer

    table = many_valued(n_rows)
    start = time.process_time()
    made = new_synthesizer(method, seed=0, verbose=False).fit(table).sample(n_rows, seed=1)
    names = list(table.columns)
    real, ours = (
        float(np.mean([cramers_v(f[a], f[b]) for a, b in zip(names, names[1:], strict=False)])) for f in (table, made)
    )
    return {"method": method, "real_v": round(real, 3), "made_v": round(ours, 3), "share": round(ours / real, 3),
            "cpu_seconds": round(time.process_time() - start, 1),
            "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10}  # fmt: skip


ROUNDS = 9  # of which each side has its best: the first ones load and compile
COUNTS = 'SELECT "{0}", count(*) FROM read_parquet(?) GROUP BY "{0}"'  # of each column: what DuckDB is asked


def counts_once(n_columns: int = 15, n_rows: int = 1_000_000) -> dict[str, Any]:
    """CPU seconds of all columns' counts from one Parquet file on one thread: our statistics, and DuckDB's `COUNTS`."""
    import tempfile
    from pathlib import Path

    import duckdb

    from raysynth.data.table import as_table
    from raysynth.statistics import collect

    with tempfile.TemporaryDirectory() as folder:
        file = str(Path(folder) / "rows.parquet")
        part = wide_table(n_columns, 100_000)
        pd.concat([part] * (n_rows // len(part)), ignore_index=True).to_parquet(file, row_group_size=1 << 20)
        database = duckdb.connect(config={"threads": 1})
        seconds: dict[str, list[float]] = {"ours": [], "duckdb": []}
        for _ in range(ROUNDS):
            start = time.process_time()
            collect(as_table(file), where="local")
            seconds["ours"].append(time.process_time() - start)
            start = time.process_time()
            for name in part.columns:
                database.execute(COUNTS.format(name), [file]).fetchnumpy()
            seconds["duckdb"].append(time.process_time() - start)
    best = {name: min(times) for name, times in seconds.items()}
    return {"rows": n_rows, "columns": n_columns, "sql": COUNTS, "ratio": round(best["ours"] / best["duckdb"], 2),
            **{f"{name}_cpu_seconds": round(s, 3) for name, s in best.items()}}  # fmt: skip


def sampling_once(n_rows: int = 2_000_000) -> dict[str, Any]:
    """Rows per CPU second that a network of 15 columns gives to Parquet."""
    import tempfile

    from raysynth.api import new_synthesizer

    model = new_synthesizer("bayesian_network", seed=0, verbose=False).fit(wide_table(15, 20_000))
    with tempfile.TemporaryDirectory() as folder:
        model.sample_to(f"{folder}/first", 65_536, seed=1, where="local")
        start = time.process_time()
        model.sample_to(f"{folder}/rows", n_rows, seed=1, where="local")
        return {"rows": n_rows, "rows_per_cpu_second": round(n_rows / (time.process_time() - start))}


def three_tables(n_columns: int, n_rows: int) -> list[pd.DataFrame]:
    """Real, holdout and 'synthetic' rows of one law."""
    everything = wide_table(n_columns, 3 * n_rows)
    return [everything.iloc[k * n_rows : (k + 1) * n_rows].reset_index(drop=True) for k in range(3)]


def evaluate_once(n_columns: int, n_rows: int = 10_000, pages: str | None = None) -> dict[str, Any]:
    """Seconds of an evaluation with everything; its page goes into the folder `pages`."""
    import tempfile

    from raysynth.evaluation import evaluate_synthetic_data

    real, holdout, made = three_tables(n_columns, n_rows)
    start, cpu = time.perf_counter(), time.process_time()
    report = evaluate_synthetic_data(real, made, holdout_data=holdout, target_columns="boolean_3", seed=0)
    seconds, used = time.perf_counter() - start, time.process_time() - cpu
    with tempfile.TemporaryDirectory() as folder:
        page = os.path.join(pages or folder, f"evaluate_{n_columns}.html")
        report.generate_report(page)
        size = os.path.getsize(page)
    return {"columns": n_columns, "rows": n_rows, "seconds": round(seconds, 1), "cpu_seconds": round(used, 1),
            "page_mb": round(size / 1e6, 2),
            "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10}  # fmt: skip


def budgets_once(n_columns: int = 50, n_rows: int = 10_000, as_of: int = 500, copied: float = 0.1) -> dict[str, Any]:
    """Figures of a table under the budgets of one of `as_of` columns, beside the full ones.

    A tenth of the synthetic rows are training rows: every check must find them either way.
    """
    from raysynth.attacks import attribute
    from raysynth.evaluation import attacks, efficacy, evaluate, evaluate_synthetic_data, similarity

    real, holdout, made = three_tables(n_columns, n_rows)
    made.iloc[: int(copied * n_rows)] = real.iloc[: int(copied * n_rows)].to_numpy()
    made = made.astype(real.dtypes.to_dict())
    found = []
    for share in (1.0, n_columns / as_of):
        similarity.MOST_PAIRS = round(5_000 * share**2) if share < 1 else 1 << 30
        evaluate.FULL_COLUMNS = attacks.FULL_COLUMNS = round(50 * share) if share < 1 else 1 << 20
        efficacy._TRAINED_CELLS = round(1_000_000 * share) if share < 1 else 1 << 40
        attribute._ALL_TRIED = 10 if share < 1 else 1 << 20
        report = evaluate_synthetic_data(real, made, holdout_data=holdout, target_columns="boolean_3", seed=0)
        assert report.privacy is not None and report.similarity is not None and report.realism is not None
        figures = {c.key: (c.figure.value, c.figure.low, c.figure.high, c.passed) for c in report.privacy.checks}
        figures["quality"] = (report.similarity.quality, float("nan"), float("nan"), None)
        figures["realism"] = (report.realism.auc.value, report.realism.auc.low, report.realism.auc.high, None)
        found.append(figures)
    full, budgeted = found
    rows = {
        k: [*(round(float(v), 4) for v in (full[k][0], *budgeted[k][:3])), full[k][3], budgeted[k][3]] for k in full
    }
    return {"columns": n_columns, "as_of": as_of, "full, budgeted, low, high, passed": rows,
            "largest_difference": round(max(abs(full[k][0] - budgeted[k][0]) for k in full), 4)}  # fmt: skip


def opened_once(page: str) -> dict[str, Any]:
    """The quickest of three openings of a page in Chromium: seconds until it has loaded, by the clock and of the
    processor in the page's main thread."""
    import shutil
    from pathlib import Path

    from playwright.sync_api import sync_playwright

    found = []
    with sync_playwright() as playwright:
        path = shutil.which("chromium") or shutil.which("google-chrome")
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        for _ in range(3):
            tab = browser.new_page(viewport={"width": 1400, "height": 900})
            clock = tab.context.new_cdp_session(tab)
            clock.send("Performance.enable", {"timeDomain": "threadTicks"})
            tab.goto(Path(page).resolve().as_uri())
            loaded = tab.evaluate("performance.getEntriesByType('navigation')[0].loadEventEnd") / 1000
            read = {m["name"]: m["value"] for m in clock.send("Performance.getMetrics")["metrics"]}
            found.append((loaded, read["TaskDuration"], read["Nodes"]))
            tab.close()
        browser.close()
    loaded, used, nodes = min(found)
    return {"page": Path(page).name, "mb": round(os.path.getsize(page) / 1e6, 2), "loaded_seconds": round(loaded, 2),
            "main_thread_cpu_seconds": round(used, 2), "nodes": int(nodes)}  # fmt: skip


def _in_a_process(**task: Any) -> dict[str, Any]:
    done = subprocess.run([sys.executable, __file__, "--task", json.dumps(task)], capture_output=True, text=True)
    if done.returncode:
        return {**task, "failed": (done.stderr.strip().splitlines() or ["killed"])[-1][:200]}
    result: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return result


def main() -> None:
    """Run what is asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--columns", type=int, nargs="*", default=[])
    parser.add_argument("--methods", nargs="*", default=["copula", "bayesian_network", "trees"])
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--key", action="store_true")
    parser.add_argument("--key-rows", type=int, default=300_000)
    parser.add_argument("--evaluate", type=int, nargs="*", default=[])
    parser.add_argument("--pages", help="folder for the pages of --evaluate")
    parser.add_argument("--open", nargs="*", default=[], help="pages to be opened in Chromium")
    parser.add_argument("--budgets", action="store_true", help="budgeted figures of an evaluation beside full ones")
    parser.add_argument("--speed", action="store_true", help="counting beside DuckDB, and sampling to Parquet")
    parser.add_argument("--out", help="file of rows of JSON: what is there already is not run again")
    parser.add_argument("--task", help="for the processes that this one starts")
    args = parser.parse_args()
    if args.task:
        task = json.loads(args.task)
        kinds = {"fit": fit_once, "key": keys_once, "values": values_once, "evaluate": evaluate_once,
                 "counts": counts_once, "sampling": sampling_once, "budgets": budgets_once,
                 "open": opened_once}  # fmt: skip
        print(json.dumps(kinds[task.pop("kind")](**task)))
        return
    tasks: list[dict[str, Any]] = []
    for method in args.methods:
        tasks += [{"kind": "fit", "method": method, "n_columns": n, "n_rows": args.rows} for n in args.columns]
        tasks += [{"kind": "key", "method": method, "n_rows": args.key_rows}] if args.key else []
    tasks += [{"kind": "values", "method": "bayesian_network"}] if args.key else []
    tasks += [{"kind": kind} for kind in ("counts", "sampling")] if args.speed else []
    tasks += [{"kind": "evaluate", "n_columns": n, "pages": args.pages} for n in args.evaluate]
    tasks += [{"kind": "budgets"}] if args.budgets else []
    tasks += [{"kind": "open", "page": page} for page in args.open]
    fits = [row for row in _all_of(tasks, args.out) if "fit_cpu_seconds" in row]
    for method in args.methods:
        seconds = {row["columns"]: row["fit_cpu_seconds"] for row in fits if row["method"] == method}
        if len(seconds) > 1:
            few, many = min(seconds), max(seconds)
            print(method, "exponent", round(np.log(seconds[many] / seconds[few]) / np.log(many / few), 2))


def _all_of(tasks: list[dict[str, Any]], out: str | None) -> list[dict[str, Any]]:
    """The row of each task, a process each; those kept in a file are read from it, the others added."""
    kept: dict[str, dict[str, Any]] = {}
    if out and os.path.exists(out):
        with open(out) as file:
            kept = {json.dumps(entry["task"]): entry["row"] for entry in map(json.loads, file)}
    rows = []
    for task in tasks:
        key = json.dumps(task)
        row = kept[key] if key in kept else _in_a_process(**task)
        print(json.dumps(row), flush=True)
        if out and key not in kept and "failed" not in row:
            with open(out, "a") as file:
                file.write(json.dumps({"task": task, "row": row}) + "\n")
        rows.append(row)
    return rows


if __name__ == "__main__":
    main()
