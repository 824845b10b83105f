"""What the frameworks' own counters say of a training step: operations in products of matrices."""

from __future__ import annotations

from typing import Any

import numpy as np

from lmkit.backends import get_backend
from lmkit.specs.signature import Signature

CONVOLUTIONS = ("Conv2D", "Conv2DBackpropInput", "Conv2DBackpropFilter")
PRODUCTS = ("MatMul", "BatchMatMul", "BatchMatMulV2", "BatchMatMulV3", *CONVOLUTIONS)


def rows_of(signature: Signature, rows: int) -> tuple[Any, Any]:
    """Some rows and their targets, of no meaning."""
    draw = np.random.default_rng(0)
    if signature.vocabulary:
        tokens = draw.integers(0, signature.vocabulary, (rows, *signature.shape))
        return tokens, tokens
    X = draw.standard_normal((rows, signature.features)).astype(np.float32)
    return X, draw.integers(0, signature.outputs, rows)


def torch_flops(model: Any, signature: Signature, rows: int) -> int:
    """PyTorch's FlopCounterMode over one step, forward and back; nothing but meta tensors."""
    import torch
    from torch.nn import functional as F
    from torch.utils.flop_counter import FlopCounterMode

    built = get_backend("torch").build(model, signature, "float32")
    X, y = (torch.as_tensor(a) for a in rows_of(signature, rows))
    # kernels of attention are chosen by the device; the plain one shows its products to the counter
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        z = built(X)
        loss = F.cross_entropy(z.flatten(0, -2), y.flatten()) if z.ndim > 2 else z.square().mean()
        loss.backward()
    return int(counter.get_total_flops())


def tensorflow_flops(model: Any, signature: Signature, rows: int) -> int:
    """TensorFlow's profiler over the graph of one step, forward and back; only what multiplies matrices."""
    import tensorflow as tf
    from tensorflow.python.framework.ops import get_stats_for_node_def  # what the profiler asks itself

    built = get_backend("tensorflow").build(model, signature, "float32")
    X, _ = rows_of(signature, rows)

    def gradients(x: Any) -> Any:
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.square(built(x, training=True)))
        return tape.gradient(loss, built.trainable_variables)

    step = tf.function(gradients, autograph=False)

    graph = step.get_concrete_function(tf.TensorSpec(X.shape, X.dtype)).graph
    total, needed, open_ends = 0, set(), [tensor.op for tensor in graph.outputs]
    while open_ends:  # what nothing asks for is not computed: the gradient of the data itself
        operation = open_ends.pop()
        if operation.name in needed:
            continue
        needed.add(operation.name)
        open_ends += [tensor.op for tensor in operation.inputs]
        if operation.type == "Einsum":
            total += _einsum(operation)
        elif operation.type in PRODUCTS:
            total += int(get_stats_for_node_def(graph, operation.node_def, "flops").value or 0)
    return total


def _einsum(operation: Any) -> int:
    """The profiler knows no Einsum: each combination of all letters is a multiplication and an addition."""
    terms = operation.get_attr("equation").decode().partition("->")[0].split(",")
    sizes: dict[str, int] = {}
    for term, tensor in zip(terms, operation.inputs, strict=True):
        sizes |= dict(zip(term, tensor.shape.as_list(), strict=True))
    return 2 * int(np.prod(list(sizes.values()))) if len(terms) > 1 else 0
