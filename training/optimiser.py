"""Muon for the matrices of the blocks, AdamW for the rest: fewer tokens to the same loss."""

from __future__ import annotations

import torch
from torch import Tensor, nn

MUON_RATE = 3e-3
ADAM_RATE = 2e-3


class Optimiser:
    """Both optimisers behind one step."""

    def __init__(self, model: nn.Module) -> None:
        named = list(model.named_parameters())
        matrices = [p for name, p in named if name.endswith(("win", "wout"))]
        others = [p for name, p in named if not name.endswith(("win", "wout"))]
        self._model = model
        self._muon = torch.optim.Muon(
            matrices, lr=MUON_RATE, weight_decay=0.1, adjust_lr_fn="match_rms_adamw"
        )
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
        self._muon.step()  # type: ignore[no-untyped-call]
        self._adam.step()
        self._model.zero_grad(set_to_none=True)
