"""The arithmetic of a step through `torch.compile`, always with a way back to the plain one.

A step's function is closed: tensors in, losses and gradients out, nothing left behind that a later call needs. Random
numbers are drawn outside with the learner's generator and come in as arguments, so a seed gives the same model, and a
captured CUDA graph, which repeats its launches to the letter, never repeats a noise. So any call can be done again
plainly, and is: where there is no compiler, an operation is not supported, a graph cannot be captured, or the first
results differ from the plain ones, training goes on without, and a warning says why.

Averages over workers, clipping of the mean gradient, optimisers and moving averages stay outside. Under a privacy
budget nothing is compiled: norms by example come from records of the layers' calls (`dp/gradients/release.py`), and a
compiled function makes none.
"""

from __future__ import annotations

import threading
import types
import warnings
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from raysynth.training.averaging import copy_all

BACKEND = "inductor"
CLOSE = 0.05  # of a tensor's length: sums in another order, of TF32's ten digits on a GPU, turn slopes near the kink
FAINT = 1e-4  # of the length of all results together: a difference that no step notices


class StepFunction(Protocol):
    """A closed function of a step."""

    def __call__(self, *args: Tensor | None) -> tuple[Tensor | None, ...]:
        """Results without a history."""
        ...


def compiled(
    fn: Callable[..., tuple[Tensor, ...]],
    device: torch.device,
    *,
    wanted: bool,
    name: str,
    parameters: Sequence[Tensor] = (),
    changed: Sequence[Tensor] = (),
) -> StepFunction:
    """A closed function for a step, compiled if that is wanted.

    Args:
        fn: of tensors (or None); reads nothing that changes from step to step but tensors in place.
        device: of the tensors.
        wanted: without it, the function itself.
        name: of the function, for the warning.
        parameters: by which the first result of `fn` is differentiated; the others are given back, and after them a
            gradient for each parameter, None where it has no part. None given: nothing is differentiated.
        changed: buffers that `fn` changes.

    Returns:
        A function with the results of `fn`, or with losses and gradients. On a GPU, in the main thread, as CUDA graphs.
    """
    plain = _closed(fn, parameters)
    if not wanted:
        return plain
    return _Compiled(plain, lambda: _closed(_compile(fn, device), parameters), device, name=name, changed=changed)


def add_gradients(parameters: Sequence[Tensor], gradients: Sequence[Tensor | None]) -> None:
    """Add gradients to the `.grad` of parameters, as a backward pass does; None has no part in it."""
    for parameter, gradient in zip(parameters, gradients, strict=True):
        if gradient is not None:
            parameter.grad = gradient if parameter.grad is None else parameter.grad + gradient


