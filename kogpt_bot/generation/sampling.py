"""Choosing the next token for every row of a batch at once, each row by its own parameters.

The order and the meaning of the parameters are those of transformers' logits processors:
repetition penalty, (OpenAI's presence and frequency penalty,) no-repeat n-gram, temperature,
top-k, top-p, min-p, typical-p.

Sorting a whole vocabulary is slow. A row's CANDIDATES likeliest tokens are looked at first; only
where its parameters reach beyond them is the row sorted whole. Which way a row goes, and what comes
of it, depends on that row alone: its neighbours cannot change a draw.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kogpt_bot.generation.candidates import Doubles, draw, likeliest_of, suffices, weights_of
from kogpt_bot.generation.penalties import FAR, SamplingState, column, penalised
from kogpt_bot.generation.request import SamplingParams

CANDIDATES = 512
FEW = 64  # candidates that suffice for a row with a small top-k: found several times faster
CHUNK = 32  # logits whose maximum stands for them in the search for the largest
GPU_CHUNK = 1024
SORTED = 16  # rows that a GPU sorts at a time: in float64 each takes some megabytes
BELOW_ONE = 1 - 1e-12  # how far into a weight a draw may be: at 1 it would be beyond it
COLDEST = 1e-9  # a temperature: below it logits a millionth apart are as far apart as can be told


class Way(enum.Enum):
    """How far a row's parameters reach."""

    GREEDY = "the likeliest"
    FEW = "a small top-k"
    MANY = "candidates, as far as can be told"
    ALL = "everything, nothing excluded"
    SORT = "everything, sorted"


def sample(logits: Tensor, states: Sequence[SamplingState]) -> list[int]:
    """Return one token per row; a greedy row (temperature 0) takes its likeliest.

    `logits` [rows, vocabulary] in float32. Of a row that is not finite any token may come.
    """
    logits = penalised(logits, states)
    ways: dict[Way, list[int]] = {}
    for row, state in enumerate(states):
        ways.setdefault(_way(state.params, logits.shape[1]), []).append(row)
    chosen: dict[int, int] = {}
    with np.errstate(all="ignore"):  # of a row that is not finite; its request fails, not the step
        for way in (Way.GREEDY, Way.FEW, Way.MANY, Way.ALL):
            if rows := ways.get(way):
                part = logits if len(rows) == len(states) else logits[rows]
                found = _choose(way, part, [states[row] for row in rows])
                chosen |= {rows[at]: token for at, token in found.items()}
        if rest := [row for row in range(len(states)) if row not in chosen]:
            found = _choose(Way.SORT, logits[rest], [states[row] for row in rest])
            chosen |= {rest[at]: token for at, token in found.items()}
    return [chosen[row] for row in range(len(states))]


def _way(params: SamplingParams, vocabulary: int) -> Way:
    """Return how a row is drawn: its parameters alone decide."""
    if params.temperature < COLDEST or params.top_k == 1:
        return Way.GREEDY
    if 0 < params.top_k < FEW and vocabulary > CHUNK * FEW:
        return Way.FEW
    if vocabulary <= CHUNK * CANDIDATES:
        return Way.SORT
    if 0 < params.top_k < CANDIDATES:
        return Way.MANY
    if params.top_k or params.typical_p < 1:
        return Way.SORT  # typical-p looks at all that is left
    return Way.MANY if params.top_p < 1 or params.min_p else Way.ALL


def _choose(way: Way, logits: Tensor, states: Sequence[SamplingState]) -> dict[int, int]:
    """Return row -> token; without the rows whose parameters reach beyond their candidates."""
    if way is Way.GREEDY:
        return dict(enumerate(_likeliest(logits).tolist()))
    if way is Way.ALL:
        return dict(enumerate(_any(logits, states)))
    if way is Way.SORT:
        draws = _sorted if logits.device.type == "cpu" else _sorted_on_device
        return dict(enumerate(draws(logits, states)))
    params = [state.params for state in states]
    largest, places = _largest(logits, FEW if way is Way.FEW else CANDIDATES)
    whole = _mass(logits, largest[:, :1], params) if way is Way.MANY else None
    values, ids, mass = _on_the_host(largest, places, whole)
    rows = np.flatnonzero(suffices(values, params, mass)).tolist()
    if not rows:
        return {}
    weights = weights_of(
        values[rows], [params[row] for row in rows], None if mass is None else mass[rows]
    )
    drawn = draw(weights, [states[row].draw() for row in rows])
    return {row: int(ids[row, place]) for row, place in zip(rows, drawn, strict=True)}


def _sorted(logits: Tensor, states: Sequence[SamplingState]) -> list[int]:
    """Return for each row a token of all of it, sorted without the ids: several times faster. The
    value that is drawn is then looked for among the logits."""
    found = []
    for row, state in zip(logits.numpy(), states, strict=True):  # each in a near cache
        values = -np.sort(-row)
        weights = weights_of(values[None].astype(np.float64), [state.params])
        (place,) = draw(weights, [state.draw()])
        before = int((values[:place] == values[place]).sum())  # of equals the first comes first
        equals = np.flatnonzero(row == values[place])
        found.append(int(equals[before]) if len(equals) else 0)  # NaN is nothing's equal
    return found


def _sorted_on_device(logits: Tensor, states: Sequence[SamplingState]) -> list[int]:
    """Return the same where the logits are: there many rows are sorted in the time of one."""
    found: list[int] = []
    for begin in range(0, len(states), SORTED):
        own = states[begin : begin + SORTED]
        values, ids = logits[begin : begin + SORTED].sort(dim=-1, descending=True, stable=True)
        weights = weights_of(values.double(), [state.params for state in own])
        target = column([state.draw() for state in own], logits.device, torch.float64)
        places, _ = _found(weights.cumsum(dim=-1), target)
        found += ids.gather(1, places).squeeze(1).tolist()
    return found


