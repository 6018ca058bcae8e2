"""The operations as differentiable functions of PyTorch, on the CPU's tensors of 32-bit floats.

Arguments and results are those of the functions of the same names in ``softalign``; lengths have no gradient.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from . import _softalign


class _Operation(torch.autograd.Function):
    @staticmethod
    def forward(
        context: Any, operation: str | dict[str, Any], lengths: Tensor | None, *inputs: Tensor
    ) -> tuple[Tensor, ...]:
        context.operation = operation
        context.save_for_backward(lengths, *inputs)
        return tuple(map(torch.from_dlpack, _softalign.forward(operation, [x.detach() for x in inputs], lengths)))

    @staticmethod
    @once_differentiable
    def backward(context: Any, *upstream: Tensor) -> tuple[Tensor | None, ...]:
        lengths, *inputs = context.saved_tensors
        arguments = [x.detach() for x in inputs]
        gradients = _softalign.backward(context.operation, arguments, lengths, [d.detach() for d in upstream])
        return None, None, *map(torch.from_dlpack, gradients)


def matmul(a: Tensor, b: Tensor) -> Tensor:
    [product] = _Operation.apply("matmul", None, a, b)
    return product


def softmax(x: Tensor, lengths: Tensor | None = None) -> Tensor:
    [y] = _Operation.apply("softmax", lengths, x)
    return y


def gru(x: Tensor, h0: Tensor, weights: Sequence[Tensor], lengths: Tensor | None = None) -> tuple[Tensor, Tensor]:
    states, last = _Operation.apply("gru", lengths, x, h0, *weights)
    return states, last


def additive_attention(
    query: Tensor, key: Tensor, energy: Tensor, value: Tensor, lengths: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    context, weights = _Operation.apply("additive_attention", lengths, query, key, energy, value)
    return context, weights


def dot_product_attention(
    query: Tensor, key: Tensor, value: Tensor, lengths: Tensor | None = None, *, causal: bool = False
) -> Tensor:
    [context] = _Operation.apply({"dot_product_attention": {"causal": causal}}, lengths, query, key, value)
    return context
