"""Model files with one thing changed: they are refused by name, or make rows; none crashes, hangs or takes memory."""

from __future__ import annotations

import copy
import resource
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from tiny import tiny

from raysynth import load_synthetic_model
from raysynth.api import new_synthesizer
from raysynth.errors import ModelFileError, RaysynthError
from raysynth.files.model_file import ModelContent, read_model, write_model

SECONDS, BYTES = 10, 3 << 30  # of processor time, and of memory beyond what is in use, for a load and twenty rows
METHODS = ("trees", "bayesian_network", "copula", "autoregressive", "tvae", "ctgan")
SIZES = tiny(METHODS)
VALUES: list[Any] = [
    *(None, True, False, -1, 0, 1, 2, 7, 2**31, 2**63, -(2**63), 10**30, 1e-300, 1e308, -1e308),
    *(float("nan"), float("inf")),
    *("", "x", "(rare)", "V100000000", "int64", "continuous", "9999999-01-01", "\ud800", "a" * 10_000),
    *([], {}, [None], [0], [1, 2, 3], ["x"], [[]], {"x": 1}, [0] * 5_000),
]  # fmt: skip
NUMBERS = (np.nan, np.inf, -np.inf, -1, 0, 1, 2**31 - 1, -(2**31), 2**62, 1e300, 0.5)


def table() -> pd.DataFrame:
    """Every kind of column, some with gaps."""
    rng, n = np.random.default_rng(0), 150
    frame = pd.DataFrame(
        {
            "key": np.arange(n),
            "email": [f"p{i}@example.org" for i in range(n)],
            "town": rng.choice(["east", "west", "north"], n),
            "size": np.where(rng.random(n) < 0.2, 0.0, rng.normal(50, 5, n).round(2)),
            "count": rng.poisson(3, n),
            "day": pd.Timestamp("2020-01-01") + pd.to_timedelta(rng.integers(0, 400, n), unit="D"),
            "stay": pd.to_timedelta(rng.integers(1, 400, n), unit="h"),
            "flag": rng.random(n) < 0.3,
        }
    )
    return frame.mask(pd.DataFrame({c: rng.random(n) < 0.1 * (c in ("size", "town", "day")) for c in frame}))


@pytest.fixture(scope="module", params=METHODS)
def content(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> ModelContent:
    method: str = request.param
    few = {} if method in ("trees", "bayesian_network", "copula") else {"epochs": 1}
    path = tmp_path_factory.mktemp(method) / "model.raysynth"
    new_synthesizer(method, seed=0, verbose=False, **few, **SIZES[method]).fit(table()).save(path)
    return read_model(path)


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """(container, key) of everything in nested JSON."""
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in list(entries):
        yield value, key
        yield from places(inner)


def changed(content: ModelContent, rng: np.random.Generator) -> tuple[ModelContent, str]:
    """One value of the JSON, or one array, made another; and what was done."""
    meta, arrays = copy.deepcopy(content.meta), dict(content.arrays)
    if arrays and rng.random() < 0.35:
        name = sorted(arrays)[rng.integers(len(arrays))]
        arrays[name], how = _changed_array(arrays[name], rng)
        if how == "gone":
            del arrays[name]
        return ModelContent(meta, arrays), f"array {name}: {how}"
    known = list(places(meta))
    # the top is changed as often as the leaves, of which there are many more
    known = known if rng.random() < 0.7 else [p for p in known if isinstance(p[0][p[1]], dict | list)]
    where, key = known[rng.integers(len(known))]
    how, old = ["value", "value", "value", "gone", "twice", "other"][rng.integers(6)], where[key]
    if how == "gone":
        del where[key]
    elif how == "twice" and isinstance(old, list | str):
        where[key] = old * 2
    elif how == "other":
        inside, at = known[rng.integers(len(known))]
        where[key] = copy.deepcopy(inside.get(at) if isinstance(inside, dict) else inside[min(at, len(inside) - 1)])
    else:
        where[key] = copy.deepcopy(VALUES[rng.integers(len(VALUES))])
    return ModelContent(meta, arrays), f"{key!r}: {how} in place of {str(old)[:60]!r}"


def _changed_array(array: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, str]:
    how = ["number", "number", "all", "type", "shape", "short", "empty", "gone"][rng.integers(8)]
    value = NUMBERS[rng.integers(len(NUMBERS))]
    made = array.copy()
    with np.errstate(all="ignore"):
        number = np.asarray(value).astype(array.dtype)
    if how == "number" and made.size:
        made.reshape(-1)[rng.integers(made.size)] = number
    elif how == "all":
        made = np.full_like(array, number)
    elif how == "type":
        made = array.astype([np.float64, np.float32, np.int64, np.int8, np.bool_][rng.integers(5)])
    elif how == "shape":
        made = array.reshape(-1) if array.ndim > 1 else array.reshape(1, *array.shape)
    elif how in ("short", "empty"):
        made = array[: len(array) // 2 if how == "short" else 0] if array.ndim else array.reshape(1)
    return made, f"{how} {value}"


def outcome(path: Path) -> str:
    """'refused', or 'rows'; anything else that comes of loading and drawing twenty rows is raised."""
    try:
        model = load_synthetic_model(path)
    except ModelFileError as error:
        assert path.name in str(error)
        return "refused"
    try:
        assert len(model.sample(20, seed=1)) == 20
    except RaysynthError:
        return "refused in words"
    return "rows"


def _too_slow(number: int, frame: Any) -> None:
    raise AssertionError(f"more than {SECONDS} s")


@pytest.fixture
def limits() -> Iterator[None]:
    """So much time and memory that what takes more fails."""
    before, old = signal.signal(signal.SIGVTALRM, _too_slow), resource.getrlimit(resource.RLIMIT_AS)
    in_use = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (in_use + BYTES, old[1]))
    yield
    signal.setitimer(signal.ITIMER_VIRTUAL, 0)
    signal.signal(signal.SIGVTALRM, before)
    resource.setrlimit(resource.RLIMIT_AS, old)


@pytest.mark.usefixtures("limits")
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "seeds", [range(30), pytest.param(range(30, 3000), marks=pytest.mark.slow)], ids=["few", "all"]
)
def test_a_file_with_one_thing_changed_is_refused_or_makes_rows(
    content: ModelContent, seeds: range, tmp_path: Path
) -> None:
    path, failed = tmp_path / "changed.raysynth", []
    for seed in seeds:
        made, what = changed(content, np.random.default_rng([2029, seed]))
        try:
            write_model(path, made)
        except UnicodeEncodeError:  # half a surrogate pair, which no JSON of ours can hold
            continue
        signal.setitimer(signal.ITIMER_VIRTUAL, SECONDS)
        try:
            outcome(path)
        except Exception as error:
            failed.append(f"{seed}: {what}: {type(error).__name__}: {error}"[:400])
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
    assert not failed, "\n".join(failed)
