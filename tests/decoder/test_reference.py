"""The decoder on one page computes what `Decoder` does, whole and with a cache."""

import pytest
import torch

from llmlib.decoder import Decoder, DecoderConfig
from llmlib.decoder.reference import Cache, reference_decoder
from llmlib.pretrained import smollm2

MODELS = {
    "llama": {"n_kv_heads": 2, "tied": False},
    "qwen": {"n_kv_heads": 2, "qkv_bias": True, "qk_norm": True, "head_dim": 6},
    "gpt2": {"position": "learned", "norm": "layer", "activation": "gelu_tanh", "gated": False,
             "bias": True},
    "gpt1": {"position": "learned", "norm": "layer", "norm_position": "post", "gated": False,
             "activation": "relu", "bias": True},
}  # fmt: skip


@torch.no_grad()
@pytest.mark.parametrize("name", MODELS)
def test_it_equals_the_decoder_whole_and_cached(name: str) -> None:
    torch.manual_seed(0)
    decoder = Decoder(DecoderConfig(40, 32, 3, 4, context=32, **MODELS[name])).double()
    for parameter in decoder.parameters():
        parameter.add_(0.3 * torch.randn_like(parameter))
    ids = torch.randint(40, (2, 11))
    expected, weights = decoder(ids), decoder.state_dict()
    torch.testing.assert_close(reference_decoder(weights, decoder.config, ids), expected)
    cache: Cache = []
    pieces = [reference_decoder(weights, decoder.config, piece, cache)
              for piece in ids.split([4, 1, 1, 5], 1)]  # fmt: skip
    torch.testing.assert_close(torch.cat(pieces, 1), expected)


@torch.no_grad()
def test_it_runs_the_real_model() -> None:
    model, tokenizer = smollm2()
    ids = torch.tensor([tokenizer.encode("The capital of France is Paris. The capital of Italy")])
    found = reference_decoder(model.state_dict(), model.config, ids)
    torch.testing.assert_close(found, model(ids), rtol=0, atol=1e-3)
