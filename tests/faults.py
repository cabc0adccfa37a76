"""Faults that tests and `benchmarks/bench_faults.py` plan: a node, a driver or a read is lost in the middle of work.

A cluster's nodes stand on one machine, so each has a scratch folder of its own (TMPDIR, spilled objects), which is
deleted when the node is killed: what others need must not have lain there.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import pyarrow as pa
import pyarrow.fs as pafs
import pytest
import torch

from raysynth.methods.vae.recipe import TrainableVae, VaeJob
from raysynth.running import ray as ray_execution
from raysynth.training.batches import Batch
from raysynth.training.learner import At, Update

STAGE_SECONDS = 180.0  # in which a stage must have come to where it is to be disturbed
QUICK_TRAIN = {  # environment of Ray Train: what a report, and the workers that a lost one leaves behind, wait for
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.1",  # the next look at the workers
    "TORCH_PROCESS_GROUP_SHUTDOWN_TIMEOUT_S": "1",  # the end of a reduction that will not come; 30 s otherwise
}


def wait_for(condition: Callable[[], bool], seconds: float = STAGE_SECONDS) -> None:
    """Until it holds; an `AssertionError` after so long."""
    end, pause = time.monotonic() + seconds, threading.Event()
    while not condition():
        assert time.monotonic() < end, "what should have happened did not"
        pause.wait(0.02)


# ---- a lost node -----------------------------------------------------------------------------------------------------


@dataclass
class Nodes:
    """A cluster of nodes of one CPU each.

    Args:
        cluster: of `ray.cluster_utils`.
        folder: for the nodes' scratch folders.
        store_bytes: of each node's object store.
        scratch: of each node but the head.
    """

    cluster: Any
    folder: Path
    store_bytes: int
    scratch: dict[str, Path] = field(default_factory=dict)

    def add(self) -> Any:
        """One more node."""
        own = self.folder / f"node-{len(self.scratch)}"
        own.mkdir(parents=True)
        node = self.cluster.add_node(
            num_cpus=1,
            env_vars={"TMPDIR": str(own)},
            object_store_memory=self.store_bytes,
            object_spilling_directory=str(own / "spilled"),
        )
        self.scratch[node.node_id] = own
        return node

    def kill(self, node_id: str) -> None:
        """Kill a node, and delete what it had on its disk."""
        (node,) = (n for n in self.cluster.list_all_nodes() if n.node_id == node_id)
        self.cluster.remove_node(node, allow_graceful=False)
        shutil.rmtree(self.scratch[node_id], ignore_errors=True)

    def rows(self) -> list[Path]:
        """Files of rows that lie on the nodes' own disks."""
        endings = (".parquet", ".npy", ".arrow", ".bin", ".safetensors")
        return [p for folder in self.scratch.values() for p in folder.rglob("*") if p.suffix in endings]


@contextmanager
def nodes(n: int, folder: Path, *, store_bytes: int = 150 << 20) -> Iterator[Nodes]:
    """So many nodes, the head among them, and Ray connected to them; stopped at the end."""
    import ray
    from ray.cluster_utils import Cluster

    if ray.is_initialized():
        ray.shutdown()
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("RAY_ADDRESS", raising=False)
        head = {"num_cpus": 1, "include_dashboard": False, "object_store_memory": store_bytes}
        head["object_spilling_directory"] = str(folder / "head" / "spilled")
        made = Nodes(Cluster(initialize_head=True, head_node_args=head), folder, store_bytes)
        try:
            for _ in range(n - 1):
                made.add()
            ray.init(
                address=made.cluster.address,
                log_to_driver=False,
                logging_level="ERROR",
                runtime_env={"env_vars": _environment()},
            )
            yield made
        finally:
            ray.shutdown()
            made.cluster.shutdown()


