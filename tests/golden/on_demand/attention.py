#!/usr/bin/env python3
"""Writes the golden cases of attention kernels that stand alone: computed by PyTorch in f64, stored as f32.

usage: attention.py FOLDER [--seed N]

Needs torch and transformers 5 (made with torch 2.15, transformers 5.24). `in.*` inputs, `out.*` outputs, `up.*` upstream gradients, `grad.*`
gradients of the inputs; settings in the metadata.

relative_attention  as the authors of Transformer-XL compute it: products with all distances, the longest first, then the shift of appendix B
span_attention      as the authors of adaptive spans compute it: keys cut into windows of L, a product with the position vectors, the mask of
                    the span on the weights, which are then normalised again
lsh_attention*      Hugging Face's LSHSelfAttention with given buckets; its projections pass on halves of what it reads
cached_attention    one query a row against the keys and values that others of its rows may have written, with a bias by distance
"""

import argparse
import math
import pathlib

import torch
from safetensors.torch import save_file
from torch.nn import functional as F
from transformers import ReformerConfig
from transformers.models.reformer.modeling_reformer import LSHSelfAttention


def draw(*shape: int, factor: float = 1.0) -> torch.Tensor:
    """Normal values that f32 can hold."""
    return (factor * torch.randn(*shape)).float().double().requires_grad_()


def heads(x: torch.Tensor, count: int) -> torch.Tensor:
    """[B, N, T, D] of [B, T, N·D]."""
    return x.unflatten(-1, (count, -1)).transpose(1, 2)


def beside(x: torch.Tensor) -> torch.Tensor:
    """[B, T, N·D] of [B, N, T, D]."""
    return x.transpose(1, 2).flatten(2)


def differentiated(inputs: dict, context: torch.Tensor, integers: dict | None = None) -> dict:
    """The tensors of a case."""
    up = draw(*context.shape)
    gradients = torch.autograd.grad(context, list(inputs.values()), up.detach())
    tensors = {f"in.{name}": value for name, value in (inputs | (integers or {})).items()}
    tensors |= {"out.context": context, "up.context": up}
    return tensors | {f"grad.{name}": gradient for name, gradient in zip(inputs, gradients)}


def relative_attention() -> tuple[dict, dict]:
    B, T, S, N, D = 2, 5, 9, 2, 3
    inputs = {
        "queries": draw(B, T, 2 * N * D),
        "key": draw(B, S, N * D),
        "value": draw(B, S, N * D),
        "relative": draw(S, N * D),
    }
    lengths = torch.tensor([S, S - 2])
    content, position = inputs["queries"].unflatten(-1, (2, N, D)).permute(2, 0, 3, 1, 4)
    key, value = heads(inputs["key"], N), heads(inputs["value"], N)
    farthest_first = inputs["relative"].unflatten(-1, (N, D)).flip(0)
    products = torch.einsum("bntd,snd->bnts", position, farthest_first)
    shifted = F.pad(products, (1, 0)).view(B, N, S + 1, T)[:, :, 1:].reshape(B, N, T, S)
    scores = (content @ key.mT + shifted) / math.sqrt(D)
    ahead = torch.ones(T, S).triu(S - T + 1).bool()
    padding = torch.arange(S) >= lengths[:, None]
    weights = scores.masked_fill(ahead | padding[:, None, None], -torch.inf).softmax(-1)
    return differentiated(inputs, beside(weights @ value), {"lengths": lengths}), {"heads": N}


def span_attention() -> tuple[dict, dict]:
    B, T, S, N, D, L, ramp = 2, 4, 7, 3, 3, 5, 2.0
    inputs = {
        "query": draw(B, T, N * D),
        "key": draw(B, S, N * D),
        "value": draw(B, S, N * D),
        "position": draw(L, D),
        "spans": torch.tensor([0.25, 1.75, 4.5], requires_grad=True),
    }
    query = heads(inputs["query"], N)
    # Windows of the L keys before each query, the nearest last: [B, N, T, L, D].
    key, value = (
        F.pad(heads(inputs[name], N), (0, 0, L, 0))[:, :, S - T : S + L - 1].unfold(2, L, 1).mT for name in ("key", "value")
    )
    nearest_last = inputs["position"].flip(0)
    scores = (torch.einsum("bntd,bntld->bntl", query, key) + query @ nearest_last.T) / math.sqrt(D)
    template = torch.linspace(1 - L, 0, L)
    mask = ((template + inputs["spans"][:, None] - 1) / ramp + 1).clamp(0, 1)
    weights = scores.softmax(-1) * mask[:, None]
    weights = weights / weights.sum(-1, keepdim=True)
    return differentiated(inputs, beside(torch.einsum("bntl,bntld->bntd", weights, value))), {"ramp": ramp}


