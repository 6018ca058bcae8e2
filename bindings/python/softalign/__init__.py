"""Attention models for text, trained and run by hand-written GPU kernels on any Vulkan, Metal or DX12 device.

Models, training and single operations on arrays; ``softalign.torch`` has the operations as differentiable functions of PyTorch.
The environment variable ``SOFTALIGN_ADAPTER`` names the device (an index of ``devices()`` or part of a name) before it is first
used; without it the best one is.
"""

from ._softalign import Hypothesis, Model, __version__, devices
from .operations import (
    additive_attention,
    additive_attention_backward,
    dot_product_attention,
    dot_product_attention_backward,
    gru,
    gru_backward,
    matmul,
    matmul_backward,
    softmax,
    softmax_backward,
)
from .training import train

__all__ = [
    "Hypothesis",
    "Model",
    "__version__",
    "additive_attention",
    "additive_attention_backward",
    "devices",
    "dot_product_attention",
    "dot_product_attention_backward",
    "gru",
    "gru_backward",
    "matmul",
    "matmul_backward",
    "softmax",
    "softmax_backward",
    "train",
]
