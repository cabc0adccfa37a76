"""The command line: `raysynth fit`, `sample`, `evaluate`, `attack`, `demo` and `submit`.

Results go to standard output (with `--json`: one JSON object and nothing else), progress and messages to standard
error. Exit codes: 0 done; 2 the input is at fault; 1 anything else; 130 interrupted with Ctrl-C.
"""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from raysynth import __version__
from raysynth.cli_steps import (
    Outcome,
    evaluate_tables,
    fit_outcome,
    kept_of_sample,
    new_model,
    read_conditions,
    verify_folder,
    write_sample,
)
from raysynth.errors import ParameterError, RaysynthError
from raysynth.stages import collect_stages, write_logs
from raysynth.synthesizers.registry import DEFAULT_METHOD, METHODS

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Step by step: [bold]raysynth fit[/bold] learns a model from a table, [bold]raysynth sample[/bold] draws "
    "synthetic rows from it, [bold]raysynth evaluate[/bold] compares them with the real ones.",
)


# --------------------------------------------------------------------------------------------------------- options

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output and nothing else there.")]
Seed = Annotated[int | None, typer.Option(help="Whole number that makes the result repeatable.", min=0)]
Method = Annotated[str, typer.Option(help=f"How to learn: {', '.join(METHODS)}.")]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", help="A hyper-parameter of the method, e.g. --set max_parents=2."),
]


# -------------------------------------------------------------------------------------------------------- commands


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


@app.command(
    epilog="""
[bold]Examples[/bold]

[dim]# a model of a CSV file; what each column was taken for is printed[/dim]

raysynth fit patients.csv --model patients.raysynth

[dim]# a folder of Parquet, trained by 8 workers on GPUs[/dim]

raysynth fit 's3://bucket/visits/' --method ctgan --epochs 100 --workers 8 --gpu --model visits.raysynth

[dim]# kinds and rules from a schema that you edited; the result as JSON[/dim]

raysynth fit patients.csv --schema schema.json --model patients.raysynth --seed 1 --json

[dim]# differential privacy; kinds and ranges come from the schema, not from the rows[/dim]

raysynth fit patients.csv --schema schema.json --method bayesian_network --epsilon 1 --model patients.raysynth
"""
)
def fit(
    data: Annotated[str, typer.Argument(help="CSV or Parquet file, folder of Parquet, or URI (s3://, gs://).")],
    model: Annotated[Path, typer.Option(help="File to write the model to.")],
    method: Method = DEFAULT_METHOD,
    epochs: Annotated[int | None, typer.Option(help="Passes over the data (neural methods).", min=1)] = None,
    schema: Annotated[Path | None, typer.Option(help="TableSchema as JSON: kinds, bounds, constraints.")] = None,
    workers: Annotated[int | None, typer.Option(help="Training processes, over Ray.", min=1)] = None,
    gpu: Annotated[bool, typer.Option("--gpu", help="Each worker trains on a GPU.")] = False,
    epsilon: Annotated[float | None, typer.Option(help="Differential privacy: total budget, e.g. 1.")] = None,
    delta: Annotated[float | None, typer.Option(help="Its delta; default 1e-5.")] = None,
    settings: Settings = None,
    seed: Seed = None,
    as_json: Json = False,
) -> None:
    """Learn a model from a table and save it.

    Kinds of column (category, number, date, identifier, personal data ...) are inferred and printed; \
fix what is wrong with --schema. Values seen in fewer than 5 rows are not learned.
    """

    def work() -> Outcome:
        from raysynth.storage import check_writable

        check_writable(model)
        begun = time.perf_counter()
        fitted = new_model(
            method,
            epochs=epochs,
            schema=schema,
            workers=workers,
            gpu=gpu,
            epsilon=epsilon,
            delta=delta,
            settings=settings,
            seed=seed,
        )
        fitted.fit(data)
        fitted.save(model)
        return fit_outcome(fitted, data, model, time.perf_counter() - begun)

    _run(work, as_json, kept=f"No model was written to '{model}'.")


