"""The encoder: token ids in, a vector for every token out, each of which has seen the whole text.

embedding -> [segments] -> positions -> [embedding norm] -> L blocks -> [norm]

It is the decoder's stack without a causal mask. What is asked of the vectors stands beside it: the
pooler and the head that guesses hidden tokens, and the mean that makes one vector of a text.
"""

from collections.abc import Iterable

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor, nn

import llmlib.architecture as arch
from llmlib.attention import AttentionEngine, check_attention_engine
from llmlib.blocks import Hidden
from llmlib.decoder.requests import check_pass
from llmlib.ends import (
    Transform,
    check_description,
    embedded,
    initialize,
    make_embedding,
    make_output,
    token_scores,
)
from llmlib.positions import Positions
from llmlib.sizes import check_sizes
from llmlib.stack import BlockStack
from llmlib.tokenization import AnyTokenizer

TokenIds = Int[Tensor, "batch seq"]
PaddingMask = Shaped[Tensor, "batch seq"]


class Encoder(BlockStack):
    """Token ids in, hidden states out; every token sees those on either side.

    Args:
        config: the description, of one stack without a causal mask.
        engine: what computes attention, see `llmlib.attention.attend`.

    Raises:
        TypeError, ValueError: no description of an encoder, or one that cannot be built here: the
            text names the layer and the part.

    Source: devlin2019bert, liu2019roberta, warner2024modernbert
    """

    def __init__(self, config: arch.ModelConfig, engine: AttentionEngine = "auto") -> None:
        check_description(config)
        if config.family != "encoder":
            raise ValueError(f"family is {config.family!r}, expected 'encoder': one stack, which "
                             "is not causal")  # fmt: skip
        check_attention_engine(engine)
        super().__init__(config.dim, config.stack, engine, make_embedding(config))
        self.config, dim = config, config.dim
        self.segments = nn.Parameter(torch.empty(config.segments, dim)) if config.segments else None
        self.pooler = nn.Linear(dim, dim) if config.pooler else None
        self.transform = None if config.transform is None else Transform(dim, config.transform)
        self.output = make_output(config)
        self.output_bias = (
            nn.Parameter(torch.zeros(config.vocab_size)) if config.head_bias else None
        )
        initialize(self, config.n_layers)

    def forward(
        self,
        token_ids: TokenIds,
        attention_mask: PaddingMask | None = None,
        segment_ids: TokenIds | None = None,
    ) -> Hidden:
        """The last stream, normalized where the stack ends with a norm.

        Args:
            token_ids: (batch, seq).
            attention_mask: 1 for tokens, 0 for padding, (batch, seq). Positions count the tokens
                only, so a padded row gives at its tokens what it would give alone.
            segment_ids: (batch, seq), which part of a pair of texts a token belongs to; 0 if None.

        Raises:
            TypeError: ids, mask or segments of another kind.
            ValueError: ids outside the vocabulary or the segments, more tokens than the context
                holds, a mask of another shape or with other numbers, segments for a model without.
        """
        at = self.places(token_ids, attention_mask)
        x = self.run(self.embed(token_ids, at, segment_ids), at)
        return x if self.norm is None else self.norm(x)

    def places(self, token_ids: TokenIds, attention_mask: PaddingMask | None = None) -> Positions:
        """Where the tokens of a pass stand, once ids and mask are checked."""
        readers = () if attention_mask is None else self.readers()
        check_pass(self.config, readers, token_ids, None, attention_mask)
        device = token_ids.device
        return Positions(
            torch.arange(token_ids.shape[1], device=device),
            None if attention_mask is None else attention_mask.to(device).bool(),
            bias=self.relative_bias,
            wide=self.embedding.weight.dtype == torch.float64,
        )

    def embed(
        self, token_ids: TokenIds, at: Positions, segment_ids: TokenIds | None = None
    ) -> Hidden:
        """What the first block reads."""
        x = embedded(self.config, self.embedding, token_ids)
        if self.segments is not None:
            if segment_ids is None:
                segment_ids = torch.zeros_like(token_ids)
            _check_segments(segment_ids, token_ids, len(self.segments))
            x = x + self.segments[segment_ids.to(token_ids.device)]
        elif segment_ids is not None:
            raise ValueError("segment_ids are given, expected None: the model has no segments")
        return self.enter(x, at)

    def pooled(self, hidden: Hidden) -> Float[Tensor, "batch dim"]:
        """BERT's pooler: tanh(x W + b) of the first token.

        Raises:
            ValueError: a model without one.
        """
        if self.pooler is None:
            raise ValueError("pooler is False in the description, expected a model with one")
        return torch.tanh(self.pooler(hidden[:, 0]))

    def head(self, hidden: Hidden) -> Float[Tensor, "batch seq vocab"]:
        """Logits of the token at each position, to guess one that was hidden.

        Raises:
            ValueError: a model without a head.
        """
        if self.config.head != "tokens":
            raise ValueError(f"head is {self.config.head!r}, expected 'tokens': a model that was "
                             "trained, or loaded, with its head")  # fmt: skip
        x = hidden if self.transform is None else self.transform(hidden)
        return token_scores(self.config, x, self.output, self.embedding.weight, self.output_bias)

    def hidden_states(
        self,
        token_ids: TokenIds,
        attention_mask: PaddingMask | None = None,
        segment_ids: TokenIds | None = None,
    ) -> list[Hidden]:
        """The residual stream after the embedding and after each block: L + 1 tensors."""
        at = self.places(token_ids, attention_mask)
        return self.hidden(self.embed(token_ids, at, segment_ids), at)

    def attention_maps(
        self,
        token_ids: TokenIds,
        attention_mask: PaddingMask | None = None,
        segment_ids: TokenIds | None = None,
    ) -> list[Float[Tensor, "batch heads seq seq"]]:
        """Where each head of each block looks: L tensors, (batch, heads, queries, keys)."""
        at = self.places(token_ids, attention_mask)
        return self.maps(self.embed(token_ids, at, segment_ids), at)


