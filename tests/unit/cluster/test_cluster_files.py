"""The files of `cluster/`: launcher YAML by Ray's schema, manifests by KubeRay's CRDs, the image by its own script."""

from __future__ import annotations

import copy
import fnmatch
import json
import os
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import ray
import typer.main
import yaml

from raysynth import __version__, cli
from raysynth.cli.submit import work_of

ROOT = Path(__file__).parents[3]
CLUSTER = ROOT / "cluster"
LAUNCHERS = ("aws", "gcp")
MANIFESTS = ("raycluster", "rayjob")
CRDS = json.loads((ROOT / "tests" / "data" / "kuberay" / "crds.json").read_text(encoding="utf-8"))


def read(name: str) -> dict[str, Any]:
    return yaml.safe_load((CLUSTER / f"{name}.yaml").read_text(encoding="utf-8"))


def pinned(package: str) -> str:
    found = re.findall(rf"^{package}==(\S+)$", (ROOT / "constraints.txt").read_text(encoding="utf-8"), re.MULTILINE)
    assert len(found) == 1
    return found[0]


# ---- Ray's cluster launcher ------------------------------------------------------------------------------------------


def launcher_schema() -> dict[str, Any]:
    path = Path(ray.__file__).parent / "autoscaler" / "ray-schema.json"
    return json.loads(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", LAUNCHERS)
def test_launcher_yaml_is_what_rays_schema_asks_for(name: str) -> None:
    jsonschema.validate(read(name), launcher_schema())


def test_rays_schema_refuses_a_misspelt_launcher_yaml() -> None:
    wrong = {**read("aws"), "idle_timeout": 5}
    with pytest.raises(jsonschema.ValidationError, match="idle_timeout"):
        jsonschema.validate(wrong, launcher_schema())


@pytest.mark.parametrize("name", LAUNCHERS)
def test_launched_cluster_scales_and_is_closed(name: str) -> None:
    config = read(name)
    types = config["available_node_types"]
    assert types[config["head_node_type"]]["resources"] == {"CPU": 0}, "no task runs beside the cluster's state"
    workers = {k: t for k, t in types.items() if k != config["head_node_type"]}
    assert sum(t["max_workers"] for t in workers.values()) <= config["max_workers"]
    assert [k for k, t in workers.items() if t["resources"].get("GPU")] == ["gpu"]
    assert types["gpu"]["docker"]["worker_image"].endswith("-cuda")
    options = config["docker"]["run_options"]
    assert "--env RAY_AUTH_MODE=token" in options
    mounted = next(o.rpartition("=")[2] for o in options if "RAY_AUTH_TOKEN_PATH" in o)
    assert config["file_mounts"] == {mounted: "./cluster/ray-token"}
    (head,) = [c for c in config["head_start_ray_commands"] if "ray start" in c]
    assert "--dashboard-host=127.0.0.1" in head and "--autoscaling-config=~/ray_bootstrap_config.yaml" in head
    assert any("/shared" in c and "mount" in c for c in config["initialization_commands"])


# ---- KubeRay ---------------------------------------------------------------------------------------------------------


def strict(schema: Any) -> Any:
    """The schema with unknown fields refused, as the API server does under `kubectl apply --validate=strict`."""
    if isinstance(schema, list):
        return [strict(s) for s in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {k: strict(v) for k, v in schema.items()}
    if isinstance(schema.get("properties"), dict) and "type" in schema and "additionalProperties" not in schema:
        closed["additionalProperties"] = False
    return closed


def validate(manifest: dict[str, Any]) -> None:
    definitions = strict(CRDS["$defs"])
    definitions[manifest["kind"]]["properties"]["metadata"] = {"type": "object"}
    jsonschema.validate(manifest, {"$defs": definitions, **definitions[manifest["kind"]]})


def cluster_spec(manifest: dict[str, Any]) -> dict[str, Any]:
    return manifest["spec"]["rayClusterSpec"] if manifest["kind"] == "RayJob" else manifest["spec"]


def groups(manifest: dict[str, Any]) -> list[dict[str, Any]]:
    return [cluster_spec(manifest)["headGroupSpec"], *cluster_spec(manifest)["workerGroupSpecs"]]


@pytest.mark.parametrize("name", MANIFESTS)
def test_manifest_is_what_kuberays_crd_asks_for(name: str) -> None:
    validate(read(name))


@pytest.mark.parametrize("name", MANIFESTS)
@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("headGroupSpec", "template", "spec", "containers", 0, "imagePolicy"), "Always"),
        (("workerGroupSpecs", 0, "maxReplicas"), "16"),
        (("workerGroupSpecs", 0, "template", "spec", "containers"), None),
        (("authOptions", "secret"), "raysynth-token"),
    ],
    ids=["unknown field", "text for a number", "no containers", "unknown option"],
)
def test_the_crd_refuses_what_kubernetes_would(name: str, path: tuple[Any, ...], value: Any) -> None:
    wrong = copy.deepcopy(read(name))
    place: Any = cluster_spec(wrong)
    for key in path[:-1]:
        place = place[key]
    if value is None:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    with pytest.raises(jsonschema.ValidationError):
        validate(wrong)


