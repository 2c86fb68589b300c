"""A model with its tokenizer, from wherever they lie: a Hugging Face folder, or a GGUF file."""

from pathlib import Path

import torch

from llmlib.encoder import Encoder
from llmlib.formats.packaged import minilm_folder
from llmlib.pretrained.gguf_models import load_gguf
from llmlib.pretrained.huggingface import Model, load
from llmlib.tokenization import AnyTokenizer, open_tokenizer


def open_model(
    path: str | Path, dtype: torch.dtype | str = torch.float32
) -> tuple[Model, AnyTokenizer]:
    """The model and the tokenizer of a Hugging Face folder or of a GGUF file.

    Args:
        path: a folder with config.json, weights and tokenizer.json, or a GGUF file; where a model
            lies in several of those, the first.
        dtype: type of the weights in memory, or its name: float64, float32, float16, bfloat16.

    Raises:
        FileNotFoundError: nothing is there, or a part of it is not.
        ValueError: what `load`, `load_gguf` and `load_tokenizer` do not read; the text names the
            file.
    """
    path = Path(path).expanduser()
    if path.is_dir():
        found = sorted(file.name for file in path.glob("*.gguf"))
        if found and not (path / "config.json").exists():
            raise ValueError(
                f"{path} is a folder with {found[0]} and without config.json, expected a Hugging "
                "Face folder, or the GGUF file itself"
            )
        tokenizer = load_tokenizer(path)  # first, since weights take their time
        return load(path, dtype), tokenizer
    if not path.exists():
        raise FileNotFoundError(f"{path} is not there: expected a folder of a model, or GGUF file")
    if path.suffix in (".json", ".safetensors"):
        raise ValueError(f"{path} is a file of a model, expected its folder, or a GGUF file")
    return load_gguf(path, dtype)


def minilm(dtype: torch.dtype | str = torch.float32) -> tuple[Encoder, AnyTokenizer]:
    """all-MiniLM-L6-v2 and its WordPiece tokenizer: 22,713,216 weights, 6 layers, Apache-2.0.

    `llmlib.encoder.embed_texts` makes of a text what it was trained for, a vector of length 1.

    Raises:
        FileNotFoundError: the package is not installed; the text says which command installs it.

    Source: wang2020minilm, reimers2019sbert
    """
    model, tokenizer = open_model(minilm_folder(), dtype)
    assert isinstance(model, Encoder)
    return model, tokenizer


def load_tokenizer(folder: str | Path) -> AnyTokenizer:
    """The tokenizer of a Hugging Face folder, with the template of its conversations.

    Args:
        folder: holds tokenizer.json, or older files of a vocabulary, and beside it, where there are
            such, tokenizer_config.json and chat_template.jinja.

    Raises:
        FileNotFoundError: the folder or its tokenizer.json is not there.
        ValueError: it is damaged, or asks for what is not read here; the text names the file.
    """
    folder = Path(folder).expanduser()
    if not folder.is_dir():
        problem = "is a file" if folder.exists() else "is not there"
        raise (ValueError if folder.exists() else FileNotFoundError)(
            f"{folder} {problem}: expected a folder with tokenizer.json"
        )
    return open_tokenizer(folder)
