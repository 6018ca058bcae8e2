"""Operations on arrays, forward and backward.

Arguments are arrays of NumPy, whatever speaks DLPack (tensors of PyTorch on the CPU, arrays of JAX), or lists; they are computed
with as 32-bit floats. Results are arrays of NumPy, which speak DLPack too. A call uploads its arguments, runs, and reads back; one
with the shapes of an earlier call compiles nothing. A backward pass is given what the forward one was, and runs both.

``lengths`` says how many steps, keys or columns of each row are valid; without it all are.
"""

from collections.abc import Sequence
from typing import Any

from . import _softalign
from .types import Array, Arraylike


def matmul(a: Arraylike, b: Arraylike) -> Array:
    """``a·b`` of ``a`` [.., M, K] and one ``b`` [K, N], or as many [.., K, N]: [.., M, N]."""
    [product] = _softalign.forward("matmul", [a, b])
    return product


def matmul_backward(a: Arraylike, b: Arraylike, d_product: Arraylike) -> tuple[Array, Array]:
    """The gradients of ``a`` and ``b``."""
    d_a, d_b = _softalign.backward("matmul", [a, b], None, [d_product])
    return d_a, d_b


def softmax(x: Arraylike, lengths: Arraylike | None = None) -> Array:
    """Softmax over the last extent; past a row's length it is 0."""
    [y] = _softalign.forward("softmax", [x], lengths)
    return y


def softmax_backward(x: Arraylike, d_y: Arraylike, lengths: Arraylike | None = None) -> Array:
    """The gradient of ``x``."""
    [d_x] = _softalign.backward("softmax", [x], lengths, [d_y])
    return d_x


def gru(
    x: Arraylike, h0: Arraylike, weights: Sequence[Arraylike], lengths: Arraylike | None = None
) -> tuple[Array, Array]:
    """One GRU layer over whole rows, in the form of cuDNN and PyTorch.

    ``x`` [B, S, I], ``h0`` [D, B, H], and for each of D = 1 or 2 directions ``weight_ih`` [3H, I], ``weight_hh`` [3H, H],
    ``bias_ih`` [3H], ``bias_hh`` [3H], gates in the order r, z, n. Gives the states [B, S, D·H], 0 past a row's length, and
    the last state of each direction [D, B, H].
    """
    states, last = _softalign.forward("gru", [x, h0, *weights], lengths)
    return states, last


def gru_backward(
    x: Arraylike,
    h0: Arraylike,
    weights: Sequence[Arraylike],
    d_states: Arraylike | None,
    d_last: Arraylike | None,
    lengths: Arraylike | None = None,
) -> tuple[Array, Array, list[Array]]:
    """The gradients of ``x``, ``h0`` and the weights; one of those of the outputs may be None, which is 0."""
    d_x, d_h0, *d_weights = _softalign.backward("gru", [x, h0, *weights], lengths, [d_states, d_last])
    return d_x, d_h0, d_weights


def additive_attention(
    query: Arraylike, key: Arraylike, energy: Arraylike, value: Arraylike, lengths: Arraylike | None = None
) -> tuple[Array, Array]:
    """Soft alignment (Bahdanau et al. 2015, appendix A.1.2): the softmax over keys of ``energy·tanh(query + key)`` weights ``value``.

    ``query`` [B, T, A] and ``key`` [B, S, A] arrive projected, ``energy`` is [A], ``value`` [B, S, V]. Gives the context
    [B, T, V] and the weights [B, T, S].
    """
    context, weights = _softalign.forward("additive_attention", [query, key, energy, value], lengths)
    return context, weights


def additive_attention_backward(
    query: Arraylike,
    key: Arraylike,
    energy: Arraylike,
    value: Arraylike,
    d_context: Arraylike | None,
    d_weights: Arraylike | None,
    lengths: Arraylike | None = None,
) -> tuple[Array, Array, Array, Array]:
    """The gradients of ``query``, ``key``, ``energy`` and ``value``; one of those of the outputs may be None, which is 0."""
    inputs = [query, key, energy, value]
    d_query, d_key, d_energy, d_value = _softalign.backward(
        "additive_attention", inputs, lengths, [d_context, d_weights]
    )
    return d_query, d_key, d_energy, d_value


def dot_product_attention(
    query: Arraylike, key: Arraylike, value: Arraylike, lengths: Arraylike | None = None, *, causal: bool = False
) -> Array:
    """``softmax(query·keyᵀ / sqrt(D))·value`` per head (Vaswani et al. 2017, section 3.2.1).

    ``query`` [B, N, T, D], ``key`` and ``value`` [B, N, S, D]; where ``causal``, a query sees only keys up to its own position.
    Gives the context [B, N, T, D].
    """
    [context] = _softalign.forward(_dot_product_attention(causal), [query, key, value], lengths)
    return context


def dot_product_attention_backward(
    query: Arraylike,
    key: Arraylike,
    value: Arraylike,
    d_context: Arraylike,
    lengths: Arraylike | None = None,
    *,
    causal: bool = False,
) -> tuple[Array, Array, Array]:
    """The gradients of ``query``, ``key`` and ``value``."""
    operation = _dot_product_attention(causal)
    d_query, d_key, d_value = _softalign.backward(operation, [query, key, value], lengths, [d_context])
    return d_query, d_key, d_value


def _dot_product_attention(causal: bool) -> dict[str, Any]:
    return {"dot_product_attention": {"causal": causal}}
