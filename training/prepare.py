"""Data and tokenizer: the corpus deduplicated and filtered, a byte-level BPE, ids on disk."""

from __future__ import annotations

import argparse
import random
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from tqdm import tqdm

from training.chats import PROFANE, own_dialogues, rows

EOS = 1
VOCABULARY = 8192
SPECIAL = ["[BOS]", "[EOS]", "[UNK]", "[PAD]", "[MASK]"]  # KoGPT's
# Bytes of text to take of each source, and how often. Speech is worth more than prose; reviews
# (nsmc) stay at 40% and documentation is cut down, or the bot talks like a reviewer or a manual.
SOURCES: tuple[tuple[str, int | None, int], ...] = (
    ("ChatbotData", None, 2),
    ("chatterbot-ko", None, 2),
    ("Question_pair", None, 2),
    ("XPersona-ko", None, 1),
    ("HG-TODS_dialogs", None, 1),
    ("KommonGen", None, 1),
    ("bareun-ambiguity", None, 1),
    ("boddari-fairytale01", None, 1),
    ("boddari-book_review01", None, 1),
    ("boddari-wikinews", 700_000, 1),
    *((f"docs-{name}", 150_000, 1) for name in ("pytorch", "react", "rust", "tf", "ts", "vue")),
    ("nsmc_raw", 9_000_000, 1),
)


def clean(texts: Iterable[str], seen: set[str]) -> Iterator[str]:
    """Give each text once, without the profane ones and without what is in `seen` already."""
    for text in texts:
        if len(text) >= 4 and text not in seen and not PROFANE.search(text):
            seen.add(text)
            yield text


def held_out(folder: Path | None) -> set[str]:
    """Return the texts of the evaluation sets, which are never trained on."""
    found: set[str] = set()
    for path in sorted(folder.glob("*.tsv")) if folder else []:
        for row in path.read_text(encoding="utf-8").splitlines():
            found.update(cell.strip() for cell in row.split("\t"))
    return found


def documents(corpus: Path, evaluation: Path | None, seed: int) -> list[str]:
    """Return all documents, shuffled."""
    rng, seen = random.Random(seed), held_out(evaluation)
    found: list[str] = []
    for name, limit, times in tqdm(SOURCES, desc="sources"):
        texts = list(rows(corpus, name))
        rng.shuffle(texts)
        taken = 0
        for text in clean(texts, seen):
            found += [text] * times
            taken += len(text.encode())
            if limit is not None and taken > limit:
                break
    for turns in own_dialogues():
        found += ["\n".join(f"{who}: {text}" for who, text in turns)] * 3
    rng.shuffle(found)
    return found


def train_tokenizer(texts: Iterable[str]) -> Tokenizer:
    """Return a byte-level BPE in which a line break and a digit are always tokens of their own."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(r"\n"), "isolated"),
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def prepare(corpus: Path, evaluation: Path | None, runs: Path, seed: int) -> None:
    """Write `tokenizer.json` and `pretrain.bin` (documents end to end, an [EOS] after each)."""
    runs.mkdir(parents=True, exist_ok=True)
    texts = documents(corpus, evaluation, seed)
    tokenizer = train_tokenizer(texts)
    tokenizer.save(str(runs / "tokenizer.json"))
    ids: list[int] = []
    for encoded in tokenizer.encode_batch(texts):
        ids += [*encoded.ids, EOS]
    np.array(ids, dtype=np.uint16).tofile(runs / "pretrain.bin")
    per_token = sum(map(len, texts)) / len(ids)
    print(f"{len(texts)} documents, {len(ids)} tokens, {per_token:.2f} characters a token")


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--evaluation", type=Path, help="folder of texts to leave out")
    parser.add_argument("--runs", type=Path, default=Path("training/runs"))
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    prepare(given.corpus, given.evaluation, given.runs, given.seed)


if __name__ == "__main__":
    main()
