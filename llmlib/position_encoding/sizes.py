"""The checks of sizes that all position encodings share."""


def check_size(name: str, value: int) -> None:
    """TypeError for what is no integer, ValueError for what is not positive; both name it."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{name} must be an integer, got {value!r}")
    if value <= 0:
        raise ValueError(f"{name} must be positive, got {value}")


def check_pairs(name: str, value: int, why: str) -> None:
    """As `check_size`, and ValueError for an odd number."""
    check_size(name, value)
    if value % 2:
        raise ValueError(f"{name} is {value}, expected an even number: {why}")
