"""The moderation of one daemon: its parts, put together."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from kogpt_bot.clock import Clock
from kogpt_bot.config import ModerationSettings, Settings
from kogpt_bot.conversation.manager import ReplyRequest
from kogpt_bot.conversation.settings import Language
from kogpt_bot.errors import ConfigurationError
from kogpt_bot.messages import ChannelKey, Outgoing
from kogpt_bot.metrics import Metrics
from kogpt_bot.moderation.answer import Replies, ScreenedAnswers
from kogpt_bot.moderation.channel import ModerationChannel
from kogpt_bot.moderation.detectors import Detectors
from kogpt_bot.moderation.file import HitFile
from kogpt_bot.moderation.incoming import IncomingScreen
from kogpt_bot.moderation.log import ProfanityLog
from kogpt_bot.moderation.retention import Retention
from kogpt_bot.moderation.review import Reviews
from kogpt_bot.pseudonym import Pseudonyms
from kogpt_bot.store.profanity import ProfanityTable
from kogpt_bot.store.profanity_values import Hit

MEGABYTE = 1 << 20


@dataclass(frozen=True, slots=True)
class Moderation:
    """What screens answers and messages, the log that both write, and who hears of it."""

    log: ProfanityLog
    detectors: Detectors
    incoming: IncomingScreen
    retention: Retention
    pseudonyms: Pseudonyms
    channel: ModerationChannel | None = None
    file: HitFile | None = None

    def answers(self, replies: Replies, blocked: Callable[[ReplyRequest], str]) -> ScreenedAnswers:
        """Return the answers of the conversation manager, screened."""
        return ScreenedAnswers(replies, self.detectors, self.log, blocked)

    async def close(self) -> None:
        """Close the file; after the last answer, that is."""
        if self.file is not None:
            await asyncio.to_thread(self.file.close)

    async def run(self) -> None:
        """Send notices and erase what is old, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            # Made now, so that the first message need not wait for it.
            tasks.create_task(self.detectors.get(), name="profanity detector")
            tasks.create_task(self.retention.run(), name="profanity retention")
            if self.channel is not None:
                tasks.create_task(self.channel.run(), name="moderation channel")


def build(
    settings: Settings,
    table: ProfanityTable,
    clock: Clock,
    metrics: Metrics,
    announce: Callable[[ChannelKey, Outgoing], None],
    language: Callable[[ChannelKey], Language],
) -> Moderation:
    """Put the parts together; ConfigurationError where the key in data_dir cannot be used."""
    chosen = settings.moderation
    pseudonyms = Pseudonyms.load(settings.data_dir)
    file = _file(chosen, settings.data_dir)
    detectors = Detectors(table, clock)
    channel = None
    if chosen.notify is not None:
        key = ChannelKey.parse(chosen.notify)
        reviews = Reviews(table, clock, detectors.refresh)
        channel = ModerationChannel(key, announce, lambda: language(key), reviews, clock)

    def heard(hits: Sequence[Hit]) -> None:
        for hit in hits:
            metrics.profanity_found(
                hit.text.channel.split("/")[0], hit.text.direction, hit.text.outcome
            )
        if channel is not None:
            channel.hear(hits)

    log = ProfanityLog(table, pseudonyms, clock, kept=chosen.log_text, file=file, heard=heard)
    return Moderation(
        log,
        detectors,
        IncomingScreen(detectors, log, clock),
        Retention(table, clock, days=chosen.retention_days, file=file),
        pseudonyms,
        channel,
        file,
    )


def _file(chosen: ModerationSettings, data_dir: Path) -> HitFile | None:
    if chosen.log_file is None:
        return None
    path = data_dir / Path(chosen.log_file).expanduser()  # an absolute path stays what it is
    if not path.parent.is_dir():
        raise ConfigurationError(f"moderation.log_file: there is no folder {path.parent}; make it")
    return HitFile(path, max_bytes=chosen.log_file_mb * MEGABYTE, backups=chosen.log_file_backups)
