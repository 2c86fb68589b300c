"""What counting gives: a table of components and their counts, numbers or formulas."""

from collections.abc import Iterator, Mapping
from typing import Any

Count = Any  # an integer or float, or a sympy expression


class Breakdown(Mapping[str, Count]):
    """Components by name, in the order of the forward pass; `total` is their sum.

    Names have up to two parts, "attention.query"; the first alone gives the sum of its group.
    Components that are 0 whatever the letters say are left out.
    """

    def __init__(self, counts: Mapping[str, Count], keep: tuple[str, ...] = ()) -> None:
        """keep: the components that stay even if they are 0."""
        self._counts = {name: x for name, x in counts.items() if x != 0 or name in keep}

    def __getitem__(self, name: str) -> Count:
        if name in self._counts:
            return self._counts[name]
        group = [x for key, x in self._counts.items() if key.split(".")[0] == name]
        if not group:
            raise KeyError(f"no component {name!r}; there are {', '.join(self._counts)}")
        return sum(group)

    def __iter__(self) -> Iterator[str]:
        return iter(self._counts)

    def __len__(self) -> int:
        return len(self._counts)

    @property
    def total(self) -> Count:
        """The sum of all components."""
        return sum(self._counts.values())

    def groups(self) -> "Breakdown":
        """The sums of the groups alone."""
        names = dict.fromkeys(name.split(".")[0] for name in self)
        return Breakdown({name: self[name] for name in names}, keep=tuple(names))

    def share(self, name: str) -> float:
        """A component's or a group's part of the total."""
        return self[name] / self.total

    def __add__(self, other: "Breakdown") -> "Breakdown":
        names = dict.fromkeys([*self, *other])
        return Breakdown({name: self.get(name, 0) + other.get(name, 0) for name in names})

    def __repr__(self) -> str:
        rows = [*self.items(), ("total", self.total)]
        width = max(len(name) for name, _ in rows)
        return "\n".join(
            f"{name:<{width}}  {x:,}" if isinstance(x, int | float) else f"{name:<{width}}  {x}"
            for name, x in rows
        )
