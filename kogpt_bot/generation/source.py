"""What the daemon knows of the serving model, asked for once and kept; and the way to its text."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path

from kogpt_bot.conversation.chat_template import ChatTemplate
from kogpt_bot.conversation.manager import Ask, Piece, ServingModel
from kogpt_bot.conversation.tokens import ModelTokens
from kogpt_bot.errors import ConfigurationError, GenerationUnavailable
from kogpt_bot.generation.client import Completion, GenerationClient
from kogpt_bot.generation.request import SamplingParams
from kogpt_bot.generation.supervisor import GenerationSupervisor
from kogpt_bot.pseudonym import Pseudonyms

DEFAULT_CONTEXT = 2048  # tokens; for a service that does not say
SPECIAL_NAMES = ("bos_token", "eos_token", "unk_token", "pad_token")


class ServedModelSource:
    """The serving model: through the supervisor of our own process, or straight from a service."""

    def __init__(
        self,
        client: GenerationClient,
        pseudonyms: Pseudonyms,
        supervisor: GenerationSupervisor | None = None,
        tokenizer: str | None = None,
    ) -> None:
        self._client = client
        self._pseudonyms = pseudonyms
        self._supervisor = supervisor
        self._tokenizer = tokenizer
        self._known: ServingModel | None = None

    def replace(
        self,
        client: GenerationClient,
        supervisor: GenerationSupervisor | None,
        tokenizer: str | None,
    ) -> None:
        """Go another way from now on; what is being answered ends on the old one."""
        self._client, self._supervisor, self._tokenizer = client, supervisor, tokenizer
        self._known = None

    async def get(self, timeout_s: float) -> ServingModel:
        """Return the model once the service is ready; GenerationUnavailable, ModelError."""
        if self._supervisor is not None:
            await self._supervisor.wait_ready(timeout_s)
        if self._known is None:
            served = await self._client.model()
            content, template = await self._files()
            context = served.context_length or DEFAULT_CONTEXT
            self._known = ServingModel(
                served.name, context, ModelTokens(content), template, served.revision
            )
        return self._known

    async def _files(self) -> tuple[bytes, ChatTemplate | None]:
        if self._tokenizer is not None:
            folder = _folder(self._tokenizer)
            try:
                return (folder / "tokenizer.json").read_bytes(), _template(folder)
            except OSError as error:
                raise ConfigurationError(
                    f"generation.tokenizer: {folder} has no tokenizer.json; allowed: a folder or "
                    "a hub name that has one"
                ) from error
        content = await self._client.tokenizer_json()
        if content is None:
            raise ConfigurationError(
                "generation.tokenizer: the service at generation.url gives no tokenizer; name "
                "the folder or the hub name of its model's tokenizer"
            )
        return content, None

    async def generate(self, ask: Ask) -> AsyncGenerator[Piece, None]:
        """Stream a continuation, as the conversation manager asks for it."""
        sampling = ask.sampling
        completion = Completion(
            prompt=ask.prompt.ids,
            params=SamplingParams(
                temperature=sampling.temperature,
                top_k=sampling.top_k,
                top_p=sampling.top_p,
                min_p=sampling.min_p,
                typical_p=sampling.typical_p,
                repetition_penalty=sampling.repetition_penalty,
                no_repeat_ngram_size=sampling.no_repeat_ngram_size,
                seed=ask.seed,
            ),
            max_tokens=sampling.max_new_tokens,
            stop=ask.prompt.stops,
            # The service and what stands between need not know which channel it is.
            session=self._pseudonyms.channel(ask.key),
            priority=ask.priority,
            model=self._known.name if self._known else "",
        )
        try:
            async with aclosing(self._client.stream(completion)) as deltas:
                async for delta in deltas:
                    yield Piece(delta.text, delta.finish_reason)
        except GenerationUnavailable:
            self._known = None  # whatever comes back may be another model
            raise


def _folder(name: str) -> Path:
    folder = Path(name).expanduser()
    if folder.is_dir():
        return folder
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError

    try:
        return Path(snapshot_download(name, allow_patterns=["tokenizer*", "*.jinja"]))
    except (HfHubHTTPError, OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigurationError(f"generation.tokenizer: {name}: {reason}") from error


def _template(folder: Path) -> ChatTemplate | None:
    path = folder / "tokenizer_config.json"
    settings = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    separate = folder / "chat_template.jinja"
    source = separate.read_text(encoding="utf-8") if separate.is_file() else None
    source = source or settings.get("chat_template")
    if not isinstance(source, str):
        return None
    special = {name: settings.get(name) for name in SPECIAL_NAMES}
    texts = {
        name: str(value["content"] if isinstance(value, dict) else value)
        for name, value in special.items()
        if value
    }
    return ChatTemplate(source, texts)
