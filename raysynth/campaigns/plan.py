"""What a campaign does: the grid of methods, epsilons, attacks, target records and seeds, and its trials.

Trials are kept in one file each, written at once and whole, in a folder or under a URI.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from raysynth.arguments import check_one_of, check_whole, is_finite, is_whole
from raysynth.errors import ParameterError, StorageError
from raysynth.files.storage import Place, check_writable, place, require_shared, write_atomically

GAMES = ("add_remove", "replace_one")
_NAME = re.compile(r"[A-Za-z0-9_.+-]+")


@dataclass(frozen=True)
class Trial:
    """One model: fitted with some of the targets, attacked for all of them.

    Args:
        method: key of `Plan.methods`.
        epsilon: privacy budget, None: none.
        seed: 0, 1, 2 ...; seeds 2i and 2i + 1 are a pair: each target is in the training table of exactly one of them.
    """

    method: str
    epsilon: float | None
    seed: int

    @property
    def group(self) -> tuple[str, float | None]:
        """Method and epsilon of the trial: those of one group are reported together."""
        return self.method, self.epsilon

    @property
    def key(self) -> str:
        """The trial's name in storage."""
        budget = "none" if self.epsilon is None else f"{self.epsilon:g}"
        return f"{self.method}-{budget}-{self.seed:06d}"


