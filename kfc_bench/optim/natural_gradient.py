"""Natural gradient descent with momentum, over any Fisher approximation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor, nn

from kfc_bench.curvature import APPROXIMATIONS
from kfc_bench.curvature.layers import Capture, find_layers
from kfc_bench.curvature.likelihoods import FISHERS, LIKELIHOODS, Fisher, Likelihood, sampled_vectors, type2_vectors


def _one_of(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise ValueError(f"{name} {value!r} is not one of {', '.join(known)}")


class NaturalGradient(torch.optim.SGD):
    """SGD with momentum on the preconditioned gradient: p <- mu*p + F^-1 grad h, theta <- theta - lr*p.

    Adopting it changes three lines of a training loop::

        optimizer = NaturalGradient(model, lr=0.03, likelihood="categorical")
        optimizer.backward(loss, logits)  # instead of loss.backward()
        optimizer.step()

    The gradient includes the l2 term, and the damping is lambda + gamma (Grosse & Martens 2016, section 2.2).
    With ``approximation="identity"`` a step equals ``torch.optim.SGD``'s bit for bit.

    Args:
        model: The network; build the optimizer before any ``torch.compile``.
        lr: Learning rate.
        momentum: mu.
        weight_decay: lambda, the coefficient of the l2 term.
        likelihood: ``"categorical"`` (cross-entropy of logits ``[N, C]``) or ``"gaussian"`` (half squared error).
        approximation: A key of `kfc_bench.curvature.APPROXIMATIONS`.
        damping: gamma; KFC puts lambda + gamma inside the root of its factored form.
        decay: Limit of the running average's e_k = min(1 - 1/k, decay).
        fisher: Where the backpropagated vectors come from: ``"mc"``, ``"type2"`` or ``"empirical"``.
        samples: Draws per example for ``"mc"``.
        statistics_every: Steps between statistics (the paper's T_s).
        inverses_every: Steps between inverses (the paper's T_f).
        reduction: Of the loss given to `backward`: ``"mean"`` or ``"sum"`` over the examples.
        implementation: Which implementation of the operators runs.
        inverse: Which implementation of the damped inverse runs; ``curvature.raised`` counts the matrices that needed
            more damping than was asked.
        seed: Of the sampled labels.
        foreach: As in ``torch.optim.SGD``.

    Raises:
        UnsupportedLayerError: A layer with trainable parameters has no supported form.
        ValueError: An argument is not one of its choices, or out of range.
    """

    def __init__(
        self,
        model: nn.Module,
        lr: float,
        *,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        likelihood: Likelihood = "categorical",
        approximation: str = "kfc",
        damping: float = 1e-3,
        decay: float = 0.95,
        fisher: Fisher = "mc",
        samples: int = 1,
        statistics_every: int = 10,
        inverses_every: int = 20,
        reduction: Literal["mean", "sum"] = "mean",
        implementation: str = "auto",
        inverse: str = "auto",
        seed: int = 0,
        foreach: bool | None = None,
    ) -> None:
        _one_of("approximation", approximation, tuple(APPROXIMATIONS))
        _one_of("likelihood", likelihood, LIKELIHOODS)
        _one_of("fisher", fisher, FISHERS)
        _one_of("reduction", reduction, ("mean", "sum"))
        for name, value in (
            ("samples", samples),
            ("statistics_every", statistics_every),
            ("inverses_every", inverses_every),
        ):
            if value < 1:
                raise ValueError(f"{name} must be at least 1, not {value}")
        if weight_decay < 0:
            raise ValueError(f"weight_decay must not be negative, not {weight_decay}")
        trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
        super().__init__(trainable, lr=lr, momentum=momentum, foreach=foreach)
        self._layers = find_layers(model) if approximation != "identity" else []
        self._capture = Capture(model, self._layers) if self._layers else None
        self.curvature = APPROXIMATIONS[approximation](
            damping=damping + weight_decay, decay=decay, implementation=implementation, inverse=inverse
        )
        self._weight_decay = weight_decay
        self._likelihood = likelihood
        self._fisher = fisher
        self._samples = samples
        self._statistics_every = statistics_every
        self._inverses_every = inverses_every
        self._reduction = reduction
        self._generator = torch.Generator().manual_seed(seed)
        self._steps = 0
        self._requested = (False, False)
        self._statistics_due = self._capture is not None

    def _vectors(self, loss: Tensor, outputs: Tensor) -> Tensor:
        if self._fisher == "type2":
            return type2_vectors(outputs.detach(), self._likelihood)
        if self._fisher == "mc":
            return sampled_vectors(outputs.detach(), self._likelihood, samples=self._samples, generator=self._generator)
        (gradient,) = torch.autograd.grad(loss, outputs, retain_graph=True)
        return gradient.unsqueeze(0) * (len(outputs) if self._reduction == "mean" else 1)

    def backward(self, loss: Tensor, outputs: Tensor) -> None:
        """Backpropagate the loss, after the pass that gathers statistics when one is due.

        Args:
            loss: The scalar to minimise, without the l2 term.
            outputs: The network's outputs that it was computed from, ``[N, C]``.

        Raises:
            ValueError: ``outputs`` are not ``[N, C]``.
            RuntimeError: A layer did not take part in the last forward pass.
        """
        if outputs.ndim != 2:
            raise ValueError(
                f"outputs have shape {list(outputs.shape)}, but a {self._likelihood} likelihood takes [N, C]"
            )
        if self._capture is not None and self._statistics_due:
            self.curvature.observe(self._capture.backpropagate(outputs, self._vectors(loss, outputs)))
            self._statistics_due = self._capture.enabled = False
        loss.backward()

    def request(self, *, statistics: bool = False, inverses: bool = False) -> None:
        """Ask for statistics or inverses at the next step, whatever the periods say.

        Call it before the forward pass.

        Args:
            statistics: Gather statistics in the next `backward`.
            inverses: Refresh the inverses in the next `step`.
        """
        self._requested = (statistics, inverses)
        self._schedule()

    def _schedule(self) -> None:
        """Decide what is due at the coming step; the hooks must know before its forward pass."""
        if self._capture is not None:
            self._statistics_due = self._requested[0] or self._steps % self._statistics_every == 0
            self._capture.enabled = self._statistics_due

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Refresh the inverses when due, precondition the gradients, and take SGD's step with them.

        Args:
            closure: Reevaluates the model, calls `backward` and returns the loss.

        Returns:
            What the closure returned, or None.

        Raises:
            RuntimeError: Statistics are due, but `backward` was not called.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        if self._statistics_due:
            raise RuntimeError("statistics are due: call optimizer.backward(loss, outputs) instead of loss.backward()")
        if self._layers and (self._requested[1] or self._steps % self._inverses_every == 0):
            self.curvature.refresh()
        gradients = [(parameter, parameter.grad) for group in self.param_groups for parameter in group["params"]]
        self._precondition()
        super().step()
        for parameter, gradient in gradients:
            parameter.grad = gradient
        self._steps += 1
        self._requested = (False, False)
        self._schedule()
        return loss

    def _precondition(self) -> None:
        if not self._layers:
            for group in self.param_groups:
                for parameter in group["params"]:
                    if self._weight_decay and parameter.grad is not None:
                        parameter.grad = parameter.grad.add(parameter, alpha=self._weight_decay)
            return
        gradients = [layer.gradient(self._weight_decay) for layer in self._layers]
        for layer, gradient in zip(self._layers, gradients, strict=True):
            if gradient is None:
                raise RuntimeError(f"layer {layer.name!r} has no gradient: it took no part in the loss")
        natural = self.curvature.precondition([gradient for gradient in gradients if gradient is not None])
        for layer, joint in zip(self._layers, natural, strict=True):
            for parameter, piece in layer.split(joint):
                parameter.grad = piece.contiguous()

    def state_dict(self) -> dict[str, Any]:
        """Return SGD's state with the curvature's, the step count's and the generator's beside it."""
        return {
            **super().state_dict(),
            "curvature": self.curvature.state_dict(),
            "steps": self._steps,
            "generator": self._generator.get_state(),
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        super().load_state_dict({key: state_dict[key] for key in ("state", "param_groups")})
        self.curvature.load_state_dict(state_dict["curvature"])
        self._generator.set_state(state_dict["generator"])
        self._steps = state_dict["steps"]
        self._schedule()
