"""The model in training: GPT-J with fused projections, and its way to transformers' names."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

CHUNK = 512  # rows of logits at once: the whole of them would not fit the caches


@dataclass(frozen=True, slots=True)
class Size:
    """The dimensions; these give 12.5M parameters."""

    vocabulary: int = 8192
    width: int = 320
    layers: int = 8
    heads: int = 5
    rotary: int = 32
    context: int = 1024


class Block(nn.Module):
    """One block: attention and MLP side by side over one layer norm."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        width = size.width
        self.heads, self.rotary, self.width = size.heads, size.rotary, width
        self.ln = nn.LayerNorm(width)
        self.win = nn.Parameter(torch.empty(7 * width, width).normal_(std=0.02))
        self.bin = nn.Parameter(torch.zeros(4 * width))
        scale = 0.02 / math.sqrt(2 * size.layers)
        self.wout = nn.Parameter(torch.empty(width, 5 * width).normal_(std=scale))
        self.bout = nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """Return [batch, time, width]."""
        batch, time, width = x.shape
        joined = F.linear(self.ln(x), self.win)
        q, k, v, inner = torch.split(joined, [width, width, width, 4 * width], dim=-1)
        heads = [t.view(batch, time, self.heads, -1).transpose(1, 2) for t in (q, k, v)]
        attended = F.scaled_dot_product_attention(
            self._rotate(heads[0], cos, sin),
            self._rotate(heads[1], cos, sin),
            heads[2],
            is_causal=True,
        )
        attended = attended.transpose(1, 2).reshape(batch, time, width)
        active = F.gelu(inner + self.bin.to(inner.dtype), approximate="tanh")
        return x + F.linear(torch.cat([attended, active], -1), self.wout) + self.bout

    def _rotate(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        pairs = x[..., : self.rotary].reshape(*x.shape[:-1], -1, 2)
        even, odd = pairs[..., 0], pairs[..., 1]
        rotated = torch.stack([even * cos - odd * sin, odd * cos + even * sin], -1).flatten(-2)
        return torch.cat([rotated, x[..., self.rotary :]], -1)


class Model(nn.Module):
    """The whole model; embedding and head are one matrix."""

    cos: Tensor
    sin: Tensor

    def __init__(self, size: Size | None = None) -> None:
        super().__init__()
        self.size = size or Size()
        self.wte = nn.Embedding(self.size.vocabulary, self.size.width)
        nn.init.normal_(self.wte.weight, std=0.02)
        self.h = nn.ModuleList(Block(self.size) for _ in range(self.size.layers))
        self.lnf = nn.LayerNorm(self.size.width)
        self.hb = nn.Parameter(torch.zeros(self.size.vocabulary))
        frequencies = 10_000.0 ** (-torch.arange(0, self.size.rotary, 2) / self.size.rotary)
        angles = torch.outer(torch.arange(self.size.context).float(), frequencies)
        self.register_buffer("cos", angles.cos(), persistent=False)
        self.register_buffer("sin", angles.sin(), persistent=False)

    @property
    def _precision(self) -> torch.dtype:
        kind = self.wte.weight.device.type
        return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else torch.float32

    def hidden(self, tokens: Tensor) -> Tensor:
        """Return the last hidden states [batch, time, width]."""
        time = tokens.shape[1]
        x = self.wte(tokens)
        cos, sin = self.cos[:time].to(self._precision), self.sin[:time].to(self._precision)
        for block in self.h:
            x = block(x, cos, sin)
        out: Tensor = self.lnf(x)
        return out

    def loss(self, tokens: Tensor, labels: Tensor, weights: Tensor | None = None) -> Tensor:
        """Return the weighted mean loss of predicting `labels` [batch, time]; 0 ignores one."""
        hidden = self.hidden(tokens)
        weights = torch.ones_like(labels, dtype=torch.float32) if weights is None else weights
        used = weights > 0
        rows, wanted, share = hidden[used].to(self._precision), labels[used], weights[used]
        table, bias = self.wte.weight.to(self._precision), self.hb.to(self._precision)
        total = rows.new_zeros((), dtype=torch.float32)
        pieces = (torch.split(each, CHUNK) for each in (rows, wanted, share))
        for row, label, part in zip(*pieces, strict=True):
            losses = F.cross_entropy(F.linear(row, table, bias).float(), label, reduction="none")
            total = total + (losses * part).sum()
        return total / share.sum()

    def _blocks(self) -> list[Block]:
        return [block for block in self.h if isinstance(block, Block)]

    def checkpoint(self) -> dict[str, Tensor]:
        """Return the weights under the names that transformers' GPTJForCausalLM uses."""
        width = self.size.width
        out = {
            "transformer.wte.weight": self.wte.weight,
            "transformer.ln_f.weight": self.lnf.weight,
            "transformer.ln_f.bias": self.lnf.bias,
            "lm_head.bias": self.hb,
        }
        for number, block in enumerate(self._blocks()):
            name = f"transformer.h.{number}"
            parts = torch.split(block.win, [width, width, width, 4 * width])
            q, k, v, inner = parts
            out |= {
                f"{name}.ln_1.weight": block.ln.weight,
                f"{name}.ln_1.bias": block.ln.bias,
                f"{name}.attn.q_proj.weight": q,
                f"{name}.attn.k_proj.weight": k,
                f"{name}.attn.v_proj.weight": v,
                f"{name}.attn.out_proj.weight": block.wout[:, :width],
                f"{name}.mlp.fc_in.weight": inner,
                f"{name}.mlp.fc_in.bias": block.bin,
                f"{name}.mlp.fc_out.weight": block.wout[:, width:],
                f"{name}.mlp.fc_out.bias": block.bout,
            }
        return {key: value.detach().clone() for key, value in out.items()}

    def load_checkpoint(self, found: Mapping[str, Tensor]) -> None:
        """Take over the weights of a checkpoint under transformers' names, of this very size."""
        state: dict[str, Tensor] = {}
        pairs = {"wte.weight": "transformer.wte.weight", "lnf.weight": "transformer.ln_f.weight",
                 "lnf.bias": "transformer.ln_f.bias", "hb": "lm_head.bias"}  # fmt: skip
        for number in range(self.size.layers):
            there, here = f"transformer.h.{number}", f"h.{number}"
            pairs |= {f"{here}.ln.weight": f"{there}.ln_1.weight",
                      f"{here}.ln.bias": f"{there}.ln_1.bias",
                      f"{here}.bin": f"{there}.mlp.fc_in.bias",
                      f"{here}.bout": f"{there}.mlp.fc_out.bias"}  # fmt: skip
            inward = ("attn.q_proj", "attn.k_proj", "attn.v_proj", "mlp.fc_in")
            state[f"{here}.win"] = torch.cat([found[f"{there}.{n}.weight"] for n in inward])
            outward = ("attn.out_proj", "mlp.fc_out")
            state[f"{here}.wout"] = torch.cat([found[f"{there}.{n}.weight"] for n in outward], 1)
        state |= {here: found[there] for here, there in pairs.items()}
        self.load_state_dict({name: each.float() for name, each in state.items()})