class _Compiled:
    """Runs the compiled function where it can, the plain one elsewhere; the first calls run both and compare."""

    def __init__(
        self,
        plain: StepFunction,
        build: Callable[[], StepFunction],
        device: torch.device,
        *,
        name: str,
        changed: Sequence[Tensor],
    ) -> None:
        self.plain, self.name, self.changed = plain, name, list(changed)
        self._build = build
        self._fast: StepFunction | None = None
        self._as_graph = _as_graph(device)
        self._trials = 3 if self._as_graph else 1  # a CUDA graph is warmed up, then recorded, then replayed
        self._form: list[Any] | None = None
        self.failed = False

    def __call__(self, *args: Tensor | None) -> tuple[Tensor | None, ...]:
        """Compiled for arguments of the first call's shapes; batches of another size are few, and go plainly."""
        form = [None if a is None else (a.shape, a.dtype) for a in args]
        self._form = self._form or form
        if self.failed or form != self._form:
            return self.plain(*args)
        if self._trials:
            return self._tried(args)
        try:
            return self._run(args)
        except Exception as error:  # whatever it is, the plain function either does without or raises it too
            self._give_up(_reason(error))
            return self.plain(*args)

    def _tried(self, args: Sequence[Tensor | None]) -> tuple[Tensor | None, ...]:
        """The plain results, and then the same from the compiled function, for comparison."""
        before = [b.clone() for b in self.changed]
        expected = self.plain(*args)
        after = [b.clone() for b in self.changed]
        copy_all(before, self.changed)
        reason = self._fault(args, [*expected, *after])
        copy_all(after, self.changed)
        self._trials -= 1
        if reason is not None:
            self._give_up(reason)
        return expected

    def _fault(self, args: Sequence[Tensor | None], expected: Sequence[Tensor | None]) -> str | None:
        """Why the compiled function cannot be used, from one call of it; None: it can."""
        try:
            found = self._run(args)
        except Exception as error:
            return _reason(error)
        wrong = _differing(expected, [*found, *self.changed])
        return None if wrong is None else f"its results differ from the plain ones by {wrong:.2g} of their length"

    def _run(self, args: Sequence[Tensor | None]) -> tuple[Tensor | None, ...]:
        if self._fast is None:
            self._fast = self._build()
        if not self._as_graph:
            return self._fast(*args)
        torch.compiler.cudagraph_mark_step_begin()
        return _copies(self._fast(*args))  # the next replay writes its results to the same places

    def _give_up(self, reason: str) -> None:
        self.failed, self._fast = True, None
        message = f"compile_step: {self.name} is not compiled, training goes on without: {reason}"
        warnings.warn(message, RuntimeWarning, stacklevel=2)


def _compile(fn: Callable[..., Any], device: torch.device) -> Callable[..., Any]:
    """A compiled copy of a function: torch keeps at most eight forms of one code, counted over all its copies."""
    code = types.FunctionType(fn.__code__.replace(), fn.__globals__, fn.__name__, fn.__defaults__, fn.__closure__)
    mode = "reduce-overhead" if _as_graph(device) else None
    return torch.compile(code, fullgraph=True, dynamic=False, backend=BACKEND, mode=mode)


def _as_graph(device: torch.device) -> bool:
    """Whether launches are captured; torch's captures belong to the thread that it was imported in."""
    return device.type == "cuda" and BACKEND == "inductor" and threading.current_thread() is threading.main_thread()


def _closed(fn: Callable[..., tuple[Tensor, ...]], parameters: Sequence[Tensor]) -> StepFunction:
    """The function itself, or losses and gradients in its place."""
    if not parameters:
        return fn

    def losses_and_gradients(*args: Tensor | None) -> tuple[Tensor | None, ...]:
        total, *shown = fn(*args)
        gradients = torch.autograd.grad(total, parameters, allow_unused=True)
        return (*(loss.detach() for loss in shown), *gradients)

    return losses_and_gradients


def _differing(expected: Sequence[Tensor | None], found: Sequence[Tensor | None]) -> float | None:
    """The largest difference, as a share of a result's length, if it is too large (or no number)."""
    if [t is None for t in expected] != [t is None for t in found]:
        return float("inf")
    pairs = [(a.double(), b.double()) for a, b in zip(expected, found, strict=True) if a is not None and b is not None]
    if not pairs:
        return None
    length = torch.stack([a.norm() for a, _ in pairs])
    away = torch.stack([(a - b).norm() for a, b in pairs])
    if bool((away <= CLOSE * length + FAINT * length.norm()).all()):
        return None
    return float((away / length.clamp(min=1e-12)).max())


def _copies(tensors: Sequence[Tensor | None]) -> tuple[Tensor | None, ...]:
    """Copies by few launches."""
    given = [t for t in tensors if t is not None]
    made = [torch.empty_like(t) for t in given]
    torch._foreach_copy_(made, given)
    copies = iter(made)
    return tuple(None if t is None else next(copies) for t in tensors)


def _reason(error: Exception) -> str:
    """The kind of an error and the first line of what it says; or the first ones, while they announce another."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    last = next((i for i, line in enumerate(lines) if not line.endswith(":")), len(lines) - 1)
    return f"{type(error).__name__}: {' '.join(lines[: last + 1]) or 'no message'}"
