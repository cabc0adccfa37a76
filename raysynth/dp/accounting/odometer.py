"""An odometer: what all releases from one table cost together, whichever process and program made them.

One private folder a table; its file `charges.jsonl` only grows. A charge is reserved under a lock, and on the disk,
before anything is drawn: what is killed after that stays charged, a repeat is charged again, and no release that was
told to the odometer is ever free. It belongs to the holder of the table, and is never part of a model's file.

Between releases basic composition: epsilons and deltas add up. Each release's are fixed when it is reserved, and may
depend on all that came out before; the sum bounds the whole nevertheless, and refusing what would exceed a limit that
was fixed beforehand keeps the whole within it (Rogers, Roth, Ullman and Vadhan 2016, "Privacy odometers and filters",
theorem 3.6). Releases without a guarantee (fits without a budget, exact evaluations, attacks, audits) are listed: while
there is one, the total guarantees nothing.
"""

from __future__ import annotations

import fcntl
import json
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from raysynth.dp.accounting.accountant import Spent
from raysynth.dp.accounting.calibration import PrivacyBudget
from raysynth.errors import ParameterError, StorageError
from raysynth.files.private_folder import make_folder
from raysynth.files.storage import local_path
from raysynth.files.stores import storage_error

CHARGES, LIMIT, LOCK = "charges.jsonl", "limit.json", "lock"
SLACK = 1e-9  # of the limit: rounding of sums
_KEYS = {"what", "unit", "epsilon", "delta", "guarantee", "run"}


@dataclass(frozen=True)
class Charge:
    """One reservation.

    Args:
        what: was to be released, in words without anything of the rows.
        unit: whose guarantee it is: 'row', or what else one unit is.
        epsilon, delta: reserved; 0 where nothing is guaranteed.
        guarantee: False for what no epsilon stands for.
        run: folder of a fit that may be resumed within this charge; empty for others.
    """

    what: str
    unit: str
    epsilon: float = 0.0
    delta: float = 0.0
    guarantee: bool = True
    run: str = ""


class Odometer:
    """Counts what all releases from one table cost together, whichever process or model makes them.

    Synthesizers, sweeps, evaluations, attacks and audits charge it before they draw anything (`odometer=FOLDER`).

    Args:
        folder: private folder, on a file system with locks that all processes which release from the table see; made
            at the first charge.

    Raises:
        ParameterError: a URI.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = local_path(folder, "odometer")

    @classmethod
    def exists(cls, folder: str | os.PathLike[str]) -> bool:
        """Whether `folder` holds an odometer."""
        path = Path(folder)
        return (path / CHARGES).exists() or (path / LIMIT).exists()

    def set_limit(self, epsilon: float, delta: float) -> None:
        """Set the limit (`epsilon`, `delta`) for all releases together; possible once, before the first charge.

        Raises:
            ParameterError: the limit is out of range, something was charged already, or another limit is set.
        """
        wanted = PrivacyBudget(epsilon, delta)
        with self._locked():
            if self.limit not in (None, wanted):
                raise ParameterError(f"the odometer '{self.folder}' has a limit already: {self._limit_in_words()}")
            if self.limit is None and self._read():
                raise ParameterError(
                    f"a limit is fixed before the first charge, and '{self.folder}' holds some: take another folder"
                )
            _write(self.folder / LIMIT, json.dumps(asdict(wanted)), os.O_TRUNC)

    @property
    def limit(self) -> PrivacyBudget | None:
        """The limit for all releases together; None: there is none, and releases are only counted."""
        path = self.folder / LIMIT
        try:
            return PrivacyBudget(**json.loads(path.read_text(encoding="utf-8"))) if path.exists() else None
        except (TypeError, ValueError) as error:
            raise StorageError(f"the limit of the odometer, '{path}', cannot be read: {error}") from error

    @property
    def charges(self) -> tuple[Charge, ...]:
        """All charges so far, in order. Raises `StorageError` for a damaged file."""
        return self._read()

    @property
    def total(self) -> Spent:
        """The cost of all charges together, and which uses of the rows no guarantee covers."""
        return _total(self.charges)

    def reserve(
        self, what: str, epsilon: float, delta: float, *, unit: str, run: str = "", resumed: bool = False
    ) -> Charge:
        """Charge a release before anything of it is drawn.

        Args:
            what: in words.
            epsilon, delta: the most that it will cost.
            unit: of its guarantee.
            run: folder of a fit that may be resumed.
            resumed: the fit goes on in its folder, within its charge, which is not made again.

        Raises:
            ParameterError: the limit would be exceeded, or the guarantee is for another unit than that of the earlier
                charges, whose sum would mean nothing. StorageError: the folder cannot be locked or written.
        """
        wanted = Charge(what, unit, PrivacyBudget(epsilon, delta).epsilon, delta, run=run)
        with self._locked():
            earlier = self._read()
            if resumed and wanted in earlier:
                return wanted
            if other := {c.unit for c in earlier if c.guarantee} - {unit}:
                raise ParameterError(
                    f"the odometer '{self.folder}' counts for one {other.pop()} more or less, and {what} protects one "
                    f"{unit}: epsilons of different units do not add up. Fit with the same privacy_unit"
                )
            self._check_limit(_total((*earlier, wanted)), what)
            self._append(wanted)
        return wanted

    def record_without_guarantee(self, what: str) -> Charge:
        """Record a use of the rows without noise, `what` in words: from then on the total guarantees nothing."""
        wanted = Charge(what, "row", guarantee=False)
        with self._locked():
            self._append(wanted)
        return wanted

    def describe(self) -> str:
        """Every charge, the total and the limit, for the holder of the table."""
        lines = []
        for number, charge in enumerate(self.charges, 1):
            cost = f"epsilon {charge.epsilon:.6g}, delta {charge.delta:.3g}" if charge.guarantee else "no guarantee"
            lines.append(f"{number:>3}  {charge.what} ({cost}; per {charge.unit})")
        limit = "none was set" if self.limit is None else self._limit_in_words()
        return "\n".join([*lines, f"Total: {self.total}, by basic composition; limit: {limit}"])

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        total, limit = self.total, self.limit
        return {
            "charges": [asdict(c) for c in self.charges],
            "total": asdict(total),
            "limit": None if limit is None else asdict(limit),
            "composition": "basic",
        }

    def _limit_in_words(self) -> str:
        limit = self.limit
        assert limit is not None
        return f"epsilon = {limit.epsilon:g}, delta = {limit.delta:g}"

    def _check_limit(self, total: Spent, what: str) -> None:
        limit = self.limit
        if limit is None:
            return
        if total.epsilon > limit.epsilon * (1 + SLACK) or total.delta > limit.delta * (1 + SLACK):
            raise ParameterError(
                f"with {what} all releases from the table would cost epsilon = {total.epsilon:.6g}, delta = "
                f"{total.delta:.3g}, and the limit of its odometer is {self._limit_in_words()}: nothing was released. "
                "Sample more from an earlier model, which costs nothing"
            )

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Alone on the odometer; however the process ends, the kernel gives the lock up."""
        try:
            make_folder(self.folder, private=True)
            lock = os.open(self.folder / LOCK, os.O_CREAT | os.O_RDWR, 0o600)
        except OSError as error:
            raise storage_error(error, self.folder) from error
        try:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX)
            except OSError as error:
                raise StorageError(
                    f"the odometer '{self.folder}' is on a file system without locks, so two fits at once might both "
                    "pass its limit; give it a folder on another one"
                ) from error
            yield
        finally:
            os.close(lock)

    def _read(self) -> tuple[Charge, ...]:
        """Complete lines. A last one without its end was being written by a process that was killed before it drew."""
        path = self.folder / CHARGES
        try:
            lines = path.read_bytes().split(b"\n")[:-1]
        except FileNotFoundError:
            return ()
        except OSError as error:
            raise storage_error(error, path) from error
        try:
            return tuple(_charge(json.loads(line)) for line in lines)
        except (KeyError, TypeError, ValueError) as error:
            raise StorageError(
                f"'{path}' is damaged ({error}): what was spent is not known; restore it from a copy"
            ) from error

    def _append(self, charge: Charge) -> None:
        """On the disk before it returns; called under the lock."""
        path = self.folder / CHARGES
        try:
            content = path.read_bytes() if path.exists() else b""
            if content and not content.endswith(b"\n"):
                os.truncate(path, content.rfind(b"\n") + 1)
            _write(path, json.dumps(asdict(charge)) + "\n", os.O_APPEND)
        except OSError as error:
            raise storage_error(error, path) from error


