"""Recording: watches a network's forward pass and writes down every meeting of a weight with the examples.

The network stays as it is. While a `Recorder` is active, each torch call that takes a weight is looked at:

- A call that takes weights and constants only (a slice, a table made of two others) makes a *derived weight*. No row
  takes part in it, so the gradient may be clipped and noised by the derived weight, and the chain rule takes it on to
  the parameters: post-processing.
- A call that takes a weight and examples must have a rule here (products, gathers, offsets): it runs on a copy that is
  cut off from the parameters, and is kept as a meeting.
- Anything else that takes a weight is refused by name. A layer without a rule can thus never be clipped wrongly.

One backward pass to the outputs of all meetings then gives what every example's gradient is made of (`uses.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from raysynth.dp.gradients.uses import AffineUse, GatherUse, OffsetUse, Use, merged

Made = Callable[[Tensor], AffineUse | OffsetUse | GatherUse]


@dataclass(frozen=True)
class Meeting:
    """A call's output, and how its gradient becomes a use.

    Args:
        out: the output. inputs: what met the weight.
        versions: of both when they met: a later change in place would falsify the gradient.
        made: gives the use from the gradient.
    """

    out: Tensor
    inputs: Tensor
    versions: tuple[int, int]
    made: Made


class Recorder(TorchFunctionMode):
    """Active as a context (`with Recorder(network, n) as recorder`) around a forward pass.

    Args:
        network: its parameters are the weights, its buffers are constants.
        n_examples: N of the batch.
        rows_each: an example may be so many rows (a sequence), one after the other, which some layers take like
            examples of one row: a layer sees N or N * rows_each of them.

    Attributes:
        weights: the weights that met examples, in the order of their first meeting: parameters or derived weights.
    """

    def __init__(self, network: nn.Module, n_examples: int, rows_each: int = 1) -> None:
        super().__init__()
        self.n_examples, self.sizes = n_examples, (n_examples, n_examples * rows_each)
        self.parameters = list(network.parameters())
        self.weights: list[Tensor] = []
        self.meetings: list[Meeting] = []
        self._constants = {id(b) for b in network.buffers()}
        self._watched: dict[int, Tensor] = {id(p): p for p in self.parameters}
        self._numbers: dict[int, int] = {}
        self._reached: set[int] = set()  # parameters that took part in any call

    def __torch_function__(
        self, func: Callable[..., Any], types: Iterable[type], args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        tensors = _tensors((*args, *kwargs.values()))
        watched = [t for t in tensors if id(t) in self._watched]
        if not watched:
            return func(*args, **kwargs)
        if all(id(t) in self._watched or id(t) in self._constants or t.dim() == 0 for t in tensors):
            made = func(*args, **kwargs)
            derived = [t for t in _tensors((made,)) if t.is_floating_point()]
            if derived:
                self._derive(watched, derived, _name(func))
            return made
        self._reached.update(id(t) for t in watched)
        rule = RULES.get(func)
        if rule is None:
            raise TypeError(
                f"'{_name(func)}' brings a weight and examples together, and there is no rule for its example "
                "gradients; write it with linear layers, matrix products, embeddings and sums"
            )
        return rule(self, *args, **kwargs)

    def uses(self, losses_N: Tensor) -> list[Use]:
        """What each example's gradient is made of, after the forward pass.

        Args:
            losses_N: one loss for each example, none of which depends on another example.

        Raises:
            TypeError: a parameter was reached past the recorder, or took part in nothing.
        """
        if missing := [tuple(p.shape) for p in self.parameters if id(p) not in self._reached and p.requires_grad]:
            raise TypeError(f"parameters of shapes {missing} took no part in the forward pass; freeze them")
        if any((m.out._version, m.inputs._version) != m.versions for m in self.meetings):
            raise TypeError("what went into or came out of a layer was changed in place: its gradient would be wrong")
        outs = [m.out for m in self.meetings]
        learned = [p for p in self.parameters if p.requires_grad]
        grads = torch.autograd.grad(losses_N.sum(), [*outs, *learned], allow_unused=True)
        if any(g is not None for g in grads[len(outs) :]):
            raise TypeError("a parameter was used past the recorder (a fused kernel?); there is no rule for it")
        made = []
        for meeting, grad in zip(self.meetings, grads, strict=False):
            made.append(meeting.made(torch.zeros_like(meeting.out) if grad is None else grad))
        return merged(made)

    # ---- what the rules call -----------------------------------------------------------------------------------------

    def is_weight(self, value: Any) -> bool:
        """Whether a value is a parameter or made of parameters and constants."""
        return isinstance(value, Tensor) and id(value) in self._watched

    def number(self, weight: Tensor) -> int:
        """The number of a weight that meets examples."""
        if id(weight) not in self._numbers:
            self._numbers[id(weight)] = len(self.weights)
            self.weights.append(weight)
        return self._numbers[id(weight)]

    def keep(self, inputs: Tensor, out: Tensor, made: Made) -> Tensor:
        """Write down a meeting; gives the output, from which the network goes on."""
        if not out.requires_grad:
            out.requires_grad_()
        self.meetings.append(Meeting(out, inputs, (out._version, inputs._version), made))
        return out

    def expect_examples(self, size: int) -> None:
        """Refuse a shape in which the examples are not where a rule looks for them."""
        if size not in self.sizes:
            raise TypeError(f"expected {self.n_examples} examples along an axis of size {size}")

    def _derive(self, sources: Sequence[Tensor], derived: Sequence[Tensor], name: str) -> None:
        """Watch tensors made of weights alone."""
        self._reached.update(id(t) for t in sources)
        for tensor in derived:
            if not tensor.requires_grad and any(s.requires_grad for s in sources):
                raise TypeError(f"'{name}' cuts a weight off from its parameters, so that it could not be taught")
            self._watched[id(tensor)] = tensor  # the reference keeps the id from being used again


# ---- rules: each runs the call on detached weights and keeps the meeting ---------------------------------------------


def _linear(recorder: Recorder, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """functional.linear: x (N, I) or (N, T, I), weight (O, I)."""
    _expect_weight(recorder, weight, x)
    out = functional.linear(x, weight.detach(), None if bias is None else bias.detach())
    return _keep_affine(recorder, x, weight, bias, out, outputs_first=True)


def _addmm(recorder: Recorder, bias: Tensor, x: Tensor, weight: Tensor) -> Tensor:
    """torch.addmm: x (N, I), weight (I, O), bias a weight or examples (N, O)."""
    _expect_weight(recorder, weight, x)
    learned = recorder.is_weight(bias)
    out = torch.addmm(bias.detach() if learned else bias, x, weight.detach())
    return _keep_affine(recorder, x, weight, bias if learned else None, out, outputs_first=False)


def _product(recorder: Recorder, x: Tensor, weight: Tensor) -> Tensor:
    """x @ weight: x (N, I) or (N, T, I), weight (I, O)."""
    _expect_weight(recorder, weight, x)
    if weight.dim() != 2 or x.dim() < 2:
        raise TypeError(f"no rule for a product of shapes {tuple(x.shape)} and {tuple(weight.shape)}")
    return _keep_affine(recorder, x, weight, None, x @ weight.detach(), outputs_first=False)


def _bmm(recorder: Recorder, x: Tensor, weight: Tensor) -> Tensor:
    """torch.bmm: x (B, N, I), weight (B, I, O)."""
    _expect_weight(recorder, weight, x)
    return _keep_batched(recorder, x, weight, None, torch.bmm(x, weight.detach()))


def _baddbmm(recorder: Recorder, bias: Tensor, x: Tensor, weight: Tensor) -> Tensor:
    """torch.baddbmm: bias (B, 1, O), x (B, N, I), weight (B, I, O)."""
    _expect_weight(recorder, weight, x)
    learned = recorder.is_weight(bias)
    if learned and bias.shape != (len(weight), 1, weight.shape[2]):
        raise TypeError(f"no rule for a bias of shape {tuple(bias.shape)} in a batched product")
    out = torch.baddbmm(bias.detach() if learned else bias, x, weight.detach())
    return _keep_batched(recorder, x, weight, bias if learned else None, out)


def _embedding(
    recorder: Recorder,
    index: Tensor,
    weight: Tensor,
    padding_idx: int | None = None,
    max_norm: float | None = None,
    **options: Any,
) -> Tensor:
    """functional.embedding: index (..., N), weight (K, H)."""
    if padding_idx is not None or max_norm is not None or options.get("scale_grad_by_freq"):
        raise TypeError("no rule for an embedding with padding_idx, max_norm or scale_grad_by_freq")
    _expect_weight(recorder, weight, index)
    recorder.expect_examples(index.shape[-1])
    number, shape, n = recorder.number(weight), weight.shape, recorder.n_examples

    def by_example(x: Tensor, *width: int) -> Tensor:
        return x.reshape(-1, n, index.shape[-1] // n, *width).transpose(1, 2).flatten(0, 1)

    def made(grad: Tensor) -> GatherUse:
        return GatherUse(by_example(index), by_example(grad, shape[1]), number, shape)

    return recorder.keep(index, functional.embedding(index, weight.detach()), made)


def _add(recorder: Recorder, x: Tensor, y: Tensor) -> Tensor:
    """x + weight, either way round; the examples' axis is the one that only x has, or has alone with size N."""
    x, weight = (y, x) if recorder.is_weight(x) else (x, y)
    _expect_weight(recorder, weight, x)
    out = x + weight.detach()
    axis = _example_axis(out.shape, weight.shape, recorder.sizes)
    number, shape, n = recorder.number(weight), weight.shape, recorder.n_examples

    def made(grad: Tensor) -> OffsetUse:
        grad = grad.movedim(axis, 0)
        own = list(shape)
        if len(own) == grad.dim():
            own.pop(axis)
        places = grad.reshape(n, -1, *grad.shape[grad.dim() - len(own) :]).sum(1)
        for i, size in enumerate(own):
            if size == 1:
                places = places.sum(i + 1, keepdim=True)
        return OffsetUse(places.reshape(n, -1), number, shape)

    return recorder.keep(x, out, made)


