"""Per-example gradients of layers that are neither convolution nor linear."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, vjp, vmap
from torch.nn import functional
from torch.utils._pytree import tree_flatten, tree_unflatten

from kfc_bench.curvature.layers import Layer, UnsupportedLayerError


def normalised(module: nn.Module, inputs: Tensor, *, training: bool) -> Tensor:
    """Return what a normalisation scales and shifts.

    Args:
        module: A batch, layer or group normalisation.
        inputs: Its input, ``[N, *]``.
        training: Whether it ran in training mode: batch normalisation then takes the statistics of its batch.

    Returns:
        The input normalised, ``[N, *]``.

    Raises:
        TypeError: The module is of another kind.
    """
    match module:
        case nn.LayerNorm():
            return functional.layer_norm(inputs, module.normalized_shape, eps=module.eps)
        case nn.GroupNorm():
            return functional.group_norm(inputs, module.num_groups, eps=module.eps)
        case nn.BatchNorm1d() | nn.BatchNorm2d() | nn.BatchNorm3d():
            from_batch = training or module.running_mean is None
            return functional.batch_norm(
                inputs,
                None if from_batch else module.running_mean,
                None if from_batch else module.running_var,
                training=from_batch,
                eps=module.eps,
            )
    raise TypeError(f"{type(module).__name__} is not a normalisation with a known form")


def scale_shift_gradients(layer: Layer, inputs: Tensor, vectors: Tensor, *, training: bool) -> Tensor:
    """Return each example's gradient by scale and shift; the statistics of a batch count as constants.

    In training mode batch normalisation lets examples act on each other. That action is left out: what is returned is
    the derivative by the affine map alone.

    Args:
        layer: The normalisation.
        inputs: ``[N, *]``.
        vectors: ``[V, N, *]``.
        training: As in `normalised`.

    Returns:
        ``[V, N, P]``.
    """
    module = layer.module
    if isinstance(module, nn.LayerNorm):
        shared = tuple(range(2, vectors.ndim - len(module.normalized_shape)))
    else:
        shared = tuple(range(3, vectors.ndim))

    def summed(values: Tensor) -> Tensor:
        return (values.sum(shared) if shared else values).flatten(2)

    scale = summed(vectors * normalised(module, inputs, training=training))
    by_parameter = {id(module.weight): scale, id(module.bias): summed(vectors)}
    return torch.cat([by_parameter[id(parameter)] for parameter in layer.parameters], dim=2)


def module_gradients(layer: Layer, arguments: tuple[Any, ...], keywords: dict[str, Any], vectors: Tensor) -> Tensor:
    """Return each example's gradient by a module's own parameters, by running it once more, example by example.

    Dropout inside it draws anew.

    Args:
        layer: Any module whose output has the example as its first axis.
        arguments: What it was called with: a tensor with as many rows as there are examples is taken apart into them,
            the rest is the same for all.
        keywords: Likewise.
        vectors: ``[V, N, *]``.

    Returns:
        ``[V, N, P]``.

    Raises:
        UnsupportedLayerError: It does not run example by example.
    """
    trained = {id(parameter) for parameter in layer.parameters}
    names = [name for name, parameter in layer.module.named_parameters(recurse=False) if id(parameter) in trained]
    parameters = {name: getattr(layer.module, name).detach() for name in names}
    leaves, structure = tree_flatten((arguments, keywords))
    examples = vectors.shape[1]
    places = [place for place, leaf in enumerate(leaves) if isinstance(leaf, Tensor) and leaf.shape[:1] == (examples,)]

    def pulled(vector: Tensor, *example: Tensor) -> Tensor:
        own = list(leaves)
        for place, value in zip(places, example, strict=True):
            own[place] = value.unsqueeze(0)

        def run(values: dict[str, Tensor]) -> Tensor:
            output: Tensor = functional_call(layer.module, values, *tree_unflatten(own, structure))
            return output

        pull = vjp(run, parameters)[1]
        (gradients,) = pull(vector.unsqueeze(0))
        return torch.cat([gradients[name].flatten() for name in names])

    over_examples = vmap(pulled, randomness="different")
    split = [leaves[place] for place in places]
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "There is a performance drop")
            return torch.stack([over_examples(vector, *split) for vector in vectors])
    except RuntimeError as error:
        raise UnsupportedLayerError(
            f"layer {layer.name!r} ({type(layer.module).__name__}) does not run example by example, which its own "
            f"parameters need: {str(error).splitlines()[0].partition('. ')[0]}"
        ) from error
