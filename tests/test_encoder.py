"""The encoder: bad input, segments, pooling, and what makes it no decoder."""

from dataclasses import replace

import pytest
import torch

import llmlib.architecture as arch
from llmlib.decoder import Decoder, DecoderConfig
from llmlib.encoder import Encoder, embed_texts, mean_pooled, padded
from llmlib.model_cards import card
from llmlib.model_cards.families import FAMILY_CARDS
from llmlib.tokenization import WordPieceTokenizer

CAUSAL = DecoderConfig(vocab_size=31, dim=16, n_layers=2, n_heads=2, context=12)
PLAIN = replace(CAUSAL, stack=replace(CAUSAL.stack, causal=False), head="none")
BERT = replace(PLAIN, segments=2, pooler=True, head="tokens", head_bias=True)
IDS = torch.tensor([[5, 6, 7], [8, 9, 10]])


@pytest.fixture
def model():
    torch.manual_seed(0)
    return Encoder(BERT).eval()


def test_every_token_sees_both_sides_and_a_decoder_s_does_not():
    torch.manual_seed(0)
    encoder, decoder = Encoder(PLAIN), Decoder(CAUSAL)
    encoder.load_state_dict(decoder.state_dict())
    changed = IDS.clone()
    changed[:, -1] = 11
    with torch.no_grad():
        before, after = encoder(IDS), encoder(changed)
        assert (before[:, 0] - after[:, 0]).abs().min() > 1e-6
        states = decoder.hidden_states(IDS)[-1], decoder.hidden_states(changed)[-1]
    assert torch.equal(states[0][:, 0], states[1][:, 0])


def test_the_cards_of_encoders_are_built():
    for one in FAMILY_CARDS.values():
        if one.config.family == "encoder":
            with torch.device("meta"):
                built = Encoder(one.config)
            assert sum(x.numel() for x in built.parameters()) == one.published_parameters


def test_segments_are_added(model):
    ones = torch.ones_like(IDS)
    with torch.no_grad():
        assert torch.equal(model(IDS), model(IDS, None, torch.zeros_like(IDS)))
        assert not torch.allclose(model(IDS), model(IDS, None, ones))


def test_states_and_maps(model):
    with torch.no_grad():
        states = model.hidden_states(IDS)
        maps = model.attention_maps(IDS, torch.tensor([[1, 1, 1], [1, 1, 0]]))
    assert len(states) == 3
    torch.testing.assert_close(model.norm(states[-1]), model(IDS))
    assert all(one.shape == (2, 2, 3, 3) for one in maps)
    assert maps[0][1, :, :, 2].abs().max() == 0  # nobody looks at padding
    torch.testing.assert_close(maps[0].sum(-1), torch.ones(2, 2, 3))


def test_mean_over_the_tokens_alone():
    hidden = torch.randn(2, 3, 4)
    mask = torch.tensor([[1, 1, 1], [1, 0, 0]])
    found = mean_pooled(hidden, mask)
    torch.testing.assert_close(found[0], hidden[0].mean(0))
    torch.testing.assert_close(found[1], hidden[1, 0])
    torch.testing.assert_close(mean_pooled(hidden), hidden.mean(1))


def test_rows_are_padded_on_the_right():
    ids, mask = padded([[3, 4, 5], [6]], pad_id=9)
    assert ids.tolist() == [[3, 4, 5], [6, 9, 9]]
    assert mask.tolist() == [[1, 1, 1], [1, 0, 0]]


# --- bad input --------------------------------------------------------------------------------

bad_input = pytest.mark.bad_input


@bad_input
@pytest.mark.parametrize(
    ("config", "error", "text"),
    [
        (CAUSAL, ValueError, "family is 'decoder', expected 'encoder'"),
        (card("T5-small").config, ValueError, "family is 'encoder-decoder', expected 'encoder'"),
        ("BERT-base", TypeError, "config is a str, expected a ModelConfig"),
    ],
)
def test_what_is_no_encoder_is_refused(config, error, text):
    with pytest.raises(error, match=text):
        Encoder(config)


