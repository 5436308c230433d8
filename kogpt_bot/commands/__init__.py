"""What people can ask of the bot besides talking to it: each `ActionKind` is carried out here."""

from kogpt_bot.commands.desk import Desk, Parts
from kogpt_bot.commands.hits import HitReview

__all__ = ["Desk", "HitReview", "Parts"]
