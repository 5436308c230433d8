"""Muon for the matrices of the blocks, AdamW for the rest: fewer tokens to the same loss."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

MUON_RATE = 3e-3
ADAM_RATE = 2e-3
MOMENTUM = 0.95
DECAY = 0.1
# Newton-Schulz by Keller Jordan (https://kellerjordan.github.io/posts/muon/).
A, B, C = 3.4445, -4.7750, 2.0315
ROUNDS = 5


def orthogonal(matrix: Tensor) -> Tensor:
    """Return about U Vᵀ of the singular value decomposition U S Vᵀ of `matrix`.

    torch.optim.Muon iterates on the matrix itself and in bf16, which a processor without it
    emulates. Here the iteration is on the square of the shorter side, in fp32: on two cores a
    step of the bundled model's took 0.14 s against 1.2 s.
    """
    wide = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    wide = wide.float() / wide.norm().clamp(min=1e-7)
    gram, applied = wide @ wide.T, torch.eye(len(wide), device=wide.device)
    for _ in range(ROUNDS):
        factor = torch.addmm(gram, gram, gram, beta=B, alpha=C)
        factor.diagonal().add_(A)
        applied = factor @ applied
        gram = factor @ gram @ factor
    found: Tensor = applied @ wide
    return found if matrix.shape[0] <= matrix.shape[1] else found.T


class Muon(torch.optim.Optimizer):
    """Momentum, made orthogonal (Jordan et al. 2024), at the size of AdamW's steps (Liu et al.
    2025, arXiv:2502.16982)."""

    def __init__(self, matrices: Iterable[nn.Parameter], lr: float) -> None:
        super().__init__(matrices, {"lr": lr})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Take one step; nothing is asked again, thus no closure."""
        for group in self.param_groups:
            for matrix in group["params"]:
                momentum = self.state[matrix].setdefault("momentum", torch.zeros_like(matrix))
                momentum.lerp_(matrix.grad, 1 - MOMENTUM)
                update = orthogonal(matrix.grad.lerp(momentum, MOMENTUM))
                matrix.mul_(1 - group["lr"] * DECAY)
                matrix.add_(update, alpha=-group["lr"] * 0.2 * max(matrix.shape) ** 0.5)


class Optimiser:
    """Both optimisers behind one step."""

    def __init__(self, model: nn.Module) -> None:
        named = list(model.named_parameters())
        matrices = [p for name, p in named if name.endswith(("win", "wout"))]
        others = [p for name, p in named if not name.endswith(("win", "wout"))]
        self._model = model
        self._muon = Muon(matrices, lr=MUON_RATE)
        self._adam = torch.optim.AdamW(
            others, lr=ADAM_RATE, betas=(0.9, 0.95), weight_decay=0.0, fused=True
        )

    def step(self, loss: Tensor, rate: float) -> None:
        """Take one step; `rate` is the share of the full learning rate."""
        for optimiser, full in ((self._muon, MUON_RATE), (self._adam, ADAM_RATE)):
            for group in optimiser.param_groups:
                group["lr"] = full * rate
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self._model.parameters(), 1.0)
        self._muon.step()
        self._adam.step()
        self._model.zero_grad(set_to_none=True)

    def state_dict(self) -> dict[str, Any]:
        """Return what a later process goes on with."""
        return {"muon": self._muon.state_dict(), "adam": self._adam.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on with what `state_dict` gave."""
        self._muon.load_state_dict(state["muon"])
        self._adam.load_state_dict(state["adam"])
