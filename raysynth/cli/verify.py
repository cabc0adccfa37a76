"""`raysynth verify`: every file of a folder of synthetic rows against its manifest."""

from __future__ import annotations

from typing import Annotated

import typer

from raysynth.cli.application import command
from raysynth.cli.steps import Outcome


@command(
    kept="Nothing was changed.",
    epilog="""
[bold]Examples[/bold]

[dim]# after copying a folder that `raysynth sample --out FOLDER` wrote[/dim]

raysynth verify synthetic/
""",
)
def verify(
    folder: Annotated[str, typer.Argument(help="Folder that `raysynth sample --out FOLDER` wrote.")],
) -> Outcome:
    """Check that a folder of synthetic rows is whole: every file there, none changed, none added."""
    return verified(folder)


def verified(folder: str) -> Outcome:
    """The check against the manifest; raises `StorageError` naming what is wrong."""
    from raysynth.sampling.writer import verify as checked

    found = checked(folder)
    size = sum(f.bytes for f in found.files)
    record = {"command": "verify", "folder": folder, "rows": found.rows, "files": len(found.files), "bytes": size}
    return Outcome(record, f"'{folder}' is whole: {found.rows:,} rows in {len(found.files)} files, {size / 1e6:.1f} MB")
