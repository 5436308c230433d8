"""Draws from each row's likeliest tokens, or from all, in their order: numpy's part of `sampling`.

A row's numbers are few (64 or 512, seldom a vocabulary), and there are a dozen steps: numpy starts
each several times faster than torch. Everything is float64, and a row's own alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

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
    top_k = _column([each.top_k for each in params], np.int64)
    kth = np.take_along_axis(values, np.maximum(top_k - 1, 0), axis=1)
    enough = (top_k > 0) & (kth > values[:, -1:])  # equals of the k-th are kept too
    if mass is not None:
        weights = _weights(values, params)
        top_p = _column([each.top_p for each in params])
        min_p = _column([each.min_p for each in params])
        beyond = top_k == 0  # what top-k cuts is cut before
        among = weights.sum(axis=1, keepdims=True)
        enough |= beyond & (top_p < 1) & (among >= (top_p + MARGIN) * mass)
        enough |= beyond & (min_p > 0) & (weights[:, -1:] < min_p)
    return enough[:, 0]


def weights_of(
    values: Doubles, params: Sequence[SamplingParams], mass: Doubles | None = None
) -> Doubles:
    """Return what each candidate weighs in a draw: 0 if it is excluded, the likeliest 1.

    `values` [rows, candidates] are logits, the largest first. `mass` [rows, 1] is what all of a row
    weighs, where the candidates are not all of it; a row with top-k needs none.
    """
    weights = _weights(values, params)
    if any(each.top_k for each in params):
        top_k = _column([each.top_k or values.shape[1] for each in params], np.int64)
        # transformers keeps every token as likely as the last of the k
        last = np.take_along_axis(values, np.minimum(top_k, values.shape[1]) - 1, axis=1)
        weights[values < last] = 0
    if any(each.top_p < 1 for each in params):
        top_p = _column([each.top_p for each in params])
        sums = weights.cumsum(axis=1)
        whole = sums[:, -1:]
        if mass is not None:
            whole = np.where(_column([each.top_k for each in params]) > 0, whole, mass)
        excluded = (sums - weights >= top_p * whole) & (top_p < 1)
        excluded[:, 0] = False
        weights[excluded] = 0
    if any(each.min_p for each in params):
        min_p = _column([each.min_p for each in params])
        weights[weights < min_p] = 0
    if any(each.typical_p < 1 for each in params):
        _keep_typical(weights, _column([each.typical_p for each in params]))
    return weights


def draw(weights: Doubles, draws: Sequence[float]) -> list[int]:
    """Return for each row the place at its draw, a number from 0 to 1, of the cumulated weights.

    The largest draw, 1 - 2^-53 of a sum, is rounded to less than the sum: it finds a weight, too.
    """
    sums = weights.cumsum(axis=1)
    target = _column(draws) * sums[:, -1:]
    places = (int(row.searchsorted(own, "right")[0]) for row, own in zip(sums, target, strict=True))
    return [min(place, weights.shape[1] - 1) for place in places]  # NaN is above all


def _keep_typical(weights: Doubles, mass: Doubles) -> None:
    """Keep the tokens whose surprise is nearest to the expected one (Meister et al. 2022)."""
    parts = weights / weights.sum(axis=1, keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        surprise = -np.log(parts)
        entropy = np.nansum(parts * surprise, axis=1, keepdims=True)
    far = np.abs(surprise - entropy)
    order = far.argsort(axis=1)
    cumulated = np.take_along_axis(parts, order, axis=1).cumsum(axis=1)
    last = (cumulated < mass).sum(axis=1, keepdims=True).clip(max=weights.shape[1] - 1)
    limit = np.take_along_axis(far, np.take_along_axis(order, last, axis=1), axis=1)
    weights[(far > limit) & (mass < 1)] = 0


def _weights(values: Doubles, params: Sequence[SamplingParams]) -> Doubles:
    heat = _column([each.temperature for each in params])
    weights: Doubles = np.exp((values - values[:, :1]) / heat)
    return weights


def _column(numbers: Sequence[float], dtype: npt.DTypeLike = np.float64) -> npt.NDArray[Any]:
    """Return one number per row, [rows, 1]."""
    return np.array(numbers, dtype=dtype)[:, None]
