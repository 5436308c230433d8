"""Log-probabilities of tokens under the model's own distribution, before sampling parameters."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from kogpt_bot.generation.request import TokenLogprob


def score(
    logits: Tensor, token: int, alternatives: int, name: Callable[[int], str], offset: int
) -> TokenLogprob:
    """Return a token's log-probability and the likeliest `alternatives`; `logits` [vocabulary].

    `name` gives a token's text, `offset` is where it begins in the answer, in characters.
    """
    logs = logits.log_softmax(dim=-1)
    top: tuple[tuple[str, float], ...] = ()
    if alternatives:
        values, ids = logs.topk(min(alternatives, logs.shape[0]))
        pairs = zip(ids.tolist(), values.tolist(), strict=True)
        top = tuple((name(each), value) for each, value in pairs)
    return TokenLogprob(token, name(token), float(logs[token]), top, offset)
