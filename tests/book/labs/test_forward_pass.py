"""What the chapter on the forward pass needs: a walk, a picture whose boxes lead on."""

import re
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from llmlib.book import start_of
from llmlib.book.labs.forward_pass import (
    added,
    block_as_written,
    block_picture,
    model_as_written,
)
from llmlib.decoder import Decoder, DecoderConfig
from llmlib.pretrained import smollm2

CHAPTERS = Path(__file__).resolve().parents[3] / "chapters"


def tokenizer(asked, special):
    return SimpleNamespace(encode=lambda text, add_special: asked, special_tokens=special)


@pytest.mark.unchecked
@pytest.mark.parametrize(
    ("asked", "special", "start"),
    [
        ([7], {"<|endoftext|>": 0}, [7]),
        ([], {"<|im_start|>": 1, "<|endoftext|>": 0}, [0]),
        ([], {"</s>": 2}, [2]),
        ([], {}, []),
    ],
)
def test_the_start_is_asked_for_or_separated_texts_or_is_none(asked, special, start):
    assert start_of(tokenizer(asked, special)) == start


def test_smollm2_starts_with_id_0():
    assert start_of(smollm2()[1]) == [0]


def small(**changes):
    torch.manual_seed(0)
    return Decoder(DecoderConfig(19, 16, 2, 4, n_kv_heads=2, context=8, **changes)).double()


@torch.no_grad()
@pytest.mark.parametrize("changes", [{}, {"norm": "layer"}])
def test_what_sub_layers_add_sums_to_the_stream(changes):
    model, ids = small(**changes), torch.tensor([[3, 1, 4]])
    at = model.places(ids, slopes=False)
    x = model.embed(ids, at)
    for block in model.blocks:
        begin, seen = x, block.see(x, at)
        for name in ("mixer", "feed_forward"):
            x = x + added(block, name, x, begin, seen)
    torch.testing.assert_close(x, model.hidden_states(ids)[-1])


def test_a_model_that_is_built_otherwise_is_stood_in_for():
    like, other = small(), small(activation="gelu", gated=False)
    assert block_as_written(like.blocks[0]) is like.blocks[0]
    assert model_as_written(like, like.blocks[0]) is like
    first = block_as_written(other.blocks[0])
    assert first is not other.blocks[0]
    known = model_as_written(other, first)
    assert known is not other
    assert known.config.vocab_size == 19


def test_each_box_of_the_picture_leads_to_a_chapter():
    pages = re.findall(r'href="(\w+)\.html"', block_picture().data)
    assert {"attention", "normalization", "activations", "decoding"} <= set(pages)
    assert [page for page in pages if not (CHAPTERS / f"{page}.ipynb").exists()] == []