@app.command(
    epilog="""
[bold]Examples[/bold]

raysynth sample patients.raysynth -n 1000 --out synthetic.csv

[dim]# every row satisfies the conditions[/dim]

raysynth sample patients.raysynth -n 1000 --out men.csv --conditions '{"sex": "male", "age": {"min": 25, "max": 40}}'

[dim]# a folder of Parquet, written by all cores; afterwards: is every file there and whole?[/dim]

raysynth sample patients.raysynth -n 100000000 --out synthetic/

raysynth sample --verify synthetic/
"""
)
def sample(
    file: Annotated[Path | None, typer.Argument(help="Model file that `raysynth fit` wrote.")] = None,
    out: Annotated[str | None, typer.Option(help="File (.csv, .parquet) or folder to write to.")] = None,
    n: Annotated[
        int | None, typer.Option("-n", "--rows", help="Rows to draw; default: as many as were learned from.")
    ] = None,
    conditions: Annotated[
        str | None,
        typer.Option(
            metavar="JSON",
            help='What every row must satisfy: a value, a list of values, or {"min": a, "max": b} for each column; '
            "a list of \\[conditions, n] gives quotas; @FILE reads the JSON from a file.",
        ),
    ] = None,
    partition_by: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="Divide a folder by a column of few values: COLUMN=VALUE/.")
    ] = None,
    verify: Annotated[
        str | None, typer.Option(metavar="FOLDER", help="Draw nothing; check a folder written earlier, file by file.")
    ] = None,
    seed: Seed = None,
    as_json: Json = False,
) -> None:
    """Draw synthetic rows from a model.

    The rows depend on the model, the seed, n and the conditions alone. Writing to a folder can be interrupted: \
the same command goes on where it stopped.
    """

    def work() -> Outcome:
        from raysynth.synthesizers.loading import load_synthetic_model

        if verify is not None:
            return verify_folder(verify)
        if file is None or out is None:
            raise ParameterError("say which model and where to: raysynth sample MODEL -n 1000 --out synthetic.csv")
        begun = time.perf_counter()
        model = load_synthetic_model(file)
        rows = write_sample(model, out, n, read_conditions(conditions), seed, partition_by=partition_by)
        seconds = time.perf_counter() - begun
        record = {"command": "sample", "model": str(file), "out": out, "rows": rows, "seconds": round(seconds, 3)}
        return Outcome(record, f"{rows:,} rows in {seconds:.1f} s -> {out}")

    _run(work, as_json, kept=kept_of_sample(out))


@app.command(
    epilog="""
[bold]Examples[/bold]

raysynth evaluate real.csv synthetic.csv --out report.html

[dim]# rows that the model has not seen show whether it copied; one column to predict[/dim]

raysynth evaluate train.csv synthetic.csv --holdout holdout.csv --target income --json

[dim]# sequences: many rows for each entity, also compared along time[/dim]

raysynth evaluate visits.csv synthetic.csv --sequence-key patient --time-column day --out report.html
"""
)
def evaluate(
    real: Annotated[str, typer.Argument(help="The real table: what the model learned from.")],
    synthetic: Annotated[str, typer.Argument(help="The synthetic table.")],
    out: Annotated[Path | None, typer.Option(help="HTML report to write.")] = None,
    holdout: Annotated[
        str | None, typer.Option(help="Real rows that the model has not seen; makes copying visible.")
    ] = None,
    target: Annotated[
        list[str] | None, typer.Option(help="Column to predict, for the machine-learning test; may be repeated.")
    ] = None,
    shareable: Annotated[
        Path | None, typer.Option(help="Second HTML report to write, without any figure computed from the real rows.")
    ] = None,
    sequence_key: Annotated[
        str | None, typer.Option(help="Column that says which rows are one sequence; adds figures along time.")
    ] = None,
    time_column: Annotated[str | None, typer.Option(help="Column that orders the rows of a sequence.")] = None,
    seed: Seed = None,
    as_json: Json = False,
) -> None:
    """Compare a synthetic table with the real one: figures here, pictures in an HTML report."""

    def work() -> Outcome:
        from raysynth.storage import check_writable

        for path in (out, shareable):
            if path is not None:
                check_writable(path)
        return evaluate_tables(
            real,
            synthetic,
            out=out,
            holdout=holdout,
            target=target,
            seed=seed,
            shareable=shareable,
            sequence_key=sequence_key,
            time_column=time_column,
        )

    _run(work, as_json, kept="No report was written." if out is None else f"No report was written to '{out}'.")


