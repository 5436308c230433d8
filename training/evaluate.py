"""Asking the exported model what newcomers ask: its answers, on-topic share, how often it stops."""

from __future__ import annotations

import argparse
import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

from kogpt_bot.conversation import transcript
from kogpt_bot.conversation.persona import DEFAULT_PERSONA
from training.chats import own_dialogues
from training.families import BOT, WORDS, families
from training.templates import TOPICS

PROMPTS = Path(__file__).parent / "eval" / "prompts.jsonl"
LIMIT = 60  # tokens of an answer; the longest that we wrote has 45
PERSON = "민수"


@dataclass(frozen=True, slots=True)
class Question:
    """What is said, person and bot in turn; an answer that matches `on_topic` is on topic."""

    topic: str
    turns: tuple[str, ...]
    on_topic: str

    @property
    def prompt(self) -> str:
        """Return the prompt of the conversation manager."""
        names = (PERSON, DEFAULT_PERSONA.name)
        lines = (transcript.line(names[n % 2], text) for n, text in enumerate(self.turns))
        return (
            transcript.header(DEFAULT_PERSONA)
            + "".join(lines)
            + transcript.cue(DEFAULT_PERSONA.name)
        )


@dataclass(frozen=True, slots=True)
class Answer:
    """What the model said, and whether it ended by itself, by [EOS] or a line break."""

    text: str
    ended: bool


class Chatter:
    """The model and its tokenizer, asked in one batch."""

    def __init__(self, folder: Path) -> None:
        self._tokenizer: Any = AutoTokenizer.from_pretrained(folder, padding_side="left")
        self._model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
        self.generation: GenerationConfig = self._model.generation_config

    def answers(self, prompts: Sequence[str], seed: int, **sampling: Any) -> list[Answer]:
        """Return an answer to each prompt; `sampling` are transformers' generation settings."""
        torch.manual_seed(seed)
        batch = self._tokenizer(list(prompts), return_tensors="pt", padding=True)
        batch.pop("token_type_ids", None)
        ids = self._model.generate(**batch, max_new_tokens=LIMIT, **sampling)
        new = ids[:, batch["input_ids"].shape[1] :].tolist()
        return [self._answer(row) for row in new]

    def _answer(self, ids: list[int]) -> Answer:
        end = ids.index(self._tokenizer.eos_token_id) if self._tokenizer.eos_token_id in ids else -1
        text: str = self._tokenizer.decode(ids if end < 0 else ids[:end])
        first, line_break, _ = text.partition("\n")
        return Answer(first.strip(), end >= 0 or bool(line_break))

    def perplexity(self, texts: Sequence[str]) -> tuple[float, float]:
        """Return the loss by token and by character of `texts`, each on its own after [EOS]."""
        total, tokens = 0.0, 0
        with torch.inference_mode():
            for text in texts:
                ids = [self._tokenizer.eos_token_id, *self._tokenizer(text)["input_ids"]][:512]
                row = torch.tensor([ids])
                total += cast("float", self._model(row, labels=row).loss.item()) * (len(ids) - 1)
                tokens += len(ids) - 1
        return total / tokens, total / sum(map(len, texts))


def questions(path: Path = PROMPTS) -> list[Question]:
    """Read the questions."""
    rows = [json.loads(row) for row in path.read_text(encoding="utf-8").splitlines()]
    return [Question(row["topic"], tuple(row["turns"]), row["on_topic"]) for row in rows]


def trained_on() -> re.Pattern[str]:
    """Return what matches just the sayings of our own training data, with any word filled in."""
    sayings = {text for topic in TOPICS for text in topic.openings}
    sayings |= {text for turns in own_dialogues() for who, text in turns if who != "봇"}
    sayings |= {
        text
        for each in families()
        for who, line in zip(each.speakers, each.lines, strict=True)
        if who != BOT
        for text in line
    }
    any_word = "|".join({each for words in WORDS.values() for each in words})

    def fill(match: re.Match[str]) -> str:
        kind = match.group(1)
        return f"(?:{any_word})" if kind == "x" or kind.rstrip("2") in WORDS else "[가-힣]{1,3}"

    return re.compile("|".join(_SLOT.sub(fill, re.escape(text)) for text in sayings))


_SLOT = re.compile(r"\\{([^}]*)\\}")


def evaluate(chatter: Chatter, asked: Sequence[Question], seeds: int, *, show: bool) -> None:
    """Print the answers (the first seed's) and the shares, sampled and greedy."""
    ways: dict[str, dict[str, Any]] = {"sampled": {}, "greedy": {"do_sample": False}}
    known = trained_on()
    for way, sampling in ways.items():
        rounds = range(seeds if way == "sampled" else 1)
        scores: dict[bool, list[bool]] = {True: [], False: []}
        ended: list[bool] = []
        for seed in rounds:
            answers = chatter.answers([each.prompt for each in asked], seed, **sampling)
            for question, answer in zip(asked, answers, strict=True):
                good = re.search(question.on_topic, answer.text) is not None
                scores[known.fullmatch(question.turns[-1]) is not None].append(good)
                ended.append(answer.ended)
                if show and not seed:
                    mark = " " if good else "x"
                    print(f"{mark} [{question.topic}] {question.turns[-1]} -> {answer.text}")
        both = scores[True] + scores[False]
        print(
            f"{way}: on topic {_share(both)} (in the training data {_share(scores[True])},"
            f" not {_share(scores[False])}), ends by itself {_share(ended)}\n"
        )


def _share(marks: Sequence[bool]) -> str:
    return f"{sum(marks) / len(marks):.0%} of {len(marks)}" if marks else "-"


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path("kogpt_bot/mini"))
    parser.add_argument("--questions", type=Path, default=PROMPTS)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--quiet", action="store_true", help="print the shares only")
    parser.add_argument("--text", type=Path, nargs="*", default=[], help="also the loss of files")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    chatter = Chatter(arguments.folder)
    evaluate(chatter, questions(arguments.questions), arguments.seeds, show=not arguments.quiet)
    for path in arguments.text:
        texts = [row for row in path.read_text(encoding="utf-8").splitlines() if row.strip()]
        by_token, by_character = chatter.perplexity(texts)
        print(
            f"{path.name}: {by_token:.3f} a token (perplexity {math.exp(by_token):.1f}),"
            f" {by_character:.3f} a character"
        )


if __name__ == "__main__":
    main()
