"""What a private fit released so as to encode a table, kept beside the encoded rows: a second fit pays for it, too.

    FOLDER/under-budget-1f3a9c2e/key.json, manifest.json ...   the rows, as in `kept_shards.py`
    FOLDER/under-budget-1f3a9c2e/releases.raysynth             the encoder, and the events that it was built from
    FOLDER/under-budget-1f3a9c2e/fits/ID.json                  events of each fit that has learned from these rows

Under a budget an encoder is built from noised statistics, which no second fit would draw alike. So a fit of the same
table looks for releases that another one kept, writes their events into its own ledger as if it had drawn them, and has
the rest of its budget for training: its ledger holds for its own model. All models together cost what was released
once, and every training: `Spent` of that is the second ledger's `joint`.

With a privacy unit the key is of all rows and of the units that they belong to, and the rows kept are those that the
first fit drew of each unit: fits that take them draw none of their own (`statistics/units.py`, 'Several draws').

Which releases a fit takes depends on public things alone (folder, schema, unit, form of the encoder), never on its
rows: else two models would show whether their tables are equal. So a folder is for one table and its later versions:
all of them are encoded by what was released of the first. What the user says of the table (`about_rows`, its odometer)
is public, too, and tells tables apart: where it is not what an earlier fit was told, the folder is refused. The rows
that are kept there are taken again only where they are the fit's own, by a fingerprint that is private as they are;
nothing that leaves depends on it. (Fingerprints, by which a table, a schema and an encoder are known again, stand here
for `kept_shards.py` too.)
"""

from __future__ import annotations

import hashlib
import json
import logging
import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from raysynth.dp.accounting.accountant import Spent, spent
from raysynth.dp.accounting.ledger import Event, Ledger
from raysynth.encoding.table_encoder import TableEncoder
from raysynth.errors import ModelFileError, ParameterError
from raysynth.files.model_file import ModelContent, read_model, write_model
from raysynth.files.storage import Folder, place, write_atomically

if TYPE_CHECKING:
    from raysynth.data.fragments import Table
    from raysynth.dp.accounting.scope import PrivacyScope
    from raysynth.schema.table import TableSchema

RELEASES = "releases.raysynth"
FITS = "fits"

_logger = logging.getLogger("raysynth")


@dataclass(frozen=True)
class ReleaseKey:
    """What releases must be of, so that another fit may take them.

    Args:
        data: fingerprint of all modelled columns, and of the units of the rows; private, and no part of the choice.
        schema: digest of their schema.
        unit: of privacy, in words.
        form: of the encoder that the method asks for, as JSON.
        declared: what the user says of the table, as JSON; tells it from others.
    """

    data: str
    schema: str
    unit: str
    form: str
    declared: str = "{}"

    @classmethod
    def of(
        cls,
        data: str,
        schema: TableSchema,
        unit: str,
        form: Mapping[str, Any],
        declared: Mapping[str, Any] | None = None,
    ) -> ReleaseKey:
        """From a fingerprint (`kept_shards.fingerprint`), and what is public."""
        form_text, declared_text = (json.dumps(x, sort_keys=True) for x in (form, declared or {}))
        return cls(data, schema_digest(schema), unit, form_text, declared_text)

    def serves(self, other: Mapping[str, Any], folder: Folder) -> bool:
        """Whether releases of another key may be taken; raises `ParameterError` where they are of another table."""
        if {**other, "data": self.data, "declared": self.declared} != asdict(self):
            return False
        own, earlier = json.loads(self.declared), json.loads(other.get("declared", "{}"))
        for name in own.keys() & earlier.keys():
            if own[name] != earlier[name]:
                raise ParameterError(
                    f"keep_shards: '{folder}' keeps what was released of a table with {name}={earlier[name]!r}, and "
                    f"this fit says {own[name]!r}: a folder is for one table, so give another one its own"
                )
        return True


@dataclass(frozen=True)
class KeptReleases:
    """Releases of one fit.

    Args:
        home: folder of the rows that they encode; random, since a digest of rows would tell of them.
        key: see `ReleaseKey`.
        encoder: built from them.
        n_rows, n_units: the noised numbers of rows and of units, which are among them.
        events: what they cost.
        delta: of the fit that drew them.
    """

    home: Folder
    key: ReleaseKey
    encoder: TableEncoder
    n_rows: int
    n_units: int
    events: tuple[Event, ...]
    delta: float

    @classmethod
    def new(cls, folder: Folder, key: ReleaseKey, encoder: TableEncoder, scope: PrivacyScope) -> KeptReleases:
        """Those of a fit that has released nothing else yet."""
        home = folder / f"under-budget-{secrets.token_hex(8)}"
        return cls(home, key, encoder, scope.n_rows, scope.n_units, scope.ledger.events, scope.budget.delta)

    def write(self, folder: Folder) -> None:
        """Into a folder of rows, with the fits that have learned from those that lay at `home` before."""
        described, arrays = self.encoder.to_state()
        content = {
            "key": asdict(self.key),
            "encoder": described,
            "n_rows": self.n_rows,
            "n_units": self.n_units,
            "delta": self.delta,
            "ledger": Ledger(self.events).to_dict(),
        }
        write_model(folder / RELEASES, ModelContent(content, arrays))
        for fit, ledger in self._fits().items():
            write_atomically(folder / FITS / fit, ledger.encode(), private=True)

    def _fits(self) -> dict[str, str]:
        """Ledgers of the fits that have learned from these rows, as JSON by the name of their file."""
        names = sorted(name for name in (place(self.home) / FITS).sizes() if not name.startswith("."))
        return {name: (self.home / FITS / name).read_text(encoding="utf-8") for name in names}

    def joint(self, fit_id: str, ledger: Ledger, delta: float) -> Spent | None:
        """Adds a fit, before its training, to those that have learned from these rows; the cost of all together.

        None where it is the first one.

        Args:
            fit_id: a fit that goes on is the same one.
            ledger: of the fit, which begins with these releases.
            delta: at which the cost is stated.
        """
        own = Ledger(ledger.events[len(self.events) :])
        write_atomically(self.home / FITS / f"{fit_id}.json", own.to_json().encode(), private=True)
        trained = [Ledger.from_json(ledger) for ledger in self._fits().values()]
        if len(trained) == 1:
            return None
        return spent((*self.events, *(event for ledger in trained for event in ledger)), delta)


