"""Modules of PyTorch's beside what this crate reads their state_dicts as. The tests run it, not the crate.

    python state_dict.py make DIR SEED    for each case NAME.safetensors, its state_dict; NAME.json, the map of it (but for the default
                                          model's first); NAME.case.safetensors, what goes in and comes out
    python state_dict.py check DIR SEED   NAME.back.safetensors, loaded strictly into a module of other values, gives the same

Needs torch, numpy and safetensors.
"""
import json, pathlib, sys
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

B, S, T = 3, 6, 5
LENGTHS = torch.tensor([6, 3, 1])


def recurrent(gru, x):
    packed = pack_padded_sequence(x, LENGTHS, batch_first=True, enforce_sorted=False)
    out, final = gru(packed)
    return pad_packed_sequence(out, batch_first=True, total_length=S)[0], final


class Attention(nn.Module):
    def __init__(self, H, A):
        super().__init__()
        self.query, self.key, self.energy = nn.Linear(H, A, bias=False), nn.Linear(2 * H, A), nn.Linear(A, 1, bias=False)


class Default(nn.Module):
    """The default model: Bahdanau et al. 2015 with a tanh readout, or none."""

    def __init__(self, V, W, E, H, A, R, layers=1, tied=False):
        super().__init__()
        self.encoder = nn.ModuleDict({"embedding": nn.Embedding(V, E), "gru": nn.GRU(E, H, layers, batch_first=True, bidirectional=True)})
        self.bridge, self.attention = nn.Linear(H, H), Attention(H, A)
        self.decoder = nn.ModuleDict({"embedding": nn.Embedding(W, E), "cell": nn.GRUCell(E + 2 * H, H)})
        self.readout = nn.Linear(3 * H + E, R) if R else None
        self.output = nn.Linear(R or 3 * H + E, W)
        if tied:
            self.output.weight = self.decoder["embedding"].weight

    def forward(self, source, target_in):
        annotations, final = recurrent(self.encoder["gru"], self.encoder["embedding"](source))
        mask, state, logits = torch.arange(S)[None] < LENGTHS[:, None], torch.tanh(self.bridge(final[-1])), []
        for t in range(T):
            word = self.decoder["embedding"](target_in[:, t])
            hidden = torch.tanh(self.attention.query(state)[:, None] + self.attention.key(annotations))
            weights = self.attention.energy(hidden)[..., 0].masked_fill(~mask, float("-inf")).softmax(-1)
            context = (weights[..., None] * annotations).sum(1)
            state = self.decoder["cell"](torch.cat([word, context], -1), state)
            features = torch.cat([state, context, word], -1)
            logits.append(self.output(torch.tanh(self.readout(features)) if self.readout else features))
        return torch.stack(logits, 1)


class Sutskever(nn.Module):
    """An encoder-decoder without attention; `names` are those of its four modules."""

    def __init__(self, V, W, E, H, layers, names):
        super().__init__()
        self.names = names
        modules = [nn.Embedding(V, E), nn.GRU(E, H, layers, batch_first=True), nn.Embedding(W, E), nn.GRU(E, H, layers, batch_first=True), nn.Linear(H, W)]
        for name, module in zip(names, modules):
            self.add_module(name, module)

    def forward(self, source, target_in):
        source_words, encoder, words, decoder, output = (getattr(self, name) for name in self.names)
        _, final = recurrent(encoder, source_words(source))
        return output(decoder(words(target_in), final)[0])


class Stack(nn.Module):
    """Modules one on the other, called by their numbers."""

    def __init__(self, *modules):
        super().__init__()
        self.modules_by_number = nn.ModuleList(modules)

    def forward(self, x):
        for module in self.modules_by_number:
            if isinstance(module, nn.GRU):
                x, _ = recurrent(module, x)
            elif isinstance(module, nn.GRUCell):
                state, states = torch.zeros(B, module.hidden_size, dtype=x.dtype), []
                for t in range(S):
                    state = module(x[:, t], state)
                    states.append(state)
                x = torch.stack(states, 1)
            elif isinstance(module, nn.MultiheadAttention):
                x = module(x, x, x, key_padding_mask=torch.arange(S)[None] >= LENGTHS[:, None], need_weights=False)[0]
            else:
                x = module(x)
        return x


