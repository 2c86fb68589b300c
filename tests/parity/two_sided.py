"""Tiny random encoders and encoder-decoders of transformers in folders, as `load` reads them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors.torch import save_file
from torch import Tensor

VOCAB, WIDTH, PAD = 97, 48, 1
SIZES = {
    "vocab_size": VOCAB, "hidden_size": WIDTH, "intermediate_size": 80, "num_hidden_layers": 3,
    "num_attention_heads": 6, "max_position_embeddings": 64, "initializer_range": 0.2,
    "pad_token_id": PAD,
}  # fmt: skip
MODERN = {
    **SIZES, "num_hidden_layers": 7, "local_attention": 8,
    **dict.fromkeys(("bos_token_id", "eos_token_id", "cls_token_id", "sep_token_id"), 0),
}  # fmt: skip
T5 = {"vocab_size": VOCAB, "d_model": WIDTH, "d_kv": 10, "d_ff": 80, "num_layers": 3,
      "num_heads": 6, "num_decoder_layers": 2, "pad_token_id": PAD}  # fmt: skip
BART = {
    "vocab_size": VOCAB, "d_model": WIDTH, "encoder_layers": 2, "decoder_layers": 3,
    "encoder_attention_heads": 4, "decoder_attention_heads": 6, "encoder_ffn_dim": 80,
    "decoder_ffn_dim": 64, "max_position_embeddings": 64, "init_std": 0.2,
}  # fmt: skip


def _maker(name: str, config: str, **settings: Any) -> Callable[[], Any]:
    return lambda: getattr(transformers, name)(getattr(transformers, config)(**settings))


ENCODERS: dict[str, Callable[[], Any]] = {
    **{
        f"bert with {n} segments": _maker(
            "BertForMaskedLM", "BertConfig", **SIZES, type_vocab_size=n
        )
        for n in (1, 2, 3)
    },
    "bert alone": _maker("BertModel", "BertConfig", **SIZES),
    "bert without a pooler": lambda: transformers.BertModel(
        transformers.BertConfig(**SIZES), add_pooling_layer=False
    ),
    "bert with both heads": _maker("BertForPreTraining", "BertConfig", **SIZES),
    "bert with relu and a head of its own": lambda: one_bias(
        transformers.BertForMaskedLM(
            transformers.BertConfig(**SIZES, hidden_act="relu", tie_word_embeddings=False)
        )
    ),
    "roberta": _maker("RobertaForMaskedLM", "RobertaConfig", **SIZES, type_vocab_size=1),
    "roberta with relu": _maker(
        "RobertaForMaskedLM", "RobertaConfig", **SIZES, type_vocab_size=1, hidden_act="relu"
    ),
    "roberta alone": _maker(
        "RobertaModel", "RobertaConfig", **{**SIZES, "pad_token_id": 3}, type_vocab_size=1
    ),
    "modernbert": _maker("ModernBertForMaskedLM", "ModernBertConfig", **MODERN),
    "modernbert with all biases": _maker(
        "ModernBertForMaskedLM", "ModernBertConfig", **MODERN, attention_bias=True, mlp_bias=True,
        norm_bias=True, classifier_bias=True,
    ),
    "modernbert alone": _maker("ModernBertModel", "ModernBertConfig", **MODERN),
    "modernbert, every layer as it is told": _maker(
        "ModernBertModel", "ModernBertConfig", **{**MODERN, "num_hidden_layers": 3},
        layer_types=["sliding_attention", "full_attention", "sliding_attention"],
    ),
}  # fmt: skip
ENCODER_DECODERS: dict[str, Callable[[], Any]] = {
    "t5": _maker("T5ForConditionalGeneration", "T5Config", **T5),
    "t5, few buckets": _maker(
        "T5ForConditionalGeneration", "T5Config", **T5,
        relative_attention_num_buckets=8, relative_attention_max_distance=12,
    ),
    "t5 1.1, written without its head": _maker(
        "T5ForConditionalGeneration", "T5Config", **T5,
        feed_forward_proj="gated-gelu", tie_word_embeddings=False,
    ),
    "t5 1.1": lambda: untied(ENCODER_DECODERS["t5 1.1, written without its head"]()),
    "bart": _maker("BartForConditionalGeneration", "BartConfig", **BART),
    "bart, scaled": _maker(
        "BartForConditionalGeneration", "BartConfig", **BART, scale_embedding=True
    ),
    "bart alone": _maker("BartModel", "BartConfig", **BART),
}  # fmt: skip


def one_bias(model: Any) -> Any:
    """A BERT whose head has one bias by two names, as every release has."""
    model.cls.predictions.decoder.bias = model.cls.predictions.bias
    return model


def untied(model: Any) -> Any:
    """A T5 with a head of its own, as version 1.1 was released; transformers 5 ties new ones."""
    model.lm_head.weight = torch.nn.Parameter(0.2 * torch.randn(VOCAB, WIDTH))
    return model


def save(make: Callable[[], Any], folder: Path) -> Any:
    """The model, whose folder is written; norms, biases and T5's table are no zeros and ones."""
    torch.manual_seed(0)
    model = make().eval()
    with torch.no_grad():
        for name, x in [*model.named_parameters(), *model.named_buffers()]:
            if "relative" in name:
                x.copy_(torch.randn_like(x))
            elif "norm" in name.lower() or "bias" in name:
                x.add_(0.1 * torch.randn_like(x))
    model.save_pretrained(folder)
    head = getattr(model, "lm_head", None)
    embedding = model.get_input_embeddings().weight
    if isinstance(model, transformers.T5PreTrainedModel) and head.weight is not embedding:
        _write_untied(model, folder)
    return model


def _write_untied(model: Any, folder: Path) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "tie_word_embeddings": False}))
    weights = {name: x.clone() for name, x in model.state_dict().items() if "embed_tok" not in name}
    save_file(weights, folder / "model.safetensors")


def batch(length: int = 28, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Three texts of unequal length, padded on the right, and their mask."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(5, VOCAB, (3, length), generator=generator)
    lengths = torch.tensor([length, length - 8, 3])
    mask = (torch.arange(length) < lengths[:, None]).long()
    return ids.where(mask.bool(), PAD), mask
