"""Shards of rows of which several are one owner's: a privacy unit's, or a person's, of whom some are held back.

    NAME.codes.npy, NAME.values.npy      as in `shards.py`
    NAME.owners.npy                      (rows,) int64: a number for the owner of each row

An owner's rows lie in one shard, by the owner's number mod the number of shards, so that one worker has all of them,
whatever the number of workers is. Which worker that is changes nothing for a privacy unit: it takes part in a step with
chance q, independently of all others, wherever it lies (`statistics/units.py`; `ShardSet.share`).
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from raysynth.encoding.block import EncodedBlock, concat_blocks
from raysynth.errors import StorageError
from raysynth.statistics.units import UnitIndex
from raysynth.training.held_out import RowsOfPersons
from raysynth.training.private_batches import RowsOfUnits
from raysynth.training.shards import Shard, ShardSet, array_file, content_of, encode_fragment

if TYPE_CHECKING:
    from raysynth.data.fragments import Table
    from raysynth.encoding.table_encoder import TableEncoder


@dataclass(frozen=True)
class OwnedShards:
    """Shards with the owners of their rows (`Shares`).

    Args:
        shards: of the rows.
        are_units: privacy units, which training draws; else persons, of whom whole ones are held back.
    """

    shards: ShardSet
    are_units: bool

    @property
    def n_rows(self) -> int:
        """Rows of all shards."""
        return self.shards.n_rows

    def share(self, rank: int, world_size: int) -> RowsOfUnits | RowsOfPersons:
        """The rows of one worker, with their owners; raises as `ShardSet.share`."""
        rows = self.shards.share(rank, world_size)
        numbers = [self._owners(shard) for shard in self.shards.shards[rank::world_size]]
        number_R = np.concatenate(numbers)
        if self.are_units:
            return RowsOfUnits(rows, UnitIndex.of_numbers(number_R))
        return RowsOfPersons(rows, number_R)

    def _owners(self, shard: Shard) -> np.ndarray:
        name = f"{shard.name}.owners.npy"
        folder = self.shards.folder if self.shards.handed is None else self.shards.handed.laid([name])
        try:
            found: np.ndarray = np.load(folder / name, allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise StorageError(f"'{folder / name}' cannot be read ({error}); encode again") from error
        if found.shape != (shard.rows,):
            raise StorageError(f"'{folder / name}' names {len(found)} owners of {shard.rows} rows; encode again")
        return found


def stream_owned_shards(
    table: Table,
    encoder: TableEncoder,
    number_R: np.ndarray,
    put: Callable[[str, np.ndarray], None],
    *,
    n_shards: int,
) -> tuple[Shard, ...]:
    """Encode a table as `shards.stream_shards` does, its rows divided by their owners.

    The encoded rows are gathered in this process, which holds the owner of each row, too.

    Args:
        table: not a Ray Dataset, whose rows keep no places.
        number_R: for each row of the table in its order the number of its owner.
        put: as of `stream_shards`.
        n_shards: so many, of which some may be empty.
    """
    from raysynth.running.runner import made_in_order

    gathered: list[list[EncodedBlock]] = [[encoder.encode_all([])] for _ in range(n_shards)]
    encode, at = partial(encode_fragment, encoder), 0
    with closing(made_in_order(table, encode, columns=list(encoder.names), label="encoding")) as parts:
        for block in parts:
            shard_N = number_R[at : at + len(block)] % n_shards
            at += len(block)
            order = np.argsort(shard_N, kind="stable")
            cuts = np.searchsorted(shard_N[order], np.arange(1, n_shards))
            for own, rows in zip(gathered, np.split(order, cuts), strict=True):
                own.append(block.take(rows))
    order = np.argsort(number_R % n_shards, kind="stable")
    cuts = np.searchsorted(number_R[order] % n_shards, np.arange(1, n_shards))
    shards = []
    for i, rows in enumerate(np.split(number_R[order], cuts)):
        name = f"shard-{i:06d}"
        put(f"{name}.owners.npy", array_file(rows))
        block, gathered[i] = concat_blocks(gathered[i]), []
        shards.append(content_of(block, max(encoder.cardinalities) - 1).put(put, name))
    return tuple(shards)
