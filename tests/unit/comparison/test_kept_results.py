"""Results by content: computed once for the same arrays, anew for others, bounded in number."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import numpy as np
import pytest

from raysynth.comparison.kept_results import KeptResults, content_key


def test_the_same_content_has_the_same_key_and_anything_else_another() -> None:
    x = np.arange(6.0).reshape(2, 3)
    assert content_key(x, "a") == content_key(np.asfortranarray(x.copy()), "a")
    others = [content_key(x.reshape(3, 2), "a"), content_key(x.astype(np.float32), "a"), content_key(x + 1, "a")]
    others += [content_key(x, "b"), content_key(x), content_key("a", x)]
    assert len({content_key(x, "a"), *others}) == 7


def test_threads_that_ask_at_a_time_compute_once() -> None:
    kept: KeptResults[int] = KeptResults()
    together, calls = Barrier(4), []

    def ask(_: int) -> int:
        together.wait(timeout=10)
        return kept.get(b"k", lambda: calls.append(1) or 7)

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(ask, range(4))) == [7] * 4
    assert calls == [1]


def test_an_error_is_not_kept_and_old_results_go() -> None:
    kept: KeptResults[int] = KeptResults(most=2)
    with pytest.raises(ZeroDivisionError):
        kept.get(b"a", lambda: 1 // 0)
    assert [kept.get(k, lambda k=k: ord(k)) for k in (b"a", b"b", b"c")] == [97, 98, 99]
    assert kept.get(b"c", lambda: -1) == 99 and kept.get(b"a", lambda: -1) == -1
