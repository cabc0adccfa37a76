"""Keyed permutations of row numbers: random-looking, without repeats, computed for any row by itself.

`permute` is a Feistel network over Z_a x Z_a with a = ceil(sqrt(size)), closed to [0, size) by cycle walking: Black and
Rogaway, 'Ciphers with Arbitrary Finite Domains' (CT-RSA 2002), generalized Feistel and cycle-walking ciphers. Its round
function is a fast mixer, not a cipher: it hides nothing from an adversary, and has nothing to hide (row numbers of a
synthetic table).
"""

from __future__ import annotations

import math
import zlib

import numpy as np

MAX_SIZE = 1 << 62
_ROUNDS = 6


def round_keys(key: int, label: str, count: int) -> np.ndarray:
    """`count` uint64 values drawn from a non-negative key of any size and a label."""
    return np.random.SeedSequence([key, zlib.crc32(label.encode())]).generate_state(count, np.uint64)


def mix(values: np.ndarray, key: np.uint64) -> np.ndarray:
    """A hash of uint64 values under a key (finaliser of splitmix64; Steele, Lea and Flood 2014)."""
    z = values + key
    z ^= z >> np.uint64(30)
    z *= np.uint64(0xBF58476D1CE4E5B9)
    z ^= z >> np.uint64(27)
    z *= np.uint64(0x94D049BB133111EB)
    z ^= z >> np.uint64(31)
    return z


def permute(index: np.ndarray, size: int, key: int, label: str) -> np.ndarray:
    """Distinct values of [0, size) for distinct indices of [0, size), as uint64.

    Args:
        index: uint64 row numbers, each below size, shape (N,).
        size: 1 to 2**62.
        key: non-negative integer of any size.
        label: keeps permutations under the same key apart.
    """
    if not 1 <= size <= MAX_SIZE:
        raise ValueError(f"size must be from 1 to 2**62; found {size}")
    if size == 1:
        return np.zeros(len(index), np.uint64)
    side = np.uint64(math.isqrt(size - 1) + 1)
    keys = round_keys(key, label, _ROUNDS)
    result = _feistel(index.astype(np.uint64), side, keys)
    while len(outside := np.flatnonzero(result >= np.uint64(size))):
        result[outside] = _feistel(result[outside], side, keys)
    return result


def _feistel(values: np.ndarray, side: np.uint64, keys: np.ndarray) -> np.ndarray:
    left = values // side
    right = values - left * side
    for key in keys:
        # the mixed word's upper half, scaled from 32 bits to [0, side): side <= 2**31
        step = (mix(right, key) >> np.uint64(32)) * side >> np.uint64(32)
        step += left
        step -= side * (step >= side)
        left, right = right, step
    return left * side + right