RULES: dict[Callable[..., Any], Callable[..., Tensor]] = {
    functional.linear: _linear,
    torch.addmm: _addmm,
    torch.mm: _product,
    torch.matmul: _product,
    torch.bmm: _bmm,
    torch.baddbmm: _baddbmm,
    functional.embedding: _embedding,
    torch.add: _add,
    Tensor.matmul: _product,
    Tensor.__matmul__: _product,
    Tensor.mm: _product,
    Tensor.add: _add,
    Tensor.__add__: _add,
    Tensor.__radd__: _add,
}


def _keep_affine(
    recorder: Recorder, x: Tensor, weight: Tensor, bias: Tensor | None, out: Tensor, *, outputs_first: bool
) -> Tensor:
    if bias is not None and bias.numel() != out.shape[-1]:
        raise TypeError(f"no rule for a bias of shape {tuple(bias.shape)} of {out.shape[-1]} outputs")
    if bias is not None and not recorder.is_weight(bias):
        raise TypeError("no rule for a linear layer whose bias depends on examples")
    recorder.expect_examples(len(x))
    number, bias_number = recorder.number(weight), None if bias is None else recorder.number(bias)
    inputs, shape = x.detach(), weight.shape
    bias_shape = None if bias is None else bias.shape

    def made(grad: Tensor) -> AffineUse:
        places, grads = (t.reshape(1, recorder.n_examples, -1, t.shape[-1]) for t in (inputs, grad))
        return AffineUse(places, grads, number, shape, bias_number, bias_shape, outputs_first)

    return recorder.keep(x, out, made)


