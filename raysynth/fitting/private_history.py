"""The losses of a fit under a budget: exact figures of the rows, labelled private."""

from __future__ import annotations


class PrivateHistory(list[dict[str, float]]):
    """The losses of a fit under a budget: exact figures of the rows, for the data's holder in this process alone.

    They go into no model file (`releasable_history`), and a copy that is sent to another process is empty.
    """

    releasable = False

    def __repr__(self) -> str:
        return f"<private: exact losses of {len(self)} epochs, which no epsilon covers: {list(self)!r}>"

    def __reduce__(self) -> tuple[type[PrivateHistory], tuple[()]]:
        return PrivateHistory, ()
