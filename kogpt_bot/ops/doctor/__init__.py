"""`kogpt-bot doctor`: a tree of checks of machine and configuration, each with its remedy."""

from kogpt_bot.ops.doctor.check import Check, Verdict, as_json
from kogpt_bot.ops.doctor.diagnosis import diagnose
from kogpt_bot.ops.doctor.tree import show

__all__ = ["Check", "Verdict", "as_json", "diagnose", "show"]
