"""What is done so far, as metrics of Ray: for its dashboard and Prometheus, as ray_raysynth_*.

Only what may be public under a privacy budget is counted, never rows of a real table. Whoever runs the cluster is
trusted all the same: Ray's own figures show sizes of blocks, and its nodes hold them.
"""

from __future__ import annotations

import sys
from typing import Any

_COUNTED = {
    "fragments": "fragments of tables (about a million rows each) that passes have read",
    "rows_written": "synthetic rows that were written",
    "trials": "trials of campaigns that are over",
}
_counters: dict[str, Any] = {}


def count_done(what: str, n: int = 1) -> None:
    """Count so many more, by `ray.util.metrics` (DeveloperAPI); nothing where this process is not connected to Ray.

    Args:
        what: a key of `_COUNTED`.
        n: at least 0.
    """
    ray = sys.modules.get("ray")
    if n <= 0 or ray is None or not ray.is_initialized():
        return
    if what not in _counters:
        from ray.util.metrics import Counter

        _counters[what] = Counter(f"raysynth_{what}", description=_COUNTED[what])
    _counters[what].inc(n)
