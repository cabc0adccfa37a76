"""What `raysynth attack` does: attacks on one table, or a campaign described by a YAML file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from raysynth.cli_steps import Outcome
from raysynth.errors import ParameterError

CAMPAIGN_KEYS = (
    *("data", "storage_path", "methods", "attacks", "epsilons", "n_models", "n_targets", "targets", "n_training"),
    *("n_synthetic", "game", "delta", "seed", "num_cpus", "num_gpus", "max_in_flight", "max_retries"),
    *("confidence_target", "where"),
)
_NEEDED = ("data", "storage_path", "methods")


def attack_tables(
    real: str,
    synthetic: str,
    *,
    holdout: str | None,
    attacks: Sequence[str] | None,
    model: Path | None,
    n_experiments: int,
    n_targets: int,
    out: Path | None,
    seed: int | None,
) -> Outcome:
    """Attack a synthetic table, and give the figures; the report where `out` says so."""
    from raysynth.privacy import run_privacy_attacks
    from raysynth.privacy.run import DEFAULT_TYPES
    from raysynth.synthesizers.loading import load_synthetic_model

    results = run_privacy_attacks(
        real,
        synthetic,
        list(attacks) if attacks else DEFAULT_TYPES,
        n_experiments,
        holdout,
        None if model is None else load_synthetic_model(model),
        n_targets=n_targets,
        seed=seed,
    )
    record: dict[str, Any] = {"command": "attack", **results.to_dict()}
    text = results.summary()
    if out is not None:
        from raysynth.evaluation.attacks import attack_section
        from raysynth.evaluation.page import write_page

        write_page(out, "Privacy attacks", [attack_section(results)])
        record["report"] = str(out)
        text += f"\nReport: {out}"
    return Outcome(record, text)


def attack_campaign(file: Path, *, out: Path | None, seed: int | None) -> Outcome:
    """Run the campaign that a YAML file describes, or go on with it."""
    from raysynth.campaigns import AttackCampaign

    settings = read_campaign(file)
    if seed is not None:
        settings["seed"] = seed
    data, methods, path = (settings.pop(key) for key in ("data", "methods", "storage_path"))
    results = AttackCampaign(data, methods, path, **settings).run()
    record: dict[str, Any] = {"command": "attack", "campaign": str(file), "storage_path": path, **results.to_dict()}
    text = f"{results.summary()}\nTrials: {path}"
    if out is not None:
        results.write_report(out)
        record["report"] = str(out)
        text += f"\nReport: {out}"
    return Outcome(record, text)


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
