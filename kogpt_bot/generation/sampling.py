"""Choosing the next token for every row of a batch at once, each row by its own parameters.

The order and the meaning of the parameters are those of transformers' logits processors:
repetition penalty, (OpenAI's presence and frequency penalty,) no-repeat n-gram, temperature,
top-k, top-p, min-p, typical-p.

Sorting a whole vocabulary is slow. A row's CANDIDATES likeliest tokens are looked at first; only
where its parameters reach beyond them is the row sorted whole. Which way a row goes depends on
that row alone, and probabilities are float64, so that its neighbours cannot change a draw.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Sequence

import torch
from torch import Tensor

from kogpt_bot.generation.penalties import FAR, SamplingState, column, penalised
from kogpt_bot.generation.request import SamplingParams

CANDIDATES = 512
FEW = 64  # candidates that suffice for a row with a small top-k: found several times faster
CHUNK = 32  # logits whose maximum stands for them in the search for the largest
GPU_CHUNK = 1024


class Way(enum.Enum):
    """How far a row's parameters reach."""

    GREEDY = "the likeliest"
    FEW = "a small top-k"
    MANY = "candidates, as far as can be told"
    ALL = "everything, nothing excluded"
    SORT = "everything, sorted"


def sample(logits: Tensor, states: Sequence[SamplingState]) -> list[int]:
    """Return one token per row; a greedy row (temperature 0) takes its likeliest.

    `logits` [rows, vocabulary] in float32, finite.
    """
    logits = penalised(logits, states)
    ways: dict[Way, list[int]] = {}
    for row, state in enumerate(states):
        ways.setdefault(_way(state.params, logits.shape[1]), []).append(row)
    chosen: dict[int, int] = {}
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
    if params.temperature == 0 or params.top_k == 1:
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
    params, rows, total = [state.params for state in states], list(range(len(states))), None
    if way is Way.GREEDY:
        return dict(enumerate(_likeliest(logits).tolist()))
    if way is Way.ALL:
        # In the order of the vocabulary: where nothing is excluded, any order will do.
        heat = column([each.temperature for each in params], logits.device)
        ids = torch.arange(logits.shape[1], device=logits.device).expand(len(rows), -1)
        values = (logits / heat).double()
    else:
        if way is Way.SORT:
            values, ids = logits.sort(dim=-1, descending=True, stable=True)
        else:
            values, ids = _largest(logits, FEW if way is Way.FEW else CANDIDATES)
            total = _total(logits, params) if way is Way.MANY else None
            values, ids, total = _on_the_host(values, ids, total)
            enough = _suffices(values, params, total).tolist()
            rows = [row for row in rows if enough[row]]
            params = [params[row] for row in rows]
            values, ids = values[rows], ids[rows]
            total = None if total is None else total[rows]
        values = filtered(values, params, total)
    draws = [states[row].random.random() for row in rows]
    return dict(zip(rows, _draw(values, ids, draws), strict=True))


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
    """Return the `count` largest logits of each row and their ids, sorted downwards.

    They lie in the `count` chunks with the largest maxima, so that a CPU looks at these alone.
    """
    if logits.device.type != "cpu":
        return logits.topk(count, dim=-1)
    rows, vocabulary = logits.shape
    if spare := -vocabulary % CHUNK:
        logits = torch.nn.functional.pad(logits, (0, spare), value=FAR)
    chunks = logits.view(rows, -1, CHUNK)
    best = chunks.amax(dim=-1).topk(count, dim=-1).indices.sort(dim=-1).values
    ids = (best.unsqueeze(-1) * CHUNK + torch.arange(CHUNK)).view(rows, -1)
    values, order = logits.gather(1, ids).topk(count, dim=-1)
    return values, ids.gather(1, order)


