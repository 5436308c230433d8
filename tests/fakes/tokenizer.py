"""A small byte-level BPE with KoGPT's special tokens (no torch)."""

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

SPECIAL = ["[BOS]", "[EOS]", "[UNK]", "[PAD]", "[MASK]"]
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
