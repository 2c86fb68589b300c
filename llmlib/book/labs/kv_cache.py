"""What a trained model loses when its cache is cut: tokens evicted, directions left out.

`passages` are four texts of the Bible with the model's start token in front. `evicting` runs the
model while every layer and head drops tokens by a policy, as a cache of fixed size would;
`flattened` runs it with keys and values kept in r directions. `python -m llmlib.book.labs.kv_cache`
measures all of it on SmolLM2 and stores the losses in kv_cache.tsv, which `stored` reads: some
minutes of one core.
"""

import itertools
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from llmlib.book.labs.tables import read_rows, write_rows
from llmlib.book.real_model import start_of
from llmlib.decoder import Decoder
from llmlib.formats.packaged import kjv_text
from llmlib.positions import Positions
from llmlib.tokenization import AnyTokenizer

FILE = Path(__file__).with_suffix(".tsv")
BEGINNINGS = {
    "Ruth": "Now it came to pass in the days when the judges ruled",
    "John": "In the beginning was the Word",
    "Genesis": "In the beginning God created",
    "Jonah": "Now the word of the LORD came unto Jonah",
}
TOKENS, MEASURED_FROM = 256, 128
POLICIES = ("window", "window and start", "heavy hitters", "random", "random and start")
BUDGETS, SEEDS, RANKS = (64, 32), (0, 1, 2), (8, 58, 128, 192)


def passage(tokenizer: AnyTokenizer, name: str, n_tokens: int = TOKENS) -> list[int]:
    """The start token and the first tokens of a passage, n_tokens + 1 in all."""
    begin = kjv_text().index(BEGINNINGS[name])
    text = tokenizer.encode(kjv_text()[begin : begin + 8 * n_tokens])
    return [*start_of(tokenizer), *text][: n_tokens + 1]


def losses(
    model: Decoder,
    ids: Int[Tensor, "batch seq"],
    mask_of: Callable[[Any, Tensor], Bool[Tensor, "..."] | None],
) -> Float[Tensor, "batch positions"]:
    """Nats at each position; mask_of(block, stream) says what each layer's queries may see."""
    seq = ids.shape[1] - 1
    x = model.embed(ids[:, :-1], Positions(torch.arange(seq)))
    for block in model.blocks:
        x = block(x, Positions(torch.arange(seq), mask=mask_of(block, x)))
    logits = model.head(x).transpose(1, 2)
    return F.cross_entropy(logits, ids[:, 1:], reduction="none")


# --- tokens that are evicted --------------------------------------------------------------------


