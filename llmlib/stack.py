"""A stack of blocks made from its description, and what stands around them once.

`BlockStack` is what a decoder, an encoder and each half of an encoder-decoder have in common:
positions that are added to the embedding, blocks, the last norm, and the caches of the layers.
"""

from collections.abc import Iterable

from jaxtyping import Float
from torch import Tensor, nn

import llmlib.architecture as arch
from llmlib.attention import AttentionEngine
from llmlib.blocks import Block, Hidden, make_angles, make_norm
from llmlib.kv_cache import (
    FullLayer,
    KVCache,
    LatentKVCache,
    LatentLayer,
    LayerCache,
    LayeredKVCache,
    Reader,
    RollingKVCache,
    RollingLayer,
)
from llmlib.position_encoding import LearnedPositions, RelativeBias, sinusoidal
from llmlib.positions import Angles, Positions
from llmlib.source import Source


class BlockStack(nn.Module):
    """Blocks in their order, and their surroundings.

    Args:
        dim: d, width of the residual stream.
        stack: the description.
        engine: what computes attention, see `llmlib.attention.attend`.
        embedding: what turns ids into vectors, where it belongs to this stack alone.

    Raises:
        ValueError: what the description says and is not built here, with the layer it stands in.
        TypeError: letters in the place of sizes: such a model is counted, not built.
    """

    def __init__(
        self,
        dim: int,
        stack: arch.Stack,
        engine: AttentionEngine = "auto",
        embedding: nn.Embedding | None = None,
    ) -> None:
        super().__init__()
        self.dim, self.stack = dim, stack
        if embedding is not None:
            self.embedding = embedding
        place = stack.positions
        self.positions = (
            LearnedPositions(place.rows, dim) if isinstance(place, arch.Learned) else None
        )
        self.relative_bias = (
            RelativeBias(place.n_heads, not stack.causal, place.n_buckets, place.max_distance)
            if isinstance(place, arch.Buckets)
            else None
        )
        self.embedding_norm = None if stack.first_norm is None else make_norm(stack.first_norm, dim)
        self.blocks = nn.ModuleList(_Maker(dim, stack.causal, engine).make(stack.runs))
        self.norm = None if stack.last_norm is None else make_norm(stack.last_norm, dim)

    def enter(self, embedded: Hidden, at: Positions) -> Hidden:
        """What the first block reads: the embedding with positions, normalized."""
        x, place = embedded, self.stack.positions
        if self.positions is not None:
            x = x + self.positions(at.at + getattr(place, "first", 0))
        elif isinstance(place, arch.Sinusoidal):
            x = x + place.scale * sinusoidal(at.at, self.dim).to(x.dtype)
        return x if self.embedding_norm is None else self.embedding_norm(x)

    def run(
        self,
        x: Hidden,
        at: Positions,
        cache: KVCache | None = None,
        source: Source | None = None,
    ) -> Hidden:
        """The stream after the last block."""
        across = () if source is None else (source,)
        for i, block in enumerate(self.blocks):
            x = block(x, at, None if cache is None else cache.layer(i), *across)
        return x

    def hidden(self, x: Hidden, at: Positions) -> list[Hidden]:
        """The stream before the first block and after each: L + 1 tensors."""
        states = [x]
        for block in self.blocks:
            states.append(block(states[-1], at))
        return states

    def maps(self, x: Hidden, at: Positions) -> list[Float[Tensor, "batch heads seq seq"]]:
        """Where each head of each block looks."""
        found = []
        for block in self.blocks:
            if not isinstance(block, Block):
                raise TypeError(f"a block is a {type(block).__name__}, expected a Block")
            found.append(block.attention_map(x, at))
            x = block(x, at)
        return found

    def readers(self) -> list[Reader]:
        """What a cache has to know of each layer."""
        found = []
        for block in self.blocks:
            if not hasattr(block, "reader"):
                raise TypeError(f"a block is a {type(block).__name__}, expected a Block")
            found.append(block.reader())  # type: ignore[operator]
        return found

    def new_cache(self, capacity: int | None = None) -> KVCache:
        """An empty cache that keeps of each layer what its mixer needs, and no more.

        Args:
            capacity: tokens to make room for at once where nothing is forgotten.
        """
        readers = self.readers()
        layers = [_cache(reader, capacity) for reader in readers]
        kinds = {type(layer) for layer in layers}
        windows = {reader.window for reader in readers}
        if len(kinds) > 1 or len(windows) > 1:
            return LayeredKVCache(layers)
        if kinds == {LatentLayer}:
            return LatentKVCache(capacity)
        (window,) = windows
        return KVCache(capacity) if window is None else RollingKVCache(window)


class _Maker:
    """Makes the modules of all layers; layers with the same RoPE share its angles."""

    def __init__(self, dim: int, causal: bool, engine: AttentionEngine) -> None:
        self.dim, self.causal, self.engine = dim, causal, engine
        self.angles: dict[tuple[object, int], Angles] = {}
        self.layer = 0

    def make(self, parts: Iterable[arch.Block | arch.Run]) -> list[Block]:
        """The blocks of runs in order; one whose weights are shared is there several times."""
        made: list[Block] = []
        for part in parts:
            if isinstance(part, arch.Block):
                made.append(self._block(part))
            elif arch.is_letter(part.times):
                raise TypeError(f"times is {part.times}, expected a number: a model with letters "
                                "is counted, not built")  # fmt: skip
            elif part.shared:
                made += self.make(part.parts) * part.times
            else:
                made += [block for _ in range(part.times) for block in self.make(part.parts)]
        return made

    def _block(self, block: arch.Block) -> Block:
        self.layer += 1
        found = make_angles(block.mixer, len(self.angles))
        if found is not None:
            key = (getattr(block.mixer, "rope", None), len(found.frequencies))
            found = self.angles.setdefault(key, found)
        try:
            return Block(self.dim, block, causal=self.causal, engine=self.engine, angles=found)
        except ValueError as error:
            raise ValueError(f"layer {self.layer}: {error}") from None


def _cache(reader: Reader, capacity: int | None) -> LayerCache:
    """What one layer keeps: a window rolls, a latent is one row, everything else grows."""
    if reader.latent:
        return LatentLayer(capacity)
    return FullLayer(capacity) if reader.window is None else RollingLayer(reader.window)
