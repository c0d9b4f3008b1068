"""What a cost case runs: an operator, a phase of an approximation, or a training step."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

import kfc_kernels
from kfc_bench.contestants import contestants
from kfc_bench.curvature import APPROXIMATIONS, Approximation, LayerBatch, NetworkCurvature
from kfc_bench.curvature.ekfac import EKFAC
from kfc_bench.curvature.kfc_eigen import KFCEigen
from kfc_bench.experiments.cost.case import SGD, CostCase
from kfc_bench.experiments.cost.eigen import decomposed, equivalent_terms, exact_condition
from kfc_bench.experiments.cost.work import main_geometry, main_operator
from kfc_bench.measure.clock import Clock, clock_for
from kfc_bench.measure.correctness import damped_condition
from kfc_bench.measure.trial import quickest
from kfc_bench.optim import NaturalGradient
from kfc_bench.problems.networks import NETWORKS
from kfc_kernels import ConvGeometry
from kfc_kernels.catalogue import implementations
from kfc_kernels.damped_inverse import DampedInverses
from kfc_kernels.dispatch import Case

NO_SUMS = ("damped_inverse", "precondition_diagonal")
"""Operators that divide, so that absolute operands do not bound them."""

STEP_LR = 1e-3
NEVER = 10**9


@dataclass(frozen=True)
class Workload:
    """Something to run again and again.

    Attributes:
        parts: Calls with their weights: one sample is the weighted sum of their times.
        once: Runs it once from a fresh state and returns its results, to be checked.
        implementation: Which implementation ran, once ``"auto"`` has chosen.
        condition: By how much the result amplifies an error of its input; 1 for sums and products.
        terms: Length of the longest sum behind one number of the result.
        state: What the measured phase starts from, so that another precision can start from the same.
        scale: By what results are multiplied to be held to the reference, outside of what is timed: contestants have
            conventions of their own.
        magnitudes: The results on the absolute values of all operands: how large each sum would be had nothing in it
            cancelled. None where the results are no sums of products.
        with_host: Whether the host's time is a part of what is measured: a training step, or a library called as its
            users call it. Launch latency is kept out of everything else.
    """

    parts: Sequence[tuple[float, Callable[[], object]]]
    once: Callable[[], list[Tensor]]
    implementation: str
    terms: int
    condition: Callable[[], float] = lambda: 1.0
    state: Approximation[Any] | None = None
    scale: float = 1.0
    magnitudes: Callable[[], list[Tensor]] | None = None
    with_host: bool = False

    def sample(self, clock: Clock) -> float:
        """Time one sample, in seconds."""
        return sum(weight * clock.sample(run) for weight, run in self.parts)


def build(
    case: CostCase, *, dtype: torch.dtype, implementation: str, given: Approximation[Any] | None = None
) -> Workload:
    """Build a case's workload, in its own precision or another, on the same numbers.

    Args:
        case: The case.
        dtype: Dtype of the operands.
        implementation: Which implementation of the operators runs.
        given: State that a phase starts from, converted to ``dtype``: each phase answers for its own error alone.

    Returns:
        The workload.
    """
    if case.operator is not None:
        return _operator(case, case.operator, dtype, implementation)
    if case.phase == "step":
        return (
            _sgd_step(case, dtype, implementation) if case.approximation == SGD else _step(case, dtype, implementation)
        )
    return _phase(case, dtype, implementation, given)


class _Draws:
    """Normal numbers that the case's own operands hold exactly, so that every precision sees the same.

    Args:
        case: The case.
        dtype: What they are handed over in.
        absolute: Whether everything is replaced by its absolute value, last of all.
    """

    def __init__(self, case: CostCase, dtype: torch.dtype, *, absolute: bool = False) -> None:
        self._case, self._dtype, self._absolute = case, dtype, absolute
        self._generator = torch.Generator().manual_seed(0)

    def normal(self, *shape: int) -> Tensor:
        """Draw a tensor."""
        values = torch.randn(shape, generator=self._generator).to(self._case.operands)
        return values.to(self._case.device, self._dtype)

    def _rounded(self, exact: Tensor) -> Tensor:
        """Round what was computed in float64 to what the case's operands hold, for every precision alike."""
        return exact.to(self._case.operands).to(self._dtype)

    def _signed(self, values: Tensor) -> Tensor:
        return values.abs_() if self._absolute else values

    def inputs(self, geometry: ConvGeometry) -> Tensor:
        """Draw a layer's input as it comes out of a ReLU, ``[N, C, *in]``."""
        return self.normal(self._case.batch, geometry.in_channels, *geometry.in_size).relu_()

    def output_gradients(self, geometry: ConvGeometry) -> Tensor:
        """Draw one backpropagated vector per example, ``[1, N, K, *out]``, so that weight gradients are of order 1."""
        scale = 2.0 ** -round(math.log2(geometry.positions) / 2)
        return self._signed(self.normal(1, self._case.batch, geometry.out_channels, *geometry.out_size).mul_(scale))

    def gradient(self, geometry: ConvGeometry) -> Tensor:
        """Draw a joint gradient, ``[K, D]`` or ``[groups, K/groups, D]``."""
        return self._signed(self.normal(*geometry.grouped(geometry.group_outputs, geometry.patch_dim)))

    def positive(self, geometry: ConvGeometry, size: int) -> Tensor:
        """Draw a well-conditioned positive definite matrix, ``[size, size]`` or ``[groups, size, size]``."""
        rows = self.normal(*geometry.grouped(size, size)).double()
        identity = torch.eye(size, dtype=rows.dtype, device=rows.device)
        return self._signed(self._rounded(rows @ rows.mT / size + identity))

    def rotation(self, geometry: ConvGeometry, size: int) -> Tensor:
        """Draw an orthogonal matrix."""
        rows = self.normal(*geometry.grouped(size, size)).double()
        return self._signed(self._rounded(torch.linalg.qr(rows)[0]))


