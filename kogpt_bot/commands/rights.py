"""Who may do what: decided at the moment of use, from what the platform has just said."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from kogpt_bot.commands.words import Say
from kogpt_bot.messages import Action, ScopeLevel


class NotAllowed(Exception):
    """Somebody may not do what they wished; `why` is said to them."""

    def __init__(self, why: Say) -> None:
        super().__init__(why.name)
        self.why = why


class Rights:
    """The rules. `owners` is adapter -> platform ids of the bot's owners."""

    def __init__(self, owners: Mapping[str, Collection[str]]) -> None:
        self._owners = owners

    def replace(self, owners: Mapping[str, Collection[str]]) -> None:
        """Take over other owners."""
        self._owners = owners

    def owns(self, action: Action) -> bool:
        """Whether the person is an owner of the bot."""
        return action.author.id in self._owners.get(action.key.adapter, ())

    def manages(self, action: Action) -> bool:
        """Whether the person manages the channel: their own chat, or as the platform says."""
        return action.direct or action.manager or self.owns(action)

    def demand_manager(self, action: Action) -> None:
        """Raise NotAllowed unless the person manages the channel."""
        if not self.manages(action):
            raise NotAllowed(Say.MANAGERS_ONLY)

    def demand_asker(self, action: Action, asker_id: str) -> None:
        """Raise NotAllowed unless the answer is the person's, or they manage the channel."""
        if action.author.id != asker_id and not self.manages(action):
            raise NotAllowed(Say.ASKER_ONLY)

    def demand_level(self, action: Action) -> None:
        """Raise NotAllowed unless the person may change settings at the action's level."""
        if action.level is ScopeLevel.PLATFORM:
            if not self.owns(action):
                raise NotAllowed(Say.OWNER_ONLY)
            return
        if action.level is ScopeLevel.SERVER and not action.key.guild:
            raise NotAllowed(Say.NO_SERVER)
        if action.level is ScopeLevel.THREAD and not action.key.thread:
            raise NotAllowed(Say.NO_THREAD)
        self.demand_manager(action)