@dataclass(frozen=True)
class Plan:
    """The grid of a campaign.

    Args:
        methods: name -> method and hyper-parameters: {'method': 'copula', 'n_bins': 10}, or a synthesizer to clone.
        attacks: names of membership attacks.
        epsilons: privacy budgets; None in it: without differential privacy.
        n_models: models of each (method, epsilon), an even number.
        n_targets: target records, the most vulnerable ones of the data or random ones.
        targets: 'vulnerable' (Meeus et al. 2023), 'random', or row numbers.
        n_training: rows of a training table beside the targets; None: half of the rows that are no targets (in a
            replace-one game less as many as there are targets).
        n_synthetic: rows that a model publishes; None: as many as it was trained on.
        game: 'add_remove': a training table holds a target or not; 'replace_one': or another row in its place, so that
            all tables are of one size.
        delta: for epsilon.
        seed: of the draw of targets, training tables and models.
        entity: the column that says whose each row is, where persons have several: targets are then of different
            persons, and no other row of theirs is learned or known. None: one that looks like it.
    """

    methods: Mapping[str, Any]
    attacks: Sequence[Any] = ("distance", "density_ratio")
    epsilons: Sequence[float | None] = (None,)
    n_models: int = 100
    n_targets: int = 20
    targets: str | Sequence[int] = "vulnerable"
    n_training: int | None = None
    n_synthetic: int | None = None
    game: str = "add_remove"
    delta: float = 1e-5
    seed: int = 0
    entity: str | None = None

    def check(self) -> Plan:
        """This plan; raises `ParameterError` naming the field, what was found and what is expected."""
        if not self.methods:
            raise ParameterError("methods is empty; name at least one, for example {'copula': {'method': 'copula'}}")
        if bad := [name for name in self.methods if not _NAME.fullmatch(str(name))]:
            raise ParameterError(f"the name of a method holds letters, digits and _.+- only; found {bad[0]!r}")
        if not self.attacks:
            raise ParameterError("attacks is empty; for example ['distance', 'density_ratio']")
        if not self.epsilons:
            raise ParameterError("epsilons is empty; give [None] for no differential privacy")
        for epsilon in self.epsilons:
            if epsilon is not None and not (is_finite(epsilon) and epsilon > 0):
                raise ParameterError(f"epsilons holds {epsilon!r}; each is None or a number above 0")
        if not is_whole(self.n_models) or self.n_models < 2 or self.n_models % 2:
            raise ParameterError(f"n_models must be an even number of at least 2; found {self.n_models!r}")
        for name, low in (("n_targets", 1), ("n_training", 2), ("n_synthetic", 20)):
            if (value := getattr(self, name)) is not None or name == "n_targets":
                check_whole(name, value, low)
        if isinstance(self.targets, str) and self.targets not in ("vulnerable", "random"):
            raise ParameterError(f"targets must be 'vulnerable', 'random' or row numbers; found {self.targets!r}")
        check_one_of("game", self.game, GAMES)
        if not (is_finite(self.delta) and 0 <= self.delta < 1):
            raise ParameterError(f"delta must be at least 0 and below 1; found {self.delta!r}")
        return self

    def trials(self) -> Iterator[Trial]:
        """All trials: pairs of seeds first, so that every group grows alike."""
        for seed in range(self.n_models):
            for name in self.methods:
                for epsilon in self.epsilons:
                    yield Trial(name, epsilon, seed)

    @property
    def groups(self) -> list[tuple[str, float | None]]:
        """Every (method, epsilon) of the grid, in the order of the report."""
        return [(name, epsilon) for name in self.methods for epsilon in self.epsilons]

    def guarantee(self, epsilon: float) -> tuple[float, float]:
        """(epsilon, delta) that the game's sides are within, for a method of `epsilon` by adding or removing."""
        if self.game == "add_remove":
            return epsilon, self.delta
        return 2 * epsilon, self.delta * (1 + float(np.exp(epsilon)))

    def inside(self, seed: int, n_targets: int) -> np.ndarray:
        """Which of the `n_targets` (T) targets the training table of the model of `seed` holds (T,)."""
        coins = np.random.default_rng([self.seed, 7, seed // 2]).random(n_targets) < 0.5
        return coins if seed % 2 == 0 else ~coins

    def record(self) -> dict[str, Any]:
        """Everything that decides what a trial gives, as plain values; not how many trials there are."""
        return {
            "methods": {k: _described(v) for k, v in self.methods.items()},
            "attacks": [a if isinstance(a, str) else type(a).__qualname__ for a in self.attacks],
            "epsilons": list(self.epsilons),
            "n_targets": self.n_targets,
            "targets": self.targets if isinstance(self.targets, str) else [int(t) for t in self.targets],
            "n_training": self.n_training,
            "n_synthetic": self.n_synthetic,
            "game": self.game,
            "delta": self.delta,
            "seed": self.seed,
            **({} if self.entity is None else {"entity": self.entity}),
        }

    def digest(self, data: bytes) -> str:
        """Names a campaign: this plan, and `data`, the table as bytes."""
        text = json.dumps(self.record(), sort_keys=True, default=str)
        return hashlib.sha256(text.encode() + data).hexdigest()


def _described(method: Any) -> Any:
    return dict(method) if isinstance(method, Mapping) else repr(method)


_TRIALS, _FAILED, _PLAN = "trials", "failed", "campaign.json"


@dataclass(frozen=True)
class CampaignStore:
    """The folder of a campaign.

    Layout: `campaign.json` (plan and its digest), `trials/KEY.parquet`, `failed/KEY.json`. A file has its final name
    only once it is whole: it is written under another name and moved. The name is the trial's key, so a trial that ran
    twice is there once.

    Args:
        root: the folder, of this machine or of an object store.
    """

    root: Place

    @classmethod
    def at(cls, path: str | os.PathLike[str]) -> CampaignStore:
        """The store of a folder, absolute from here on since trials run in other folders, or of a URI."""
        return cls(place(path, "storage_path"))

    def open(self, plan: dict[str, Any], digest: str) -> set[str]:
        """Make the folder or go on with it; the keys of the trials that are done.

        Raises:
            StorageError: it holds another campaign, or cannot be written.
        """
        known = self.root / _PLAN
        check_writable(known)
        if not known.exists():
            self.write_text(_PLAN, json.dumps({"digest": digest, **plan}, indent=2, default=str))
        elif json.loads(known.read_text()).get("digest") != digest:
            raise StorageError(
                f"'{self.root}' holds another campaign (other data, methods, attacks, targets or seed); choose another "
                "folder, or call with the same arguments to go on with it (n_models may grow)"
            )
        return self.done()

    def require_shared(self) -> None:
        """In a task: raise `StorageError` where the folder is on the driver's own disk."""
        require_shared(self.root / _PLAN)

    def done(self) -> set[str]:
        """Keys of the trials that are written."""
        return self._keys(_TRIALS, ".parquet")

    def failed(self) -> dict[str, str]:
        """Keys of the trials that failed, and why."""
        keys = sorted(self._keys(_FAILED, ".json"))
        return {key: str(json.loads((self.root / _FAILED / f"{key}.json").read_text())["error"]) for key in keys}

    def write(self, key: str, records: pa.Table) -> None:
        """Write a trial, whole or not at all."""
        sink = pa.BufferOutputStream()
        pq.write_table(records, sink)
        self._write(f"{_TRIALS}/{key}.parquet", sink.getvalue().to_pybytes())

    def write_failure(self, key: str, error: str) -> None:
        """Keep why a trial failed."""
        self.write_text(f"{_FAILED}/{key}.json", json.dumps({"error": error}))

    def forget_failures(self) -> None:
        """Failed trials are tried again."""
        for key in self._keys(_FAILED, ".json"):
            (self.root / _FAILED / f"{key}.json").delete()

    def read(self, keys: list[str]) -> list[pa.Table]:
        """The records of some trials, in their order."""
        from concurrent.futures import ThreadPoolExecutor

        def records(key: str) -> pa.Table:
            with (self.root / _TRIALS / f"{key}.parquet").open() as stream:
                return pq.read_table(stream)

        with ThreadPoolExecutor(8) as pool:
            return list(pool.map(records, keys))

    def write_text(self, name: str, text: str) -> None:
        """Write a small file beside the trials, whole or not at all."""
        self._write(name, text.encode())

    def _write(self, name: str, content: bytes) -> None:
        write_atomically(self.root / name, content, private=True)  # how well single rows are told is the user's alone

    def _keys(self, folder: str, ending: str) -> set[str]:
        names = (self.root / folder).sizes()
        return {n.removesuffix(ending) for n in names if n.endswith(ending) and not n.startswith(".")}
