"""The encoder-decoder: what a target sees of its source, gradients, bad input."""

from dataclasses import replace

import pytest
import torch

import llmlib.architecture as arch
from llmlib.decoder import Decoder, DecoderConfig
from llmlib.encoder_decoder import EncoderDecoder, generate
from llmlib.model_cards import CARDS, card
from llmlib.model_cards.families import FAMILY_CARDS

HEADS = arch.Attention(2, 2, 8)
READER = arch.Block(HEADS, arch.FeedForward(32))
WRITER = replace(READER, cross=HEADS)
CONFIG = arch.ModelConfig(
    16, 31, 12,
    arch.Stack((arch.repeat(2, WRITER),), positions=arch.Sinusoidal()),
    arch.Stack((arch.repeat(3, READER),), causal=False, positions=arch.Sinusoidal()),
    tied=True,
)  # fmt: skip
SOURCE = torch.tensor([[5, 6, 7, 8], [9, 10, 11, 12]])
TARGET = torch.tensor([[1, 2, 3], [1, 3, 2]])


@pytest.fixture
def model():
    torch.manual_seed(0)
    return EncoderDecoder(CONFIG).eval()


def test_the_cards_are_built():
    cards = [one for one in (*CARDS.values(), *FAMILY_CARDS.values()) if one.config.source]
    assert len(cards) >= 7
    for one in cards:
        with torch.device("meta"):
            built = EncoderDecoder(one.config)
        total = sum(x.numel() for x in built.parameters())
        assert total == one.published_parameters or not one.exact


@torch.no_grad()
def test_a_target_sees_its_past_and_all_of_the_source(model):
    logits = model(SOURCE, TARGET)
    later = TARGET.clone()
    later[:, -1] = 4
    torch.testing.assert_close(model(SOURCE, later)[:, :-1], logits[:, :-1])
    other = SOURCE.clone()
    other[:, -1] = 4
    assert (model(other, TARGET) - logits).abs().amin((1, 2)).min() >= 0
    assert (model(other, TARGET) - logits)[:, 0].abs().max() > 1e-6


@torch.no_grad()
def test_an_encoded_source_serves_again(model):
    encoded = model.encode(SOURCE)
    assert encoded.n_bytes == 0
    torch.testing.assert_close(model(encoded, TARGET), model(SOURCE, TARGET))
    kept = encoded.n_bytes
    assert kept == 2 * 2 * SOURCE.numel() * 16 * 4  # layers, keys and values, float32
    model(encoded, TARGET)
    assert encoded.n_bytes == kept


def test_the_loss_reaches_both_stacks(model):
    model(SOURCE, TARGET).logsumexp(-1).sum().backward()
    assert all(x.grad is not None and x.grad.abs().max() > 0 for x in model.parameters())


@torch.no_grad()
def test_last_only(model):
    torch.testing.assert_close(model(SOURCE, TARGET, last_only=True), model(SOURCE, TARGET)[:, -1:])


def test_writing_stops(model):
    tokens = list(generate(model, [5, 6, 7], 8, start_ids=(1,)))
    assert len(tokens) == 8
    stopped = list(generate(model, [5, 6, 7], 8, start_ids=(1,), stop_ids=tokens[:1]))
    assert stopped == tokens[:1]


@torch.no_grad()
def test_maps_are_weights_over_the_source(model):
    mask = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0]])
    maps = model.cross_maps(SOURCE, TARGET, mask)
    assert [tuple(one.shape) for one in maps] == [(2, 2, 3, 4)] * 2
    torch.testing.assert_close(maps[1].sum(-1), torch.ones(2, 2, 3))
    assert maps[0][1, :, :, 2:].abs().max() == 0
    assert not any(block.cross._forward_pre_hooks for block in model.decoder.blocks)


# --- bad input --------------------------------------------------------------------------------

bad_input = pytest.mark.bad_input
ENCODER = replace(CONFIG, stack=CONFIG.source, source=None)


@bad_input
@pytest.mark.parametrize(
    ("config", "error", "text"),
    [
        (card("GPT-2").config, ValueError, "family is 'decoder', expected 'encoder-decoder'"),
        (ENCODER, ValueError, "family is 'encoder', expected 'encoder-decoder'"),
        ({"dim": 4}, TypeError, "config is a dict, expected a ModelConfig"),
        (replace(CONFIG, segments=2), ValueError, "segments is 2, expected 0"),
        (replace(CONFIG, pooler=True), ValueError, "pooler is True, expected False"),
        (
            replace(CONFIG, source=replace(CONFIG.source, causal=True)),
            ValueError, "source.causal is True, expected False",
        ),
        (
            replace(CONFIG, stack=arch.Stack((arch.repeat(2, READER),))),
            ValueError, "cross is None in a block of the stack",
        ),
    ],
)  # fmt: skip
def test_what_is_no_encoder_decoder_is_refused(config, error, text):
    with pytest.raises(error, match=text):
        EncoderDecoder(config)


