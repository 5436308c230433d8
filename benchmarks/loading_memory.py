"""Peak memory while a checkpoint is loaded, over the size of its weights in memory.

Makes a random checkpoint of more than 1 GB (GPT-J, KoGPT's head size and rotary dimensions), then
loads it in a fresh process and compares that process's peak with its size before loading.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
import tempfile
from pathlib import Path

SHAPE = {"n_embd": 2048, "n_layer": 10, "n_head": 8, "rotary_dim": 64, "n_positions": 2048}


def make(folder: Path, kind: str) -> None:
    """Write a random float16 checkpoint of 10 layers of 2048 (KoGPT: 28 of 4096)."""
    import torch
    from safetensors.torch import save_file
    from tokenizers import Tokenizer, models
    from transformers import GPTJConfig, GPTJForCausalLM

    config = GPTJConfig(vocab_size=32_000, bos_token_id=0, eos_token_id=1, **SHAPE)
    config.dtype = "float16"
    config.tie_word_embeddings = False
    config.save_pretrained(folder)
    with torch.device("meta"):
        shapes = {k: v.shape for k, v in GPTJForCausalLM(config).state_dict().items()}
    tensors = {
        name: torch.randn(shape, dtype=torch.float16) * 0.02
        for name, shape in shapes.items()
        if not name.endswith("embed_positions")
    }
    if kind == "safetensors":
        save_file(tensors, folder / "model.safetensors")
    else:
        torch.save(tensors, folder / "pytorch_model.bin")
    Tokenizer(models.BPE({"a": 0, "[EOS]": 1}, [])).save(str(folder / "tokenizer.json"))


def memory(field: str) -> int:
    """Return a figure of this process's memory in bytes (Linux)."""
    rows = Path("/proc/self/status").read_text().splitlines()
    return next(int(row.split()[1]) * 1024 for row in rows if row.startswith(f"{field}:"))


def measure(folder: Path, dtype: str) -> None:
    """Load and print the figures as JSON."""
    # transformers' configuration and the first kernels belong to any process that uses the model.
    import torch
    from transformers.models.gptj.configuration_gptj import GPTJConfig

    from kogpt_bot.generation.loading import LoadOptions, load

    GPTJConfig()
    torch.empty(8).to(torch.bfloat16).isfinite().all()
    Path("/proc/self/clear_refs").write_text("5")  # the peak is counted from here
    before = memory("VmRSS")
    loaded = load(LoadOptions(model=str(folder), device="cpu", dtype=dtype))
    peak = memory("VmHWM")
    weights = loaded.info.parameters * loaded.model.dtype.itemsize
    print(json.dumps({"weights": weights, "peak": peak - before, "dtype": loaded.info.dtype}))


def main(arguments: list[str]) -> int:
    """Make, load in a fresh process, print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--folder", type=Path, help="where the checkpoint is made; else a temporary one"
    )
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--dtype", default="bfloat16")
    given = parser.parse_args(arguments)
    if given.measure:
        measure(given.measure, given.dtype)
        return 0
    print(f"{platform.machine()}, Python {platform.python_version()}")
    with tempfile.TemporaryDirectory(dir=given.folder) as root:
        for kind in ("safetensors", "bin"):
            folder = Path(root) / kind
            folder.mkdir()
            make(folder, kind)
            for wanted in ("bfloat16", "float32"):
                command = [sys.executable, "-m", "benchmarks.loading_memory"]
                done = subprocess.run(
                    [*command, "--measure", str(folder), "--dtype", wanted],
                    capture_output=True, text=True, check=True,
                )  # fmt: skip
                found = json.loads(done.stdout.splitlines()[-1])
                ratio = found["peak"] / found["weights"]
                size = found["weights"] / 1e9
                print(
                    f"{kind:12} {found['dtype']:9} weights {size:.2f} GB, peak {ratio:.2f} x that"
                )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
