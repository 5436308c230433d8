"""Log-probabilities of tokens under the model's own distribution, before sampling parameters."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from kogpt_bot.generation.scores import Scores


def score(logits: Tensor, tokens: Sequence[int], alternatives: int) -> Scores:
    """Return the scores of `tokens`, one for each row of `logits` [rows, vocabulary]."""
    logs = logits.log_softmax(dim=-1)
    own = logs.gather(1, torch.tensor(tokens, device=logs.device).unsqueeze(1))
    values, ids = logs.topk(alternatives) if alternatives != 1 else logs.max(dim=-1, keepdim=True)
    return Scores(
        alternatives, own.flatten().tolist(), ids.flatten().tolist(), values.flatten().tolist()
    )
