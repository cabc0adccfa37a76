"""`raysynth sweep`: which method, and which epsilon, for a table."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from raysynth.cli.application import Entity, Settings, command
from raysynth.cli.steps import Outcome, read_settings
from raysynth.errors import ParameterError


@command(
    kept=lambda out, **_: f"Finished trials stay in '{out}'; the same command resumes there.",
    epilog="""
[bold]Examples[/bold]

[dim]# four methods, three fits each, in a folder with a report; after a stop the same command goes on[/dim]

raysynth sweep patients.csv --methods copula,bayesian_network,ctgan,autoregressive --out choice

[dim]# which epsilon? each against each, with a column to predict[/dim]

raysynth sweep patients.csv --methods bayesian_network,copula --epsilons 0.5,1,3,inf --target outcome --out choice

[dim]# hyper-parameters, too: Optuna draws 30 settings at each epsilon, and hopeless trainings are stopped early[/dim]

raysynth sweep patients.csv --methods tvae --search-space '{"tvae": {"latent_dim": [8, 24, 64], \
  "learning_rate": {"low": 0.0005, "high": 0.01}}}' --trials 30 --search optuna --scheduler asha --out choice

[dim]# a choice that is itself covered by epsilon, at most 3 in all[/dim]

raysynth sweep patients.csv --methods bayesian_network,copula --epsilons 0.5,1 --selection private --epsilon-limit 3 \
  --out choice
""",
)
def sweep(
    data: Annotated[str, typer.Argument(help="CSV or Parquet file, folder of Parquet, or URI (s3://, gs://).")],
    out: Annotated[str, typer.Option(help="Folder or URI for models, figures and the report.")],
    methods: Annotated[str | None, typer.Option(help="Methods to try, with commas; default: all that can.")] = None,
    epsilons: Annotated[str, typer.Option(help="Privacy budgets, with commas; inf: none.")] = "inf",
    seeds: Annotated[int, typer.Option(help="Fits of each setting, for the error bars.", min=1)] = 3,
    search_space: Annotated[
        str | None,
        typer.Option(
            help='JSON, or a file of it: {method: {parameter: [values] or {"low": a, "high": b}}}; methods left out '
            "keep their defaults."
        ),
    ] = None,
    trials: Annotated[int, typer.Option(help="Settings of each method in the search space.", min=1)] = 8,
    search: Annotated[
        str | None,
        typer.Option(help="optuna: from the eleventh on, draw settings by what others gave; default: at random."),
    ] = None,
    scheduler: Annotated[
        str | None, typer.Option(help="asha: stop hopeless trainings early; default: none is stopped.")
    ] = None,
    target: Annotated[
        list[str] | None, typer.Option(help="Column to predict, for the machine-learning test; may be repeated.")
    ] = None,
    holdout: Annotated[str | None, typer.Option(help="Real rows that no trial learns from; default: a fifth.")] = None,
    selection: Annotated[
        str,
        typer.Option(
            help="internal: figures are yours alone; proxy: the search runs on stand-in rows; private: one of a random "
            "number of fits, its epsilon covers the choice."
        ),
    ] = ("internal"),
    proxy: Annotated[str | None, typer.Option(help="Public table of the same columns, for --selection proxy.")] = None,
    mean_trials: Annotated[float, typer.Option(help="Mean number of fits, for --selection private.", min=1)] = 10.0,
    epsilon_limit: Annotated[
        float | None, typer.Option(help="Most that --selection private may cost; above it nothing is read.")
    ] = None,
    schema: Annotated[Path | None, typer.Option(help="TableSchema as JSON: kinds, bounds, constraints.")] = None,
    at_once: Annotated[int | None, typer.Option(help="Most trials at a time; default: one a core.", min=1)] = None,
    max_epsilon: Annotated[float, typer.Option(help="Largest epsilon that the recommendation may have.")] = (
        float("inf")
    ),
    entity: Entity = None,
    settings: Settings = None,
    seed: Annotated[int, typer.Option(help="Whole number that makes the result repeatable.", min=0)] = 0,
) -> Outcome:
    """Fit, evaluate and attack several methods and epsilons, and say which one to take."""
    from raysynth import tuning

    result = tuning.sweep(
        data,
        None if methods is None else [m.strip() for m in methods.split(",") if m.strip()],
        read_epsilons(epsilons),
        out=out,
        parameters=read_settings(settings or []),
        n_seeds=seeds,
        search_space=None if search_space is None else read_space(search_space),
        n_trials=trials,
        search=search,
        scheduler=scheduler,
        target_columns=target or None,
        holdout_data=holdout,
        selection=selection,
        proxy_data=proxy,
        mean_trials=mean_trials,
        epsilon_limit=epsilon_limit,
        schema=schema,
        max_concurrent_trials=at_once,
        entity=entity,
        seed=seed,
    )
    report = f"{out.rstrip('/')}/report.html"
    result.generate_report(report)
    words = result.explain(max_epsilon=max_epsilon)
    return Outcome({"command": "sweep", **result.record(), "recommendation": words}, words).with_file(report)


def read_epsilons(text: str) -> list[float]:
    """'0.5,1,inf' as numbers; raises `ParameterError`."""
    try:
        return [float(part) for part in text.split(",") if part.strip()]
    except ValueError:
        raise ParameterError(f"--epsilons {text}: write numbers with commas, for example 0.5,1,3,inf") from None


def read_space(text: str) -> dict[str, dict[str, Any] | None]:
    """A search space from JSON or a file of it: {"low": a, "high": b} is a range; raises `ParameterError`."""
    example = '{"tvae": {"latent_dim": [8, 64], "learning_rate": {"low": 0.001, "high": 0.01}}}'
    wrong = f"--search-space {text}: give JSON, or a file of it, for example {example}"
    try:
        given = json.loads(text if text.lstrip().startswith("{") else Path(text).read_text(encoding="utf-8"))
        return {
            m: None if values is None else {n: _domain(v) for n, v in values.items()} for m, values in given.items()
        }
    except (OSError, ValueError, AttributeError, KeyError) as error:
        raise ParameterError(f"{wrong} ({error})") from None


def _domain(given: Any) -> Any:
    return (given["low"], given["high"]) if isinstance(given, dict) else given