@pytest.mark.parametrize("name", MANIFESTS)
def test_cluster_on_kubernetes_scales_is_closed_and_shares_a_volume(name: str) -> None:
    manifest = read(name)
    spec = cluster_spec(manifest)
    assert spec["enableInTreeAutoscaling"] is True
    assert spec["authOptions"] == {"mode": "token", "secretName": "raysynth-token"}
    assert spec["rayVersion"] == pinned("ray")
    assert spec["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    assert spec["headGroupSpec"].get("serviceType", "ClusterIP") == "ClusterIP"
    (claim,) = {
        v["persistentVolumeClaim"]["claimName"]
        for g in groups(manifest)
        for v in g["template"]["spec"]["volumes"]
        if "persistentVolumeClaim" in v
    }
    assert claim == read("storage")["metadata"]["name"]
    assert read("storage")["spec"]["accessModes"] == ["ReadWriteMany"]
    for group in groups(manifest):
        pod = group["template"]["spec"]
        (container,) = pod["containers"]
        assert pod["securityContext"]["runAsNonRoot"] and pod["securityContext"]["runAsUser"] == 1000
        assert container["securityContext"]["allowPrivilegeEscalation"] is False
        assert {"name": "shared", "mountPath": "/shared"} in container["volumeMounts"]
        assert container["resources"]["requests"] == container["resources"]["limits"]
    for worker in spec["workerGroupSpecs"]:
        assert worker["minReplicas"] <= worker["replicas"] <= worker["maxReplicas"]


def test_gpu_workers_get_the_image_and_the_limit_of_a_gpu() -> None:
    gpu = next(g for g in read("raycluster")["spec"]["workerGroupSpecs"] if g["groupName"] == "gpu")
    (container,) = gpu["template"]["spec"]["containers"]
    assert container["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert container["image"].endswith("-cuda")


def test_the_job_runs_a_command_that_exists() -> None:
    job = read("rayjob")["spec"]
    words = shlex.split(job["entrypoint"])
    assert words[:3] == ["python", "-m", "raysynth"]
    commands = typer.main.get_command(cli.app).commands  # type: ignore[attr-defined]
    work = work_of(words[3:], commands)  # parses all options; refuses a result that is not on absolute storage
    assert work.result is not None and work.result.startswith("/shared/")
    assert yaml.safe_load(job["runtimeEnvYAML"])["env_vars"]["RAYSYNTH_LOG"] == "json"


# ---- the image -------------------------------------------------------------------------------------------------------


def images() -> set[str]:
    text = "".join((CLUSTER / f"{n}.yaml").read_text(encoding="utf-8") for n in (*LAUNCHERS, *MANIFESTS))
    return set(re.findall(r"REGISTRY/\S+", text))


def test_all_files_name_the_images_of_this_version() -> None:
    assert images() == {f"REGISTRY/raysynth:{__version__}-{variant}" for variant in ("cpu", "cuda")}


def docker_steps() -> list[list[str]]:
    text = re.sub(r"\\\n\s*", " ", (CLUSTER / "Dockerfile").read_text(encoding="utf-8"))
    return [line.split(maxsplit=1) for line in text.splitlines() if line.strip() and not line.startswith("#")]


def test_the_image_is_pinned_not_root_and_built_by_the_install_script() -> None:
    steps = docker_steps()
    (base,) = [v for k, v in steps if k == "FROM"]
    assert re.fullmatch(r"python:3\.11\.\d+-slim-\w+", base)
    commands = [v for k, v in steps if k == "RUN"]
    assert [c for c in commands if "pip" in c] == [], "only install.sh installs Python packages"
    assert 'cluster/install.sh "$VARIANT"' in commands[-1]
    kinds = [k for k, _ in steps]
    assert dict(steps)["USER"] == "ray" and kinds.index("USER") > len(kinds) - 1 - kinds[::-1].index("RUN")
    assert "RAY_AUTH_MODE=token" in " ".join(v for k, v in steps if k == "ENV")


def test_what_the_image_copies_exists_and_is_not_ignored() -> None:
    allowed = [
        line[1:] for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").split() if line.startswith("!")
    ]
    for _, arguments in [s for s in docker_steps() if s[0] == "COPY"]:
        for source in arguments.split()[:-1]:
            assert (ROOT / source).exists(), source
            assert any(fnmatch.fnmatch(source, pattern) for pattern in allowed), f"{source} is left out of the build"


def install(tmp_path: Path, *arguments: str, **environment: str) -> tuple[subprocess.CompletedProcess[str], list[str]]:
    """Run the install script with a python that only notes how it was called."""
    noted = tmp_path / "calls"
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\necho "$*" >> {noted}\n')
    python.chmod(0o755)
    env = {k: v for k, v in os.environ.items() if k != "TORCH_CPU_INDEX"} | environment
    result = subprocess.run(
        [str(CLUSTER / "install.sh"), *arguments, str(python)], env=env, capture_output=True, text=True
    )
    return result, noted.read_text().splitlines() if noted.exists() else []


def test_the_install_script_takes_the_pinned_versions(tmp_path: Path) -> None:
    result, calls = install(tmp_path, "cpu", TORCH_CPU_INDEX="https://index.example/cpu")
    assert result.returncode == 0, result.stderr
    assert calls[0] == f"-m pip install --no-deps --index-url https://index.example/cpu torch=={pinned('torch')}"
    assert calls[1:] == ["-m pip install -c constraints.txt .", "-m raysynth --version"]
    (tmp_path / "cuda").mkdir()
    assert install(tmp_path / "cuda", "cuda")[1] == calls[1:]


@pytest.mark.parametrize(("variant", "message"), [("tpu", "cpu or cuda; found 'tpu'"), ("cpu", "name the index")])
def test_the_install_script_refuses_what_it_cannot_do(tmp_path: Path, variant: str, message: str) -> None:
    result, calls = install(tmp_path, variant)
    assert result.returncode != 0 and message in result.stderr and calls == []


def test_ci_runs_the_install_script() -> None:
    assert re.search(r"^ *cluster/install\.sh ", (ROOT / ".ci" / "run").read_text(encoding="utf-8"), re.MULTILINE)