def lsh_attention(causal: bool, rounds: int, after: int) -> tuple[dict, dict]:
    B, T, N, D, chunk, count = 2, 15, 2, 3, 3, 4
    config = ReformerConfig(
        hidden_size=2 * N * D, num_attention_heads=N, attention_head_size=D, num_hashes=rounds, num_buckets=count,
        lsh_attn_chunk_length=chunk, lsh_num_chunks_before=1, lsh_num_chunks_after=after, is_decoder=causal,
        lsh_attention_probs_dropout_prob=0.0,
    )  # fmt: skip
    attention = LSHSelfAttention(config, layer_idx=0)
    attention.query_key.weight.data = torch.eye(2 * N * D)[: N * D]
    attention.value.weight.data = torch.eye(2 * N * D)[N * D :]
    inputs = {"query": draw(B, T, N * D), "value": draw(B, T, N * D)}
    lengths = torch.tensor([T, T - 4])
    mask = torch.arange(T) < lengths[:, None]
    buckets = torch.randint(count, (B, N, rounds, T)).where(mask[:, None, None], count)
    # Its buckets of different rounds are different ones.
    apart = buckets + (count + 1) * torch.arange(rounds)[:, None]
    context = attention(torch.cat(list(inputs.values()), -1), mask.long(), buckets=apart).hidden_states
    # What a padded position sees is nobody's business.
    context = context * mask[..., None]
    settings = {"heads": N, "chunk": chunk, "before": 1, "after": after, "causal": causal, "buckets": count}
    return differentiated(inputs, context, {"lengths": lengths, "buckets": buckets}), settings


def cached_attention() -> tuple[dict, dict]:
    R, N, D, capacity = 3, 2, 3, 260
    query, key, value = draw(R, N * D), draw(R, capacity, N * D), draw(R, capacity, N * D)
    # By s - position + capacity - 1.
    bias = draw(N, 2 * capacity - 1)
    origins, places = torch.randint(R, (R, capacity)), torch.tensor([0, 255, capacity - 1])
    context = []
    for row, place in enumerate(places.tolist()):
        seen = torch.arange(place + 1)
        keys, values = (heads(cache[origins[row, seen], seen][None], N) for cache in (key, value))
        of_row = bias[:, seen - place + capacity - 1][None, :, None]
        attended = F.scaled_dot_product_attention(heads(query[row][None, None], N), keys, values, attn_mask=of_row)
        context.append(beside(attended)[0, 0])
    floats = {"in.query": query, "in.key": key, "in.value": value, "in.bias": bias, "out.context": torch.stack(context)}
    return floats | {"in.origins": origins, "in.positions": places}, {"heads": N}


CASES = {
    "relative_attention": relative_attention,
    "span_attention": span_attention,
    "lsh_attention_causal": lambda: lsh_attention(True, 2, 0),
    "lsh_attention": lambda: lsh_attention(False, 1, 1),
    "cached_attention": cached_attention,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_default_dtype(torch.float64)
    arguments.folder.mkdir(parents=True, exist_ok=True)
    for name, case in CASES.items():
        torch.manual_seed(arguments.seed)
        tensors, settings = case()
        narrow = lambda x: x.detach().to(torch.float32 if x.is_floating_point() else torch.int32).contiguous()  # noqa: E731
        metadata = {key: str(setting) for key, setting in settings.items()} | {"made_with": f"torch {torch.__version__}"}
        save_file({key: narrow(value) for key, value in tensors.items()}, arguments.folder / f"{name}.safetensors", metadata)


if __name__ == "__main__":
    main()
