"""ReLUs under watch: remember them, leak them, or give their dead units a gradient."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

_RELU = {torch.relu, F.relu, Tensor.relu}


class _SurrogateReLU(torch.autograd.Function):
    """ReLU whose gradient on dead units is ``slope`` instead of zero."""

    @staticmethod
    def forward(ctx: Any, z: Tensor, slope: float) -> Tensor:
        ctx.save_for_backward(z)
        ctx.slope = slope
        return z.clamp(min=0)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (z,) = ctx.saved_tensors
        return torch.where(z > 0, grads[0], ctx.slope * grads[0]), None


class WatchReLU(TorchFunctionMode):
    """Intercept every ReLU that a model calls, as a module or as a function (in-place calls are left alone).

    Args:
        slope: Gradient of dead units in place of zero; the values stay those of a ReLU.
        leak: Slope of a leaky ReLU that takes the place of each ReLU; a true function.
        exempt: Number of the call, from 0, that is not leaked.
    """

    def __init__(self, slope: float | None = None, leak: float = 0.0, exempt: int | None = None) -> None:
        super().__init__()
        self.slope, self.leak, self.exempt = slope, leak, exempt
        self.count = 0
        self.last: tuple[Tensor, Tensor] | None = None

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func not in _RELU or (kwargs or {}).get("inplace") or len(args) > 1:
            return func(*args, **(kwargs or {}))
        z = args[0] if args else (kwargs or {})["input"]
        if self.slope is not None:
            out = _SurrogateReLU.apply(z, self.slope)
        elif self.leak and self.count != self.exempt:
            out = F.leaky_relu(z, self.leak)
        else:
            out = z.clamp(min=0)
        self.last = (z, out)
        self.count += 1
        return out


class SignPattern(WatchReLU):
    """Note the sign of all that enters a ReLU."""

    def __init__(self) -> None:
        super().__init__()
        self.signs: list[Tensor] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        before = self.count
        out = super().__torch_function__(func, types, args, kwargs)
        if self.count > before and self.last is not None:
            self.signs.append((self.last[0] > 0).reshape(-1))
        return out