@app.command(
    epilog="""
[bold]Examples[/bold]

raysynth attack train.csv synthetic.csv --holdout holdout.csv --out attacks.html

[dim]# more kinds of attack, and with the model in hand[/dim]

raysynth attack train.csv synthetic.csv --model model.raysynth --attack linkability --attack model_inversion

[dim]# many models of several methods, over Ray; started again it goes on where it stopped[/dim]

raysynth attack --campaign campaign.yaml --out campaign.html
"""
)
def attack(
    real: Annotated[str | None, typer.Argument(help="The real table: what the model learned from.")] = None,
    synthetic: Annotated[str | None, typer.Argument(help="The synthetic table.")] = None,
    holdout: Annotated[
        str | None, typer.Option(help="Real rows that the model has not seen; without them no membership is measured.")
    ] = None,
    attacks: Annotated[
        list[str] | None,
        typer.Option("--attack", help="Family or attack to run; may be repeated. Default: the three main families."),
    ] = None,
    model: Annotated[Path | None, typer.Option(help="Model file: the attacker holds the model, too.")] = None,
    campaign: Annotated[Path | None, typer.Option(help="YAML file that describes a campaign.")] = None,
    experiments: Annotated[int, typer.Option(help="Rounds with targets of their own.", min=1)] = 10,
    targets: Annotated[int, typer.Option(help="Targets of each attack, over all rounds.", min=2)] = 2_000,
    out: Annotated[Path | None, typer.Option(help="HTML report to write.")] = None,
    seed: Seed = None,
    as_json: Json = False,
) -> None:
    """Attack a synthetic table, or many models of a method, and measure what the attacks learn.

    Each attack stands beside its baseline: what it gets on rows that the model never saw.
    """

    def work() -> Outcome:
        from raysynth.cli_attack import attack_campaign, attack_tables
        from raysynth.storage import check_writable

        if out is not None:
            check_writable(out)
        if campaign is not None:
            if real is not None:
                raise ParameterError("give either REAL and SYNTHETIC, or --campaign")
            return attack_campaign(campaign, out=out, seed=seed)
        if real is None or synthetic is None:
            raise ParameterError("say which tables: raysynth attack REAL SYNTHETIC, or raysynth attack --campaign FILE")
        return attack_tables(
            real,
            synthetic,
            holdout=holdout,
            attacks=attacks,
            model=model,
            n_experiments=experiments,
            n_targets=targets,
            out=out,
            seed=seed,
        )

    kept = "No report was written."
    _run(work, as_json, kept=kept if campaign is None else "Finished trials are kept; the same command goes on.")


@app.command(
    epilog="""
[bold]Examples[/bold]

[dim]# the RAND Health Insurance Experiment, 20,190 rows, which comes with statsmodels[/dim]

raysynth demo

[dim]# your own table[/dim]

raysynth demo patients.csv --out first-look --method ctgan --epochs 30
"""
)
def demo(
    data: Annotated[
        str | None, typer.Argument(help="Table to try; default: a real one that comes with statsmodels.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for model, synthetic table and report.")] = Path("demo"),
    method: Method = DEFAULT_METHOD,
    epochs: Annotated[int | None, typer.Option(help="Passes over the data (neural methods).", min=1)] = None,
    target: Annotated[str | None, typer.Option(help="Column to predict, for the machine-learning test.")] = None,
    seed: Annotated[int, typer.Option(help="Whole number that makes the result repeatable.", min=0)] = 0,
    as_json: Json = False,
) -> None:
    """Fit, sample and evaluate in one go, and say what was done and where the files are."""

    def work() -> Outcome:
        from raysynth.demo import run_demo

        result = run_demo(data, out, method=method, epochs=epochs, target=target, seed=seed)
        return Outcome({"command": "demo", **result.record()}, result.text())

    _run(work, as_json, kept=f"Files that were finished stay in '{out}'.")


