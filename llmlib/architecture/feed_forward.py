"""What works on each position by itself: the second half of a block, one block or many experts."""

from typing import Literal

from llmlib.architecture.parts import Norm
from llmlib.architecture.said import Count, Described, Size, Switch, described, is_letter

Activation = Literal[
    "relu", "relu_squared", "gelu", "gelu_tanh", "swish", "silu", "sigmoid", "identity"
]


@described
class FeedForward(Described):
    """Two matrices around an activation, or three where a gate multiplies."""

    ffn_dim: Size  # d_ff
    activation: Activation = "swish"
    gated: Switch = True
    bias: Switch = False
    clamp: float | None = None  # gate and value stay within it (gpt-oss)


@described
class Router(Described):
    """Which experts a token goes to, and with what weights."""

    score: Literal["softmax", "sigmoid"] = "softmax"
    order: Literal["score, then choose", "choose, then score"] = "score, then choose"
    bias: bool = False  # of the projection
    balanced: bool = False  # a bias that only chooses; no gradient reaches it
    groups: tuple[int, int] | None = None  # (8, 4): the experts of the best 4 of 8 groups
    scale: float = 1.0


@described
class Experts(Described):
    """A mixture of experts: a router sends each token to a few of them.

    Source: jiang2024mixtral, deepseek2024v2
    """

    n_experts: Size  # E, that the router chooses from
    n_active: Size  # k, that a token passes through
    expert: FeedForward
    n_shared: Count = 0  # that every token passes through, beside the chosen ones
    shared_gate: bool = False  # what they give is multiplied by the sigmoid of a score
    router: Router = Router()

    def check(self) -> None:
        known = not is_letter(self.n_experts) and not is_letter(self.n_active)
        if known and self.n_active > self.n_experts:
            raise ValueError(f"n_active is {self.n_active}, expected at most {self.n_experts}")


@described
class Transform(Described):
    """What stands before the matrix of a head: norm(f(x W + b)), as wide as x (BERT)."""

    activation: Activation
    norm: Norm
    bias: Switch = True
