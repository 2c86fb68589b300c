"""Models from Hugging Face folders: config.json and *.safetensors, whole or in shards.

What is known of a model type stands in the file of its family: its settings, its configuration,
which stored tensor becomes which parameter. What is not known there, a setting or a tensor, raises
an error that names it; nothing is passed over in silence.
"""

import re
from pathlib import Path

import torch

import llmlib.architecture as arch
from llmlib.decoder import Decoder
from llmlib.encoder import Encoder
from llmlib.encoder_decoder import EncoderDecoder
from llmlib.formats.json_files import existing_file, read_object
from llmlib.formats.safetensors import SafetensorsFiles
from llmlib.pretrained.assemble import TensorFiles, check_layers, check_sizes, fill, weights_dtype
from llmlib.pretrained.bart import BART
from llmlib.pretrained.bert import BERT, ROBERTA
from llmlib.pretrained.bloom import BLOOM
from llmlib.pretrained.cohere import COHERE
from llmlib.pretrained.deepseek import DEEPSEEK_V2
from llmlib.pretrained.falcon import FALCON
from llmlib.pretrained.family import Family
from llmlib.pretrained.gemma import GEMMA, GEMMA2, GEMMA3, GEMMA3_TEXT
from llmlib.pretrained.glm import GLM, GLM4
from llmlib.pretrained.gpt2 import GPT2
from llmlib.pretrained.gpt_neox import GPT_NEOX
from llmlib.pretrained.llama import GRANITE, LLAMA, MINISTRAL, MISTRAL, QWEN2, QWEN3, SMOLLM3
from llmlib.pretrained.modernbert import MODERNBERT
from llmlib.pretrained.mpt import MPT
from llmlib.pretrained.names import rules_of, without_prefix
from llmlib.pretrained.olmo import OLMO2, OLMO3
from llmlib.pretrained.phi import PHI3
from llmlib.pretrained.settings import Settings, other_names, read_settings
from llmlib.pretrained.starcoder import STARCODER2
from llmlib.pretrained.t5 import T5

FAMILIES: dict[str, Family] = {
    "gpt2": GPT2,
    "llama": LLAMA,
    "mistral": MISTRAL,
    "ministral": MINISTRAL,
    "qwen2": QWEN2,
    "qwen3": QWEN3,
    "smollm3": SMOLLM3,
    "granite": GRANITE,
    "gemma": GEMMA,
    "gemma2": GEMMA2,
    "gemma3": GEMMA3,
    "gemma3_text": GEMMA3_TEXT,
    "olmo2": OLMO2,
    "olmo3": OLMO3,
    "phi3": PHI3,
    "glm": GLM,
    "glm4": GLM4,
    "starcoder2": STARCODER2,
    "cohere": COHERE,
    "gpt_neox": GPT_NEOX,
    "falcon": FALCON,
    "bloom": BLOOM,
    "mpt": MPT,
    "deepseek_v2": DEEPSEEK_V2,
    "bert": BERT,
    "roberta": ROBERTA,
    "modernbert": MODERNBERT,
    "t5": T5,
    "bart": BART,
}


Model = Decoder | Encoder | EncoderDecoder
MODELS: dict[str, type[Model]] = {
    "decoder": Decoder,
    "encoder": Encoder,
    "encoder-decoder": EncoderDecoder,
}
"""What is built from a description, by its family."""


