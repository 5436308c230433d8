"""Data and tokenizer: the corpus deduplicated and filtered, a byte-level BPE, ids on disk."""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from tqdm import tqdm

from training.chats import DETECTOR, own_split, rows
from training.encoding import EOS

VOCABULARY = 8192
HELD_OUT = 100  # texts of each source, and at most one in fifty
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
    ("nsmc_raw", 8_900_000, 1),
)


def clean(texts: Iterable[str], seen: set[str]) -> Iterator[str]:
    """Give each text once, without the profane ones and without what is in `seen` already.

    Texts that differ in spaces and punctuation alone are the same.
    """
    for text in texts:
        if len(text) >= 4 and (key := fingerprint(text)) not in seen:
            seen.add(key)
            if not DETECTOR.is_profane(text):
                yield text


def fingerprint(text: str) -> str:
    """Return the letters and digits of `text`."""
    return "".join(filter(str.isalnum, text))


def reserved(folder: Path | None) -> set[str]:
    """Return the fingerprints of the evaluation sets' texts, which are never trained on."""
    return {
        fingerprint(cell)
        for path in (sorted(folder.glob("*.tsv")) if folder else [])
        for row in path.read_text(encoding="utf-8").splitlines()
        for cell in row.split("\t")
    }


@dataclass(frozen=True, slots=True)
class Texts:
    """What is trained on, shuffled, and what is kept away, by source."""

    train: list[str]
    held_out: dict[str, list[str]]


def documents(corpus: Path, evaluation: Path | None, seed: int) -> Texts:
    """Return all texts; prints the share of each source in the mix."""
    rng, seen = random.Random(seed), reserved(evaluation)
    train: list[str] = []
    held_out: dict[str, list[str]] = {}
    taken: dict[str, int] = {}
    for name, limit, times in tqdm(SOURCES, desc="sources"):
        texts = list(rows(corpus, name))
        rng.shuffle(texts)
        size = 0
        for text in clean(texts, seen):
            if len(kept := held_out.setdefault(name, [])) < min(HELD_OUT, len(texts) // 50):
                kept.append(text)
                continue
            train += [text] * times
            size += len(text.encode())
            if limit is not None and size > limit:
                break
        taken[name] = size * times
    for turns in own_split()[0]:
        train += ["\n".join(f"{who}: {text}" for who, text in turns)] * 3
    total = sum(taken.values())
    for name, size in taken.items():
        print(f"{name}: {size / 1e6:.2f} MB, {size / total:.1%}")
    rng.shuffle(train)
    return Texts(train, held_out)


def train_tokenizer(texts: Iterable[str], vocabulary: int = VOCABULARY) -> Tokenizer:
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
        vocab_size=vocabulary,
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def prepare(
    corpus: Path, evaluation: Path | None, runs: Path, seed: int, tokenizer: Path | None
) -> None:
    """Write `tokenizer.json`, `held_out.jsonl` and `pretrain.bin` (texts end to end, an [EOS]
    after each)."""
    runs.mkdir(parents=True, exist_ok=True)
    texts = documents(corpus, evaluation, seed)
    bpe = Tokenizer.from_file(str(tokenizer)) if tokenizer else train_tokenizer(texts.train)
    bpe.save(str(runs / "tokenizer.json"))
    with (runs / "held_out.jsonl").open("w", encoding="utf-8") as file:
        for source, kept in texts.held_out.items():
            for text in kept:
                row = json.dumps({"source": source, "text": text}, ensure_ascii=False)
                file.write(row + "\n")
    ids: list[int] = []
    for encoded in bpe.encode_batch(texts.train, add_special_tokens=False):
        ids += [*encoded.ids, EOS]
    np.array(ids, dtype=np.uint16).tofile(runs / "pretrain.bin")
    per_token = sum(map(len, texts.train)) / len(ids)
    print(f"{len(texts.train)} texts, {len(ids)} tokens, {per_token:.2f} characters a token")


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--evaluation", type=Path, help="folder of texts to leave out")
    parser.add_argument("--runs", type=Path, default=Path("training/runs"))
    parser.add_argument("--tokenizer", type=Path, help="use this one; else one is trained")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    prepare(given.corpus, given.evaluation, given.runs, given.seed, given.tokenizer)


if __name__ == "__main__":
    main()