@bad_input
def test_a_decoder_does_not_look_across():
    alone = replace(CONFIG, source=None)
    with pytest.raises(ValueError, match="the stack looks across at another, expected a source"):
        Decoder(alone)


@bad_input
@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"rope": arch.Rope()}, "rope of cross-attention is Rope"),
        ({"window": 3}, "window of cross-attention is 3, expected None"),
        ({"alibi": True}, "alibi of cross-attention is True"),
    ],
)
def test_attention_to_another_text_knows_no_positions(change, text):
    with pytest.raises(ValueError, match=text):
        replace(READER, cross=replace(HEADS, **change))


@bad_input
def test_parts_side_by_side_leave_no_place_to_look_across():
    with pytest.raises(ValueError, match="order is 'parallel' with cross-attention"):
        replace(WRITER, order="parallel")


@bad_input
@pytest.mark.parametrize(
    ("arguments", "options", "error", "text"),
    [
        ((SOURCE, TARGET[:1]), {}, ValueError, "target_ids has 1 rows, expected 2"),
        ((SOURCE, TARGET + 30), {}, ValueError, r"token id 33 is outside 0 \.\. 30"),
        ((SOURCE + 30, TARGET), {}, ValueError, "token id 42 is outside"),
        ((SOURCE.repeat(1, 4), TARGET), {}, ValueError, "16 tokens do not fit"),
        ((SOURCE, TARGET.repeat(1, 5)), {}, ValueError, "15 tokens do not fit"),
        ((SOURCE.tolist(), TARGET), {}, TypeError, "token_ids is a list, expected a tensor"),
        (
            (SOURCE, TARGET), {"source_mask": torch.ones(2, 3)},
            ValueError, r"attention_mask has shape \(2, 3\), expected \(2, 4\)",
        ),
        (
            (SOURCE, TARGET), {"attention_mask": torch.ones(2, 4)},
            ValueError, r"attention_mask has shape \(2, 4\), expected \(2, 3\)",
        ),
        (
            (SOURCE, TARGET), {"source_mask": "all"},
            TypeError, "attention_mask is a str, expected a tensor",
        ),
        ((SOURCE, TARGET, 3), {}, TypeError, "cache is a int, expected a KVCache"),
    ],
)  # fmt: skip
def test_what_the_model_cannot_read(model, arguments, options, error, text):
    with pytest.raises(error, match=text):
        model(*arguments, **options)


@bad_input
def test_a_mask_belongs_to_the_reading(model):
    with pytest.raises(ValueError, match="source_mask is given with an encoded source"):
        model(model.encode(SOURCE), TARGET, source_mask=torch.ones(2, 4))


@bad_input
@pytest.mark.parametrize(
    ("change", "error", "text"),
    [
        ({"model": Decoder(DecoderConfig(31, 16, 1, 2))}, TypeError, "expected an EncoderDecoder"),
        ({"compile": True}, ValueError, "compile is True, expected False"),
        ({"start_ids": ()}, ValueError, "at least one token"),
        ({"start_ids": (40,)}, ValueError, "token id 40 is outside"),
        ({"source_ids": []}, ValueError, "at least one token"),
        ({"source_ids": "text"}, TypeError, "expected a list of ids"),
        ({"max_new_tokens": -1}, ValueError, "max_new_tokens is -1"),
        ({"max_new_tokens": 13}, ValueError, "13 tokens do not fit"),
        ({"stop_ids": (99,)}, ValueError, "stop id 99 is outside"),
    ],
)
def test_what_cannot_be_written(model, change, error, text):
    usual = {"model": model, "source_ids": [5, 6], "max_new_tokens": 3, "start_ids": (1,)}
    with pytest.raises(error, match=text):
        list(generate(**{**usual, **change}))


@bad_input
def test_a_block_without_its_source(model):
    block, x = model.decoder.blocks[0], torch.randn(1, 3, 16)
    with pytest.raises(ValueError, match="source is NoneType for a block whose cross-attention"):
        block(x)
    with pytest.raises(ValueError, match="source is Source for a block whose cross-attention is N"):
        model.encoder.blocks[0](x, source=model.encode(SOURCE[:1]))