@dataclass(frozen=True)
class Keeping:
    """Where a private fit keeps its encoded rows, and what it found there.

    Args:
        folder: given by the user.
        key: of the releases that would serve this fit.
        found: such releases, of earlier fits.
    """

    folder: Folder
    key: ReleaseKey
    found: tuple[KeptReleases, ...]

    def releases(self, encoder: TableEncoder, scope: PrivacyScope, *, resumed: bool) -> KeptReleases | None:
        """Those that the encoder was built from; None where a fit goes on whose own were not kept."""
        own = encoder_digest(encoder)
        same = next((found for found in self.found if encoder_digest(found.encoder) == own), None)
        return same if same is not None or resumed else KeptReleases.new(self.folder, self.key, encoder, scope)


def looked_up(
    folder: Folder,
    form: Mapping[str, Any],
    table: Table,
    schema: TableSchema,
    unit: str,
    owners: Table | None = None,
    declared: Mapping[str, Any] | None = None,
) -> Keeping:
    """What earlier fits kept of a table: reads its rows once, for what only their holder sees.

    Args:
        folder: given by the user.
        form: of the encoder that the method asks for.
        table: the rows.
        schema: of the modelled columns.
        unit: of privacy, in words.
        owners: the column that names the unit of each row; None: each row is one.
        declared: what the user says of the table: `about_rows`, its odometer.

    Raises:
        ParameterError: the folder keeps releases of a table of which something else was said.
    """
    data = fingerprint(table, [c.name for c in schema.columns])
    if owners is not None:
        data += fingerprint(owners, owners.names)
    key = ReleaseKey.of(data, schema, unit, form, declared)
    return Keeping(folder, key, tuple(_found(folder, key, schema)))


def _found(folder: Folder, key: ReleaseKey, schema: TableSchema) -> Iterator[KeptReleases]:
    """Releases that are of the same; what is damaged is left out, with a word in the log."""
    kept = (n for n in sorted(place(folder).sizes()) if n.startswith("under-budget-") and n.endswith(f"/{RELEASES}"))
    for home, path in ((folder / n.partition("/")[0], folder / n) for n in kept):
        try:
            content = read_model(path)
            if not key.serves(content.meta["key"], folder):
                continue
            encoder = TableEncoder.from_state(schema, content.meta["encoder"], content.arrays)
            events = Ledger.from_dict(content.meta["ledger"]).events
            n_rows, delta = int(content.meta["n_rows"]), float(content.meta["delta"])
            n_units = int(content.meta.get("n_units", n_rows))  # of files of before, which have one row of each
        except ParameterError:
            raise
        except (ModelFileError, KeyError, TypeError, ValueError) as error:
            _logger.warning("the releases kept in '%s' are not used: %s", path, error)
            continue
        yield KeptReleases(home, key, encoder, n_rows, n_units, events, delta)


def fingerprint(table: Table, columns: Sequence[str]) -> str:
    """SHA-256 of the values of some columns, all rows in their order; a pass over the table, over Ray where it pays."""
    from raysynth.running.runner import for_each_fragment

    parts = for_each_fragment(table, _digest_blocks, columns=list(columns), label="comparing with kept shards")
    types = str([(name, str(table.schema.field(name).type)) for name in columns])
    return _sha256(b"".join([types.encode(), *parts]))


def schema_digest(schema: TableSchema) -> str:
    """SHA-256 of the schema of the modelled columns."""
    return _sha256(json.dumps(schema.to_dict(), sort_keys=True, default=str).encode())


def encoder_digest(encoder: TableEncoder) -> str:
    """SHA-256 of an encoder."""
    described, arrays = encoder.to_state()
    return ModelContent({"encoder": described}, arrays).digest()


def _digest_blocks(index: int, blocks: Iterator[pa.RecordBatch]) -> bytes:
    """Of one fragment: which values are missing, and the others."""
    digest = hashlib.sha256()
    for block in blocks:
        for column in block.columns:
            digest.update(np.packbits(column.is_valid().to_numpy(zero_copy_only=False)).tobytes())
            for array in _plain_parts(column.drop_null()):  # what lies under a null is anything
                digest.update(pa.record_batch([array], ["values"]).serialize())
    return digest.digest()


def _plain_parts(column: Any) -> list[Any]:
    """Arrays without nulls whose bytes are those of their values."""
    if pa.types.is_dictionary(column.type):
        return [column.dictionary, column.indices]
    return [column.cast(pa.uint8()) if pa.types.is_boolean(column.type) else column]


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
