"""Files that a driver hands to workers on any node: through Ray's object store, laid on each node's own scratch disk.

No disk is shared and nothing lies in a bucket: the files of encoded rows are objects that the driver owns (`ray.put`;
Ray spills them where they are too many), so the loss of another node takes none of them, and no task has to run for
them while the workers hold all processors. A worker asks the keeper of its node for the folder, and writes there the
files of its share that are missing (`files/private_folder.py`: the user's alone, 0700 and 0600, gone with the keeper).

The keepers are actors that need no processor and outlive the workers: a worker that starts again, at another rank or
among more or fewer workers, finds what lies there already. They end with the fit, or with its driver.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from raysynth.errors import ClusterError
from raysynth.files.private_folder import private_folder
from raysynth.files.storage import atomic_path

_RESTARTS = 3  # of the first keeper, and of one on another node
_END_SECONDS = 30.0  # given to the keepers to delete their folders

_logger = logging.getLogger("raysynth")


@dataclass(frozen=True)
class HandedFiles:
    """Files by name, wherever a worker is; it pickles for the workers (`shards.Laying`).

    Args:
        contents: name, which may be of a file in a subfolder -> a reference to its bytes.
        keeper: the first one.
    """

    contents: Mapping[str, Any]
    keeper: Any

    def laid(self, names: Sequence[str] = (), *, anew: bool = False) -> Path:
        """The folder of this node, with some of the files (all where left out); only those that are missing are
        fetched, or all of them `anew`."""
        import ray

        folder = Path(ray.get(self.keeper.folder_on.remote(ray.get_runtime_context().get_node_id())))
        for name in names or self.contents:
            if anew or not (folder / name).exists():
                with atomic_path(folder / name, private=True, lasting=False) as temporary:
                    temporary.write_bytes(memoryview(ray.get(self.contents[name])))
        return folder


@dataclass
class Handing:
    """What a driver hands over, file by file.

    Args:
        keeper: the first one.
        contents: references by name, so far.
        n_bytes: of them.
    """

    keeper: Any
    contents: dict[str, Any] = field(default_factory=dict)
    n_bytes: int = 0

    def put(self, name: str, content: np.ndarray) -> None:
        """One file's bytes (uint8); raises `ClusterError` where Ray has no room for them."""
        import ray

        self.n_bytes += len(content)
        try:
            self.contents[name] = ray.put(content)
        except (ray.exceptions.OutOfDiskError, ray.exceptions.ObjectStoreFullError) as error:
            raise ClusterError(
                "Ray has no room for the encoded rows, in its object store and on its disks; start Ray with more "
                "(object_store_memory, or a larger disk below its spilling folder)"
            ) from error

    def put_folder(self, folder: Path) -> None:
        """All files of a folder and of those in it."""
        for path in sorted(p for p in folder.rglob("*") if p.is_file()):
            self.put(str(path.relative_to(folder)), np.fromfile(path, np.uint8))

    @property
    def files(self) -> HandedFiles:
        """Names and references of the files, for workers to fetch."""
        return HandedFiles(dict(self.contents), self.keeper)


@contextmanager
def handing() -> Iterator[Handing]:
    """Hands files to the workers of one fit; at the end, well or not, they are deleted on every node."""
    from raysynth.running.ray_session import start_ray

    ray = start_ray()
    here = ray.get_runtime_context().get_node_id()
    keeper = _on_node(here, max_restarts=_RESTARTS, max_task_retries=_RESTARTS).remote()
    try:
        yield Handing(keeper)
    finally:
        try:
            ray.get(keeper.close.remote(), timeout=_END_SECONDS)
        except (ray.exceptions.RayError, TimeoutError) as error:
            _logger.warning("the encoded rows on the workers' scratch disks could not be deleted yet: %s", error)
        ray.kill(keeper)


class ScratchKeeper:
    """The folder of one node; the first keeper also makes those of the other nodes, which end with it."""

    def __init__(self) -> None:
        self._open = ExitStack()
        self._folder = self._open.enter_context(private_folder())
        self._others: dict[str, Any] = {}

    def folder(self) -> str:
        """That of this node."""
        return str(self._folder)

    def folder_on(self, node: str) -> str:
        """That of a node, where a worker asks for it: nodes come and go.

        Raises:
            ClusterError: no keeper could be started there.
        """
        import ray

        if node == ray.get_runtime_context().get_node_id():
            return self.folder()
        for _ in range(_RESTARTS):
            keeper = self._others.setdefault(node, None) or _on_node(node).remote()
            self._others[node] = keeper
            try:
                return str(ray.get(keeper.folder.remote()))
            except ray.exceptions.RayActorError:  # ended by the node's lack of memory, for example
                del self._others[node]
        raise ClusterError(f"no folder for encoded rows could be made on the node {node}; see the logs of Ray there")

    def close(self) -> None:
        """Delete all folders; one on a node that is lost went with it."""
        import ray

        for closing in [keeper.close.remote() for keeper in self._others.values()]:
            try:
                ray.get(closing, timeout=_END_SECONDS / 2)
            except (ray.exceptions.RayActorError, TimeoutError):
                continue
        self._open.close()


def _on_node(node: str, **options: int) -> Any:
    """A keeper on one node and no other, outside of the caller's placement group."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    there = NodeAffinitySchedulingStrategy(node_id=node, soft=False)
    return ray.remote(ScratchKeeper).options(num_cpus=0, scheduling_strategy=there, **options)