def _any(logits: Tensor, states: Sequence[SamplingState]) -> list[int]:
    """Return for each row a token of all, nothing excluded: in the order of the vocabulary, a chunk
    by what its tokens weigh together, then one of them."""
    on_cpu = logits.device.type == "cpu"
    chunk = _chunk(logits) if on_cpu else 1  # a GPU sums up all sooner than it starts a second look
    heat = column([state.params.temperature for state in states], logits.device)
    weights = ((logits - _maximum(logits)) / heat).exp_().view(len(logits), -1, chunk)
    draws = [state.draw() for state in states]
    target = column(draws, logits.device, torch.float64)
    if chunk == 1:
        return _found(weights.squeeze(2).double().cumsum(dim=-1), target)[0].squeeze(1).tolist()
    best, rest = _place(weights.sum(dim=-1), target)
    inside, _ = _place(weights[torch.arange(len(logits)), best], rest)
    return (best * chunk + inside).tolist()


def _place(weights: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Return in which of the weights [rows, n] the target [rows, 1] falls, a share of their sum,
    and how far into that weight, as a share of it."""
    weights = weights.double()
    sums = weights.cumsum(dim=-1)
    place, reached = _found(sums, target)
    own = weights.gather(1, place)
    into = (reached - (sums.gather(1, place) - own)) / own
    return place.squeeze(1), into.clamp(0, BELOW_ONE)


def _found(sums: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Return the first of the cumulated sums [rows, n] above the target [rows, 1], a share of the
    last, and the target itself."""
    reached = target * sums[:, -1:]
    places = torch.searchsorted(sums, reached, right=True)
    return places.clamp_(max=sums.shape[1] - 1), reached


def row_sums(logits: Tensor) -> Tensor:
    """Return the sum of each row: finite if and only if every logit is, since none is near
    float32's limit."""
    chunk = _chunk(logits)
    if chunk < CHUNK:
        return logits.sum(dim=-1)
    return logits.view(len(logits), -1, chunk).sum(dim=-1).sum(dim=-1)


def _chunk(logits: Tensor) -> int:
    """Return in chunks of how many logits a row is searched: on a GPU a single row must be shared
    by many multiprocessors, and there are few chunks."""
    return math.gcd(logits.shape[1], CHUNK if logits.device.type == "cpu" else GPU_CHUNK)


def _likeliest(logits: Tensor) -> Tensor:
    """Return the first of the largest logits of each row; by chunks, which is done faster."""
    chunk = _chunk(logits)
    if chunk < CHUNK:  # a vocabulary that does not come out even
        return logits.argmax(dim=-1)
    chunks = logits.view(len(logits), -1, chunk)
    best = chunks.amax(dim=-1).argmax(dim=-1)
    inside = chunks[torch.arange(len(logits), device=logits.device), best].argmax(dim=-1)
    return best * chunk + inside


def _largest(logits: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Return the `count` largest logits of each row and their ids, sorted downwards."""
    if logits.device.type != "cpu":
        return logits.topk(count, dim=-1)
    if count > FEW:
        values, ids = likeliest_of(logits.numpy(), count)
        return torch.from_numpy(values), torch.from_numpy(ids)
    # A few lie in as few chunks, those with the largest maxima: the others need no other look.
    rows, vocabulary = logits.shape
    if spare := -vocabulary % CHUNK:
        logits = torch.nn.functional.pad(logits, (0, spare), value=FAR)
    chunks = logits.view(rows, -1, CHUNK)
    best = chunks.amax(dim=-1).topk(count, dim=-1).indices.sort(dim=-1).values
    places = (best.unsqueeze(-1) * CHUNK + torch.arange(CHUNK)).view(rows, -1)
    largest, order = logits.gather(1, places).topk(count, dim=-1)
    return largest, places.gather(1, order)


def _maximum(logits: Tensor) -> Tensor:
    """Return the largest logit of each row, [rows, 1]."""
    return logits.view(len(logits), -1, _chunk(logits)).amax(dim=-1).amax(dim=-1, keepdim=True)


def _mass(logits: Tensor, largest: Tensor, params: Sequence[SamplingParams]) -> Tensor:
    """Return what all of a row weighs, [rows, 1], where its likeliest token weighs 1."""
    heat = column([each.temperature for each in params], logits.device)
    # A processor goes row by row: each stays in a near cache.
    size = 1 if logits.device.type == "cpu" else len(logits)
    parts = [slice(begin, begin + size) for begin in range(0, len(logits), size)]
    sums = [row_sums((logits[each] - largest[each]).div_(heat[each]).exp_()) for each in parts]
    return torch.cat(sums).unsqueeze(1)


def _on_the_host(
    values: Tensor, ids: Tensor, mass: Tensor | None
) -> tuple[Doubles, NDArray[np.int64], Doubles | None]:
    """Return the same in the main memory, from a GPU in one copy."""
    if values.device.type != "cpu":
        count, parts = values.shape[1], [values, ids, *(() if mass is None else (mass,))]
        packed = torch.cat([each.double() for each in parts], dim=1).cpu()
        values, ids = packed[:, :count], packed[:, count : 2 * count]
        mass = None if mass is None else packed[:, 2 * count :]
    whole = None if mass is None else mass.double().numpy()
    return values.double().numpy(), ids.long().numpy(), whole
