"""Attention over the KV cache in place: every run of blocks is read in one piece, none gathered.

Rows that write (one token each) and share the blocks of a beginning look at it together: its keys
and values are read once for all of them, and only what follows is read row by row. Compiled loops
(`kernels.py`) do it where they can be had, else torch's operators: one matrix product for what is
shared.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from kogpt_bot.generation.gpu_kernels import PagedAttention
from kogpt_bot.generation.kernels import Kernels
from kogpt_bot.generation.kv_blocks import BLOCK
from kogpt_bot.generation.kv_store import KEYS, VALUES, LayerCache

MIN_SHARED = 2  # blocks, and
SHARED_PART = 4  # a quarter of what a row sees: less is read faster row by row

Run = tuple[int, int]  # begin and length in the store, in tokens


class Segment(NamedTuple):  # made for every row of every step
    """The tokens of one sequence in a step: rows [row, row + length) of the flat batch, which
    stand at [start, start + length) of the sequence. `want` rows at its end need logits.
    `table` are its blocks, `spans` the same as runs of blocks."""

    table: Sequence[int]
    spans: Sequence[Run]
    row: int
    length: int
    start: int
    want: int

    @property
    def end(self) -> int:
        """The tokens that the last row sees."""
        return self.start + self.length


@dataclass(frozen=True, slots=True)
class Alone:
    """Rows [begin, end) of one sequence, and the runs that they look at, each with its mask."""

    begin: int
    end: int
    runs: tuple[tuple[Run, Tensor | None], ...]


@dataclass(frozen=True, slots=True)
class Together:
    """Rows [begin, end), each of another sequence: the runs that all see, then each one's own."""

    begin: int
    end: int
    shared: tuple[Run, ...]
    own: tuple[tuple[Run, ...], ...]
    width: int  # tokens that the one with the most sees
    places: Tensor  # of all own tokens in scores [rows * width], row by row


@dataclass(frozen=True, slots=True)
class Compiled:
    """Rows [begin, end), each of another sequence; `spans` [n, 4] as in `compiled.look`."""

    begin: int
    end: int
    spans: Tensor
    kernels: Kernels


@dataclass(frozen=True, slots=True)
class Paged:
    """Rows [begin, end), each of another sequence, on a GPU: `tables` [rows, width] are their
    blocks, `ends` [rows] how many tokens each sees."""

    begin: int
    end: int
    tables: Tensor
    ends: Tensor
    kernel: PagedAttention


@dataclass(frozen=True, slots=True)
class Reading:
    """Rows of prompts on a GPU; `tables` and `tiles` as in `PagedAttention.read`."""

    tables: Tensor
    tiles: Tensor
    kernel: PagedAttention


@dataclass(frozen=True, slots=True)
class Gathered:
    """The same where there is no kernel for it, and launching costs more than copying: `places`
    [rows, width] in the store, `mask` [rows, 1, 1, width] 0 or -inf."""

    begin: int
    end: int
    places: Tensor
    mask: Tensor


Plan = list[Alone | Together | Compiled | Paged | Reading | Gathered]
GATHERING = frozenset({"cuda"})  # device types; see Gathered


def plan(
    segments: Sequence[Segment],
    dtype: torch.dtype,
    device: torch.device,
    kernels: Kernels | None = None,
    paged: PagedAttention | None = None,
) -> Plan:
    """Return who looks at what. Segments that share a beginning must stand side by side."""
    made: Plan = []
    writing = list(itertools.takewhile(lambda each: each.length == 1, segments))
    if paged is not None and writing:
        tables, ends = tables_of(writing)
        made.append(Paged(writing[0].row, len(writing), tables.to(device), ends.to(device), paged))
        segments = segments[len(writing) :]
    elif device.type in GATHERING and len(writing) > 1:
        made.append(_gathered(writing, dtype, device))
        segments = segments[len(writing) :]
    elif kernels is not None and writing:
        made.append(_compiled(writing, kernels))
        segments = segments[len(writing) :]
    if paged is not None and paged.rows and segments:
        made.append(_reading(segments, device, paged))
        return made
    for group, shared in _groups(segments):
        made.append(
            _together(group, shared * BLOCK, device)
            if len(group) > 1
            else _alone(group[0], dtype, device)
        )
    return made


def _reading(segments: Sequence[Segment], device: torch.device, kernel: PagedAttention) -> Reading:
    tiles = [
        (each.row + done, min(kernel.rows, each.length - done), each.start + done, number)
        for number, each in enumerate(segments)
        for done in range(0, each.length, kernel.rows)
    ]
    tables, _ = tables_of(segments)
    return Reading(tables.to(device), torch.tensor(tiles, dtype=torch.int32).to(device), kernel)


