"""What one vector of a text holds with a decoder's causal mask, and without, on the same weights.

Embedding models made of decoders drop the causal mask, and are then trained on. Here nothing is
trained on: SmolLM2 is run as it is, and as an encoder of the same description and weights. A text
is the mean of its states, and the sentences of `sentences` are the test.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

import llmlib.architecture as arch
from llmlib.decoder import Decoder
from llmlib.encoder import Encoder, mean_pooled, padded
from llmlib.tokenization import AnyTokenizer


def without_mask(model: Decoder) -> Encoder:
    """The decoder's description with the causal flag off, around the decoder's own weights.

    Source: behnamghader2024llm2vec, where it is the first of three steps
    """
    made = Encoder(arch.changed(model.config, arch.Stack, causal=False))
    made.load_state_dict(model.state_dict(), assign=True)
    return made.eval()


@torch.no_grad()
def states(model: Decoder | Encoder, ids: Tensor, mask: Tensor) -> Float[Tensor, "batch seq dim"]:
    """The last stream as the head reads it; texts are padded on the right."""
    if isinstance(model, Encoder):
        return model(ids, mask)
    x = model.hidden_states(ids)[-1]  # no token sees the padding after it
    return x if model.norm is None else model.norm(x)


def vectors(
    model: Decoder | Encoder, tokenizer: AnyTokenizer, texts: list[str], skip: int = 0
) -> Float[Tensor, "texts dim"]:
    """The mean of each text's states, of length 1; the first `skip` tokens are left out.

    A decoder's first token is a sink, with a state like no other, which every mean shares.
    """
    ids, mask = padded([tokenizer.encode(text) for text in texts])
    found = states(model, ids, mask)[:, skip:]
    return nn.functional.normalize(mean_pooled(found, mask[:, skip:]), dim=-1)


@torch.no_grad()
def next_token_loss(model: Decoder | Encoder, ids: list[int]) -> float:
    """Nats a token for the next token: how much of the decoder's own skill is left.

    Without its mask it sees the very token that it is to guess.
    """
    rows = torch.tensor([ids])
    logits = model.head(model(rows)) if isinstance(model, Encoder) else model(rows)
    right = torch.tensor(ids[1:])
    return nn.functional.cross_entropy(logits[0, :-1].double(), right).item()
