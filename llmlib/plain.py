"""Whether a module computes what its class says: the premise of code that works on its weights.

A fast path reads a module's tensors and calls no `forward`. That is the same only while nobody has
put something of their own in between: a subclass, a wrapper, a hook, a parametrization, a method
replaced on the instance. Each fast path asks here, and steps aside for what it is told.
"""

import torch
from torch import nn
from torch.nn.modules import module as modules
from torch.overrides import _get_current_function_mode_stack as _function_modes
from torch.utils._device import DeviceContext

HOOKS = ("_forward_pre_hooks", "_forward_hooks", "_backward_pre_hooks", "_backward_hooks")


def why_not_plain(module: object, *kinds: type) -> str | None:
    """Why a module is not one of these classes as they are written, or None if it is.

    A parametrization, `torch.compile` and most adapters make another class of it; pruning and
    weight normalization add hooks; others replace `forward` on the instance.
    """
    if type(module) not in kinds:
        expected = " or ".join(kind.__name__ for kind in kinds)
        return f"it is a {type(module).__name__}, not {expected}"
    if not isinstance(module, nn.Module):
        return None  # None, where a module may be left out
    state = vars(module)
    if any(state[name] for name in HOOKS):
        return "it has a hook"
    own = state.keys() & _names(type(module))
    return f"its {min(own)} was replaced" if own else None


_NAMES: dict[type, frozenset[str]] = {}


def _names(kind: type) -> frozenset[str]:
    """What a class defines, and an instance should not have of its own."""
    if kind not in _NAMES:
        _NAMES[kind] = frozenset(dir(kind))
    return _NAMES[kind]


def why_not_around() -> str | None:
    """Why what runs now is watched or changed from outside, or None if it is not.

    Autocast changes types, hooks for all modules and PyTorch's modes and transforms see or change
    single operations: each means the operations of the modules, not those of a fast path.
    """
    if torch.is_autocast_enabled("cpu"):
        return "autocast is on"
    if modules._global_forward_hooks or modules._global_forward_pre_hooks:
        return "there is a hook for all modules"
    if modules._global_backward_hooks or modules._global_backward_pre_hooks:
        return "there is a hook for all modules"
    if torch._C._are_functorch_transforms_active():
        return "a transform of torch.func is at work"
    if torch._C._len_torch_dispatch_stack() or any(map(_changes, _function_modes())):
        return "a mode watches all operations"
    if torch.compiler.is_compiling() or torch._C._is_tracing():
        return "a program is being traced"
    return None


def _changes(mode: object) -> bool:
    """Whether a mode does more than `torch.set_default_device("cpu")`."""
    return not isinstance(mode, DeviceContext) or mode.device.type != "cpu"
