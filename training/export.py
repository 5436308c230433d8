"""Writing the trained weights as a checkpoint that transformers loads: fp16 safetensors."""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path

import torch
from safetensors.torch import save_file

from training.model import Model, Size

SPECIAL = {"bos": "[BOS]", "eos": "[EOS]", "unk": "[UNK]", "pad": "[PAD]", "mask": "[MASK]"}


def config(size: Size) -> dict[str, object]:
    """Return `config.json`."""
    return {
        "architectures": ["GPTJForCausalLM"],
        "model_type": "gptj",
        "activation_function": "gelu_new",
        "attn_pdrop": 0.0,
        "embd_pdrop": 0.0,
        "resid_pdrop": 0.0,
        "bos_token_id": 0,
        "eos_token_id": 1,
        "pad_token_id": 3,
        "dtype": "float16",
        "layer_norm_epsilon": 1e-5,
        "n_embd": size.width,
        "n_head": size.heads,
        "n_inner": 4 * size.width,
        "n_layer": size.layers,
        "n_positions": size.context,
        "rotary_dim": size.rotary,
        "tie_word_embeddings": True,
        "vocab_size": size.vocabulary,
    }


def export(weights: Path, tokenizer: Path, folder: Path) -> None:
    """Write weights, configuration and tokenizer into `folder`."""
    model = Model()
    model.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True)["model"])
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {name: each.to(torch.float16) for name, each in model.checkpoint().items()}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    shutil.copyfile(tokenizer, folder / "tokenizer.json")
    _write(folder / "config.json", config(model.size))
    names = {f"{key}_token": token for key, token in SPECIAL.items()}
    limits = {"model_max_length": model.size.context, "tokenizer_class": "PreTrainedTokenizerFast"}
    _write(folder / "tokenizer_config.json", {**names, **limits})
    sampling = {"temperature": 0.5, "top_p": 0.9, "top_k": 50, "repetition_penalty": 1.0}
    ids = {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 3}
    _write(folder / "generation_config.json", {"do_sample": True, **sampling, **ids})


def _write(path: Path, value: dict[str, object]) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights", type=Path, default=Path("training/runs/tune.pt"))
    parser.add_argument("--tokenizer", type=Path, default=Path("training/runs/tokenizer.json"))
    parser.add_argument("--folder", type=Path, default=Path("kogpt_bot/mini"))
    arguments = parser.parse_args()
    export(arguments.weights, arguments.tokenizer, arguments.folder)


if __name__ == "__main__":
    main()
