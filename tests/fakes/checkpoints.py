"""Random GPT-J checkpoints in the layouts that are loaded, and a tokenizer to go with them."""

from pathlib import Path

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import GPTJConfig, GPTJForCausalLM

torch.set_num_threads(1)

SPECIAL = ["[BOS]", "[EOS]", "[UNK]", "[PAD]", "[MASK]"]
SMALL = {"n_embd": 64, "n_layer": 3, "n_head": 4, "rotary_dim": 8}
# KoGPT's proportions scaled down: head size 256, rotary 64, untied.
KOGPT_LIKE = {"n_embd": 512, "n_layer": 2, "n_head": 2, "rotary_dim": 64}
TIED = {"n_embd": 48, "n_layer": 2, "n_head": 3, "rotary_dim": 16, "tie_word_embeddings": True}

TEXT = [
    "안녕하세요 반가워요 오늘 날씨가 참 좋네요",
    "민수: 오늘 뭐 먹을까?\n코코: 김치찌개 어때요? 든든하고 맛있어요!",
    "넌 누구야? 저는 코코예요. 사람들과 이야기하는 챗봇이에요.",
    "고마워요 미안해요 사랑해요 힘내요 잘 자요",
    "The quick brown fox jumps over the lazy dog. 0123456789",
]


def make_tokenizer(vocabulary=600):
    """Return a byte-level BPE with KoGPT's special tokens."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(r"\n"), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(TEXT * 20, trainer)
    return tokenizer


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
