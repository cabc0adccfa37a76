"""Fingerprints: digests by which a table, a schema and an encoder are known again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from raysynth.files.model_file import ModelContent

if TYPE_CHECKING:
    from raysynth.data.fragments import Table
    from raysynth.encoding.table_encoder import TableEncoder
    from raysynth.schema.table import TableSchema


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