def _arguments(operator: str, geometry: ConvGeometry, draws: _Draws) -> list[Any]:
    outputs, patch = geometry.group_outputs, geometry.patch_dim
    match operator:
        case "input_factor" | "reduced_input_factor":
            return [draws.inputs(geometry), geometry]
        case "output_factor" | "reduced_output_factor":
            return [draws.output_gradients(geometry), geometry]
        case "diagonal_fisher" | "block_fisher" | "mini_block_fisher":
            return [draws.inputs(geometry), draws.output_gradients(geometry), geometry]
        case "eigenvalue_correction":
            bases = [draws.rotation(geometry, outputs), draws.rotation(geometry, patch)]
            return [draws.inputs(geometry), draws.output_gradients(geometry), geometry, *bases]
        case "exact_fisher":
            return [draws.output_gradients(ConvGeometry.linear(1, geometry.parameters))]
        case "damped_inverse":
            return [[draws.positive(geometry, patch), draws.positive(geometry, outputs)], [0.1, 0.1]]
        case "precondition":
            return [[draws.gradient(geometry)], [draws.positive(geometry, outputs)], [draws.positive(geometry, patch)]]
        case "precondition_diagonal":
            return [[draws.gradient(geometry)], [draws.gradient(geometry).square_()], 0.1]
        case "precondition_dense":
            return [[draws.gradient(geometry)], [draws.positive(geometry, outputs * patch)]]
    raise KeyError(operator)


def _operator(
    case: CostCase, operator: str, dtype: torch.dtype, implementation: str, *, absolute: bool = False
) -> Workload:
    (geometry,) = case.geometries
    arguments = _arguments(operator, geometry, _Draws(case, dtype, absolute=absolute))
    contestant = contestants().get((operator, implementation))
    run: Callable[[], Tensor | list[Tensor] | DampedInverses]
    with_host = contestant is not None and contestant.whole_pass
    if contestant is not None:
        run = contestant.ready(arguments, Case(geometry, dtype, torch.device(case.device), case.batch))
        scale = contestant.scale(geometry, case.batch)
    else:
        run = partial(getattr(kfc_kernels, operator), *arguments, implementation=implementation)
        scale = 1.0

    def once() -> list[Tensor]:
        result = run()
        if isinstance(result, DampedInverses):
            return result.inverses
        return result if isinstance(result, list) else [result]

    return Workload(
        [(1.0, run)],
        once,
        _chosen(case, dtype, implementation),
        _longest_sum(case),
        scale=scale,
        magnitudes=None
        if operator in NO_SUMS
        else lambda: _operator(case, operator, dtype, implementation, absolute=True).once(),
        with_host=with_host,
    )


def _longest_sum(case: CostCase) -> int:
    return case.batch * max(geometry.positions for geometry in case.geometries)


def _chosen(case: CostCase, dtype: torch.dtype, implementation: str) -> str:
    """Say what runs: the name given, or what ``"auto"`` comes to for the case's main operator."""
    operator = main_operator(case)
    if implementation != "auto" or operator is None:
        return "reference" if implementation == "auto" else implementation
    return implementations(operator, main_geometry(case), dtype, case.device, case.batch)[0]


def _in_dtype(layers: list[list[Tensor]], dtype: torch.dtype) -> list[list[Tensor]]:
    return [[tensor.to(dtype) for tensor in layer] for layer in layers]


