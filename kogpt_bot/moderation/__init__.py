"""Profanity, found and screened; pure Python, and safe to import in the daemon."""

from kogpt_bot.moderation.detector import PROFANE, Detector, Match
from kogpt_bot.moderation.lexicon import Category
from kogpt_bot.moderation.screen import Screened, StreamScreen

__all__ = ["PROFANE", "Category", "Detector", "Match", "Screened", "StreamScreen"]