def kept_keys(
    q: Float[Tensor, "batch heads seq width"],
    k: Float[Tensor, "batch kv_heads seq width"],
    budget: int,
    policy: str,
    seed: int = 0,
) -> Bool[Tensor, "batch heads seq seq"]:
    """Which keys each query still finds, where a key/value head keeps `budget` tokens.

    Each new token is stored; where there are too many, one is dropped for good: the oldest
    ("window"), one at random, or the one that got the least attention so far ("heavy hitters"). All
    but the window spare the newest half; "and start" spares token 0.
    """
    (batch, groups, seq, width), generator = k.shape, torch.Generator().manual_seed(seed)
    q = q.unflatten(1, (groups, -1))
    got = torch.zeros(batch, groups, seq)
    alive = torch.zeros(batch, groups, seq, dtype=torch.bool)
    seen = torch.zeros(batch, groups, seq, seq, dtype=torch.bool)
    for t in range(seq):
        alive[:, :, t] = True
        seen[:, :, t] = alive
        if policy == "heavy hitters":
            scores = q[:, :, :, t] @ k[:, :, : t + 1].transpose(-1, -2) / width**0.5
            scores = scores.masked_fill(~alive[:, :, None, : t + 1], -torch.inf)
            got[:, :, : t + 1] += scores.softmax(-1).sum(2)
        if t < budget:
            continue
        if policy.startswith("window"):
            rank = torch.arange(seq).float().expand_as(got).clone()
        else:
            drawn = torch.rand(batch, groups, seq, generator=generator)
            rank = got.clone() if policy == "heavy hitters" else drawn
            rank[:, :, t + 1 - budget // 2 : t + 1] = torch.inf
        if policy.endswith("and start"):
            rank[:, :, 0] = torch.inf
        lowest = rank.masked_fill(~alive, torch.inf).argmin(2, keepdim=True)
        alive = alive.scatter(2, lowest, False)
    return seen.repeat_interleave(q.shape[2], 1)


@torch.no_grad()
def evicting(
    model: Decoder, ids: Int[Tensor, "batch seq"], budget: int, policy: str, seed: int = 0
) -> Float[Tensor, " batch"]:
    """Mean loss of each text from MEASURED_FROM on, every layer and head evicting by itself."""

    def mask_of(block: Any, x: Tensor) -> Tensor | None:
        if policy == "everything":
            return None
        read = block.norms["mixer_input"](x)
        rotation = block.see(x, Positions(torch.arange(x.shape[1]))).rotation
        q, k, _ = block.mixer.project(read, rotation)
        return kept_keys(q, k, budget, policy, seed)

    return losses(model, ids, mask_of)[:, MEASURED_FROM:].mean(1)


# --- directions that are left out ---------------------------------------------------------------


class Directions(NamedTuple):
    """The best directions of one layer's keys and values, side by side, each of length 1."""

    key_size: Tensor
    value_size: Tensor
    rows: Float[Tensor, "found both"]  # most important first

    def both(self, keys: Tensor, values: Tensor) -> Tensor:
        """Keys and values side by side, with equal weight."""
        return torch.cat([keys / self.key_size, values / self.value_size], -1)

    def missed(self, keys: Tensor, values: Tensor, rank: int) -> float:
        """Share of the length that lies outside the first `rank` directions."""
        both, kept = self.both(keys, values), self.rows[:rank]
        return float((both - both @ kept.T @ kept).norm() / both.norm())


def directions(keys: Float[Tensor, "seq k"], values: Float[Tensor, "seq v"]) -> Directions:
    """By singular values; what is rounding noise is left out."""
    sizes = keys.norm(), values.norm()
    both = torch.cat([keys / sizes[0], values / sizes[1]], -1)
    _, found, rows = torch.linalg.svd(both, full_matrices=False)
    return Directions(*sizes, rows[found > 1e-4 * found[0]])


@torch.no_grad()
def recorded(
    model: Decoder, ids: Int[Tensor, "1 seq"]
) -> list[tuple[Float[Tensor, "seq k"], Float[Tensor, "seq v"]]]:
    """Each layer's keys, before the rotation, and values, in float64."""
    found: dict[nn.Module, Tensor] = {}
    mixers: list[Any] = [block.mixer for block in model.blocks]
    hooks = [
        linear.register_forward_hook(lambda one, _, out: found.update({one: out[0].double()}))
        for one in mixers for linear in (one.key, one.value)
    ]  # fmt: skip
    model(ids)
    for hook in hooks:
        hook.remove()
    return [(found[one.key], found[one.value]) for one in mixers]


@contextmanager
def flattened(model: Decoder, found: list[Directions], rank: int) -> Iterator[None]:
    """Inside, keys and values lie in `rank` directions; those of the first token stay whole."""
    hooks = []
    mixers: list[Any] = [block.mixer for block in model.blocks]

    def hook(mixer: Any, one: Directions, place: int) -> Callable[..., Tensor]:
        kept = one.rows[:rank].float()

        def changed(_: nn.Module, inputs: tuple[Tensor, ...], out: Tensor) -> Tensor:
            keys, values = (F.linear(inputs[0], x.weight) for x in (mixer.key, mixer.value))
            both = one.both(keys, values).float() @ kept.T @ kept
            part = both.split([keys.shape[-1], values.shape[-1]], -1)[place]
            part = part * (one.key_size, one.value_size)[place].float()
            return torch.cat([out[:, :1], part[:, 1:]], 1)

        return changed

    for mixer, one in zip(mixers, found, strict=True):
        for place, linear in enumerate((mixer.key, mixer.value)):
            hooks.append(linear.register_forward_hook(hook(mixer, one, place)))
    try:
        yield
    finally:
        for made in hooks:
            made.remove()


# --- what the longer runs gave ------------------------------------------------------------------


class Run(NamedTuple):
    """The loss of one text under one setting."""

    experiment: str  # "evict 64", "evict 32", "rank", "rank, more text"
    setting: str  # a policy, or the number of directions
    text: str  # a key of BEGINNINGS
    seed: int
    loss: float  # nats a token


def save(runs: Iterable[Run], path: Path = FILE) -> None:
    """Write the runs as a table."""
    write_rows(path, Run, runs, loss=".3f")


def stored(experiment: str, path: Path = FILE) -> dict[str, dict[str, float]]:
    """Setting -> text -> loss, the mean over seeds."""
    found: dict[str, dict[str, list[float]]] = {}
    for run in read_rows(path, Run):
        if run.experiment == experiment:
            found.setdefault(run.setting, {}).setdefault(run.text, []).append(run.loss)
    return {
        setting: {text: sum(seeds) / len(seeds) for text, seeds in texts.items()}
        for setting, texts in found.items()
    }


def evictions(model: Decoder, tokenizer: AnyTokenizer) -> Iterator[Run]:
    """Every policy with every budget; those that draw with three seeds."""
    ids = torch.tensor([passage(tokenizer, name) for name in BEGINNINGS])
    for budget in BUDGETS:
        for policy in ("everything", *POLICIES):
            for seed in SEEDS if "random" in policy else (0,):
                for name, loss in zip(
                    BEGINNINGS, evicting(model, ids, budget, policy, seed).tolist(), strict=True
                ):
                    yield Run(f"evict {budget}", policy, name, seed, loss)


@torch.no_grad()
def ranks(model: Decoder, tokenizer: AnyTokenizer) -> Iterator[Run]:
    """Fitted on the first 256 tokens of a text, tested on the next 64."""
    for name in BEGINNINGS:
        ids = torch.tensor([passage(tokenizer, name, 320)])
        found = [directions(k[1:256], v[1:256]) for k, v in recorded(model, ids[:, :-1])]
        tested = torch.arange(256, 320)
        for rank in (None, *RANKS):
            if rank is None:
                logits = model(ids[:, :-1])
            else:
                with flattened(model, found, rank):
                    logits = model(ids[:, :-1])
            loss = F.cross_entropy(logits[0, tested], ids[0, tested + 1])
            yield Run("rank", "all" if rank is None else str(rank), name, 0, float(loss))


@torch.no_grad()
def ranks_of_more_text(model: Decoder, tokenizer: AnyTokenizer, pieces: int = 10) -> Iterator[Run]:
    """The same test, where what follows it in the book is fitted, too: 13 times as many tokens."""
    for name in BEGINNINGS:
        ids = torch.tensor([passage(tokenizer, name, 320 * (pieces + 1))])
        start, test = ids[:, :1], ids[:, :321]
        later = ids[:, 321:].split(319, 1)[:pieces]
        layers = [recorded(model, test[:, :256])]
        layers += [recorded(model, torch.cat([start, piece], 1)) for piece in later]
        found = [
            directions(*(torch.cat([one[1:] for one in both]) for both in zip(*layer, strict=True)))
            for layer in zip(*layers, strict=True)
        ]
        for rank in RANKS:
            with flattened(model, found, rank):
                logits = model(test[:, :-1])[0, 256:]
            loss = float(F.cross_entropy(logits, test[0, 257:]))
            yield Run("rank, more text", str(rank), name, 0, loss)


if __name__ == "__main__":
    from llmlib.pretrained import smollm2

    parts = smollm2()
    save(itertools.chain(ranks(*parts), ranks_of_more_text(*parts), evictions(*parts)))
