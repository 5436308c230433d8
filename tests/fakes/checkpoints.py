"""Random GPT-J checkpoints in the layouts that are loaded, and a tokenizer to go with them."""

from pathlib import Path

import torch
from transformers import GPTJConfig, GPTJForCausalLM

from tests.fakes.tokenizer import make_tokenizer

torch.set_num_threads(1)

SMALL = {"n_embd": 64, "n_layer": 3, "n_head": 4, "rotary_dim": 8}
# KoGPT's proportions scaled down: head size 256, rotary 64, untied.
KOGPT_LIKE = {"n_embd": 512, "n_layer": 2, "n_head": 2, "rotary_dim": 64}
TIED = {"n_embd": 48, "n_layer": 2, "n_head": 3, "rotary_dim": 16, "tie_word_embeddings": True}


def make_model(*, vocab_size=600, n_positions=256, seed=0, **shape):
    """Return a random model whose logits are not all alike."""
    torch.manual_seed(seed)
    config = GPTJConfig(
        vocab_size=vocab_size,
        n_positions=n_positions,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=3,
        **{"tie_word_embeddings": False} | shape,
    )
    model = GPTJForCausalLM(config).eval()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.dim() > 1:
                weight.mul_(3.0 if "wte" in name or "lm_head" in name else 2.0)
            else:
                weight.add_(torch.randn_like(weight) * 0.1)
    return model


def make_checkpoint(folder: Path, **shape) -> Path:
    """Write a model and its tokenizer; return the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    make_model(**shape).save_pretrained(folder)
    make_tokenizer().save(str(folder / "tokenizer.json"))
    return folder
