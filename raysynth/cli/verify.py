"""`raysynth verify`: every file of a folder of synthetic rows against its manifest."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from raysynth.cli.application import Json, app, run
from raysynth.cli.steps import Outcome


@app.command(
    epilog="""
[bold]Examples[/bold]

[dim]# after copying a folder that `raysynth sample --out FOLDER` wrote[/dim]

raysynth verify synthetic/
"""
)
def verify(
    folder: Annotated[str, typer.Argument(help="Folder that `raysynth sample --out FOLDER` wrote.")],
    as_json: Json = False,
) -> None:
    """Check that a folder of synthetic rows is whole: every file there, none changed, none added."""

    def work() -> Outcome:
        from raysynth.sampling.writer import verify as checked

        found = checked(Path(folder))
        size = sum(f.bytes for f in found.files)
        record = {"command": "verify", "folder": folder, "rows": found.rows, "files": len(found.files), "bytes": size}
        text = f"'{folder}' is whole: {found.rows:,} rows in {len(found.files)} files, {size / 1e6:.1f} MB"
        return Outcome(record, text)

    run(work, as_json, kept="Nothing was changed.")