def _groups(segments: Sequence[Segment]) -> Iterator[tuple[list[Segment], int]]:
    """Give neighbours that look together, and how many blocks they share; most stand alone."""
    at = 0
    while at < len(segments):
        first = segments[at]
        group, shared = [first], first.start // BLOCK
        for other in segments[at + 1 :]:
            common = _common_blocks(first, other, shared)
            least = max(MIN_SHARED, max(first.end, other.end) // BLOCK // SHARED_PART)
            if first.length != 1 or other.length != 1 or common < least:
                break
            group.append(other)
            shared = common
        yield group, shared
        at += len(group)


def _common_blocks(one: Segment, other: Segment, most: int) -> int:
    most = min(most, other.start // BLOCK)
    for at in range(most):
        if one.table[at] != other.table[at]:
            return at
    return most


def cut(spans: Sequence[Run], begin: int, end: int) -> list[Run]:
    """Return the runs in the store of the tokens [begin, end) of a sequence."""
    found = []
    at = 0
    for block, count in spans:
        low, high = max(begin, at), min(end, at + count * BLOCK)
        if low < high:
            found.append((block * BLOCK + low - at, high - low))
        at += count * BLOCK
    return found


def _alone(segment: Segment, dtype: torch.dtype, device: torch.device) -> Alone:
    runs = cut(segment.spans, 0, segment.end)
    masks: list[Tensor | None] = [None] * len(runs)
    if segment.length > 1:
        far = torch.full((segment.length, segment.end), float("-inf"), dtype=dtype, device=device)
        mask = far.triu_(diagonal=segment.start + 1)
        at = 0
        for number, (_, length) in enumerate(runs):
            if at + length > segment.start + 1:
                masks[number] = mask[:, at : at + length]
            at += length
    return Alone(segment.row, segment.row + segment.length, tuple(zip(runs, masks, strict=True)))


def _together(group: Sequence[Segment], shared: int, device: torch.device) -> Together:
    width = max(each.end for each in group)
    own = [torch.arange(shared, each.end) + n * width for n, each in enumerate(group)]
    return Together(
        group[0].row,
        group[-1].row + 1,
        tuple(cut(group[0].spans, 0, shared)),
        tuple(tuple(cut(each.spans, shared, each.end)) for each in group),
        width,
        torch.cat(own).to(device),
    )


def _compiled(writing: Sequence[Segment], kernels: Kernels) -> Compiled:
    spans = torch.tensor(list(_shared_spans(list(enumerate(writing)), 0)))
    return Compiled(writing[0].row, writing[0].row + len(writing), spans, kernels)


def _shared_spans(group: Sequence[tuple[int, Segment]], seen: int) -> Iterator[tuple[int, ...]]:
    """Give what neighbours see beyond `seen` blocks: what all see, then those that share more."""
    row, segment = group[0]
    if len(group) == 1:
        yield from ((row, row + 1, *run) for run in cut(segment.spans, seen * BLOCK, segment.end))
        return
    shared = segment.start // BLOCK
    for _, other in group[1:]:
        shared = _common_blocks(segment, other, shared)
    last = row + len(group)
    yield from ((row, last, *run) for run in cut(segment.spans, seen * BLOCK, shared * BLOCK))

    def following(each: tuple[int, Segment]) -> int:
        number, own = each
        return own.table[shared] if shared < own.start // BLOCK else -1 - number

    for _, rest in itertools.groupby(group, following):
        yield from _shared_spans(list(rest), shared)


def tables_of(segments: Sequence[Segment]) -> tuple[Tensor, Tensor]:
    """Return the blocks of each segment [n, width] and how many tokens it sees at its end [n]."""
    tables = [torch.tensor(each.table[: -(-each.end // BLOCK)]) for each in segments]
    ends = torch.tensor([each.end for each in segments])
    return pad_sequence(tables, batch_first=True), ends


def _gathered(group: Sequence[Segment], dtype: torch.dtype, device: torch.device) -> Gathered:
    width = max(each.end for each in group)
    tables, ends = tables_of(group)
    at, ends = torch.arange(width), ends.unsqueeze(1)
    places = tables.repeat_interleave(BLOCK, dim=1)[:, :width] * BLOCK
    mask = torch.zeros(len(group), width, dtype=dtype).masked_fill_(at >= ends, float("-inf"))
    # What is masked is a row's own first token: another's NaN times 0 would be NaN.
    places = torch.where(at < ends, places + at % BLOCK, places[:, :1])
    return Gathered(
        group[0].row, group[-1].row + 1, places.to(device), mask[:, None, None].to(device)
    )


def attend(cache: LayerCache, queries: Tensor, out: Tensor, made: Plan) -> None:
    """Write what each row sees of one layer to `out`; it and `queries` are [rows, heads, head]."""
    for part in made:
        if isinstance(part, Reading):
            part.kernel.read(*_kept(cache), queries, out, part.tables, part.tiles, BLOCK)
            continue
        asking, target = queries[part.begin : part.end], out[part.begin : part.end]
        if isinstance(part, Compiled):
            cache.look(part.kernels, asking, target, part.spans)
            continue
        if isinstance(part, Paged):
            part.kernel.look(*_kept(cache), asking, target, part.tables, part.ends, BLOCK)
            continue
        scaled = asking.transpose(0, 1) * asking.shape[-1] ** -0.5  # [heads, rows, head]
        if isinstance(part, Alone):
            seen = _look_alone(cache, scaled, part)
        elif isinstance(part, Together):
            seen = _look_together(cache, scaled, part)
        else:
            seen = _look_gathered(cache, scaled, part)
        target.copy_(seen.transpose(0, 1))


def _kept(cache: LayerCache) -> tuple[Tensor, Tensor | None]:
    """Return keys and values, and their scales where they have some."""
    numbers, *scales = cache.tensors
    return numbers, scales[0] if scales else None


def _look_alone(cache: LayerCache, queries: Tensor, part: Alone) -> Tensor:
    scores = [_scores(queries, cache, run, mask) for run, mask in part.runs]
    if len(scores) == 1:
        return torch.bmm(_softmax(scores[0]), cache.read(VALUES, *part.runs[0][0]))
    shares = _softmax(torch.cat(scores, dim=-1))
    seen, at = torch.zeros_like(queries), 0
    for run, _ in part.runs:
        seen += torch.bmm(shares[:, :, at : at + run[1]], cache.read(VALUES, *run))
        at += run[1]
    return seen


def _look_together(cache: LayerCache, queries: Tensor, part: Together) -> Tensor:
    """Few operations a row, each on memory of its own: strided results are several times slower."""
    heads, rows, _ = queries.shape
    scores = queries.new_full((heads, rows, part.width), float("-inf"))
    at = 0
    for run in part.shared:
        scores[:, :, at : at + run[1]] = _scores(queries, cache, run, None)
        at += run[1]
    each = queries.transpose(0, 1).contiguous().unsqueeze(2).unbind(0)  # [heads, 1, head]
    found = [_scores(each[n], cache, run, None) for n, own in enumerate(part.own) for run in own]
    scores.view(heads, -1).index_copy_(1, part.places, torch.cat(found, dim=-1).squeeze(1))
    shares = _softmax(scores)
    seen, at = torch.zeros_like(queries), 0
    for run in part.shared:
        seen += torch.bmm(shares[:, :, at : at + run[1]], cache.read(VALUES, *run))
        at += run[1]
    seen = seen.transpose(0, 1).contiguous()
    mine, at = shares.view(heads, 1, -1).index_select(2, part.places), 0
    for row, own in zip(seen.unsqueeze(2).unbind(0), part.own, strict=True):
        for run in own:
            row.baddbmm_(mine[:, :, at : at + run[1]], cache.read(VALUES, *run))
            at += run[1]
    return seen.transpose(0, 1)


def _look_gathered(cache: LayerCache, queries: Tensor, part: Gathered) -> Tensor:
    keys, values = cache.gather(part.places).transpose(1, 2)  # each [rows, heads, width, head]
    seen = F.scaled_dot_product_attention(
        queries.transpose(0, 1).unsqueeze(2), keys, values, attn_mask=part.mask, scale=1.0
    )
    return seen.squeeze(2).transpose(0, 1)


def _scores(queries: Tensor, cache: LayerCache, run: Run, mask: Tensor | None) -> Tensor:
    """Return scaled queries [heads, rows, head] times the keys of a run."""
    keys = cache.read(KEYS, *run).transpose(1, 2)
    return torch.bmm(queries, keys) if mask is None else torch.baddbmm(mask, queries, keys)


def _softmax(scores: Tensor) -> Tensor:
    if scores.dtype is torch.float32:
        return scores.softmax(dim=-1)
    return scores.softmax(dim=-1, dtype=torch.float32).to(scores.dtype)
