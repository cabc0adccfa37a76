"""The command line as a person hears it: seconds without a word, and how right the forecasts are.

    python tests/benchmarks/bench_keyboard.py silence                # every verb, on a terminal and in a pipe
    python tests/benchmarks/bench_keyboard.py forecast               # fits, evaluations and sweeps of six tables

Prints one JSON line a command. `silence`: seconds before the first word and the longest later silence, each by the
clock and in processor seconds of the command and its children (on a busy machine the clock shows more than the command
takes; where a command waits, the processor shows less). `forecast`: of every line that says how long the whole command
will still take, 10 s after its begin or later and 5 s before its end or earlier, what it says by what it took, and the
share of them within a factor of 2. A fit's training is all that it forecasts, without 'in all'. On a busy machine these
10 and 5 s are longer by the seconds that pass for one of a processor (`slowdown`), and since nobody foresees what
others will start, what it says is also divided by what would have been left had the machine stayed as busy as until
then (`as busy`; not of sweeps, whose processes end before they do and take their seconds along). Tables are made, or
come with statsmodels and scikit-learn; what is expected of parts (`expected.py`) was measured on survey, mixed and
wide, never on randhie, digits and broad.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import re
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pexpect
import pexpect.popen_spawn

sys.path.insert(0, str(Path(__file__).parent))
from bench_wide import wide_table

FIRST_SILENCE, SILENCE = 8.0, 5.0  # seconds: of the start, and later
AFTER, BEFORE = 10.0, 5.0  # seconds: forecasts are looked at from so late on, and up to so long before the end
PATIENCE = 600
LEFT = re.compile(r"about (?:(\d+) h )?(?:(\d+) min ?)?(?:(\d+) s )?left in all")
OF_STEP = re.compile(r"training.*about (?:(\d+) h )?(?:(\d+) min ?)?(?:(\d+) s )?left")
CAMPAIGN = """
data: {data}
methods: [copula]
storage_path: campaign
n_models: 8
n_targets: 2
n_training: 300
n_synthetic: 300
"""
VERBS = {  # each in one folder, in this order
    "look": "look survey.csv --schema schema.json --out look.html",
    "schema": "schema survey.csv --out declared.json",
    "fit": "fit survey.csv --model model.raysynth --seed 0",
    "fit autoregressive": "fit survey.csv --method autoregressive --epochs 3 --model neural.raysynth --seed 0",
    "fit private": "fit survey.csv --method copula --epsilon 1 --schema declared.json --model private.raysynth",
    "sample": "sample model.raysynth -n 300000 --out many.csv --seed 0",
    "sample folder": "sample model.raysynth -n 300000 --out many --seed 0",
    "verify": "verify many",
    "info": "info model.raysynth",
    "ledger": "ledger private.raysynth",
    "evaluate": "evaluate survey.csv synthetic.csv --holdout holdout.csv --out report.html --seed 0",
    "evaluate again": "evaluate survey.csv synthetic.csv --out report.json --seed 0",
    "compare": "compare report.json report.json --out compared.html",
    "attack": "attack survey.csv synthetic.csv --holdout holdout.csv --out attacks.html --seed 0",
    "attack campaign": "attack --campaign campaign.yaml --out campaign.html",
    "dossier": "dossier model.raysynth survey.csv synthetic.csv --holdout holdout.csv --out dossier.html",
    "audit": "audit small.csv --method copula --epsilon 1 --fits 32 --out audit.html",
    "sweep": "sweep small.csv --methods copula,bayesian_network --seeds 1 --out choice",
    "demo": "demo",
    "demo database": "demo --database --out shop",
    "submit": "submit --address http://127.0.0.1:1 --list",
}
FORECASTS = ("fit {0}.csv --method autoregressive --model {0}.raysynth --seed 0",
             "evaluate {0}.csv {0}_made.csv --holdout {0}_unseen.csv --out {0}.html --seed 0",
             "sweep {0}.csv --methods copula,bayesian_network,trees --seeds 2 --out {0}_choice")  # fmt: skip


@dataclass
class Heard:
    """What a command showed.

    Args:
        code: of its end.
        seconds: that it took, by the clock. used: of the processor.
        first: seconds until its first word: by the clock, and of the processor.
        silence: the longest later silence, by the clock, and of the processor.
        after: the words before that silence.
        lines: (seconds since the begin, of the processor until then, line) of all that it said.
    """

    code: int
    seconds: float
    used: float
    first: tuple[float, float]
    silence: tuple[float, float]
    after: str
    lines: list[tuple[float, float, str]]


def heard(words: str, folder: Path, terminal: bool) -> Heard:
    """Run a command and listen."""
    command = [sys.executable, "-W", "ignore", "-m", "raysynth", *words.split()]
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "120", "OMP_NUM_THREADS": "1"}
    environment.pop("RAYSYNTH_QUIET", None)
    begun = time.monotonic()
    if terminal:
        child = pexpect.spawn(
            command[0], command[1:], timeout=PATIENCE, env=environment, cwd=folder, dimensions=(50, 120)
        )
        pid = child.pid
    else:
        command = ["bash", "-c", 'exec "$@" 2>&1', "bash", *command]
        child = pexpect.popen_spawn.PopenSpawn(command, timeout=PATIENCE, env=environment, cwd=folder)
        pid = child.proc.pid
    pauses: list[tuple[float, float, str]] = []
    lines: list[tuple[float, float, str]] = []
    spoke, used, shown = begun, 0.0, ""
    while child.expect([r"[^\r\n]*[\r\n]+|[^\r\n]+", pexpect.EOF]) == 0:
        now, computed = time.monotonic(), computed_by(pid)
        said = child.after.decode(errors="replace").strip()
        pauses.append((now - spoke, computed - used, shown))
        lines.append((now - begun, computed, said))
        spoke, used, shown = now, computed, said or shown
    seconds = time.monotonic() - begun
    pauses.append((time.monotonic() - spoke, 0.0, shown))
    code = child.wait()
    longest = max(pauses[1:], default=(0.0, 0.0, ""))
    return Heard(code, seconds, used, pauses[0][:2], longest[:2], longest[2][-100:], lines)


def computed_by(pid: int) -> float:
    """Processor seconds of a process and all below it that live, and of those that it has waited for."""
    total, waiting = 0, [pid]
    while waiting:
        process = Path("/proc") / str(waiting.pop())
        try:
            fields = (process / "stat").read_text().rpartition(")")[2].split()
            waiting += [int(c) for t in (process / "task").iterdir() for c in (t / "children").read_text().split()]
        except (FileNotFoundError, ProcessLookupError):
            continue
        total += sum(map(int, fields[11:15]))
    return total / os.sysconf("SC_CLK_TCK")


def silence(folder: Path, verbs: list[str]) -> Iterator[dict[str, object]]:
    """The silences of each verb."""
    from raysynth.cli.demo import example_table

    table = example_table().sample(frac=1, random_state=0)
    for name, part in {"survey": table[:5000], "holdout": table[5000:], "small": table[:600]}.items():
        part.to_csv(folder / f"{name}.csv", index=False)
    table[:5000].sample(frac=1, replace=True, random_state=1).to_csv(folder / "synthetic.csv", index=False)
    (folder / "campaign.yaml").write_text(CAMPAIGN.format(data="survey.csv"))
    for verb, words in VERBS.items():
        if verbs and verb not in verbs:
            continue
        for terminal in (True, False):
            found = heard(words, folder, terminal)
            quiet = [min(pair) for pair in (found.first, found.silence)]
            yield {
                "verb": verb,
                "terminal": terminal,
                "code": found.code,
                "seconds": round(found.seconds, 1),
                "first, first_cpu": [round(s, 1) for s in found.first],
                "silence, silence_cpu": [round(s, 1) for s in found.silence],
                "after": found.after,
                "right": quiet[0] <= FIRST_SILENCE and quiet[1] <= SILENCE and (found.code == 0) == (verb != "submit"),
            }


def forecasts(folder: Path, wanted: list[str]) -> Iterator[dict[str, object]]:
    """How right the forecasts are."""
    for name, table in _tables().items():
        for end, part in _parts(table).items():
            part.to_csv(folder / f"{name}{end}.csv", index=False)
        for command in FORECASTS:
            words = command.format(name)
            if not wanted or any(words.startswith(w) for w in wanted):
                yield _judged(words, heard(words, folder, terminal=False))


def _tables() -> dict[str, pd.DataFrame]:
    """Three that constants were measured on, then three others."""
    from sklearn.datasets import load_digits
    from statsmodels.datasets import randhie

    from raysynth.cli.demo import example_table

    known = {"survey": example_table(), "mixed": wide_table(24, 16_000), "wide": wide_table(60, 6_000)}
    digits = load_digits(as_frame=True).frame
    return {**known, "randhie": randhie.load_pandas().data, "digits": digits, "broad": wide_table(40, 20_000, seed=1)}


def _judged(words: str, found: Heard) -> dict[str, object]:
    """What its lines say is left, by what it took, and by what it would have taken as busy as until then."""
    told = [(at, used, left) for at, used, line in found.lines if (left := _left(line)) is not None]
    slowdown = max(1.0, found.seconds / found.used)
    after, before = AFTER * slowdown, BEFORE * slowdown
    judged = [
        (at, left / (found.seconds - at), left * used / (found.used - used) / at if found.used > used else math.nan)
        for at, used, left in told
        if after <= at <= found.seconds - before
    ]

    def within(ratios: list[float]) -> float | None:
        ratios = [r for r in ratios if not math.isnan(r)]
        return round(sum(0.5 <= r <= 2 for r in ratios) / len(ratios), 2) if ratios else None

    return {
        "command": words,
        "code": found.code,
        "seconds": round(found.seconds, 1),
        "slowdown": round(slowdown, 1),
        "first forecast at": round(told[0][0], 1) if told else None,
        "(at, said / took, as busy)": [(round(at), round(r, 2), round(b, 2)) for at, r, b in judged],
        "share within 2": within([r for _, r, _ in judged]),
        "as busy": None if words.startswith("sweep") else within([b for _, _, b in judged]),
        "last line": found.lines[-1][2][-100:],
    }


def _parts(table: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Two fifths to learn from, two fifths in the place of a synthetic table, the rest unseen."""
    mixed, n = table.sample(frac=1, random_state=0), 2 * len(table) // 5
    return {"": mixed[:n], "_made": mixed[n : 2 * n], "_unseen": mixed[2 * n :]}


def _left(line: str) -> float | None:
    """Seconds that a line says are left; None where it does not."""
    if (found := LEFT.search(line) or OF_STEP.search(line)) is None:
        return None
    hours, minutes, seconds = (float(x or 0) for x in found.groups())
    return hours * 3600 + minutes * 60 + seconds


def main() -> None:
    """Run what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["silence", "forecast"])
    parser.add_argument(
        "--only", nargs="*", default=[], help="verbs, or how commands begin ('fit broad'); default: all"
    )
    parser.add_argument("--folder", type=Path, help="where the files are made and stay; default: a temporary one")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        for figures in (silence if arguments.what == "silence" else forecasts)(folder, arguments.only):
            print(json.dumps(figures), flush=True)


if __name__ == "__main__":
    main()