def _phase(
    case: CostCase, dtype: torch.dtype, implementation: str, given: Approximation[Any] | None, *, absolute: bool = False
) -> Workload:
    draws = _Draws(case, dtype, absolute=absolute)
    batches = [
        LayerBatch(geometry, draws.inputs(geometry), draws.output_gradients(geometry)) for geometry in case.geometries
    ]
    gradients = [draws.gradient(geometry) for geometry in case.geometries]
    name = "identity" if case.approximation == SGD else str(case.approximation)

    def fresh() -> Approximation[Any]:
        return APPROXIMATIONS[name](damping=case.damping, implementation=implementation)

    state = fresh()
    if given is not None:
        state.load_state_dict(given.state_dict())
        state.statistics = _in_dtype(given.statistics, dtype)
        state.inverses = _in_dtype(given.inverses, dtype)
    else:
        state.observe(batches)
        if case.phase == "precondition":
            state.refresh()

    def accumulate() -> list[Tensor]:
        approximation = fresh()
        approximation.observe(batches)
        if isinstance(approximation, EKFAC):
            return decomposed(approximation)
        return [tensor for layer in approximation.statistics for tensor in layer]

    def refresh() -> list[Tensor]:
        state.refresh()
        if isinstance(state, KFCEigen):
            return decomposed(state)
        return [tensor for layer in state.inverses for tensor in layer]

    def precondition() -> list[Tensor]:
        return [natural for natural in state.precondition(gradients) if natural is not None]

    widest = max(max(geometry.patch_dim, geometry.parameters) for geometry in case.geometries)
    decomposing = equivalent_terms(case.geometries) if isinstance(state, KFCEigen) else 0
    observing = _longest_sum(case) + (decomposing if isinstance(state, EKFAC) else 0)
    phases: dict[str, tuple[Callable[[], object], Callable[[], list[Tensor]], int]] = {
        "accumulate": (lambda: state.observe(batches), accumulate, observing),
        "refresh": (refresh, refresh, max(decomposing, 1)),
        "precondition": (precondition, precondition, widest),
    }
    repeated, once, terms = phases[str(case.phase)]
    return Workload(
        [(1.0, repeated)],
        once,
        _chosen(case, dtype, implementation),
        terms,
        (lambda: worst_condition(state)) if case.phase == "refresh" and not decomposing else (lambda: 1.0),
        _as_it_is(state),
        magnitudes=(lambda: _phase(case, dtype, implementation, None, absolute=True).once())
        if case.phase == "accumulate"
        else None,
    )


def _as_it_is(state: Approximation[Any]) -> Approximation[Any]:
    """Return the state with lists of its own, so that what a phase puts into them is not in it; tensors are shared."""
    kept = copy.copy(state)
    kept.statistics = [list(layer) for layer in state.statistics]
    kept.inverses = [list(layer) for layer in state.inverses]
    return kept


def worst_condition(approximation: Approximation[Any] | NetworkCurvature) -> float:
    """Return the largest condition number among the layers: per layer the sum over its damped matrices.

    An inverse amplifies a relative error by its matrix's condition number, and a product of two adds theirs.

    Args:
        approximation: After `observe`.

    Returns:
        At least 1.
    """
    parts = (
        [part for part, _ in approximation.parts] if isinstance(approximation, NetworkCurvature) else [approximation]
    )
    return max((_condition(part) for part in parts), default=1.0)


def _condition(part: Approximation[Any]) -> float:
    if isinstance(part, KFCEigen):
        return exact_condition(part)
    return max(
        (sum(damped_condition(matrix, shift) for matrix, shift in layer) for layer in part.damped() if layer),
        default=1.0,
    )


class _Training:
    """A network, one batch, and an optimizer that takes whole steps on it.

    Args:
        case: The case.
        dtype: Dtype of parameters and images.
        channels_last: Memory format of the network and the images.
    """

    def __init__(self, case: CostCase, dtype: torch.dtype, *, channels_last: bool = False) -> None:
        entry = NETWORKS[str(case.network)]
        layout = torch.channels_last if channels_last else torch.contiguous_format
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            model = entry.build()
        self.model = model.to(case.device, dtype, memory_format=layout)  # type: ignore[call-overload]
        draws = _Draws(case, dtype)
        self._images = draws.normal(case.batch, *entry.input_shape).to(memory_format=layout)
        labels = torch.randint(entry.classes, (case.batch,), generator=torch.Generator().manual_seed(0))
        self._labels = labels.to(case.device)

    def forward(self) -> tuple[Tensor, Tensor]:
        """Return the loss and the logits."""
        logits = self.model(self._images)
        return functional.cross_entropy(logits, self._labels), logits


