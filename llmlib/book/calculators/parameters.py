"""The calculator of parameters."""

from llmlib.accounting import SWITCHES, Breakdown, parameters
from llmlib.book.calculators.shared import (
    EMBEDDING_NORM,
    FINAL_NORM,
    HEADS_DIVIDE,
    LEARNED,
    NORMS,
    QK_NORM,
    card_numbers,
    grouped,
    letters_config,
    plain_decoders,
    size_fields,
)
from llmlib.book.widgets.calculator import Bar, Calculator, Pick, Result, Toggle

_BIASES = Pick(
    "biases",
    {
        label: {SWITCHES["qkv_bias"]: qkv, SWITCHES["out_bias"]: all_, SWITCHES["ffn_bias"]: all_}
        for label, qkv, all_ in (
            ("in every projection", 1, 1),
            ("of Q, K and V alone", 1, 0),
            ("none", 0, 0),
        )
    },
    start="in every projection",
    shown="biases ",
)
_NORMS = Pick(
    "norms stand",
    {
        label: {NORMS: block, FINAL_NORM: final, EMBEDDING_NORM: first}
        for label, block, final, first in (
            ("before each part (pre-norm)", 2, 1, 0),
            ("after each part (post-norm)", 2, 0, 0),
            ("one for both parts (parallel)", 1, 1, 0),
            ("pre-norm and embedding norm", 2, 1, 1),
            ("before and after each part (sandwich)", 4, 1, 0),
        )
    },
    start="before each part (pre-norm)",
)
_PARAMETER_GROUPS = {
    "Embedding": {"embedding": "tokens"},
    "Positions": {"positions": "position table"},
    "Attention": {
        "attention.query": "query",
        "attention.key": "key",
        "attention.value": "value",
        "attention.output": "output",
        "attention.head_norms": "norms of heads",
    },
    "Feed-forward": {
        "feed_forward.gate": "gate",
        "feed_forward.up": "up",
        "feed_forward.down": "down",
    },
    "Norms": {
        "embedding_norm": "after the embedding",
        "norms": "in the blocks",
        "final_norm": "last",
    },
    "Head": {"head": "to the vocabulary"},
}


def letters_parameters() -> Breakdown:
    """The parameters of `letters_config`, each part times the letter that says if it is there."""
    counts = parameters(letters_config())
    there = {
        "attention.head_norms": QK_NORM,
        "embedding_norm": EMBEDDING_NORM,
        "norms": NORMS / 2,  # of the two that are counted
        "final_norm": FINAL_NORM,
    }
    return Breakdown({name: there.get(name, 1) * x for name, x in counts.items()})


def parameter_calculator() -> Calculator:
    """How many numbers a decoder stores, and where: every size and choice can be moved."""
    counts = letters_parameters()
    tables = counts["embedding"] + counts["positions"] + counts["head"]
    gain = Pick(
        "norm",
        {
            "LayerNorm: gain and shift": {SWITCHES["norm_bias"]: 1},
            "RMSNorm: gain alone": {SWITCHES["norm_bias"]: 0},
        },
        start="LayerNorm: gain and shift",
    )
    return Calculator(
        fields=size_fields("GPT-2", stops=True),
        toggles=[
            Toggle(SWITCHES["tied"], "head tied to the embedding", start=True),
            Toggle(LEARNED, "learned positions", start=True),
            Toggle(SWITCHES["gated"], "gated feed-forward"),
            Toggle(QK_NORM, "queries and keys normalized"),
        ],
        picks=[_BIASES, gain, _NORMS],
        presets={name: card_numbers(config) for name, config in plain_decoders().items()},
        preset="GPT-2",
        bars=[Bar("parameters", "Parameters", "count", grouped(counts, _PARAMETER_GROUPS))],
        results=[
            Result("total", "parameters", counts.total, "count"),
            Result("tables_share", "embedding, positions and head", tables / counts.total, "share"),
            Result("blocks", "without these tables", counts.total - tables, "count"),
            Result("float32_bytes", "stored in float32", 4 * counts.total, "bytes"),
            Result("bfloat16_bytes", "stored in bfloat16", 2 * counts.total, "bytes"),
        ],
        checks=[HEADS_DIVIDE],
        note=(
            "{model} has {total} parameters; {tables_share} of them stand in the tables of tokens "
            "and positions and in the head."
        ),
        alt="A calculator of a decoder's parameters: a bar of its components and their formulas.",
    )
