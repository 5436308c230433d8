"""A generation service elsewhere: it answers, takes our key, and gives a tokenizer."""

from __future__ import annotations

from collections.abc import Iterator

from kogpt_bot.config import GenerationSettings
from kogpt_bot.errors import ConfigurationError
from kogpt_bot.ops.doctor.check import Check, failure, ok, warning
from kogpt_bot.secret import read_secret

ANSWER_S = 5.0


def checks(chosen: GenerationSettings) -> Iterator[Check]:
    """Give the findings."""
    import httpx

    base = str(chosen.url).rstrip("/").removesuffix("/v1")
    try:
        key = read_secret("generation.api_key", chosen.api_key_env, chosen.api_key_file)
    except ConfigurationError:
        key = None  # `platforms` says what is wrong with it
    headers = {"Authorization": f"Bearer {key.reveal()}"} if key is not None else {}
    try:
        with httpx.Client(base_url=base, headers=headers, timeout=ANSWER_S) as client:
            status = client.get("/v1/models").status_code
            yield _answer(base, status)
            if status == httpx.codes.OK and chosen.tokenizer is None:
                yield _tokenizer(base, client.get("/tokenizer.json").status_code)
    except httpx.HTTPError as error:
        remedy = "start the service, or correct generation.url"
        yield failure("service", f"{base}: {type(error).__name__}", remedy)


def _answer(base: str, status: int) -> Check:
    finding = f"{base}/v1/models answers with status {status}"
    if status in (401, 403):
        remedy = "correct the key: generation.api_key_env or generation.api_key_file"
        return failure("service", finding, remedy)
    if status == 503:
        return warning("service", f"{finding}: it is still loading", "wait, then look again")
    if status != 200:
        remedy = "correct generation.url: the address of an OpenAI-compatible service"
        return failure("service", finding, remedy)
    return ok("service", finding)


def _tokenizer(base: str, status: int) -> Check:
    if status == 200:
        return ok("tokenizer", f"{base}/tokenizer.json")
    remedy = "set generation.tokenizer: the folder or hub name of the model's tokenizer"
    return failure("tokenizer", f"the service gives none (status {status})", remedy)
