"""What all commands share: the app, the common options, and running a command with its messages and exit codes."""

from __future__ import annotations

import contextlib
import inspect
import json
import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial, wraps
from pathlib import Path
from signal import SIG_DFL, SIGINT, SIGTERM, getsignal, signal
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

from raysynth.cli.steps import Outcome
from raysynth.errors import RaysynthError
from raysynth.jobs.work import end_with_parents
from raysynth.methods.registry import AUTO, METHODS
from raysynth.running.progress import still_working
from raysynth.running.stages import collect_stages, write_logs
from raysynth.version import __version__

ORDER = (
    *("fit", "sample", "evaluate", "demo", "attack", "dossier", "submit", "look", "schema"),
    *("sweep", "info", "ledger", "audit", "verify", "compare"),
)


class _InOrder(TyperGroup):
    """Lists the commands as `ORDER` does, whatever the order in which their files were imported."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Names of the commands, in the order of the help text."""
        return sorted(super().list_commands(ctx), key=ORDER.index)


app = typer.Typer(
    cls=_InOrder,
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Step by step: [bold]raysynth fit[/bold] learns a model from a table, [bold]raysynth sample[/bold] draws "
    "synthetic rows from it, [bold]raysynth evaluate[/bold] compares them with the real ones.",
)


Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output and nothing else there.")]
Seed = Annotated[int | None, typer.Option(help="Whole number that makes the result repeatable.", min=0)]
Entity = Annotated[
    str | None,
    typer.Option(help="Column that says whose each row is; default: one that looks like it, where persons repeat."),
]
OdometerFolder = Annotated[
    Path | None,
    typer.Option("--odometer", help="Private folder that counts what is released of this table, whatever does it."),
]
Method = Annotated[str, typer.Option(help=f"How to learn: {AUTO} (by what is declared), {', '.join(METHODS)}.")]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", help="A hyper-parameter of the method, e.g. --set max_parents=2."),
]
Csv = Annotated[
    list[str] | None,
    typer.Option(
        "--csv",
        metavar="NAME=VALUE",
        help="How CSV files are written, where it is not found out right: delimiter, quote, encoding, header (yes, no),"
        " decimal, thousands, missing, skip, skip_footer, keep_index; e.g. --csv decimal=, --csv encoding=latin-1.",
    ),
]


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"raysynth {__version__}")
        raise typer.Exit


@app.callback()
def raysynth(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Turn a private table into a synthetic one, and check the result.

    A first look: [bold]raysynth demo[/bold]. Your own table: [bold]raysynth demo table.csv[/bold].
    """


Work = Callable[..., Outcome]


def command(kept: str | Callable[..., str], **options: Any) -> Callable[[Work], Work]:
    """Makes a command of a function that gives an `Outcome`, with `--json` as its last option.

    Args:
        kept: what an interruption leaves behind, as a sentence; or what says it of the function's arguments.
        **options: of typer.
    """

    def registered(work: Work) -> Work:
        @wraps(work)
        def shown(*, as_json: bool, **given: Any) -> None:
            run(partial(work, **given), as_json, kept if isinstance(kept, str) else kept(**given))

        own = inspect.signature(work, eval_str=True)
        last = inspect.Parameter("as_json", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=Json)
        shown.__signature__ = own.replace(parameters=[*own.parameters.values(), last])  # type: ignore[attr-defined]
        app.command(**options)(shown)
        return work

    return registered


def run(work: Callable[[], Outcome], as_json: bool, kept: str) -> None:
    """Do the work, print its outcome, and turn what goes wrong into a message and an exit code.

    Args:
        work: the command; what it prints on the way goes to standard error when `as_json`.
        as_json: print the record instead of the text.
        kept: what Ctrl-C leaves behind, in one sentence.
    """
    try:
        write_logs()
        end_with_parents()
        with (
            _terminated_as_interrupted(),
            still_working(),
            contextlib.redirect_stdout(sys.stderr) if as_json else contextlib.nullcontext(),
            collect_stages() as stages,
        ):
            outcome = work().with_stages(stages)
    except RaysynthError as error:
        _fail(error, as_json)
    except KeyboardInterrupt as stopped:
        typer.echo(f"\nInterrupted. {kept}", err=True)
        raise typer.Exit(128 + (SIGTERM if isinstance(stopped, _Terminated) else SIGINT)) from None
    typer.echo(json.dumps(outcome.record, ensure_ascii=False, default=_plain) if as_json else outcome.text)


class _Terminated(KeyboardInterrupt):
    """SIGTERM, by which a container, a queue or a shutdown ends a command."""


@contextlib.contextmanager
def _terminated_as_interrupted() -> Iterator[None]:
    """SIGTERM ends a command as Ctrl-C does: what is private and temporary is deleted, and nothing is half-written.

    Where the program has a handler of its own (or the command does not run in the main thread), that one stays.
    """

    def stop(*_: object) -> NoReturn:
        raise _Terminated

    if threading.current_thread() is not threading.main_thread() or getsignal(SIGTERM) is not SIG_DFL:
        yield
        return
    signal(SIGTERM, stop)
    try:
        yield
    finally:
        if getsignal(SIGTERM) is stop:
            signal(SIGTERM, SIG_DFL)


def _fail(error: RaysynthError, as_json: bool) -> NoReturn:
    """Print an error as a message; exit with 2 where the input is at fault, else with 1."""
    code = 2 if isinstance(error, ValueError) else 1
    if as_json:
        typer.echo(json.dumps({"error": {"type": type(error).__name__, "message": str(error), "exit_code": code}}))
    typer.echo(f"{typer.style('Error:', fg='red', bold=True)} {error}", err=True)
    raise typer.Exit(code) from None


def _plain(value: Any) -> Any:
    """NumPy scalars and paths as JSON values."""
    return value.item() if hasattr(value, "item") else str(value)
