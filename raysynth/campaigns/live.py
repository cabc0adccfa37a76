"""The live table of a campaign: for each method and budget how many models are done, failed and left."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from raysynth.campaigns.plan import Plan
from raysynth.running.progress import console_of_progress, progress

if TYPE_CHECKING:
    from rich.table import Table

_SECONDS = 0.5  # between two pictures


@contextmanager
def live_table(plan: Plan, done: set[str]) -> Iterator[Callable[[str, str | None], None]]:
    """A table on standard error (plain lines where it is no terminal), for the block; yields `tick(key, error)`."""
    group_of = {t.key: t.group for t in plan.trials()}
    counts = {group: [0, 0] for group in plan.groups}
    for key in done & set(group_of):
        counts[group_of[key]][0] += 1
    console = console_of_progress()

    def count(key: str, error: str | None) -> None:
        counts[group_of[key]][error is not None] += 1

    if console is None:
        n_models = plan.n_models * len(list(plan.groups))
        with progress("models attacked", n_models, done=len(done & set(group_of))) as more:

            def advance(key: str, error: str | None) -> None:
                count(key, error)
                more(1)

            yield advance
        return
    from rich.live import Live

    begun, started = time.monotonic(), sum(c[0] for c in counts.values())
    with Live(_picture(plan, counts, begun, started), console=console, auto_refresh=False) as live:
        shown = 0.0

        def tick(key: str, error: str | None) -> None:
            nonlocal shown
            count(key, error)
            if time.monotonic() - shown > _SECONDS:
                shown = time.monotonic()
                live.update(_picture(plan, counts, begun, started), refresh=True)

        yield tick
        live.update(_picture(plan, counts, begun, started), refresh=True)


def _picture(plan: Plan, counts: dict[tuple[str, float | None], list[int]], begun: float, started: int) -> Table:
    from rich.table import Table

    now = sum(c[0] for c in counts.values()) - started
    rate = 60 * now / max(time.monotonic() - begun, 1e-3)
    table = Table(title=f"Attack campaign: {now} models, {rate:.1f} a minute")
    for name in ("method", "epsilon", "models", "failed", "left"):
        table.add_column(name, justify="left" if name == "method" else "right")
    for (method, epsilon), (good, bad) in counts.items():
        left = plan.n_models - good - bad
        table.add_row(method, "-" if epsilon is None else f"{epsilon:g}", str(good), str(bad), str(left))
    return table
