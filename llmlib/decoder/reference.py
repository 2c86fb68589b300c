"""A decoder on one page: GPT-2 and Llama, with a cache, and nothing between you and the products.

No checks, no options, no fast path: what `Decoder` computes, written as the formulas say it. The
weights are a dictionary with the names of `Decoder(config).state_dict()`. Equal blocks, pre- or
post-norm, of the parts that GPT-2, Llama and Qwen3 have; what else a description can say is not
looked at, and the result would be wrong. A text at a time, or a batch of equal lengths.

    weights, cache = model.state_dict(), []
    logits = reference_decoder(weights, model.config, prompt, cache)   # the cache is filled
    logits = reference_decoder(weights, model.config, token, cache)    # and read
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

import llmlib.architecture as arch

Weights = dict[str, Tensor]
Cache = list[tuple[Tensor, Tensor]]  # of each layer, keys and values (batch, kv_heads, seq, width)


def reference_decoder(
    weights: Weights, config: arch.ModelConfig, token_ids: Tensor, cache: Cache | None = None
) -> Tensor:
    """Logits of the next token at each position: (batch, seq) -> (batch, seq, vocab).

    Args:
        weights: by the names of `Decoder.state_dict`.
        config: the description, of one kind of block.
        token_ids: the tokens after those that the cache has seen.
        cache: a list, empty before the first call; keys and values are added to it.

    Source: radford2019gpt2, touvron2023llama
    """
    past = cache[0][0].shape[2] if cache else 0
    positions = torch.arange(past, past + token_ids.shape[1])
    x = weights["embedding.weight"][token_ids]
    if "positions.weight" in weights:
        x = x + weights["positions.weight"][positions]
    for i in range(config.n_layers):
        here = {
            name.removeprefix(f"blocks.{i}."): w
            for name, w in weights.items()
            if name.startswith(f"blocks.{i}.")
        }
        if cache is not None and len(cache) == i:
            cache.append((torch.empty(0), torch.empty(0)))
        x = block(here, config, x, positions, cache, i)
    if config.stack.last_norm is not None:
        x = norm(weights, "norm", config.stack.last_norm, x)
    return x @ weights["embedding.weight" if config.tied else "output.weight"].T


def block(
    w: Weights, config: arch.ModelConfig, x: Tensor, positions: Tensor, cache: Cache | None, i: int
) -> Tensor:
    """x + attention(norm(x)), then x + feed_forward(norm(x)); post-norm: norm(x + f(x))."""
    said = config.block
    attention, ffn = said.mixer, said.feed_forward
    assert isinstance(attention, arch.Attention)
    assert isinstance(ffn, arch.FeedForward)
    if said.norms == "pre":
        read = norm(w, "norms.mixer_input", said.norm, x)
        x = x + mix(w, attention, read, positions, cache, i)
        return x + feed_forward(w, ffn, norm(w, "norms.feed_forward_input", said.norm, x))
    x = norm(w, "norms.mixer_sum", said.norm, x + mix(w, attention, x, positions, cache, i))
    return norm(w, "norms.feed_forward_sum", said.norm, x + feed_forward(w, ffn, x))


def norm(w: Weights, name: str, said: arch.Norm, x: Tensor) -> Tensor:
    """LayerNorm: (x - mean) / sqrt(variance + eps) * gain + shift; RMSNorm without the mean."""
    if said.kind == "layer":
        x = x - x.mean(-1, keepdim=True)
    y = x / (x.square().mean(-1, keepdim=True) + said.eps).sqrt() * w[f"{name}.weight"]
    return y + w[f"{name}.bias"] if said.bias else y


def linear(w: Weights, name: str, x: Tensor) -> Tensor:
    """x W^T + b, where there is a b."""
    y = x @ w[f"{name}.weight"].T
    return y + w[f"{name}.bias"] if f"{name}.bias" in w else y


def mix(
    w: Weights, said: arch.Attention, x: Tensor, positions: Tensor, cache: Cache | None, i: int
) -> Tensor:
    """softmax(q k^T / sqrt(head_dim)) v for each head, over the past and itself."""
    q, k, v = (
        linear(w, f"mixer.{name}", x).unflatten(-1, (-1, said.head_dim)).transpose(1, 2)
        for name in ("query", "key", "value")
    )
    if said.qk_norm is not None:
        q, k = (norm(w, f"mixer.{n}_norm", said.qk_norm, t) for n, t in (("query", q), ("key", k)))
    if said.rope is not None:
        q, k = turn(said.rope, q, positions), turn(said.rope, k, positions)
    if cache is not None:
        if cache[i][0].numel():
            k, v = (torch.cat(pair, 2) for pair in zip(cache[i], (k, v), strict=True))
        cache[i] = k, v
    # Query heads share keys in groups: head h reads key head h // group.
    k, v = (t.repeat_interleave(said.n_heads // said.n_kv_heads, 1) for t in (k, v))
    scores = q @ k.transpose(-1, -2) / math.sqrt(said.head_dim)
    future = torch.arange(k.shape[2]) > positions[:, None]
    weights = scores.masked_fill(future, -math.inf).softmax(-1)
    return linear(w, "mixer.output", (weights @ v).transpose(1, 2).flatten(2))


def turn(rope: arch.Rope, x: Tensor, positions: Tensor) -> Tensor:
    """RoPE: the pair (x_i, x_{i + d/2}) turned by the angle position * base^(-2i/d)."""
    half = x.shape[-1] // 2
    angles = positions[:, None].double() * rope.base ** (-torch.arange(half).double() / half)
    cos, sin = angles.cos().to(x.dtype), angles.sin().to(x.dtype)
    a, b = x.chunk(2, -1)
    return torch.cat([a * cos - b * sin, a * sin + b * cos], -1)


def feed_forward(w: Weights, said: arch.FeedForward, x: Tensor) -> Tensor:
    """down(f(gate x) * up x), or without a gate down(f(up x))."""
    f = {"swish": F.silu, "gelu_tanh": lambda x: F.gelu(x, approximate="tanh"), "relu": F.relu}
    act = f[said.activation]
    up = linear(w, "feed_forward.up", x)
    hidden = act(linear(w, "feed_forward.gate", x)) * up if said.gated else act(up)
    return linear(w, "feed_forward.down", hidden)
