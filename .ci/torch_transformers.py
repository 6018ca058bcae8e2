#!/usr/bin/env python3
"""The Transformers of `bench` (W8, W9) in PyTorch, beside the workloads that its own benchmark has. Prints one JSON object keyed by workload.

usage: torch_transformers.py FOLDER_OF_TORCH_BENCH [--device cpu|cuda] [--mode eager|graph] [--threads 2] [--only W8,W9] [--out FILE]

The same sizes, batches of full length (so nothing is masked but what is ahead), f32, no dropout, and a step of loss, gradients, clipping and
fused Adam; layers and attention are PyTorch's own, which take its fastest kernels. Figures are timed as those of torch_bench.py are.
"""

import argparse
import json
import math
import pathlib
import sys

import torch
import torch.nn.functional as F
from torch import nn

# The sizes of src/bench: vocabularies, D, layers a side, rows, steps.
W8 = {"S": (32, 75, 256, 3, 128, 12), "M": (8000, 8000, 512, 6, 64, 25)}
HEADS = 8
GPT2_VOCABULARY, GPT2_HIDDEN, GPT2_LAYERS, GPT2_HEADS = 32_768, 768, 12, 12
GPT2_STEPS, GPT2_CONTEXT = 128, 512


def sinusoids(steps: int, width: int) -> torch.Tensor:
    """[T, D], Vaswani et al. 2017, 3.5."""
    angle = torch.arange(steps)[:, None] * torch.exp(torch.arange(0, width, 2) * (-math.log(10_000) / width))
    return torch.cat([angle.sin(), angle.cos()], -1)


class Transformer(nn.Module):
    """Encoder and decoder, normalised before each layer, the decoder's table tied to the output."""

    def __init__(self, source: int, target: int, width: int, layers: int, steps: int):
        super().__init__()
        sizes = dict(nhead=HEADS, dim_feedforward=4 * width, dropout=0.0, batch_first=True, norm_first=True)
        self.source, self.target = nn.Embedding(source, width), nn.Embedding(target, width)
        norms = nn.LayerNorm(width), nn.LayerNorm(width)
        self.encoder = nn.TransformerEncoder(
            nn.TransformerEncoderLayer(width, **sizes), layers, norms[0], enable_nested_tensor=False
        )
        self.decoder = nn.TransformerDecoder(nn.TransformerDecoderLayer(width, **sizes), layers, norms[1])
        self.register_buffer("places", sinusoids(steps, width))
        self.register_buffer("ahead", nn.Transformer.generate_square_subsequent_mask(steps))
        self.factor = math.sqrt(width)

    def forward(self, source: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        memory = self.encoder(self.source(source) * self.factor + self.places)
        words = self.target(target) * self.factor + self.places
        states = self.decoder(words, memory, tgt_mask=self.ahead, tgt_is_causal=True)
        return states @ self.target.weight.T


class Block(nn.Module):
    """A layer of GPT-2."""

    def __init__(self) -> None:
        super().__init__()
        width = GPT2_HIDDEN
        self.first, self.second = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.wide, self.narrow = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: torch.Tensor, cache: torch.Tensor | None) -> torch.Tensor:
        """x: [B, T, D]; cache: keys and values [2, B, heads, C, D / heads], whose last place takes the only step of x."""
        batch, steps, width = x.shape
        parts = self.qkv(self.first(x)).view(batch, steps, 3, GPT2_HEADS, -1).permute(2, 0, 3, 1, 4)
        query, keys, values = parts
        if cache is not None:
            cache[:, :, :, -1:] = parts[1:]
            keys, values = cache
        attended = F.scaled_dot_product_attention(query, keys, values, is_causal=cache is None)
        x = x + self.out(attended.transpose(1, 2).reshape(batch, steps, width))
        return x + self.narrow(F.gelu(self.wide(self.second(x)), approximate="tanh"))


class Gpt2(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(GPT2_VOCABULARY, GPT2_HIDDEN)
        self.places = nn.Embedding(2 * GPT2_CONTEXT, GPT2_HIDDEN)
        for table in (self.words, self.places):
            nn.init.normal_(table.weight, std=0.02)
        self.blocks = nn.ModuleList(Block() for _ in range(GPT2_LAYERS))
        self.norm = nn.LayerNorm(GPT2_HIDDEN)

    def forward(self, tokens: torch.Tensor, place: int = 0, caches: list[torch.Tensor] | None = None) -> torch.Tensor:
        """Logits [B, T, W] of tokens [B, T] whose first one stands at `place`."""
        x = self.words(tokens) + self.places.weight[place : place + tokens.shape[1]]
        for layer, block in enumerate(self.blocks):
            x = block(x, caches[layer] if caches else None)
        return self.norm(x) @ self.words.weight.T


def training(model: nn.Module, inputs: tuple[torch.Tensor, ...], answers: torch.Tensor):
    """A call that makes one step, as one CUDA graph in that mode."""
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-4, fused=True, capturable=bench.ARGS.mode == "graph")

    def step():
        optimizer.zero_grad(set_to_none=True)
        loss = F.cross_entropy(model(*inputs).flatten(0, 1), answers.flatten())
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        return bench.done(loss)

    return captured(step)


def captured(call):
    return bench.graphed(call) if bench.ARGS.mode == "graph" else call


def w8() -> None:
    for name, (source, target, width, layers, rows, steps) in W8.items():
        torch.manual_seed(0)
        model = Transformer(source, target, width, layers, steps)
        draw = lambda classes: torch.randint(4, classes, (rows, steps))  # noqa: E731
        step = training(model, (draw(source), draw(target)), draw(target))
        bench.record(f"W8/{name}", bench.timeit(step, min_runs=5, min_time=3.0, max_time=60.0), tokens=rows * steps)


def w9() -> None:
    torch.manual_seed(0)
    model = Gpt2()
    tokens, answers = (torch.randint(4, GPT2_VOCABULARY, (1, GPT2_STEPS)) for _ in range(2))
    step = training(model, (tokens,), answers)
    bench.record(f"W9/T{GPT2_STEPS}/training", bench.timeit(step, max_time=60.0), tokens=GPT2_STEPS)
    caches = [torch.randn(2, 1, GPT2_HEADS, GPT2_CONTEXT, GPT2_HIDDEN // GPT2_HEADS) for _ in range(GPT2_LAYERS)]
    calls = {
        f"W9/T{GPT2_STEPS}/prefill": (lambda: model(tokens), GPT2_STEPS),
        f"W9/S{GPT2_CONTEXT}/token": (lambda: model(tokens[:, :1], GPT2_CONTEXT - 1, caches), 1),
    }
    with torch.inference_mode():
        for key, (call, count) in calls.items():
            bench.record(key, bench.timeit(captured(lambda: bench.done(call()[0, -1, 0]))), tokens=count)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--mode", default="eager", choices=["eager", "graph"])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--only", default="W8,W9")
    parser.add_argument("--out", type=pathlib.Path)
    arguments = parser.parse_args()
    global bench
    sys.path.insert(0, str(arguments.folder))
    import torch_bench as bench

    bench.ARGS = argparse.Namespace(device=arguments.device, mode=arguments.mode, half=False)
    torch.set_num_threads(arguments.threads)
    torch.set_default_device(arguments.device)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    for workload in arguments.only.split(","):
        {"W8": w8, "W9": w9}[workload]()
    print(json.dumps(bench.RES, indent=1))
    if arguments.out:
        old = json.loads(arguments.out.read_text()) if arguments.out.exists() else {}
        arguments.out.write_text(json.dumps(old | bench.RES, indent=1))


if __name__ == "__main__":
    main()
