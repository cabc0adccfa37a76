"""`raysynth fit`: a model from a table."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from raysynth.cli.application import Csv, Entity, Method, OdometerFolder, Seed, Settings, command, run
from raysynth.cli.database import Dangling, Relations, fit_database, means_database, refuse
from raysynth.cli.steps import Outcome, check_output, new_model, read_as, read_settings
from raysynth.methods.registry import DEFAULT_METHOD

if TYPE_CHECKING:
    from raysynth.methods.base import Synthesizer


def _print_parameters(method: str | None) -> None:
    if method is None:
        return
    from raysynth.methods.parameters import described
    from raysynth.methods.registry import synthesizer_class

    words = f"Parameters of '{method}', for --set NAME=VALUE:\n"
    run(lambda: Outcome({}, words + described(synthesizer_class(method))), as_json=False, kept="Nothing was done.")
    raise typer.Exit


@command(
    kept=lambda model, **_: f"No model was written to '{model}'.",
    epilog="""
[bold]Examples[/bold]

[dim]# a model of a CSV file; what each column was taken for is printed[/dim]

raysynth fit patients.csv --model patients.raysynth

[dim]# a folder of Parquet, trained by 8 workers on GPUs[/dim]

raysynth fit 's3://bucket/visits/' --method ctgan --epochs 100 --workers 8 --gpu --model visits.raysynth

[dim]# checkpoints on storage: after a crash the same command resumes from the last one[/dim]

raysynth fit visits.csv --method ctgan --seed 1 --storage /shared/runs/visits --model visits.raysynth

[dim]# kinds and rules from a schema that you edited; the result as JSON[/dim]

raysynth fit patients.csv --schema schema.json --model patients.raysynth --seed 1 --json

[dim]# differential privacy; kinds and ranges come from the schema, not from the rows[/dim]

raysynth fit patients.csv --schema schema.json --method bayesian_network --epsilon 1 --model patients.raysynth

[dim]# several tables: a folder with a file a table, or a database; keys are declared, or inferred and printed[/dim]

raysynth fit clinic/ --relations 'visits.patient_id -> patients.id' --model clinic.raysynth

raysynth fit sqlite:///shop.db --model shop.raysynth

[dim]# what can be set of a method?[/dim]

raysynth fit --help-method ctgan
""",
)
def fit(
    data: Annotated[
        str,
        typer.Argument(
            help="CSV or Parquet file, folder of Parquet, or URI (s3://, gs://); several tables: a folder with a file "
            "a table, an SQLite or DuckDB file, sqlite:///FILE."
        ),
    ],
    model: Annotated[Path, typer.Option(help="File to write the model to.")],
    method: Method = DEFAULT_METHOD,
    epochs: Annotated[int | None, typer.Option(help="Passes over the data (neural methods).", min=1)] = None,
    schema: Annotated[Path | None, typer.Option(help="TableSchema as JSON: kinds, bounds, constraints.")] = None,
    workers: Annotated[int | None, typer.Option(help="Training processes, over Ray.", min=1)] = None,
    gpu: Annotated[bool, typer.Option("--gpu", help="Each worker trains on a GPU.")] = False,
    storage: Annotated[
        Path | None,
        typer.Option(help="Folder of all workers, or s3://: checkpoints; the same command goes on there."),
    ] = None,
    epsilon: Annotated[float | None, typer.Option(help="Differential privacy: total budget, e.g. 1.")] = None,
    delta: Annotated[float | None, typer.Option(help="Its delta; default 1e-5.")] = None,
    entity: Entity = None,
    odometer: OdometerFolder = None,
    relations: Relations = None,
    dangling: Dangling = "error",
    rules: Annotated[
        str | None, typer.Option(help="auto: keep the sums, orderings and dependencies that all rows keep.")
    ] = None,
    settings: Settings = None,
    help_method: Annotated[
        str | None,
        typer.Option(
            metavar="METHOD",
            callback=_print_parameters,
            is_eager=True,
            help="Print all parameters of a method, with meanings, ranges and defaults, and exit.",
        ),
    ] = None,
    csv: Csv = None,
    seed: Seed = None,
) -> Outcome:
    """Learn a model from a table and save it.

    Kinds of column (category, number, date, identifier, personal data ...) are inferred and printed; \
fix what is wrong with --schema. Values seen in fewer than 5 rows are not learned.
    """
    check_output(model, data, schema, starts=b"PK")
    if means_database(data, relations):
        refuse({"--epochs": epochs, "--schema": schema, "--workers": workers, "--gpu": gpu, "--storage": storage})
        refuse({"--epsilon": epsilon, "--delta": delta, "--entity": entity, "--csv": csv})
        return fit_database(
            data,
            model,
            relations=relations,
            method=method,
            parameters=read_settings(settings or []) | ({} if rules is None else {"rules": rules}),
            dangling=dangling,
            odometer=odometer,
            seed=seed,
        )
    begun = time.perf_counter()
    fitted = new_model(
        method,
        schema=schema,
        workers=workers,
        gpu=gpu,
        storage=storage,
        settings=settings,
        seed=seed,
        epochs=epochs,
        epsilon=epsilon,
        delta=delta,
        entity=entity,
        rules=rules,
    )
    if odometer is not None:
        fitted.set_params(odometer=odometer)
    fitted.fit(read_as(data, csv))
    fitted.save(model)
    return fit_outcome(fitted, data, model, time.perf_counter() - begun)


def fit_outcome(model: Synthesizer, data: str, file: Path, seconds: float) -> Outcome:
    """What `fit` learned, from how much, and where it is now."""
    columns = {c.name: str(c.kind) for c in model.schema_.columns}
    from raysynth.files.storage import place

    size = place(file).size()
    record = {
        "command": "fit",
        "data": data,
        "method": model.method,
        "model": str(place(file)),
        "rows": model.n_rows_,
        "columns": columns,
        "bytes": size,
        "seconds": round(seconds, 3),
    }
    spent = model.privacy_spent_
    if spent is not None:
        record["privacy"] = spent.to_dict()
    privacy = "" if spent is None else f"Privacy spent: {spent}\n"
    text = privacy + (
        f"Learned {model.n_rows_:,} rows x {len(columns)} columns with '{model.method}' in {seconds:.1f} s\n"
        f"Model: {place(file)} ({size / 1e6:.1f} MB). Next: raysynth sample {place(file)} -n 1000 --out synthetic.csv"
    )
    return Outcome(record, text)