def _environment() -> dict[str, str]:
    """Of workers: they find this module, and a report waits for a short time only for Ray's next look at them."""
    paths = [str(Path(__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {"PYTHONPATH": os.pathsep.join(paths), **QUICK_TRAIN}


@contextmanager
def a_node_is_lost(made: Nodes, task: str, mark: Path, module: ModuleType = ray_execution) -> Iterator[None]:
    """One more node, which is killed as soon as a task of the stage is running on it; the task waits for that.

    Args:
        made: the other nodes.
        task: name of the function in the module that runs as a task, or as a trial.
        mark: a file that is made when the task has begun.
        module: where the driver finds that function.

    Raises:
        AssertionError: no task of the stage was running on the node.
    """
    node_id = made.add().node_id
    with pytest.MonkeyPatch.context() as patch, killing(made, mark, lambda: node_id):
        patch.setattr(module, task, held_on(node_id, mark, getattr(module, task)))
        yield


@contextmanager
def killing(made: Nodes, mark: Path, node_id: Callable[[], str]) -> Iterator[None]:
    """Kills a node once the mark is there; an `AssertionError` where it never is."""

    def kill() -> None:
        killed = False
        try:
            with contextlib.suppress(AssertionError):
                wait_for(mark.exists)
                made.kill(node_id())
                killed = True
        finally:
            if not killed:  # whoever waits to be killed waits no longer; a process that is being killed must not see it
                mark.with_suffix(".over").touch()

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        yield
    finally:
        killer.join()
    assert mark.exists(), "nothing of the stage was running on the node"


def held_on(node_id: str, mark: Path, run: Callable[..., Any]) -> Callable[..., Any]:
    """The same task, but on one node it says that it has begun and never ends; a closure, so that it travels whole."""

    def task(*args: Any, **kwargs: Any) -> Any:
        import time

        import ray

        if ray.get_runtime_context().get_node_id() == node_id:
            mark.touch()
            while not mark.with_suffix(".over").exists():  # until the node is killed
                time.sleep(0.02)
            raise AssertionError("the node was to be killed, and was not")
        while not (mark.exists() or mark.with_suffix(".over").exists()):  # the stage must not be over before that
            time.sleep(0.02)
        return run(*args, **kwargs)

    return functools.update_wrapper(task, run, assigned=(), updated=())  # Tune looks at the arguments


# ---- a lost worker of a training -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class HeldJob(VaeJob):
    """An autoencoder, one of whose workers, not on the head, says in a step where it runs and goes no further, once.

    Args:
        mark: file with the id of its node.
        head: id of the head's node.
        held_at: the step, counted from 0.
    """

    mark: Path | None = field(default=None, repr=False)
    head: str = ""
    held_at: int = 0

    def trainable(self, device: torch.device) -> TrainableVae:
        import ray

        made = super().trainable(device)
        node = ray.get_runtime_context().get_node_id() if ray.is_initialized() else self.head
        inner, mark = made.updates, None if node == self.head else self.mark

        def updates(batch: Batch, at: At, rng: torch.Generator) -> Iterator[Update]:
            if mark is not None and at.step == self.held_at and not mark.exists():
                whole = mark.with_suffix(f".{os.getpid()}")
                whole.write_text(node)
                whole.rename(mark)
                wait_for(mark.with_suffix(".over").exists, 2 * STAGE_SECONDS)  # until the node is killed
                raise AssertionError("the node was to be killed, and was not")
            return inner(batch, at, rng)

        made.updates = updates
        return made


@contextmanager
def a_worker_is_lost(made: Nodes, mark: Path) -> Iterator[None]:
    """The node that a `HeldJob` names in its mark is killed."""
    with killing(made, mark, mark.read_text):
        yield


# ---- a lost driver ---------------------------------------------------------------------------------------------------

# a training under Ray Train whose epochs wait for Ray's looks at its workers, so that it can be caught in the middle
FIT_ON_RAY = """
import os, sys
import numpy as np, pandas as pd, ray
from ray.train import RunConfig, ScalingConfig
from raysynth import TabularVAE
storage, epochs, *runs = sys.argv[1:]  # of each run its name, and the file for its model
env = {"RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.3", "TMPDIR": storage + "-scratch"}  # where workers lay rows
os.makedirs(env["TMPDIR"], exist_ok=True)
ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR",
         object_store_memory=2 * 10**8, runtime_env={"env_vars": env})
rng = np.random.default_rng(0)
x = rng.normal(size=4000)
rows = pd.DataFrame({"x": x, "y": x + rng.normal(size=4000), "c": rng.choice(list("abc"), 4000)})
for name, model in zip(runs[::2], runs[1::2]):
    TabularVAE(
        latent_dim=4, encoder_layers=(16,), decoder_layers=(16,), prior_components=4, epochs=int(epochs),
        batch_size=200, seed=0, verbose=False, checkpoint_every=1, scaling_config=ScalingConfig(num_workers=1),
        run_config=RunConfig(name=name, storage_path=storage),
    ).fit(rows).save(model)
"""


def stopped_driver(command: list[str], reached: Callable[[], bool], number: signal.Signals = signal.SIGKILL) -> int:
    """Runs a driver until it has come so far, and stops it by a signal; gives its exit status.

    Raises:
        AssertionError: it ended before.
    """
    process = subprocess.Popen(command, start_new_session=True)
    try:
        wait_for(lambda: process.poll() is not None or reached(), 120.0)
        assert process.poll() is None, "the driver ended before it could be stopped"
        process.send_signal(number)
        return process.wait(60.0)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # what a killed driver leaves behind
        process.wait()


def fit_on_ray(storage: Path, epochs: int, **models: Path) -> list[str]:
    """The command of fits over Ray, one after the other: names of runs, and files for their models.

    The scratch disk of its workers is the folder STORAGE-scratch.
    """
    runs = [word for name, model in models.items() for word in (name, str(model))]
    return [sys.executable, "-c", FIT_ON_RAY, str(storage), str(epochs), *runs]


def checkpoints(run: Path) -> list[Any]:
    """Those that a run under Ray Train has finished."""
    return sorted(run.glob("checkpoint_*/checkpoint.pt"))


# ---- a read that fails -----------------------------------------------------------------------------------------------


class FailingReads(pafs.FileSystemHandler):
    """Local files, about a third of whose reads fail once with an input/output error, in whichever process.

    Args:
        marks: folder where failures are noted.
    """

    def __init__(self, marks: str) -> None:
        self.marks, self.local = marks, pafs.LocalFileSystem()

    def open_input_file(self, path: str) -> pa.NativeFile:
        return pa.PythonFile(_FailingFile(path, self.marks), mode="r")

    def __reduce__(self) -> Any:
        return FailingReads, (self.marks,)

    def get_type_name(self) -> str:
        return "failing"

    def get_file_info(self, paths: list[str]) -> Any:
        return self.local.get_file_info(paths)

    def _not_needed(self, *_: Any, **__: Any) -> Any:
        raise NotImplementedError

    get_file_info_selector = create_dir = delete_dir = delete_dir_contents = delete_root_dir_contents = _not_needed
    delete_file = move = copy_file = open_input_stream = open_output_stream = open_append_stream = _not_needed

    def normalize_path(self, path: str) -> str:
        return path


class _FailingFile:
    """A file whose reads at some places fail the first time."""

    def __init__(self, path: str, marks: str) -> None:
        self.file, self.path, self.marks = open(path, "rb"), path, marks  # noqa: SIM115

    def read(self, n: int = -1) -> bytes:
        place = zlib.crc32(f"{self.path} {self.file.tell()}".encode())
        if place % 3 == 0:
            with contextlib.suppress(FileExistsError):
                os.close(os.open(os.path.join(self.marks, str(place)), os.O_CREAT | os.O_EXCL))
                raise OSError(errno.EIO, os.strerror(errno.EIO))
        return self.file.read(n)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.file, name)