@bad_input
@pytest.mark.parametrize("field", ["transform", "head_bias", "pooler", "segments"])
def test_a_decoder_has_none_of_an_encoder_s_ends(field):
    value = {"transform": arch.Transform("gelu", arch.LAYER), "segments": 2}.get(field, True)
    with pytest.raises(ValueError, match=f"{field} is .*, expected .*no such decoder"):
        Decoder(replace(CAUSAL, **{field: value}))


@bad_input
@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ((IDS[0],), ValueError, r"token_ids is torch.int64 of shape \(3,\), expected"),
        ((IDS.float(),), ValueError, "token_ids is torch.float32 of shape"),
        (([[5, 6]],), TypeError, "token_ids is a list, expected a tensor"),
        ((IDS + 22,), ValueError, r"token id 32 is outside 0 \.\. 30"),
        ((IDS.repeat(1, 5),), ValueError, "15 tokens do not fit: the model's context is 12"),
        ((IDS, torch.ones(2, 4)), ValueError, r"attention_mask has shape \(2, 4\), expected \(2,"),
        ((IDS, torch.ones(3)), ValueError, r"attention_mask has shape \(3,\), expected"),
        ((IDS, [[1, 1, 1]]), TypeError, "attention_mask is a list, expected a tensor"),
        ((IDS, torch.full((2, 3), 0.5)), ValueError, "attention_mask holds 0.5, expected 0 and 1"),
        ((IDS, None, IDS), ValueError, r"segment 10 is outside 0 \.\. 1"),
        ((IDS, None, IDS[:, :2]), ValueError, r"segment_ids is torch.int64 of shape \(2, 2\)"),
        ((IDS, None, torch.zeros(2, 3)), ValueError, "segment_ids is torch.float32"),
        ((IDS, None, [0]), TypeError, "segment_ids is a list, expected a tensor"),
    ],
)
def test_what_the_model_cannot_read(model, arguments, error, text):
    with pytest.raises(error, match=text):
        model(*arguments)


@bad_input
def test_what_the_model_does_not_have():
    plain = Encoder(PLAIN)
    with pytest.raises(ValueError, match="segment_ids are given, expected None"):
        plain(IDS, None, torch.zeros_like(IDS))
    with pytest.raises(ValueError, match="pooler is False"):
        plain.pooled(plain(IDS))
    with pytest.raises(ValueError, match="head is 'none', expected 'tokens'"):
        plain.head(plain(IDS))
    with pytest.raises(ValueError, match="head is 'none' beside a transform or a bias"):
        replace(PLAIN, head_bias=True)


@bad_input
@pytest.mark.parametrize("rows", [[], [[1], []]])
def test_nothing_to_pad(rows):
    with pytest.raises(ValueError, match=r"rows have lengths .*, expected at least one row"):
        padded(rows)


@bad_input
def test_masks_that_do_not_fit_a_mean():
    hidden = torch.randn(2, 3, 4)
    with pytest.raises(ValueError, match=r"attention_mask has shape \(2, 4\), expected \(2, 3\)"):
        mean_pooled(hidden, torch.ones(2, 4))
    with pytest.raises(ValueError, match="row 1 of attention_mask has no token"):
        mean_pooled(hidden, torch.tensor([[1, 1, 1], [0, 0, 0]]))


@bad_input
def test_texts_that_cannot_be_embedded(model, tmp_path):
    vocabulary = tmp_path / "vocab.txt"
    vocabulary.write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a"]))
    words = WordPieceTokenizer.from_vocab(vocabulary)
    with pytest.raises(TypeError, match="texts is 'a', expected a list of texts"):
        embed_texts(model, words, "a")
    with pytest.raises(ValueError, match="max_tokens is 1, expected at least 2, the tokens that"):
        embed_texts(model, words, ["a"], max_tokens=1)
    with pytest.raises(ValueError, match="batch"):
        embed_texts(model, words, ["a"], batch=0)
    with pytest.raises(ValueError, match=r"texts is \[\], expected at least one text"):
        embed_texts(model, words, [])