def _directions(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    """Return the momentum buffers after a first step: the direction taken, not blurred by the parameters' size.

    Each is flat, so that it is checked as one block: terms of a batch's gradient cancel, in some rows almost wholly.
    """
    return [
        optimizer.state[parameter]["momentum_buffer"].contiguous().flatten()
        for group in optimizer.param_groups
        for parameter in group["params"]
    ]


def _natural_training(
    case: CostCase, dtype: torch.dtype, implementation: str, *, channels_last: bool = False
) -> tuple[_Training, NaturalGradient]:
    training = _Training(case, dtype, channels_last=channels_last)
    optimizer = NaturalGradient(
        training.model,
        STEP_LR,
        approximation=str(case.approximation),
        damping=case.damping,
        fisher=case.fisher,
        statistics_every=NEVER,
        inverses_every=NEVER,
        clip=case.clip,
        implementation=implementation,
    )
    return training, optimizer


def _step(case: CostCase, dtype: torch.dtype, implementation: str) -> Workload:
    """Build a step whose sample is the mean over one cycle of periods, each kind of step timed by itself.

    Contiguous and channels-last are tried, as for SGD, and the faster is taken.

    Returns:
        The workload.
    """

    def stepper(*, channels_last: bool) -> tuple[NaturalGradient, Callable[..., None]]:
        training, optimizer = _natural_training(case, dtype, implementation, channels_last=channels_last)

        def step(*, statistics: bool = False, inverses: bool = False) -> None:
            optimizer.request(statistics=statistics, inverses=inverses)
            optimizer.zero_grad()
            loss, logits = training.forward()
            optimizer.backward(loss, logits)
            optimizer.step()

        step(statistics=True, inverses=True)
        return optimizer, step

    layouts = (False, True) if _is_measured(case, dtype, implementation) else (False,)
    steppers = [stepper(channels_last=channels_last) for channels_last in layouts]
    chosen = quickest([step for _, step in steppers], clock_for(case.device, case.cache, held=False))
    (optimizer, step), channels_last = steppers[chosen], layouts[chosen]

    def once() -> list[Tensor]:
        fresh, natural = _natural_training(case, dtype, implementation, channels_last=channels_last)
        loss, logits = fresh.forward()
        natural.backward(loss, logits)
        natural.step()
        return _directions(natural)

    cycle = math.lcm(case.statistics_every, case.inverses_every)
    kinds: dict[tuple[bool, bool], int] = {}
    for index in range(cycle):
        kind = (index % case.statistics_every == 0, index % case.inverses_every == 0)
        kinds[kind] = kinds.get(kind, 0) + 1

    def part(statistics: bool, inverses: bool) -> Callable[[], object]:
        return lambda: step(statistics=statistics, inverses=inverses)

    parts = [(count / cycle, part(*kind)) for kind, count in kinds.items()]
    return Workload(
        parts,
        once,
        _chosen(case, dtype, implementation),
        _longest_sum(case),
        lambda: worst_condition(optimizer.curvature),
        with_host=True,
    )


SGD_VARIANTS = [
    (f"torch_{name}{'_channels_last' if channels_last else ''}", {name: True}, channels_last)
    for name in ("foreach", "fused")
    for channels_last in (False, True)
]


def _sgd_step(case: CostCase, dtype: torch.dtype, implementation: str) -> Workload:
    """Build SGD's step: foreach and fused, contiguous and channels-last are tried, and the fastest is the baseline."""

    def training(flags: dict[str, bool], channels_last: bool) -> tuple[_Training, torch.optim.SGD]:
        entry = _Training(case, dtype, channels_last=channels_last)
        return entry, torch.optim.SGD(entry.model.parameters(), lr=STEP_LR, momentum=0.9, **flags)

    def stepper(flags: dict[str, bool], channels_last: bool) -> Callable[[], None]:
        entry, optimizer = training(flags, channels_last)

        def step() -> None:
            optimizer.zero_grad()
            entry.forward()[0].backward()
            optimizer.step()

        return step

    variants = [
        (name, flags, channels_last, stepper(flags, channels_last))
        for name, flags, channels_last in (
            SGD_VARIANTS if _is_measured(case, dtype, implementation) else SGD_VARIANTS[:1]
        )
    ]
    chosen = quickest([step for *_, step in variants], clock_for(case.device, case.cache, held=False))
    name, flags, channels_last, step = variants[chosen]

    def once() -> list[Tensor]:
        entry, optimizer = training(flags, channels_last)
        entry.forward()[0].backward()
        optimizer.step()
        return _directions(optimizer)

    return Workload([(1.0, step)], once, name, _longest_sum(case), with_host=True)


def _is_measured(case: CostCase, dtype: torch.dtype, implementation: str) -> bool:
    """Tell the workload that is timed from those that it is checked against, which are built once and tried never."""
    return dtype == case.torch_dtype and implementation == case.implementation