def layers(stack):
    described = []
    for number, module in enumerate(stack.modules_by_number):
        described.append({"module": type(module).__name__, "name": f"modules_by_number.{number}"})
        if isinstance(module, nn.MultiheadAttention):
            described[-1]["num_heads"] = module.num_heads
        if isinstance(module, nn.LayerNorm):
            described[-1]["eps"] = module.eps
    return described


def cases(seed):
    """Name, module, map, and what goes in: tokens and targets, tokens alone, or features of a size."""
    torch.manual_seed(seed)
    attention = lambda size, heads, **more: nn.MultiheadAttention(size, heads, batch_first=True, **more)
    names = ["letters", "reader", "sounds", "writer", "to_sounds"]
    theirs = dict(zip(["encoder.embedding", "encoder.gru", "decoder.embedding", "decoder.gru", "output"], names))
    tokens = Stack(nn.Embedding(11, 8), nn.GRU(8, 6, 2, batch_first=True, bidirectional=True), nn.LayerNorm(12, eps=1e-3), attention(12, 3), nn.Linear(12, 5))
    features = Stack(nn.GRUCell(7, 6), nn.Linear(6, 8, bias=False), attention(8, 2, bias=False), nn.GRU(8, 5, batch_first=True, bias=False), nn.LayerNorm(5, bias=False), nn.GRUCell(5, 4, bias=False))
    bare = Stack(nn.GRU(4, 3, batch_first=True))
    found = [
        ("default", Default(11, 9, 6, 7, 5, 4), None, "pairs"),
        ("default_no_readout", Default(11, 9, 6, 7, 5, 0, layers=2), None, "pairs"),
        ("default_tied", Default(11, 9, 6, 7, 5, 6, tied=True), {"tie_embeddings": True}, "pairs"),
        ("encoder_decoder", Sutskever(11, 9, 6, 7, 2, names), {"architecture": "sutskever", "names": theirs}, "pairs"),
        ("stack_of_tokens", tokens, {"architecture": "stack", "layers": layers(tokens)}, "tokens"),
        ("stack_of_features", features, {"architecture": "stack", "layers": layers(features)}, 7),
        ("bare_gru", bare, {"architecture": "stack", "layers": [{"module": "GRU", "name": "gru"}], "names": {"gru": ""}}, 4),
    ]
    for name, module, described, kind in found:
        # Larger than first values are, so that a mistake shows.
        for parameter in module.parameters():
            nn.init.uniform_(parameter, -0.9, 0.9)
        inputs = {"lengths": LENGTHS}
        if isinstance(kind, int):
            inputs["features"] = torch.randn(B, S, kind)
        else:
            inputs["source"] = torch.randint(4, 11, (B, S))
        if kind == "pairs":
            inputs["target_in"] = torch.cat([torch.ones(B, 1, dtype=torch.long), torch.randint(4, 9, (B, T - 1))], 1)
        yield name, module, described, inputs


def applied(module, inputs):
    """What a module gives, computed in f64."""
    arguments = [inputs[name] for name in ("source", "features", "target_in") if name in inputs]
    with torch.no_grad():
        given = module.double()(*[x.double() if x.is_floating_point() else x for x in arguments])
    module.float()
    return given.float()


def held(module, name):
    """The module whose state_dict a case is of."""
    return module.modules_by_number[0] if name == "bare_gru" else module


def main(command, folder, seed):
    folder = pathlib.Path(folder)
    for name, module, described, inputs in cases(int(seed)):
        given = applied(module, inputs)
        if command == "make":
            state = {key: value.clone().contiguous() for key, value in held(module, name).state_dict().items()}
            save_file(state, folder / f"{name}.safetensors")
            if described is not None:
                (folder / f"{name}.json").write_text(json.dumps(described, indent=2) + "\n")
            tensors = {key: value.int() if not value.is_floating_point() else value for key, value in inputs.items()}
            save_file({**tensors, "out": given}, folder / f"{name}.case.safetensors")
        else:
            for parameter in module.parameters():
                nn.init.zeros_(parameter)
            held(module, name).load_state_dict(load_file(folder / f"{name}.back.safetensors"), strict=True)
            assert torch.equal(applied(module, inputs), given), name
            print(name)


main(*sys.argv[1:])