def _keep_batched(recorder: Recorder, x: Tensor, weight: Tensor, bias: Tensor | None, out: Tensor) -> Tensor:
    recorder.expect_examples(x.shape[1])
    number, bias_number = recorder.number(weight), None if bias is None else recorder.number(bias)
    inputs, shape = x.detach(), weight.shape
    bias_shape = None if bias is None else bias.shape

    def made(grad: Tensor) -> AffineUse:
        places, grads = (t.reshape(len(t), recorder.n_examples, -1, t.shape[-1]) for t in (inputs, grad))
        return AffineUse(places, grads, number, shape, bias_number, bias_shape)

    return recorder.keep(x, out, made)


def _expect_weight(recorder: Recorder, weight: Any, examples: Any) -> None:
    if not recorder.is_weight(weight) or recorder.is_weight(examples):
        raise TypeError("no rule for a product in which the weight stands where the examples are expected")


def _example_axis(shape: Sequence[int], weight: Sequence[int], sizes: Sequence[int]) -> int:
    """Where the examples are in x + weight."""
    if len(weight) < len(shape) and shape[0] in sizes:
        return 0
    if len(weight) == len(shape):
        axes = [i for i, (size, own) in enumerate(zip(shape, weight, strict=True)) if own == 1 and size in sizes]
        if axes:
            return axes[0]
    raise TypeError(f"no rule for adding a weight of shape {tuple(weight)} to examples of shape {tuple(shape)}")


def _name(func: Callable[..., Any]) -> str:
    return getattr(func, "__name__", str(func))


def _tensors(values: Iterable[Any]) -> list[Tensor]:
    """All tensors in a nest of lists and tuples."""
    found: list[Tensor] = []
    for value in values:
        if isinstance(value, Tensor):
            found.append(value)
        elif isinstance(value, (list, tuple)):
            found += _tensors(value)
    return found