@app.command(
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "allow_interspersed_args": False},
    epilog="""
[bold]Examples[/bold]

raysynth submit --address http://head:8265 --token-file token fit s3://bucket/visits/ --model /shared/visits.raysynth

[dim]# the same words as without submit, behind submit's own options; results on storage that all nodes see[/dim]

raysynth submit --no-wait sample /shared/visits.raysynth -n 1000000000 --out /shared/synthetic

raysynth submit --list

raysynth submit --status raysynth-sample-1f3a5c7e-90ab12

raysynth submit --cancel raysynth-sample-1f3a5c7e-90ab12
""",
)
def submit(
    context: typer.Context,
    address: Annotated[
        str | None, typer.Option(metavar="URL", help="Dashboard of the cluster; default: RAY_API_SERVER_ADDRESS.")
    ] = None,
    token_file: Annotated[
        Path | None, typer.Option(help="File with the cluster's token; default: RAY_AUTH_TOKEN_PATH.")
    ] = None,
    working_dir: Annotated[
        str | None, typer.Option(metavar="DIR", help="Folder that is uploaded for the job. It leaves this machine.")
    ] = None,
    runtime_env: Annotated[Path | None, typer.Option(metavar="JSON", help="Ray runtime environment.")] = None,
    pip: Annotated[list[str] | None, typer.Option(metavar="PACKAGE", help="Installed for the job.")] = None,
    env: Annotated[list[str] | None, typer.Option(metavar="NAME=VALUE", help="Environment variable.")] = None,
    cpus: Annotated[float, typer.Option(help="Reserved for the job's own process.", min=0)] = 0,
    gpus: Annotated[float, typer.Option(help="Reserved for the job's own process.", min=0)] = 0,
    memory: Annotated[float | None, typer.Option(metavar="GB", help="Reserved for it.", min=0)] = None,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Follow the log until the job is over.")] = True,
    status: Annotated[str | None, typer.Option(metavar="JOB", help="Say how a job stands.")] = None,
    follow: Annotated[str | None, typer.Option(metavar="JOB", help="Follow the log of a job.")] = None,
    cancel: Annotated[str | None, typer.Option(metavar="JOB", help="Stop a job.")] = None,
    list_jobs: Annotated[bool, typer.Option("--list", help="All jobs of raysynth on the cluster.")] = False,
    allow_open_cluster: Annotated[
        bool, typer.Option("--allow-open-cluster", help="Accept a cluster that asks for no token.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Run any command of raysynth as a job on a Ray cluster.

    The job's log is followed here; Ctrl-C leaves the job running. Submitted again, the same work takes a new id and \
goes on from what is on storage.
    """

    def work() -> Outcome:
        from raysynth import cli_jobs
        from raysynth.jobs import JobCluster

        asks = status or follow or cancel or list_jobs
        group = context.parent.command if context.parent else None
        wanted = None if asks else cli_jobs.work_of(context.args, getattr(group, "commands", {}))
        if wanted is not None:
            wanted = replace(
                wanted,
                working_dir=working_dir,
                runtime_env=cli_jobs.runtime_environment(runtime_env, pip or [], env or []),
                resources=cli_jobs.resources(cpus, gpus, memory),
            ).validate()
        cluster = JobCluster.connect(address, token_file, allow_open=allow_open_cluster)
        write = partial(typer.echo, nl=False, err=True)
        if wanted is not None:
            return cli_jobs.submit_work(cluster, wanted, write, wait=wait)
        if cancel:
            return cli_jobs.outcome_of(cluster.cancel(cancel))
        if follow:
            return cli_jobs.ended(cluster.follow(follow, write))
        return cli_jobs.outcome_of(cluster.status(status)) if status else cli_jobs.list_of(cluster.jobs())

    _run(work, as_json, kept="A job that was submitted goes on: raysynth submit --list.")


def main() -> None:
    """Entry point of the `raysynth` command."""
    app()


# ------------------------------------------------------------------------------------------------ running a command


def _run(work: Callable[[], Outcome], as_json: bool, kept: str) -> None:
    """Do the work, print its outcome, and turn what goes wrong into a message and an exit code.

    Args:
        work: the command; what it prints on the way goes to standard error when `as_json`.
        as_json: print the record instead of the text.
        kept: what Ctrl-C leaves behind, in one sentence.
    """
    try:
        write_logs()
        with (
            contextlib.redirect_stdout(sys.stderr) if as_json else contextlib.nullcontext(),
            collect_stages() as stages,
        ):
            outcome = work().with_stages(stages)
    except RaysynthError as error:
        _fail(error, as_json)
    except KeyboardInterrupt:
        typer.echo(f"\nInterrupted. {kept}", err=True)
        raise typer.Exit(130) from None
    typer.echo(json.dumps(outcome.record, ensure_ascii=False, default=_plain) if as_json else outcome.text)


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