def load(folder: str | Path, dtype: torch.dtype | str = torch.float32) -> Model:
    """The model of a Hugging Face folder, its weights read from safetensors and never unpickled.

    Args:
        folder: holds config.json and model.safetensors, or shards with their index.
        dtype: type of the weights in memory, or its name: float64, float32, float16, bfloat16.

    Returns:
        The model in evaluation mode.

    Raises:
        FileNotFoundError: the folder, its config.json or its weights are not there.
        ValueError: an unknown model_type, a setting that is not known or that the models here do
            not have, files that are damaged or cut off, tensors that are missing, left over or of
            another shape, another dtype.
    """
    dtype, folder = weights_dtype(dtype), Path(folder).expanduser()
    if folder.is_file():
        raise ValueError(f"{folder} is a file, expected the folder of a model")
    path = existing_file(folder / "config.json", "a folder with a model, and its settings there")
    settings = read_object(path.read_bytes(), path)
    kind = settings.get("model_type")
    if not isinstance(kind, str) or kind not in FAMILIES:
        raise ValueError(f"{path}: model_type is {kind!r}, expected one of {', '.join(FAMILIES)}")
    family, files = FAMILIES[kind], SafetensorsFiles(folder)
    try:
        config = configure(kind, settings, files)
        check_sizes(config, files)
        with torch.device("meta"):
            model = MODELS[config.family](config)
    except (TypeError, ValueError, ArithmeticError, RuntimeError) as error:
        raise ValueError(f"{path}: {error}") from None
    return _filled(model, family, files, dtype)


def configure(kind: str, settings: Settings, files: TensorFiles | None = None) -> arch.ModelConfig:
    """What the settings of a model type describe.

    Args:
        kind: a key of FAMILIES.
        settings: the keys and values of config.json.
        files: the weights, which have a tensor for each layer.

    Raises:
        TypeError, ValueError: see `read_settings`; sizes that do not fit together.
    """
    family = FAMILIES[kind]
    known = _known(kind, family, settings)
    names = () if files is None else files.shapes
    known |= {
        f"has {what}": any(re.fullmatch(pattern, name) for name in names)
        for what, pattern in family.has.items()
    }
    try:
        if files is not None:  # a description lists the layers: not more than can be
            check_layers("num_hidden_layers", known["num_hidden_layers"], files.shapes)
        return family.configure(known)
    except ValueError as error:
        added = other_names(str(error), settings, family.settings)
        raise ValueError(f"{error}{added}") from None


def _known(kind: str, family: Family, settings: Settings) -> Settings:
    """What the settings say, or the part of them that is about text."""
    if family.outer is None:
        return read_settings(settings, family.settings, kind)
    outer = read_settings(settings, family.outer, kind)
    try:
        inner = read_settings(outer["text_config"], family.settings, f"the text of a {kind}")
    except ValueError as error:
        raise ValueError(f"in text_config, {error}") from None
    tied = "tie_word_embeddings"
    if inner[tied] != outer[tied]:
        raise ValueError(f"{tied} is {outer[tied]}, and {inner[tied]} in text_config, expected one")
    return inner


def _filled(model: Model, family: Family, files: SafetensorsFiles, dtype: torch.dtype) -> Model:
    """The model with the folder's weights."""
    config, names, same = model.config, family.names_of(model.config), dict(family.copies)
    if not any(name.startswith(family.prefix) for name in files.shapes):
        names = without_prefix(family.prefix, names)
        bare = family.prefix
        same = {a.removeprefix(bare): b.removeprefix(bare) for a, b in same.items()}
    head, embedding = str(names["output.weight"]), str(names["embedding.weight"])
    heads = [name for name in (head, family.other_head) if name is not None]
    asked = config.head == "tokens"
    if asked and not config.tied and not files.shapes.keys() & set(heads):
        raise ValueError(
            f"{files.file(head)}: tensor {head!r} is missing: expected the output matrix of a "
            "language model, or tie_word_embeddings true in config.json"
        )
    copies = same | (dict.fromkeys(heads, embedding if config.tied else head) if asked else {})
    patterns = [re.compile(pattern) for pattern in family.no_weights]

    def no_weight(name: str) -> bool:
        return any(pattern.fullmatch(name) for pattern in patterns)

    rules = rules_of(model, config, names)
    return fill(model, files, rules, no_weight, dtype, {a: b for a, b in copies.items() if a != b})
