"""Asking the exported model what newcomers ask: its answers, on-topic share, how often it stops."""

from __future__ import annotations

import argparse
import json
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

from kogpt_bot.conversation import transcript
from kogpt_bot.conversation.persona import DEFAULT_PERSONA
from training import measures
from training.chats import own_dialogues, rows
from training.families import BOT, families
from training.prepare import SOURCES
from training.templates import TOPICS

EVAL = Path(__file__).parent / "eval"
PROMPTS = EVAL / "prompts.jsonl"  # 200 first turns
UNSEEN = EVAL / "unseen.jsonl"  # 200 more, whose writer had not seen the training dialogues
MEMORY = EVAL / "memory.jsonl"  # what was told in an earlier turn is asked for
CHATS = EVAL / "chats.jsonl"  # three turns each: does the third answer keep to the topic?
SAMPLES = 2000  # answers that are looked at for profanity and for lines learned by heart
BATCH = 250  # prompts at once
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
        return prompt(self.turns)


@dataclass(frozen=True, slots=True)
class Chat:
    """What a person says, turn by turn; the last answer is on topic when it matches."""

    topic: str
    says: tuple[str, ...]
    on_topic: str


def prompt(turns: Sequence[str]) -> str:
    """Return the conversation manager's prompt for what person and bot said in turn."""
    names = (PERSON, DEFAULT_PERSONA.name)
    lines = (transcript.line(names[n % 2], text) for n, text in enumerate(turns))
    return (
        transcript.header(DEFAULT_PERSONA) + "".join(lines) + transcript.cue(DEFAULT_PERSONA.name)
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
        parts = [prompts[at : at + BATCH] for at in range(0, len(prompts), BATCH)]
        return [answer for part in parts for answer in self._batch(part, sampling)]

    def _batch(self, prompts: Sequence[str], sampling: dict[str, Any]) -> list[Answer]:
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
    read = [json.loads(row) for row in path.read_text(encoding="utf-8").splitlines()]
    return [Question(row["topic"], tuple(row["turns"]), row["on_topic"]) for row in read]


def chats(path: Path = CHATS) -> list[Chat]:
    """Read the chats."""
    read = [json.loads(row) for row in path.read_text(encoding="utf-8").splitlines()]
    return [Chat(row["topic"], tuple(row["says"]), row["on_topic"]) for row in read]


def held_out(runs: Path) -> dict[str, list[str]]:
    """Return the texts that training kept away, by source."""
    found: dict[str, list[str]] = {}
    for row in (runs / "held_out.jsonl").read_text(encoding="utf-8").splitlines():
        read = json.loads(row)
        found.setdefault(read["source"], []).append(read["text"])
    return found


def trained_on() -> re.Pattern[str]:
    """Return what matches the sayings of our own training data, with anything short filled in."""
    sayings = {text for topic in TOPICS for text in topic.openings}
    sayings |= {text for turns in own_dialogues() for who, text in turns if who != "봇"}
    sayings |= {
        text
        for each in families()
        for who, line in zip(each.speakers, each.lines, strict=True)
        if who != BOT
        for text in line
    }
    sayings = {text for text in sayings if len(_FILLER.sub("", text)) >= LEAST}
    # A slot is anything short: the words of all kinds, spelled out in each saying, are gigabytes.
    return re.compile("|".join(_SLOT.sub(".{1,20}", re.escape(text)) for text in sayings))


_SLOT = re.compile(r"\\{[^}]*\\}")
_FILLER = re.compile(r"\{[^}]*\}|\W")
LEAST = 2  # letters beside the slots, or the saying would match anything


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


def chat(chatter: Chatter, asked: Sequence[Chat], *, show: bool) -> None:
    """Print the share of chats whose last answer keeps to the topic."""
    told: list[list[str]] = [[] for _ in asked]
    answers: list[Answer] = []
    for turn in range(max(len(each.says) for each in asked)):
        for turns, each in zip(told, asked, strict=True):
            turns.append(each.says[turn])
        answers = chatter.answers([prompt(turns) for turns in told], seed=turn)
        for turns, answer in zip(told, answers, strict=True):
            turns.append(answer.text)
    kept = [
        re.search(each.on_topic, answer.text) is not None
        for each, answer in zip(asked, answers, strict=True)
    ]
    if show:
        for each, turns, good in zip(asked, told, kept, strict=True):
            print(f"{' ' if good else 'x'} [{each.topic}] {' / '.join(turns)}")
    print(f"chats: keep to the topic {_share(kept)}\n")


def look_through(chatter: Chatter, asked: Sequence[Question], corpus: Path | None) -> None:
    """Print how varied many answers are, how many end, are profane, or learned by heart."""
    first = [each.text for each in chatter.answers([each.prompt for each in asked], seed=0)]
    print(f"distinct-2 of {len(first)} answers: {measures.distinct_2(first):.2f}")
    prompts = [asked[n % len(asked)].prompt for n in range(SAMPLES)]
    answers = chatter.answers(prompts, seed=1)
    texts = [each.text for each in answers]
    bad = measures.profane(texts)
    print(f"profane: {len(bad)} of {len(texts)} {bad[:5]}")
    print(f"ends by itself: {_share([each.ended for each in answers])}")
    if corpus is not None:
        known = measures.learned_by_heart(texts, training_lines(corpus))
        print(f"learned by heart: {len(known) / len(texts):.1%} {known[:5]}")


def training_lines(corpus: Path) -> Iterator[str]:
    """Give every line of the texts and dialogues that the model was trained on."""
    for source, _, _ in SOURCES:
        for text in rows(corpus, source):
            yield from text.split("\n")
    for turns in own_dialogues():
        yield from (text for _, text in turns)


def _share(marks: Sequence[bool]) -> str:
    return f"{sum(marks) / len(marks):.0%} of {len(marks)}" if marks else "-"


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path("kogpt_bot/mini"))
    parser.add_argument("--questions", type=Path, nargs="+", default=[PROMPTS, UNSEEN])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--quiet", action="store_true", help="print the shares only")
    parser.add_argument("--corpus", type=Path, help="also look for lines learned by heart")
    parser.add_argument("--held-out", type=Path, help="runs folder: the loss by source as well")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    chatter = Chatter(arguments.folder)
    show, asked = not arguments.quiet, questions(arguments.questions[0])
    for path in (*arguments.questions, MEMORY):
        print(path.name)
        evaluate(chatter, questions(path), arguments.seeds, show=show)
    chat(chatter, chats(), show=show)
    look_through(chatter, asked, arguments.corpus)
    if arguments.held_out is not None:
        for source, texts in held_out(arguments.held_out).items():
            by_token, by_character = chatter.perplexity(texts)
            print(
                f"{source}: perplexity {math.exp(by_token):.1f} a token,"
                f" {by_character / math.log(2):.2f} bits a character, {len(texts)} texts"
            )


if __name__ == "__main__":
    main()
