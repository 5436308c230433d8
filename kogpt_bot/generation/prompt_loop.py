"""The prompt loop of KoGPT's own repository: a prompt in, the prompt and its continuation out."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from kogpt_bot.errors import GenerationError
from kogpt_bot.generation.options import ServiceOptions
from kogpt_bot.generation.request import GenerationRequest, SamplingParams

if TYPE_CHECKING:
    from kogpt_bot.generation.engine import Engine

N = TypeVar("N", int, float)


def run(options: ServiceOptions) -> None:
    """Load the model and loop until the input ends."""
    from kogpt_bot.generation.engine import Engine
    from kogpt_bot.generation.loading import LoadOptions
    from kogpt_bot.generation.serve import progress_bar

    chosen = LoadOptions.of(options)
    with progress_bar() as report:
        engine = Engine.load(chosen, progress=report)
    # The questions are asked outside of the event loop, so that Ctrl-C ends them at once.
    with asyncio.Runner() as runner:
        runner.run(engine.start())
        try:
            while True:
                runner.run(_continue(engine, *_questions(engine.info.context_length)))
        except (EOFError, KeyboardInterrupt):
            print()  # noqa: T201
        finally:
            runner.run(engine.close())


def _questions(context: int) -> tuple[str, float, int]:
    return (
        _ask_prompt(),
        _ask("temperature(0.8)> ", float, 0.8, 0.0, 5.0),
        _ask("max_length(128)> ", int, min(128, context), 1, context),
    )


async def _continue(engine: Engine, prompt: str, temperature: float, longest: int) -> None:
    ids = tuple(engine.encode(prompt))
    request = GenerationRequest(
        id="prompt-loop",
        prompt_ids=ids,
        params=SamplingParams(temperature=temperature),
        # As in KoGPT's repository, the length counts the prompt too.
        max_tokens=max(longest - len(ids), 1),
    )
    sys.stdout.write(prompt)
    try:
        async for chunk in engine.generate(request):
            sys.stdout.write(chunk.text)
            sys.stdout.flush()
    except GenerationError as error:
        sys.stdout.write(f"\n! {error}")
    sys.stdout.write("\n\n")


def _ask_prompt() -> str:
    while True:
        # Bytes that are not UTF-8 come as lone surrogates, which no tokenizer takes.
        if text := input("prompt> ").encode(errors="replace").decode():
            return text


def _ask(question: str, kind: Callable[[str], N], default: N, low: N, high: N) -> N:
    """Return a number; an empty answer is the default, a wrong one is asked for again."""
    while True:
        answer = input(question).strip()
        if not answer:
            return default
        try:
            number = kind(answer)
        except ValueError:
            number = high + 1
        if low <= number <= high:
            return number
        sys.stdout.write(f"! {answer!r}: allowed: {low} to {high}\n")
