"""Draws from each row's likeliest tokens, or from all, in their order: numpy's part of `sampling`.

A row's numbers are few (64 or 512, seldom a vocabulary), and there are a dozen steps: numpy starts
each several times faster than torch. Everything is float64, and a row's own alone. What a token
weighs is written so that it also holds of tensors: on a GPU, of many rows that are sorted whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from kogpt_bot.generation.request import SamplingParams

Floats = npt.NDArray[np.float32]
Ids = npt.NDArray[np.int64]
Doubles = npt.NDArray[np.float64]
Truths = npt.NDArray[np.bool_]

MARGIN = 1e-6  # of a sum in float32: what a share may be wrong by


def likeliest_of(logits: Floats, count: int) -> tuple[Floats, Ids]:
    """Return the `count` largest logits of each row and their ids, sorted downwards; of equals the
    first come first. Row by row, so that each stays in a near cache."""
    values = np.empty((len(logits), count), np.float32)
    ids = np.empty(values.shape, np.int64)
    for row, own, found in zip(logits, values, ids, strict=True):
        last = np.partition(row, -count)[-count]
        above = np.flatnonzero(row > last)
        chosen = np.append(above, np.flatnonzero(row == last)[: count - len(above)])
        if len(chosen) < count:  # NaN is nothing's equal
            chosen = np.arange(count)
        found[:] = chosen[np.argsort(-row[chosen], kind="stable")]
        own[:] = row[found]
    return values, ids


def suffices(values: Doubles, params: Sequence[SamplingParams], mass: Doubles | None) -> Truths:
    """Return for each row whether all that may be drawn is among its candidates.

    `values` [rows, candidates] and `mass` [rows, 1] are as for `weights_of`.
    """
    top_k = _column([each.top_k for each in params], values)
    kth = _picked(values, [max(each.top_k - 1, 0) for each in params])
    enough = (top_k > 0) & (kth > values[:, -1:])  # equals of the k-th are kept too
    if mass is not None:
        weights = _weights(values, params)
        top_p = _column([each.top_p for each in params], values)
        min_p = _column([each.min_p for each in params], values)
        beyond = top_k == 0  # what top-k cuts is cut before
        among = weights.sum(axis=1, keepdims=True)
        enough |= beyond & (top_p < 1) & (among >= (top_p + MARGIN) * mass)
        enough |= beyond & (min_p > 0) & (weights[:, -1:] < min_p)
    found: Truths = enough[:, 0]
    return found


def weights_of(values: Any, params: Sequence[SamplingParams], mass: Doubles | None = None) -> Any:
    """Return what each candidate weighs in a draw: 0 if it is excluded, the likeliest 1.

    `values` [rows, candidates] are logits, the largest first, an array or a tensor; the weights are
    of the same kind. `mass` [rows, 1] is what all of a row weighs, where the candidates are not all
    of it; a row with top-k needs none, and tensors have none.
    """
    weights, most = _weights(values, params), values.shape[1]
    if any(each.top_k for each in params):
        # transformers keeps every token as likely as the last of the k
        last = _picked(values, [min(each.top_k or most, most) - 1 for each in params])
        weights[values < last] = 0
    if any(each.top_p < 1 for each in params):
        top_p = _column([each.top_p for each in params], values)
        sums = weights.cumsum(1)
        whole = sums[:, -1:]
        if mass is not None:
            whole = np.where(_column([each.top_k for each in params], values) > 0, whole, mass)
        excluded = (sums - weights >= top_p * whole) & (top_p < 1)
        excluded[:, 0] = False
        weights[excluded] = 0
    if any(each.min_p for each in params):
        weights[weights < _column([each.min_p for each in params], values)] = 0
    if any(each.typical_p < 1 for each in params):
        _keep_typical(weights, _column([each.typical_p for each in params], values))
    return weights


def draw(weights: Doubles, draws: Sequence[float]) -> list[int]:
    """Return for each row the place at its draw, a number from 0 to 1, of the cumulated weights.

    The largest draw, 1 - 2^-53 of a sum, is rounded to less than the sum: it finds a weight, too.
    """
    sums = weights.cumsum(axis=1)
    target = _column(draws, weights) * sums[:, -1:]
    places = (int(row.searchsorted(own, "right")[0]) for row, own in zip(sums, target, strict=True))
    return [min(place, weights.shape[1] - 1) for place in places]  # NaN is above all


def _keep_typical(weights: Any, mass: Any) -> None:
    """Keep the tokens whose surprise is nearest to the expected one (Meister et al. 2022)."""
    library = _library(weights)
    parts = weights / weights.sum(1)[:, None]
    with np.errstate(divide="ignore", invalid="ignore"):
        surprise = -library.log(parts)
        entropy = library.nansum(parts * surprise, 1)[:, None]
    far = abs(surprise - entropy)
    order = far.argsort(1)
    rows = [[row] for row in range(len(weights))]
    last = (parts[rows, order].cumsum(1) < mass).sum(1).clip(max=weights.shape[1] - 1)
    limit = far[rows, order[rows, last[:, None]]]
    weights[(far > limit) & (mass < 1)] = 0


def _weights(values: Any, params: Sequence[SamplingParams]) -> Any:
    heat = _column([each.temperature for each in params], values)
    return _library(values).exp((values - values[:, :1]) / heat)


def _picked(values: Any, places: Sequence[int]) -> Any:
    """Return the value at a place of each row, [rows, 1]."""
    return values[range(len(places)), list(places)][:, None]


def _column(numbers: Sequence[float], beside: Any) -> Any:
    """Return one number per row, [rows, 1], of the kind and in the place of `beside`."""
    column = np.array(numbers, np.float64)[:, None]
    if isinstance(beside, torch.Tensor):
        return torch.from_numpy(column).to(beside.device)
    return column


def _library(values: Any) -> Any:
    return torch if isinstance(values, torch.Tensor) else np
