"""A model: stacks of runs of blocks, where a run may hold runs, and what is there once."""

from typing import Any, Literal

from llmlib.architecture.feed_forward import Experts, FeedForward, Transform
from llmlib.architecture.mixers import Attention, GatedDelta, Latent
from llmlib.architecture.parts import RMS, Buckets, Learned, Norm, Sinusoidal
from llmlib.architecture.said import Count, Described, Size, Switch, described, is_letter


@described
class Block(Described):
    """A mixer, then a feed-forward block, each around a residual, and where their norms stand.

    Every part f changes the stream by x <- last(x + residual_scale * after(f(before(x)))):

        pre       a norm before                      Llama
        post      a norm last, over the sum          the Transformer of 2017
        output    a norm after f                     OLMo 2
        sandwich  a norm before and another after    Gemma 2
    """

    mixer: Attention | Latent | GatedDelta
    feed_forward: FeedForward | Experts | None
    norm: Norm = RMS
    norms: Literal["pre", "post", "output", "sandwich"] = "pre"
    order: Literal["in turn", "parallel", "parallel, one norm"] = "in turn"
    cross: Attention | None = None  # attention to another stack, between the two
    mixer_norm: bool = True  # False: the mixer reads x itself (ModernBERT's first layer)
    residual_scale: float = 1.0  # of what each part adds (Granite)

    def check(self) -> None:
        if self.order != "in turn" and self.norms != "pre":
            raise ValueError(
                f"order is {self.order!r} with norms {self.norms!r}, expected norms 'pre': parts "
                "side by side read the same x"
            )
        if self.order != "in turn" and self.feed_forward is None:
            raise ValueError(f"order is {self.order!r} without a feed-forward block, expected "
                             "'in turn'")  # fmt: skip
        if self.cross is not None:
            _check_cross(self.cross, self.order)
        if not self.mixer_norm and self.norms not in ("pre", "sandwich"):
            raise ValueError(f"mixer_norm is False with norms {self.norms!r}, expected 'pre' or "
                             "'sandwich': there is no norm before the mixer")  # fmt: skip


def _check_cross(cross: Attention, order: str) -> None:
    """Positions of the text that writes mean nothing in the text that is read."""
    for name, usual in (("rope", None), ("window", None), ("alibi", False)):
        if getattr(cross, name) != usual:
            raise ValueError(f"{name} of cross-attention is {getattr(cross, name)!r}, expected "
                             f"{usual!r}: it knows no positions")  # fmt: skip
    if order != "in turn":
        raise ValueError(f"order is {order!r} with cross-attention, expected 'in turn'")


@described
class Run(Described):
    """Parts in their order, so many times over."""

    times: Size
    parts: tuple["Block | Run", ...]
    shared: bool = False  # the same weights each time

    def check(self) -> None:
        if not self.parts or not all(isinstance(part, Block | Run) for part in self.parts):
            raise TypeError(f"parts is {self.parts!r}, expected blocks or runs, at least one")


def repeat(times: Size, *parts: Block | Run) -> Run:
    """A run: repeat(10, repeat(5, near), far) is ten times five near blocks and a far one."""
    return Run(times, parts)


@described
class Stack(Described):
    """Runs of blocks, and what all of them share or what stands around them."""

    runs: tuple[Run, ...]
    last_norm: Norm | None = RMS
    causal: bool = True
    positions: Learned | Sinusoidal | Buckets | None = None  # RoPE and ALiBi are the mixers'
    first_norm: Norm | None = None  # after the embedding

    def check(self) -> None:
        if not self.runs or not all(isinstance(run, Run) for run in self.runs):
            raise TypeError(f"runs is {self.runs!r}, expected a tuple of runs, at least one")

    @property
    def n_layers(self) -> Size:
        """L, how many blocks a token passes through."""
        return sum(_length(run) for run in self.runs)


def _length(part: Block | Run) -> Size:
    if isinstance(part, Block):
        return 1
    return part.times * sum(map(_length, part.parts))