def _on_the_host(
    values: Tensor, ids: Tensor, total: Tensor | None
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Return the same in the main memory, in one copy: what is done to so few numbers from here on
    takes a GPU longer to start than to do."""
    if values.device.type == "cpu":
        return values, ids, total
    count = values.shape[1]
    parts = [values.double(), ids.double(), *(() if total is None else (total,))]
    packed = torch.cat(parts, dim=1).cpu()
    rest = None if total is None else packed[:, 2 * count :]
    return packed[:, :count], packed[:, count : 2 * count].long(), rest


def _total(logits: Tensor, params: Sequence[SamplingParams]) -> Tensor:
    """Return the logarithm of the sum of a row's weights, [rows, 1]; 0 weight is left out."""
    heat = column([each.temperature for each in params], logits.device)
    return (logits / heat).logsumexp(dim=-1, keepdim=True).double()


def _suffices(values: Tensor, params: Sequence[SamplingParams], total: Tensor | None) -> Tensor:
    """Return for each row whether all that may be drawn is among its candidates."""
    device, last = values.device, values[:, -1:]
    top_k = column([each.top_k for each in params], device).long()
    kept = values.gather(1, (top_k - 1).clamp(min=0)) > last  # equals of the k-th are kept too
    enough = (top_k > 0) & kept
    if total is not None:
        heat = column([each.temperature for each in params], device, torch.float64)
        shares = (values / heat - total).exp()
        top_p = column([each.top_p for each in params], device, torch.float64)
        min_p = column([each.min_p for each in params], device, torch.float64)
        enough |= (top_p < 1) & (shares.sum(dim=-1, keepdim=True) >= top_p + 1e-6)
        enough |= (min_p > 0) & (shares[:, -1:] < min_p * shares[:, :1])
    return enough.squeeze(1)


def filtered(
    values: Tensor, params: Sequence[SamplingParams], total: Tensor | None = None
) -> Tensor:
    """Return sorted logits [rows, candidates], tempered, with what is excluded at -inf.

    `total` is the log-sum of all weights of a row where the candidates are not all of it; a row
    with top-k needs none.
    """
    device = values.device
    values = values.double() / column([each.temperature for each in params], device, torch.float64)
    if any(each.top_k for each in params):
        top_k = column([each.top_k or values.shape[1] for each in params], device)
        # transformers keeps every token as likely as the last of the k
        last = values.gather(1, (top_k.long() - 1).clamp(max=values.shape[1] - 1))
        values = values.masked_fill(values < last, FAR)
    if any(each.top_p < 1 for each in params):
        top_p = column([each.top_p for each in params], device, torch.float64)
        shares = _shares(values, params, total)
        before = shares.cumsum(dim=-1) - shares
        values = _without(values, (before >= top_p) & (top_p < 1))
    if any(each.min_p for each in params):
        min_p = column([each.min_p for each in params], device, torch.float64)
        shares = values.softmax(dim=-1)
        values = _without(values, shares < min_p * shares[:, :1])
    if any(each.typical_p < 1 for each in params):
        mass = column([each.typical_p for each in params], device, torch.float64)
        values = _typical(values, mass)
    return values


def _without(values: Tensor, excluded: Tensor) -> Tensor:
    excluded[:, 0] = False  # the likeliest always stays
    return values.masked_fill(excluded, FAR)


def _shares(values: Tensor, params: Sequence[SamplingParams], total: Tensor | None) -> Tensor:
    if total is None:
        return values.softmax(dim=-1)
    cut = column([each.top_k for each in params], values.device) > 0
    own = values.logsumexp(dim=-1, keepdim=True)
    return (values - torch.where(cut, own, total)).exp()


def _typical(values: Tensor, mass: Tensor) -> Tensor:
    """Keep the tokens whose surprise is nearest to the expected one (Meister et al. 2022)."""
    logs = values.log_softmax(dim=-1)
    entropy = -(logs.exp() * logs).nansum(dim=-1, keepdim=True)
    shifted = (-logs - entropy).abs()
    ordered, order = shifted.sort(dim=-1)
    cumulative = values.gather(1, order).softmax(dim=-1).cumsum(dim=-1)
    last = (cumulative < mass).sum(dim=-1, keepdim=True).clamp(max=values.shape[1] - 1)
    excluded = (shifted > ordered.gather(1, last)) & (mass < 1)
    return values.masked_fill(excluded, FAR)


def _draw(values: Tensor, ids: Tensor, draws: Sequence[float]) -> list[int]:
    """Return for each row the token at its draw, a number from 0 to 1, of the cumulated shares."""
    cumulative = values.softmax(dim=-1).cumsum(dim=-1)
    target = column(draws, values.device, torch.float64) * cumulative[:, -1:]
    chosen = torch.searchsorted(cumulative, target, right=True)
    return [int(each) for each in ids.gather(1, chosen.clamp(max=values.shape[1] - 1))]
