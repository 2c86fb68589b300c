"""MiniLM's vectors and their rivals: bags of words, classifiers, a mask that is dropped."""

import math

import pytest
import torch

import llmlib.architecture as arch
from llmlib.book.labs.families import causal_flag, few_shot, sentences, tagger
from llmlib.book.labs.families.small import enlarged
from llmlib.decoder import Decoder, DecoderConfig
from llmlib.encoder import embed_texts
from llmlib.pretrained import minilm


@pytest.fixture(scope="module")
def real():
    return minilm()


def test_bags_of_words_by_hand():
    found = sentences.by_words(["a b b", "b c", "d"])
    columns = {word: i for i, word in enumerate("abcd")}
    assert found[0, columns["b"]] / found[0, columns["a"]] == pytest.approx(
        2 * math.log(4 / 2) / math.log(4 / 1)
    )
    torch.testing.assert_close(found.norm(dim=1), torch.ones(3, dtype=torch.float64))
    unknown = sentences.by_words(["a x", "x"], known=["a b"])
    assert unknown.shape == (2, 2)
    assert not unknown[1].any()


def test_nearest_and_verdicts():
    vectors = torch.eye(6)[[0, 0, 1, 2, 3, 2]]
    assert sentences.nearest(vectors, 0, 1) == [(1, 1.0)]
    assert sentences.verdicts(vectors) == ["partner", "decoy"]
    assert sentences.partner_beats_decoy(vectors) == [True, False]
    assert sentences.partners_found(torch.eye(2)[[0, 0, 1, 1, 1, 0]]) == 1


def test_minilm_finds_partners_and_falls_for_decoys(real):
    model, tokenizer = real
    vectors = sentences.by_minilm(model, tokenizer, sentences.SENTENCES)
    verdicts = sentences.verdicts(vectors)
    assert verdicts[0] == "decoy"  # who bit whom
    assert verdicts[1] == "partner"
    assert verdicts.count("partner") == 5
    assert sentences.partners_found(vectors) == 1
    bags = sentences.by_words(sentences.SENTENCES)
    assert set(sentences.verdicts(bags)) == {"decoy"}
    table = sentences.by_inputs(model, tokenizer, sentences.SENTENCES[:3])
    torch.testing.assert_close(table[0], table[2])  # the same words in another order


def test_a_logistic_regression_learns_what_is_linear():
    x = torch.randn(200, 3, dtype=torch.float64)
    y = (x @ torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64) > 0.3).long()
    weights = few_shot.fitted(x, y, 1e-6, 2)
    assert ((few_shot.with_ones(x) @ weights).argmax(1) == y).double().mean() > 0.98


@pytest.mark.parametrize(("task", "classes"), [("verses", 3), ("names", 2)])
def test_splits_keep_tests_apart(task, classes):
    texts, y = few_shot.labelled(task)
    assert y.bincount().tolist() == [few_shot.EACH] * classes
    assert len(texts) == len(y)
    teach, test = few_shot.split(1, 32, classes)
    assert y[teach].bincount().tolist() == [32] * classes
    assert not set(teach) & set(test)
    assert set(few_shot.split(1, 8, classes)[0]) < set(teach)
    assert 0 < few_shot.accuracy_of_words(texts, y, 0, 8) <= 1
    assert few_shot.in_letters("Ab c", 3) == "0ab ab0 b0c 0c0"


def test_words_have_the_vectors_of_their_pieces(real):
    model, tokenizer = real
    texts = [["the", "melchizedek", "spoke"], ["he", "spoke"]]
    found = tagger.word_vectors(model, tokenizer, texts)
    assert found.shape == (5, 384)
    table = tagger.word_vectors(model, tokenizer, texts, layers=False)
    torch.testing.assert_close(table[2], table[4])  # wherever it stands
    assert (found[2] - found[4]).abs().max() > 0.01
    whole = embed_texts(model, tokenizer, ["spoke"])
    ids = tokenizer.encode("spoke", add_special=True)
    alone = model(torch.tensor([ids]))
    vector = torch.nn.functional.normalize(alone[0, 1], dim=-1)
    torch.testing.assert_close(tagger.word_vectors(model, tokenizer, [["spoke"]])[0], vector)
    assert whole.shape == (1, 384)


def test_names_and_the_table():
    assert {"moses", "jerusalem"} < tagger.names()
    assert not {"the", "let", "lord"} & tagger.names()
    teach, test = [["moses", "spoke"]], [["moses", "spoke", "aaron", "went"]]
    assert tagger.labels(test).tolist() == [True, False, True, False]
    result = tagger.by_table(teach, test)
    assert (result.met, result.new) == (1, 0.5)
    assert tagger.counted(test, teach) == {"names": 2, "new names": 1}
    assert len(tagger.either_sentences()) == 24
    for word, *pair in tagger.EITHER:
        assert all(text.split().count(word) == 1 for text in pair)


def test_without_its_mask_a_decoder_is_an_encoder_of_the_same_weights():
    model = enlarged(Decoder(DecoderConfig(20, 16, 2, 2))).eval()
    other = causal_flag.without_mask(model)
    assert other.config == arch.changed(model.config, arch.Stack, causal=False)
    ids, mask = torch.tensor([[1, 2, 3], [4, 5, 0]]), torch.tensor([[1, 1, 1], [1, 1, 0]])
    one, two = (causal_flag.states(m, ids, mask) for m in (model, other))
    assert (one[:, 0] - two[:, 0]).abs().max() > 1e-4
    torch.testing.assert_close(causal_flag.states(other, ids[1:, :2], mask[1:, :2]), two[1:, :2])
    torch.testing.assert_close(causal_flag.states(model, ids[1:, :2], mask[1:, :2]), one[1:, :2])
    assert causal_flag.next_token_loss(model, [1, 2, 3]) > 0


@pytest.mark.bad_input
def test_impossible_values_are_named():
    with pytest.raises(ValueError, match="task is 'letters'"):
        few_shot.labelled("letters")
    with pytest.raises(ValueError, match="shots is 500"):
        few_shot.split(0, 500, 2)
