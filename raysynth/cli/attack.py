"""`raysynth attack`: attacks on one table, or a campaign described by a YAML file."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from raysynth.cli.application import Entity, OdometerFolder, Seed, command
from raysynth.cli.steps import Outcome, check_output
from raysynth.errors import ParameterError

if TYPE_CHECKING:
    from raysynth.attacks.results import AttackResults
    from raysynth.methods.base import Synthesizer

CAMPAIGN_KEYS = (
    *("data", "storage_path", "methods", "attacks", "epsilons", "n_models", "n_targets", "targets", "n_training"),
    *("n_synthetic", "game", "delta", "seed", "num_cpus", "num_gpus", "max_in_flight", "max_retries"),
    *("confidence_target", "where", "odometer"),
)
_NEEDED = ("data", "storage_path", "methods")


@command(
    kept=lambda campaign, **_: (
        "Finished trials are kept; the same command goes on." if campaign else "No report was written."
    ),
    epilog="""
[bold]Examples[/bold]

raysynth attack train.csv synthetic.csv --holdout holdout.csv --out attacks.html

[dim]# more kinds of attack, and with the model in hand[/dim]

raysynth attack train.csv synthetic.csv --model model.raysynth --attack linkability --attack model_inversion

[dim]# many models of several methods, over Ray; started again it goes on where it stopped[/dim]

raysynth attack --campaign campaign.yaml --out campaign.html
""",
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
    entity: Entity = None,
    odometer: OdometerFolder = None,
    seed: Seed = None,
) -> Outcome:
    """Attack a synthetic table, or many models of a method, and measure what the attacks learn.

    Each attack stands beside its baseline: what it gets on rows that the model never saw.
    """
    from raysynth.attacks.run import DEFAULT_TYPES, run_privacy_attacks
    from raysynth.dp.accounting.odometer import record_use
    from raysynth.methods.registry import load_synthetic_model

    if out is not None:
        check_output(out, real, synthetic, holdout, model, campaign)
    if campaign is not None:
        if real is not None:
            raise ParameterError("give either REAL and SYNTHETIC, or --campaign")
        return attack_campaign(campaign, out=out, seed=seed, odometer=odometer)
    if real is None or synthetic is None:
        raise ParameterError("say which tables: raysynth attack REAL SYNTHETIC, or raysynth attack --campaign FILE")
    record_use(odometer, "attacks on exact rows")
    attacker = None if model is None else load_synthetic_model(model)
    results = run_privacy_attacks(
        real,
        synthetic,
        list(attacks) if attacks else DEFAULT_TYPES,
        experiments,
        holdout,
        attacker,
        n_targets=targets,
        entity=entity,
        seed=seed,
    )
    more = [("Synthetic table", synthetic), ("Holdout rows", holdout or "none")]
    return attacked(results, real, more, attacker, out)


def attacked(
    results: AttackResults, real: str, more: list[tuple[str, str]], model: Synthesizer | None, out: Path | None
) -> Outcome:
    """What attacks on a synthetic table found; the report, which names tables and model, where `out` says so."""
    outcome = Outcome({"command": "attack", **results.to_dict()}, results.summary())
    if out is None:
        return outcome
    from raysynth.evaluation.attacks import attack_purpose, attack_section
    from raysynth.evaluation.decision import spent_words
    from raysynth.evaluation.page import page_heading, table_name, write_page

    spent = None if model is None else model.privacy_spent_
    head = page_heading(
        "Privacy attacks",
        table=table_name(real),
        method="" if model is None else model.method,
        guarantee="not known: no model was given" if model is None else spent_words(spent),
        rows=f"{max((r.n_trials for r in results.details.values()), default=0):,} attacked",
        more=more,
    )
    write_page(out, head, [attack_section(results)], [attack_purpose(results, spent)])
    return outcome.with_file(out)


def attack_campaign(file: Path, *, out: Path | None, seed: int | None, odometer: Path | None = None) -> Outcome:
    """Run the campaign that a YAML file describes, or go on with it."""
    from raysynth.campaigns import AttackCampaign

    settings = read_campaign(file)
    if seed is not None:
        settings["seed"] = seed
    if odometer is not None:
        settings["odometer"] = odometer
    data, methods, path = (settings.pop(key) for key in ("data", "methods", "storage_path"))
    results = AttackCampaign(data, methods, path, **settings).run()
    record = {"command": "attack", "campaign": str(file), "storage_path": path, **results.to_dict()}
    outcome = Outcome(record, f"{results.summary()}\nTrials: {path}")
    if out is None:
        return outcome
    results.write_report(out)
    return outcome.with_file(out)


def read_campaign(file: Path) -> dict[str, Any]:
    """The settings in a campaign's YAML file; raises `ParameterError` that names file, key and cure."""
    import yaml

    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ParameterError(f"--campaign {file}: cannot read the file: {error.strerror}") from error
    except yaml.YAMLError as error:
        raise ParameterError(f"{file} is not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict):
        raise ParameterError(f"{file} must hold keys and values: {', '.join(CAMPAIGN_KEYS)}")
    if unknown := [str(k) for k in content if k not in CAMPAIGN_KEYS]:
        raise ParameterError(f"{file}: unknown key '{unknown[0]}'; valid: {', '.join(CAMPAIGN_KEYS)}")
    if missing := [k for k in _NEEDED if k not in content]:
        raise ParameterError(f"{file}: lacks '{missing[0]}'; a campaign needs {', '.join(_NEEDED)}")
    content["methods"] = _methods(file, content["methods"])
    for key in ("attacks", "epsilons"):
        if key in content and not isinstance(content[key], list):
            raise ParameterError(f"{file}: '{key}' must be a list, for example [{content[key]}]")
    if "epsilons" in content:
        content["epsilons"] = [None if e in (math.inf, "inf", "none") else e for e in content["epsilons"]]
    for key in ("data", "storage_path"):
        if not isinstance(content[key], str):
            raise ParameterError(f"{file}: '{key}' must be a path or URI; found {content[key]!r}")
    return content


def _methods(file: Path, methods: Any) -> dict[str, Any]:
    """Methods as name -> {'method': ..., hyper-parameters}, checked before any work."""
    from raysynth.api import new_synthesizer

    if isinstance(methods, list):
        methods = {str(name): None for name in methods}
    if not isinstance(methods, dict) or not methods:
        raise ParameterError(f"{file}: 'methods' must be a list of methods, or name: {{method: ..., parameters}}")
    named: dict[str, Any] = {}
    for name, settings in methods.items():
        if settings is not None and not isinstance(settings, dict):
            raise ParameterError(f"{file}: method '{name}' must hold keys and values; found {settings!r}")
        named[str(name)] = {"method": str(name), **(settings or {})}
        new_synthesizer(**named[str(name)])
    return named