@described
class ModelConfig(Described):
    """A model: width, vocabulary, positions, and its stack, or two of them."""

    dim: Size  # d, width of the residual stream
    vocab_size: Size  # V, rows of the embedding, padding rows included
    context: Size  # n_ctx, positions that the model may see, prompt and continuation together
    stack: Stack
    source: Stack | None = None  # the encoder of an encoder-decoder, whose decoder is `stack`
    tied: Switch = False  # the head is the embedding's matrix
    segments: Count = 0  # rows of a table of segments (BERT: 2)
    embedding_scale: float | None = None  # the embedding times this (Gemma: sqrt(dim))
    head: Literal["tokens", "none"] = "tokens"
    transform: Transform | None = None  # before the head's matrix
    head_bias: Switch = False
    pooler: Switch = False  # a layer over the first token, after the stack (BERT)
    softcap: float | None = None  # c of c tanh(logit / c)
    output_scale: float | None = None  # logits times this (Granite, Command R)

    @property
    def n_layers(self) -> Size:
        """L, blocks of the stack; in an encoder-decoder, of the decoder's."""
        return self.stack.n_layers

    @property
    def block(self) -> Block:
        """The block of which all layers are copies.

        Raises:
            ValueError: there are several kinds: no single one speaks for the model.
        """
        found = dict.fromkeys(block for block, _, _ in kinds(self.stack.runs))
        if len(found) > 1:
            names = "; ".join(map(repr, found))
            raise ValueError(f"the model has {len(found)} kinds of blocks, expected one: {names}")
        return next(iter(found))

    @property
    def family(self) -> Literal["decoder", "encoder", "encoder-decoder"]:
        """What the model does: continue a text, read one, or read one and write another."""
        if self.source is not None:
            return "encoder-decoder"
        return "decoder" if self.stack.causal else "encoder"

    def check(self) -> None:
        if self.softcap is not None and not is_letter(self.softcap) and not self.softcap > 0:
            raise ValueError(f"softcap is {self.softcap}, expected a number above 0")
        if self.head == "none" and (self.transform is not None or self.head_bias is True):
            raise ValueError("head is 'none' beside a transform or a bias of it, expected 'tokens'")


# --- walking over a stack ---------------------------------------------------------------------


def kinds(
    parts: tuple[Block | Run, ...], times: Size = 1, own: Size = 1
) -> list[tuple[Block, Size, Size]]:
    """Each block of the runs with how often it runs, and how many sets of weights of it there are.

    Sums need no more than that, and take letters as they take numbers: `times` is for work and
    caches, `own` for weights.
    """
    found: list[tuple[Block, Size, Size]] = []
    for part in parts:
        if isinstance(part, Block):
            found.append((part, times, own))
        else:
            sets = own if part.shared else own * part.times
            found += kinds(part.parts, times * part.times, sets)
    return found


def layers(parts: tuple[Block | Run, ...]) -> list[Block]:
    """Every layer in its order.

    Raises:
        TypeError: a number of times that is a letter: such a model is counted, not built.
    """
    found: list[Block] = []
    for part in parts:
        if isinstance(part, Block):
            found.append(part)
        elif is_letter(part.times):
            raise TypeError(f"times is {part.times}, expected a number: layers are made one by one")
        else:
            found += layers(part.parts) * part.times
    return found


def changed(part: Any, kind: type, /, **values: Any) -> Any:
    """The description with these values in every part of one kind, wherever it stands.

    `changed(config, Attention, window=None)` is the model without its windows.

    Raises:
        TypeError, ValueError: no such field, a value that it cannot have, or no part of the kind.
    """
    made, found = _changed(part, kind, values)
    if not found:
        raise ValueError(f"no {kind.__name__} in {part!r}, expected at least one to change")
    return made


def _changed(part: Any, kind: type, values: dict[str, Any]) -> tuple[Any, bool]:
    if isinstance(part, tuple):
        pairs = [_changed(one, kind, values) for one in part]
        return tuple(one for one, _ in pairs), any(found for _, found in pairs)
    if not isinstance(part, Described):
        return part, False
    fields = {name: _changed(x, kind, values) for name, x in vars(part).items()}
    own = isinstance(part, kind)
    made = {name: x for name, (x, _) in fields.items()} | (values if own else {})
    return type(part)(**made), own or any(found for _, found in fields.values())
