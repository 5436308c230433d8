"""Running a benchmark through EleutherAI's lm-evaluation-harness against a served model."""

from __future__ import annotations

import logging
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import yaml

from kogpt_bot.errors import ConfigurationError
from kogpt_bot.evaluation.data import Benchmark, Item

TASKS = Path(__file__).parent / "tasks"
PLACE = re.compile(r"\{\{(\w+)\}\}")  # in a task's text: a field of the item
CONCURRENT = 16  # requests at once: as many as the service answers at the same time
TIMEOUT_S = 600  # of one request: a long prompt on a CPU, in a queue


@dataclass(frozen=True, slots=True)
class Target:
    """A served model: its API's address (`.../v1`), its name, key, context and tokenizer file."""

    url: str
    model: str
    context_length: int
    tokenizer_json: bytes
    api_key: str = ""


@dataclass(frozen=True, slots=True)
class Run:
    """What came of one run: for each item, in the order given, each class's log-likelihood."""

    log_likelihoods: tuple[tuple[float, ...], ...]

    @property
    def predicted(self) -> list[int]:
        """The likeliest class of each item."""
        return [each.index(max(each)) for each in self.log_likelihoods]


def require() -> None:
    """Raise ConfigurationError where the harness is not installed."""
    missing = [name for name in ("lm_eval", "sklearn") if find_spec(name) is None]
    if missing:
        raise ConfigurationError(
            f"{', '.join(missing)} is not installed; pip install 'kogpt-bot[evaluation]'"
        )


def task(benchmark: Benchmark, items: Sequence[Item], shots: Sequence[Item]) -> dict[str, Any]:
    """Return the harness's task for `items`, the same `shots` before each of them."""
    described = yaml.safe_load((TASKS / f"{benchmark.name}.yaml").read_text(encoding="utf-8"))
    template = described["doc_to_text"]

    def asked(row: Mapping[str, object]) -> str:
        # The harness would compile the template for every shot of every item, and take a review
        # that is a number for the number of a class.
        return PLACE.sub(lambda place: str(row[place[1]]), template)

    return {**described, "doc_to_text": asked, **_data(items, shots)}


def _data(items: Sequence[Item], shots: Sequence[Item]) -> dict[str, Any]:
    from datasets import Dataset, DatasetDict

    # The number keeps two items of the same text apart, and an item apart from a shot.
    rows = [{**asdict(item), "number": number} for number, item in enumerate(items)]

    def dataset(**_: object) -> DatasetDict:
        return DatasetDict({"test": Dataset.from_list(rows)})

    return {
        "custom_dataset": dataset,
        "num_fewshot": len(shots),
        "fewshot_config": {"sampler": "first_n", "samples": [asdict(shot) for shot in shots]},
    }


def run(benchmark: Benchmark, items: Sequence[Item], shots: Sequence[Item], target: Target) -> Run:
    """Score every class of every item. Raises ConfigurationError where a prompt is too long."""
    from lm_eval import simple_evaluate
    from lm_eval.tasks import TaskManager

    logging.getLogger("lm_eval").setLevel(logging.ERROR)  # it warns of what is meant here
    described = task(benchmark, items, shots)
    _check_length(described, items, shots, target)
    with _tokenizer_folder(target.tokenizer_json) as folder:
        results = simple_evaluate(
            model="local-completions",
            model_args={
                "model": target.model,
                "base_url": f"{target.url}/completions",
                "tokenizer_backend": "huggingface",
                "tokenizer": str(folder),
                "max_length": target.context_length,
                "num_concurrent": CONCURRENT,
                "timeout": TIMEOUT_S,
                "header": {"Authorization": f"Bearer {target.api_key}"} if target.api_key else {},
            },
            tasks=[described],
            num_fewshot=len(shots),
            bootstrap_iters=0,
            task_manager=TaskManager(include_defaults=False),
        )
    if results is None:
        raise ConfigurationError("the harness gave no results")
    samples = sorted(results["samples"][described["task"]], key=lambda each: each["doc"]["number"])
    return Run(tuple(tuple(score for score, _ in each["filtered_resps"]) for each in samples))


def prompts(described: Mapping[str, Any], item: Item, shots: Sequence[Item]) -> list[str]:
    """Return the whole text of an item, once for each class: what the harness sends as tokens."""
    delimiter, space = described["fewshot_delimiter"], described["target_delimiter"]
    asked, choices = described["doc_to_text"], described["doc_to_choice"]
    examples = (f"{asked(asdict(s))}{space}{choices[s.label]}{delimiter}" for s in shots)
    context = "".join(examples) + asked(asdict(item))
    return [f"{context}{space}{choice}" for choice in choices]


def _check_length(
    described: Mapping[str, Any], items: Sequence[Item], shots: Sequence[Item], target: Target
) -> None:
    """The harness would silently cut what is too long, from the left: the shots."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_str(target.tokenizer_json.decode("utf-8"))

    def length(text: str) -> int:
        return len(tokenizer.encode(text, add_special_tokens=False).ids)

    longest = max(items, key=lambda item: length(item.text + item.other))
    needed = max(map(length, prompts(described, longest, shots)))
    if needed >= target.context_length:  # one more token is generated
        each = (needed - length(longest.text)) / max(len(shots), 1)
        fitting = int((target.context_length - 1 - length(longest.text)) // max(each, 1))
        raise ConfigurationError(
            f"--shots {len(shots)}: prompts of up to {needed} tokens, and {target.model} takes "
            f"{target.context_length}; allowed: about {max(fitting, 0)} shots"
        )


@contextmanager
def _tokenizer_folder(content: bytes) -> Iterator[Path]:
    """Give a folder that transformers reads the serving model's tokenizer from."""
    with tempfile.TemporaryDirectory(prefix="kogpt-bot-eval-") as name:
        folder = Path(name)
        (folder / "tokenizer.json").write_bytes(content)
        settings = '{"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "[EOS]"}'
        (folder / "tokenizer_config.json").write_text(settings, encoding="utf-8")
        yield folder
