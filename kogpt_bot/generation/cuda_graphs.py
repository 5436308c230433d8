"""CUDA graphs of steps in which every sequence writes one token.

Such a step of KoGPT is some hundred small operations, and a GPU is done with each sooner than it is
told of the next. A graph is told once. It reads and writes fixed memory: what a step is about is
copied there, and rows up to the next size are filled with a row that looks at a block of nobody.

To tell a GPU of a graph of all layers takes 0.15 ms, and it begins when it knows the whole: so a
step is recorded in two parts, and the second is told while the first, a short one, runs.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Any

import numpy as np
import structlog
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from kogpt_bot.generation.attention import Paged, Plan, Segment
from kogpt_bot.generation.gpu_kernels import PagedAttention
from kogpt_bot.generation.kernels import reason
from kogpt_bot.generation.kv_blocks import BLOCK

log = structlog.get_logger(__name__)

SIZES = (1, 2, 4, 8, 16, 24, 32, 48, 64)  # rows of a graph
WARM_UP = 1  # runs on the stream of captures before one: libraries make their workspaces
END = object()
TOLERANCE = 0.01  # of the largest logit: products may be carried out by another kernel

Flat = tuple[Tensor, Tensor, Tensor]  # tokens, positions, slots [rows] each
# To logits [rows, vocabulary], all on one device; it stops between its parts.
Decode = Callable[[Flat, Plan], Generator[None, None, Tensor]]
Work = Callable[[], Iterator[None]]  # done part by part
Replay = Callable[[], None]
Capture = Callable[[Work], Replay]


class Capturer:
    """Records what a function does on a GPU; all graphs share a stream, and memory in between."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream: Any = None
        self._pool: Any = None

    def __call__(self, work: Work) -> Replay:
        """Record `work`, each of its parts in a graph, and return what does it again."""
        graphs: list[torch.cuda.CUDAGraph] = []
        with torch.cuda.device(self._device):
            if self._stream is None:
                self._stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
            self._stream.wait_stream(torch.cuda.current_stream())
            # The outer context puts the stream back also where ending a capture fails.
            try:
                with torch.cuda.stream(self._stream):
                    for _ in range(WARM_UP):
                        _do(work)
                    self._record_parts(work(), graphs)
            finally:
                torch.cuda.current_stream().wait_stream(self._stream)

        def replay() -> None:
            for graph in graphs:
                graph.replay()

        return replay

    def _record_parts(self, parts: Iterator[None], graphs: list[torch.cuda.CUDAGraph]) -> None:
        more = True
        while more:
            graph = torch.cuda.CUDAGraph()
            recording = torch.cuda.graph(
                graph,
                pool=self._pool,
                stream=self._stream,
                capture_error_mode="thread_local",
            )
            with recording:
                more = next(parts, END) is not END
            self._pool = self._pool or graph.pool()
            graphs.append(graph)


def _do(work: Work) -> None:
    for _ in work():
        pass


class DecodeGraphs:
    """The graphs of each size, recorded when a step first needs it.

    Each is compared with a step outside of it before it is relied upon; if one cannot be recorded
    or is wrong, there are none any more.
    """

    def __init__(
        self,
        decode: Decode,
        kernel: PagedAttention,
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
        self._kernel = kernel
        self._capture = capture or Capturer(device)
        self._spare = spare
        self._erase = erase
        most, width = SIZES[-1], -(-context // BLOCK)
        self._inputs = {
            size: torch.zeros(4, size, dtype=torch.long, device=device) for size in SIZES
        }
        self._tables = torch.full((most, width), spare, device=device)
        self._known: list[list[int]] = [[] for _ in range(most)]  # of the rows of the tables
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
        """Tell the device what a step is about, in few and small copies."""
        rows = len(segments)
        given = np.empty((4, size), np.int64)
        for target, each in zip(given, flat, strict=False):
            target[:rows] = each.numpy()
        given[3, :rows] = [each.end for each in segments]
        given[:, rows:] = ((0,), (0,), (self._spare * BLOCK,), (1,))
        self._inputs[size].copy_(torch.from_numpy(given), non_blocking=True)
        wanted = [list(each.table) for each in segments] + [[self._spare]] * (size - rows)
        if wanted != self._known[:size]:  # seldom: a sequence has all its blocks from the beginning
            tables = pad_sequence([torch.tensor(each) for each in wanted], batch_first=True)
            self._tables[:size, : tables.shape[1]].copy_(tables, non_blocking=True)
            self._known[:size] = wanted  # only now: a copy may fail

    def _record(self, size: int, rows: int) -> Tensor | None:
        """Carry out a step, record it, and compare; return its logits."""
        tokens, positions, slots, ends = self._inputs[size]
        plan: Plan = [Paged(0, size, self._tables[:size], ends, self._kernel)]

        def work() -> Iterator[None]:
            logits = yield from self._decode((tokens, positions, slots), plan)
            self._logits[:size].copy_(logits)

        try:
            _do(work)
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
