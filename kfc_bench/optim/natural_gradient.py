"""Natural gradient descent with momentum, over any Fisher approximation."""

from __future__ import annotations

import copy
import math
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from kfc_bench.curvature import APPROXIMATIONS, Batch, NetworkCurvature
from kfc_bench.curvature.capture import Capture
from kfc_bench.curvature.layers import find_layers
from kfc_bench.curvature.likelihoods import (
    FISHERS,
    LIKELIHOODS,
    REDUCTIONS,
    Fisher,
    Likelihood,
    Reduction,
    counted,
    loss_scale,
    sampled_vectors,
    type2_vectors,
)
from kfc_bench.curvature.network import are_finite
from kfc_bench.optim.clipping import FisherClip
from kfc_bench.spans import span


def _one_of(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise ValueError(f"{name} {value!r} is not one of {', '.join(known)}")


def _all_finite(tensors: Sequence[Tensor]) -> bool:
    """Tell whether every number is finite, in one transfer from the device."""
    with span("finite check"):
        dense = [tensor.coalesce().values() if tensor.is_sparse else tensor for tensor in tensors]
        return bool(torch.nn.utils.get_total_norm(dense, norm_type=math.inf).isfinite())


class NaturalGradient(torch.optim.SGD):
    """SGD with momentum on the preconditioned gradient: p <- mu*p + c F^-1 grad h, theta <- theta - lr*p.

    Adopting it changes three lines of a training loop::

        optimizer = NaturalGradient(model, lr=0.03, likelihood="categorical")
        optimizer.backward(loss, logits)  # instead of loss.backward()
        optimizer.step()

    The gradient includes the l2 term, and the damping is lambda + gamma (Grosse & Martens 2016, section 2.2); the
    curvature is that of the loss as it is reduced, so that an undamped step does not depend on the reduction. c is 1
    without clipping. Momentum comes after clipping; at a constant rate it equals Algorithm 1's. With
    ``approximation="identity"`` a step equals ``torch.optim.SGD``'s bit for bit.

    A batch that is not finite is skipped: parameters, momentum and statistics stay as they were, and `skipped` counts
    it (batch normalisation's running statistics are the forward pass's, and take it in as ever). A layer without a
    gradient is not stepped, as in ``torch.optim``; one that does not run keeps its statistics. One forward pass belongs
    to one `backward`. Several of them before a `step` accumulate gradients: divide each mean loss by their number;
    each is an observation if statistics are due, clipping looks at the last, and the empirical Fisher, which is read
    off the loss, would be divided too. Class weights of a loss are not known to the curvature.

    ``torch.autocast`` is supported, for the forward pass and the loss: what layers saw is computed with in the
    parameters' dtype. ``torch.amp.GradScaler`` is refused.

    Args:
        model: The network; build the optimizer before any ``torch.compile``.
        lr: Learning rate.
        params: Parameters or groups of them as in ``torch.optim``, with ``lr``, ``momentum`` and ``weight_decay`` of
            their own; None for all that are trainable. A layer is damped with the weight decay of its first parameter.
        momentum: mu.
        weight_decay: lambda, the coefficient of the l2 term.
        likelihood: ``"categorical"`` (``cross_entropy`` of logits ``[N, C, *positions]``, label smoothing and ignored
            targets included), ``"bernoulli"`` (``binary_cross_entropy_with_logits``), ``"square"`` (``mse_loss``) or
            ``"gaussian"`` (half the squared error, summed over outputs).
        approximation: A key of `kfc_bench.curvature.APPROXIMATIONS`.
        per_layer: Other keys, by layer name, such as ``{"fc": "kfc_reduce"}``.
        damping: gamma; KFC puts lambda + gamma inside the root of its factored form.
        decay: Limit of the running average's e_k = min(1 - 1/k, decay).
        fisher: Where the backpropagated vectors come from: ``"mc"``, ``"type2"`` or ``"empirical"``.
        samples: Draws per example for ``"mc"``.
        statistics_every: Steps between statistics (the paper's T_s).
        inverses_every: Steps between inverses (the paper's T_f).
        clip: C, the limit of nu = v^T F v + lambda v^T v for the step v before momentum, F the exact Fisher; None for
            no clipping.
        clip_share: Part of the batch that v^T F v is computed on.
        reduction: Of the loss given to `backward`: ``"mean"`` or ``"sum"``.
        implementation: Which implementation of the operators runs.
        inverse: Which implementation of the damped inverse runs; ``curvature.raised`` counts the matrices that needed
            more damping than was asked.
        seed: Of the sampled labels.
        foreach: As in ``torch.optim.SGD``.

    Attributes:
        curvature: The Fisher approximation.
        skipped: Steps that were not taken because a number was not finite.

    Raises:
        UnsupportedLayerError: Nothing is trainable, or two layers share a parameter.
        ValueError: An argument is not one of its choices, or out of range.
    """

    def __init__(
        self,
        model: nn.Module,
        lr: float,
        *,
        params: Iterable[Any] | None = None,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        likelihood: Likelihood = "categorical",
        approximation: str = "kfc",
        per_layer: Mapping[str, str] | None = None,
        damping: float = 1e-3,
        decay: float = 0.95,
        fisher: Fisher = "mc",
        samples: int = 1,
        statistics_every: int = 10,
        inverses_every: int = 20,
        clip: float | None = None,
        clip_share: float = 0.25,
        reduction: Reduction = "mean",
        implementation: str = "auto",
        inverse: str = "auto",
        seed: int = 0,
        foreach: bool | None = None,
    ) -> None:
        _one_of("approximation", approximation, tuple(APPROXIMATIONS))
        _one_of("likelihood", likelihood, LIKELIHOODS)
        _one_of("fisher", fisher, FISHERS)
        _one_of("reduction", reduction, REDUCTIONS)
        for name, count in (
            ("samples", samples),
            ("statistics_every", statistics_every),
            ("inverses_every", inverses_every),
        ):
            if count < 1:
                raise ValueError(f"{name} must be at least 1, not {count}")
        if weight_decay < 0:
            raise ValueError(f"weight_decay must not be negative, not {weight_decay}")
        if clip is not None and not clip > 0:
            raise ValueError(f"clip must be positive, not {clip}")
        if not 0 < clip_share <= 1:
            raise ValueError(f"clip_share must lie in (0, 1], not {clip_share}")
        if not damping > 0:
            raise ValueError(f"damping must be positive, not {damping}")
        trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
        super().__init__(
            trainable if params is None else params,
            lr=lr,
            momentum=momentum,
            weight_decay=weight_decay,
            foreach=foreach,
        )
        decays = {id(parameter): group["weight_decay"] for group, parameter in self._grouped()}
        trained = [parameter for _, parameter in self._grouped()]
        self._layers = find_layers(model, trained) if approximation != "identity" or per_layer else []
        self._model = model
        self._capture = Capture(model, self._layers) if self._layers else None
        self.curvature = NetworkCurvature(
            self._layers,
            approximation,
            [damping + decays[id(layer.parameters[0])] for layer in self._layers],
            per_layer or {},
            decay=decay,
            implementation=implementation,
            inverse=inverse,
        )
        self._clip = None if clip is None else FisherClip(model, likelihood, reduction, limit=clip, share=clip_share)
        for hooks in (self._capture, self._clip):
            if hooks is not None:
                weakref.finalize(self, hooks.remove)
        self._likelihood = likelihood
        self._fisher = fisher
        self._samples = samples
        self._statistics_every = statistics_every
        self._inverses_every = inverses_every
        self._reduction: Reduction = reduction
        self._generator = torch.Generator().manual_seed(seed)
        self.skipped = 0
        self._steps = 0
        self._first = 0
        self._refreshed = (0, 0)
        self._requested = (False, False)
        self._statistics_due = self._capture is not None
        self._gathered = False
        self._finite = True
        self._last: tuple[Sequence[int], Tensor | None] = ((0,), None)

    def _grouped(self) -> Iterator[tuple[dict[str, Any], nn.Parameter]]:
        for group in self.param_groups:
            for parameter in group["params"]:
                yield group, parameter

    def _vectors(self, loss: Tensor | None, outputs: Tensor, mask: Tensor | None) -> Tensor:
        """Return the vectors to backpropagate, ``[V, N, *]``, scaled so that their curvature is the loss's."""
        scale = loss_scale(outputs, self._likelihood, self._reduction, mask)
        if self._fisher == "empirical":
            if loss is None:
                raise ValueError("the empirical Fisher needs targets: give initialize() a loss_function")
            (gradient,) = torch.autograd.grad(loss, outputs, retain_graph=True)
            examples = len(outputs) if mask is None else int(counted(mask).sum())
            return gradient.unsqueeze(0) * (examples / math.sqrt(scale))
        detached = outputs.detach()
        detached = detached.float() if detached.dtype in (torch.float16, torch.bfloat16) else detached
        if self._fisher == "type2":
            vectors = type2_vectors(detached, self._likelihood)
        else:
            vectors = sampled_vectors(detached, self._likelihood, samples=self._samples, generator=self._generator)
        if mask is not None:
            class_axis = mask.unsqueeze(1) if self._likelihood == "categorical" else mask
            vectors = vectors * class_axis.reshape(*class_axis.shape, *[1] * (outputs.ndim - class_axis.ndim))
        return vectors if scale == 1 else vectors * math.sqrt(scale)

    def _check(self, outputs: Tensor, mask: Tensor | None) -> None:
        least = 2 if self._likelihood == "categorical" else 1
        if outputs.ndim < least or outputs.numel() == 0:
            wanted = "[N, C] or [N, C, *positions]" if least == 2 else "[N, *]"
            raise ValueError(
                f"outputs have shape {list(outputs.shape)}, but a {self._likelihood} likelihood takes {wanted}, N > 0"
            )
        terms = [len(outputs), *outputs.shape[least:]]
        if mask is not None and (mask.dtype != torch.bool or list(mask.shape) not in ([len(outputs)], terms)):
            raise ValueError(
                f"mask is {mask.dtype} of shape {list(mask.shape)}, but it takes bool of {[len(outputs)]} or {terms}"
            )

    def _gather(self, loss: Tensor | None, outputs: Tensor, mask: Tensor | None) -> list[Batch | None] | None:
        """Backpropagate the Fisher's vectors; return what layers saw, or None where nothing counts or is not finite."""
        assert self._capture is not None
        keep = None if mask is None else counted(mask)
        if keep is not None and not bool(keep.any()):
            return None
        with self._clip.paused() if self._clip is not None else nullcontext(), span("sampled backward"):
            batches = self._capture.backpropagate(outputs, self._vectors(loss, outputs, mask), keep)
        with span("finite check"):
            return batches if are_finite(batches) else None

    def backward(self, loss: Tensor, outputs: Tensor, mask: Tensor | None = None) -> None:
        """Backpropagate the loss, and then the Fisher's vectors when statistics are due.

        Args:
            loss: The scalar to minimise, without the l2 term.
            outputs: The network's outputs that it was computed from, ``[N, *]``.
            mask: Which examples ``[N]``, or which of their positions ``[N, *positions]``, the loss counts (targets
                that are not ignored); None for all.

        Raises:
            ValueError: ``outputs`` or ``mask`` have a wrong shape.
            RuntimeError: No layer took part in the last forward pass.
        """
        self._check(outputs, mask)
        with span("backward"):
            loss.backward(retain_graph=self._statistics_due)
        if self._statistics_due:
            gradients = [parameter.grad for _, parameter in self._grouped() if parameter.grad is not None]
            batches = self._gather(loss, outputs, mask) if _all_finite([loss.detach(), *gradients]) else None
            if batches is not None:
                self.curvature.observe(batches)
            else:
                self._finite = False
        self._gathered = True
        self._last = (outputs.shape, mask)

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients, and with them what was wrong with a batch that is dropped."""
        with span("update"):
            super().zero_grad(set_to_none)
        self._gathered = False
        self._finite = True

    def initialize(
        self, loader: Iterable[Any], *, loss_function: Callable[[Tensor, Any], Tensor] | None = None
    ) -> None:
        """Estimate the statistics on a whole data set and invert them, as Algorithm 1 does before its first step.

        The mean over all batches, each with the weight of its examples, replaces what was there; the next statistics
        come at step T_s and the next inverses at T_f. The network runs in the mode that it is in, batch normalisation's
        running statistics included.

        Args:
            loader: Yields ``(inputs, targets)``, ``(inputs, targets, mask)`` as for `backward`, or inputs alone, all
                tensors; they go to the parameters' device.
            loss_function: Of outputs and targets, for the empirical Fisher.

        Raises:
            ValueError: The loader is empty, or a batch is not finite.
        """
        if self._capture is None:
            return
        self.curvature.reset()
        self._refreshed = (0, 0)
        device, total = self._layers[0].parameters[0].device, 0
        try:
            for place, item in enumerate(loader):
                self._capture.enabled = True
                values = [value.to(device) for value in (item if isinstance(item, tuple | list) else (item,))]
                inputs, targets, mask = [*values, None, None][:3]
                outputs = self._model(inputs)
                self._check(outputs, mask)
                loss = loss_function(outputs, targets) if loss_function is not None else None
                batches = self._gather(loss, outputs, mask)
                if batches is None:
                    raise ValueError(f"batch {place} of the loader is not finite, or its mask leaves no example")
                examples = len(outputs) if mask is None else int(counted(mask).sum())
                total += examples
                self.curvature.observe(batches, decay=1 - examples / total)
                # The graph must not outlive its batch.
                del outputs, loss, batches
            if not total:
                raise ValueError("the loader is empty: statistics need one batch at least")
            self._refresh()
            self._first = 1
        finally:
            self._schedule()

    def _refresh(self) -> None:
        self.curvature.refresh()
        self._refreshed = (self.curvature.observations, self.curvature.layers_seen)

    def request(self, *, statistics: bool = False, inverses: bool = False) -> None:
        """Ask for statistics or inverses at the next step, whatever the periods say.

        Call it before the forward pass.

        Args:
            statistics: Gather statistics in the next `backward`.
            inverses: Refresh the inverses in the next `step`.
        """
        self._requested = (self._requested[0] or statistics, self._requested[1] or inverses)
        self._schedule()

    def _due(self, every: int) -> bool:
        return (self._steps + self._first) % every == 0

    def _schedule(self) -> None:
        """Decide what is due at the coming step; the hooks must know before its forward pass."""
        self._gathered = False
        self._finite = True
        if self._capture is not None:
            self._statistics_due = self._requested[0] or self._due(self._statistics_every)
            self._capture.enabled = self._statistics_due

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Refresh the inverses when due, precondition the gradients, clip, and take SGD's step with them.

        Args:
            closure: Reevaluates the model, calls `backward` and returns the loss.

        Returns:
            What the closure returned, or None.

        Raises:
            RuntimeError: `backward` was not called though statistics or clipping need it, or a layer has a gradient
                but no statistics.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        if not self._gathered and (self._statistics_due or self._clip is not None):
            what = "statistics are due" if self._statistics_due else "clipping needs the outputs"
            raise RuntimeError(f"{what}: call optimizer.backward(loss, outputs) instead of loss.backward()")
        moving = [(group, parameter) for group, parameter in self._grouped() if parameter.grad is not None]
        gradients = [parameter.grad for _, parameter in moving]
        try:
            taken = self._finite and bool(moving) and self._take(moving)
        finally:
            for (_, parameter), gradient in zip(moving, gradients, strict=True):
                parameter.grad = gradient
        if taken:
            self._steps += 1
            self._requested = (False, False)
        else:
            self.skipped += bool(moving)
        self._schedule()
        return loss

    def _take(self, moving: Sequence[tuple[dict[str, Any], nn.Parameter]]) -> bool:
        """Replace the gradients by natural ones and step; return whether all was finite."""
        observations, layers = self._refreshed
        stale = self.curvature.observations > observations and self._due(self._inverses_every)
        joined = self.curvature.layers_seen > layers
        if self.curvature.observations and (self._requested[1] or stale or joined):
            self._refresh()
        with span("precondition"):
            for group, parameter in moving:
                if group["weight_decay"] and parameter.grad is not None:
                    parameter.grad = parameter.grad.add(parameter, alpha=group["weight_decay"])
            natural = self.curvature.precondition([layer.gradient() for layer in self._layers])
            for layer, joint in zip(self._layers, natural, strict=True):
                for parameter, piece in layer.split(joint) if joint is not None else []:
                    parameter.grad = piece.contiguous()
        steps = [parameter.grad for _, parameter in moving if parameter.grad is not None]
        if self._clip is not None:
            with span("clip"):
                steps = list(torch._foreach_mul(steps, self._coefficient(moving, steps)))
                for (_, parameter), step in zip(moving, steps, strict=True):
                    parameter.grad = step
        if not _all_finite(steps):
            return False
        with self._decayed_already(), span("update"):
            super().step()
        return True

    def _coefficient(self, moving: Sequence[tuple[dict[str, Any], nn.Parameter]], steps: Sequence[Tensor]) -> Tensor:
        """Return what Algorithm 1 multiplies v = -lr F^-1 grad h with."""
        assert self._clip is not None
        direction = torch._foreach_mul(list(steps), [float(group["lr"]) for group, _ in moving])
        decays = [group["weight_decay"] for group, _ in moving]
        with self._capture.paused() if self._capture is not None else nullcontext():
            return self._clip.coefficient([parameter for _, parameter in moving], direction, decays, *self._last)

    @contextmanager
    def _decayed_already(self) -> Iterator[None]:
        """Keep SGD from adding the l2 term once more."""
        decays = [group["weight_decay"] for group in self.param_groups]
        for group in self.param_groups:
            group["weight_decay"] = 0.0
        try:
            yield
        finally:
            for group, decay in zip(self.param_groups, decays, strict=True):
                group["weight_decay"] = decay

    @property
    def _step_supports_amp_scaling(self) -> bool:  # type: ignore[override]
        """What ``torch.amp.GradScaler`` asks before it steps."""
        raise RuntimeError(
            f"{type(self).__name__} does not take torch.amp.GradScaler, whose scale would enter the curvature: "
            "use autocast with bfloat16, which needs none"
        )

    def state_dict(self) -> dict[str, Any]:
        """Return SGD's state with the curvature's, the step count's and the generator's beside it."""
        return {
            **super().state_dict(),
            "curvature": self.curvature.state_dict(),
            "steps": self._steps,
            "first": self._first,
            "refreshed": self._refreshed,
            "skipped": self.skipped,
            "generator": self._generator.get_state(),
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore a copy of what `state_dict` returned."""
        super().load_state_dict(copy.deepcopy({key: state_dict[key] for key in ("state", "param_groups")}))
        self.curvature.load_state_dict(state_dict["curvature"])
        self._generator.set_state(state_dict["generator"].cpu())
        self._steps = state_dict["steps"]
        self._first = state_dict["first"]
        self._refreshed = tuple(state_dict["refreshed"])
        self.skipped = state_dict["skipped"]
        self._schedule()
