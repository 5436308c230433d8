"""Random GPT-J checkpoints with KoGPT's head size (256), rotary dimensions (64) and vocabulary."""

from __future__ import annotations

from pathlib import Path

CONTEXT = 2048
SHAPES = {
    # To try the benchmark itself.
    "tiny": {"n_embd": 256, "n_layer": 4, "n_head": 1, "vocab_size": 8_192},
    "100M": {"n_embd": 512, "n_layer": 12, "n_head": 2, "vocab_size": 64_512},
    "370M": {"n_embd": 1024, "n_layer": 24, "n_head": 4, "vocab_size": 32_768},
    # For a machine with a GPU: KoGPT's own shape, 6.2 billion parameters.
    "6B": {"n_embd": 4096, "n_layer": 28, "n_head": 16, "vocab_size": 64_512},
}


def make(folder: Path, name: str) -> Path:
    """Write a checkpoint unless it is there; return its folder."""
    import torch
    from tokenizers import Tokenizer, decoders, models
    from transformers import GPTJConfig, GPTJForCausalLM

    target = folder / name
    if (target / "model.safetensors").exists() or (
        target / "model.safetensors.index.json"
    ).exists():
        return target
    shape = SHAPES[name]
    torch.manual_seed(0)
    config = GPTJConfig(
        rotary_dim=64,
        n_positions=CONTEXT,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=3,
        tie_word_embeddings=False,
        **shape,
    )
    dtype, device = torch.float32, "cpu"
    if name == "6B":  # whose random numbers take a processor minutes
        dtype, device = torch.float16, "cuda" if torch.cuda.is_available() else "cpu"
    with torch.device(device):
        torch.set_default_dtype(dtype)
        model = GPTJForCausalLM(config)
        torch.set_default_dtype(torch.float32)
    with torch.no_grad():
        # Logits far apart, so that rounding seldom decides a greedy token.
        model.lm_head.weight.mul_(4)
    model.save_pretrained(target)
    del model
    if device == "cuda":
        torch.cuda.empty_cache()
    tokenizer = Tokenizer(
        models.WordLevel({f"t{n}": n for n in range(shape["vocab_size"])}, unk_token="t2")  # noqa: S106
    )
    tokenizer.decoder = decoders.Fuse()
    tokenizer.save(str(target / "tokenizer.json"))
    (target / "tokenizer_config.json").write_text(
        '{"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "t1", "bos_token": "t0", '
        '"unk_token": "t2", "pad_token": "t3"}\n'
    )
    return target