def record_use(folder: str | os.PathLike[str] | None, what: str) -> None:
    """List a use of the rows without a guarantee in the odometer of their table, where there is one."""
    if folder is not None:
        Odometer(folder).record_without_guarantee(what)


def charge_fit(
    folder: str | os.PathLike[str] | None,
    what: str,
    budget: PrivacyBudget | None,
    unit: str,
    *,
    is_seeded: bool = False,
    run: str = "",
    resumed: bool = False,
) -> None:
    """Reserve what a fit may spend in the odometer of its table, where there is one, before anything is drawn.

    Args:
        folder: of the odometer; None: there is none.
        what: in words.
        budget: None: the fit guarantees nothing, and is listed so, as is one whose noise is seeded (`is_seeded`).
        unit, run, resumed: as of `Odometer.reserve`.

    Raises:
        ParameterError, StorageError: as `Odometer.reserve`.
    """
    if folder is None:
        return
    if budget is None or is_seeded:
        record_use(folder, f"{what} without a privacy budget" if budget is None else f"{what}, seeded")
        return
    Odometer(folder).reserve(what, budget.epsilon, budget.delta, unit=unit, run=run, resumed=resumed)


def _charge(content: dict[str, Any]) -> Charge:
    if set(content) != _KEYS:
        raise ValueError(f"fields {sorted(content)}")
    numbers = (content["epsilon"], content["delta"])
    if not all(isinstance(x, (int, float)) and math.isfinite(x) and x >= 0 for x in numbers):
        raise ValueError(f"epsilon and delta {numbers}")
    return Charge(**content)


def _total(charges: tuple[Charge, ...]) -> Spent:
    missing = tuple(c.what for c in charges if not c.guarantee)
    counted = [c for c in charges if c.guarantee]
    return Spent(math.fsum(c.epsilon for c in counted), math.fsum(c.delta for c in counted), not missing, missing)


def _write(path: Path, text: str, flag: int) -> None:
    """Write and flush, the name of a new file included."""
    file = os.open(path, os.O_CREAT | os.O_WRONLY | flag, 0o600)
    try:
        data = text.encode()
        while data:
            data = data[os.write(file, data) :]
        os.fsync(file)
    finally:
        os.close(file)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