def _check_segments(segment_ids: object, token_ids: Tensor, n_segments: int) -> None:
    """TypeError or ValueError for what does not give each token one of the model's segments."""
    if not isinstance(segment_ids, Tensor):
        raise TypeError(f"segment_ids is a {type(segment_ids).__name__}, expected a tensor")
    if segment_ids.shape != token_ids.shape or segment_ids.dtype not in (torch.int64, torch.int32):
        raise ValueError(
            f"segment_ids is {segment_ids.dtype} of shape {tuple(segment_ids.shape)}, expected "
            f"torch.int64 or torch.int32 {tuple(token_ids.shape)}"
        )
    if not segment_ids.is_meta:
        low, high = map(int, segment_ids.aminmax())
        if low < 0 or high >= n_segments:
            wrong = low if low < 0 else high
            raise ValueError(f"segment {wrong} is outside 0 .. {n_segments - 1}")


# --- one vector of a text ---------------------------------------------------------------------


def mean_pooled(
    hidden: Hidden, attention_mask: PaddingMask | None = None
) -> Float[Tensor, "batch dim"]:
    """The mean over a text's tokens, padding left out.

    Raises:
        ValueError: a mask of another shape, or a text without a token.

    Source: reimers2019sbert
    """
    if attention_mask is None:
        return hidden.mean(1)
    if attention_mask.shape != hidden.shape[:2]:
        raise ValueError(f"attention_mask has shape {tuple(attention_mask.shape)}, expected "
                         f"{tuple(hidden.shape[:2])}")  # fmt: skip
    weights = attention_mask.to(hidden.dtype)[..., None]
    counts = weights.sum(1)
    if bool((counts == 0).any()):
        raise ValueError(f"row {int((counts == 0).nonzero()[0, 0])} of attention_mask has no "
                         "token, expected one at least")  # fmt: skip
    return (hidden * weights).sum(1) / counts


def padded(
    rows: Iterable[list[int]], pad_id: int = 0
) -> tuple[Int[Tensor, "batch seq"], Int[Tensor, "batch seq"]]:
    """Lists of ids of unequal length as one batch, padded on the right, and its attention mask.

    Raises:
        ValueError: no row, or one without ids.
    """
    lists = [torch.tensor(row, dtype=torch.int64) for row in rows]
    if not lists or not all(map(len, lists)):
        raise ValueError(f"rows have lengths {[len(row) for row in lists]}, expected at least one "
                         "row, and an id in each")  # fmt: skip
    ids = nn.utils.rnn.pad_sequence(lists, batch_first=True, padding_value=pad_id)
    lengths = torch.tensor([len(row) for row in lists])
    return ids, (torch.arange(ids.shape[1]) < lengths[:, None]).long()


@torch.no_grad()
def embed_texts(
    model: Encoder,
    tokenizer: AnyTokenizer,
    texts: list[str],
    *,
    max_tokens: int = 256,
    batch: int = 32,
) -> Float[Tensor, "texts dim"]:
    """A vector of length 1 for each text: the mean of its tokens' vectors, normalized.

    Args:
        model: a sentence encoder, such as that of `llmlib.pretrained.minilm`.
        tokenizer: its own; its file says which tokens stand around a text.
        texts: the texts.
        max_tokens: of a longer text the first, those that stand around it included.
        batch: texts at once.

    Raises:
        TypeError: one text in the place of a list.
        ValueError: no text, sizes that are not positive, fewer tokens than stand around a text.

    Source: reimers2019sbert
    """
    if isinstance(texts, str) or not all(isinstance(text, str) for text in texts):
        raise TypeError(f"texts is {texts!r}, expected a list of texts")
    check_sizes(max_tokens=max_tokens, batch=batch)
    begin, end = tokenizer.around
    room = max_tokens - len(begin) - len(end)
    if room < 0:
        raise ValueError(f"max_tokens is {max_tokens}, expected at least {len(begin) + len(end)}, "
                         "the tokens that stand around a text")  # fmt: skip
    rows = [[*begin, *tokenizer.encode(text)[:room], *end] for text in texts]
    found = []
    for start in range(0, len(rows), batch):
        ids, mask = padded(rows[start : start + batch])
        device = model.embedding.weight.device
        found.append(mean_pooled(model(ids.to(device), mask.to(device)), mask.to(device)))
    if not found:
        raise ValueError(f"texts is {texts!r}, expected at least one text")
    return nn.functional.normalize(torch.cat(found), dim=-1)
