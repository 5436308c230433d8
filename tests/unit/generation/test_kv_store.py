"""The cache's tensors: moves between them."""

import pytest
import torch

from kogpt_bot.generation import kv_store
from kogpt_bot.generation.kv_blocks import BLOCK, Move, Tier
from kogpt_bot.generation.kv_store import KVStore

CPU = torch.device("cpu")


@pytest.mark.parametrize("at", range(12))  # two layers, two parts in each of three moves
def test_moves_that_found_no_memory_go_on_where_they_were(monkeypatch, at):
    """Done twice, the first would copy what the second has brought into its block."""
    store = KVStore(2, 4, 3, torch.float32, [CPU, CPU], host_blocks=3)
    for layer, host in zip(store.layers, store._host, strict=True):
        for block in range(3):
            layer.read(slice(None), block * BLOCK, BLOCK).fill_(block)
            host.read(slice(None), block * BLOCK, BLOCK).fill_(10 + block)
    moves = [Move(Tier.OUT, 0, 0), Move(Tier.IN, 1, 0), Move(Tier.WITHIN, 0, 1)]
    part, calls = kv_store._part, []

    def short(*given):
        calls.append(given)
        if len(calls) == at + 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return part(*given)

    monkeypatch.setattr(kv_store, "_part", short)
    with pytest.raises(torch.OutOfMemoryError):
        store.carry_out(moves)
    assert len(moves) == 3 - at // 4
    store.carry_out(moves)
    assert moves == []
    for layer, host in zip(store.layers, store._host, strict=True):
        found = [layer.read(0, block * BLOCK, BLOCK).unique().tolist() for block in range(3)]
        assert found == [[11], [11], [2]]
        assert host.read(0, 0, BLOCK).unique().tolist() == [0]
