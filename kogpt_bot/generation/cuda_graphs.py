"""CUDA graphs of steps in which every sequence writes one token.

Such a step of KoGPT is some hundred small operations, and a GPU is done with each sooner than it is
told of the next. A graph is told once. It reads and writes fixed memory: what a step is about is
copied there, and rows up to the next size are filled with a row that looks at a block of nobody.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import structlog
import torch
from torch import Tensor

from kogpt_bot.generation.attention import Paged, Plan, Segment, tables_of
from kogpt_bot.generation.gpu_kernels import PagedLook
from kogpt_bot.generation.kernels import reason
from kogpt_bot.generation.kv_blocks import BLOCK

log = structlog.get_logger(__name__)

SIZES = (1, 2, 4, 8, 16, 24, 32, 48, 64)  # rows of a graph
WARM_UP = 1  # runs on the stream of captures before one: libraries make their workspaces
TOLERANCE = 0.01  # of the largest logit: products may be carried out by another kernel

Flat = tuple[Tensor, Tensor, Tensor]  # tokens, positions, slots [rows] each
Decode = Callable[[Flat, Plan], Tensor]  # to logits [rows, vocabulary]; all on one device
Replay = Callable[[], None]
Capture = Callable[[Callable[[], None]], Replay]


class Capturer:
    """Records what a function does on a GPU; all graphs share a stream, and memory in between."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream: Any = None
        self._pool: Any = None

    def __call__(self, work: Callable[[], None]) -> Replay:
        """Record `work`, and return what does it again."""
        with torch.cuda.device(self._device):
            if self._stream is None:
                self._stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
            self._stream.wait_stream(torch.cuda.current_stream())
            graph = torch.cuda.CUDAGraph()
            # The outer context puts the stream back also where ending a capture fails.
            try:
                with torch.cuda.stream(self._stream):
                    for _ in range(WARM_UP):
                        work()
                    recording = torch.cuda.graph(
                        graph,
                        pool=self._pool,
                        stream=self._stream,
                        capture_error_mode="thread_local",
                    )
                    with recording:
                        work()
            finally:
                torch.cuda.current_stream().wait_stream(self._stream)
        self._pool = self._pool or graph.pool()
        return graph.replay


class DecodeGraphs:
    """One graph a size, recorded when a step first needs it.

    Each is compared with a step outside of it before it is relied upon; if one cannot be recorded
    or is wrong, there are none any more.
    """

    def __init__(
        self,
        decode: Decode,
        look: PagedLook,
        device: torch.device,
        context: int,
        vocabulary: int,
        *,
        spare: int,
        erase: Callable[[Tensor], None],
        capture: Capture | None = None,
    ) -> None:
        """`context` is the most tokens of a row, `spare` a block that no sequence has; `erase`
        forgets the keys and values in some places."""
        self._decode = decode
        self._look = look
        self._capture = capture or Capturer(device)
        self._spare = spare
        self._erase = erase
        most = SIZES[-1]
        self._flat = tuple(torch.zeros(most, dtype=torch.long, device=device) for _ in range(3))
        width = -(-context // BLOCK)
        self._tables = torch.full((most, width), spare, device=device)
        self._ends = torch.ones(most, dtype=torch.int32, device=device)
        self._logits = torch.empty(most, vocabulary, device=device)
        self._graphs: dict[int, Replay] = {}
        self._usable = True

    def run(self, flat: Flat, segments: Sequence[Segment]) -> Tensor | None:
        """Return the logits [rows, vocabulary] of a step, valid until the next; None where it is
        not one for a graph."""
        rows = len(segments)
        single = all(each.length == 1 and each.want == 1 for each in segments)
        if not self._usable or not single or rows > SIZES[-1]:
            return None
        size = next(size for size in SIZES if size >= rows)
        self._fill(flat, segments, size)
        replay = self._graphs.get(size)
        if replay is None:
            return self._record(size, rows)
        replay()
        return self._logits[:rows]

    def _fill(self, flat: Flat, segments: Sequence[Segment], size: int) -> None:
        rows = len(segments)
        for target, given, idle in zip(self._flat, flat, (0, 0, self._spare * BLOCK), strict=True):
            target[:rows].copy_(given, non_blocking=True)
            target[rows:size].fill_(idle)
        tables, ends = tables_of(segments)
        self._tables[:rows, : tables.shape[1]].copy_(tables, non_blocking=True)
        self._tables[rows:size, 0].fill_(self._spare)
        self._ends[:rows].copy_(ends, non_blocking=True)
        self._ends[rows:size].fill_(1)

    def _record(self, size: int, rows: int) -> Tensor | None:
        """Carry out a step, record it, and compare; return its logits."""
        tokens, positions, slots = (each[:size] for each in self._flat)
        plan: Plan = [Paged(0, size, self._tables[:size], self._ends[:size], self._look)]

        def work() -> None:
            self._logits[:size].copy_(self._decode((tokens, positions, slots), plan))

        try:
            work()
            wanted = self._logits[:rows].clone()
            # A row that is not finite is that request's own fault, and shows nothing of the graph.
            whole = wanted.isfinite().all(dim=1)
            if not bool(whole.any()):
                return wanted
            replay = self._capture(work)
            self._erase(slots)
            self._logits[:size].zero_()
            replay()
            off = (self._logits[:rows] - wanted)[whole].abs().max()
            error = float(off / wanted[whole].abs().max())
        except Exception as failure:  # noqa: BLE001  # what is not the graph's fault comes again
            cause = failure.__context__  # ending a capture that failed fails, too
            why = reason(cause if isinstance(cause, Exception) else failure)
            log.warning("cuda_graphs_unavailable", why=why)
            self._give_up()
            return None
        if not error <= TOLERANCE:
            log.warning("cuda_graphs_wrong", rows=size, error=error)
            self._give_up()
            return None
        self._graphs[size] = replay
        return self._logits[:rows]

    def _give_up(self) -> None:
        self._usable = False
        self._graphs.clear()
