"""What push rules do. Spec: client-server API, "Push Rules", "Actions"."""

from collections.abc import Iterable
from typing import Self

import msgspec

from homeserver.core.json import JsonObject, JsonValue

# "Clients and homeservers MUST ignore these actions, for instance, by stripping them."
_HISTORICAL = ("dont_notify", "coalesce")


def without_historical(actions: Iterable[JsonValue]) -> tuple[JsonValue, ...]:
    """The actions but for those that former versions of the specification had."""
    return tuple(action for action in actions if action not in _HISTORICAL)


class Outcome(msgspec.Struct, frozen=True):
    """What an event means to a user: the actions of the first rule that matches it.

    `highlight` and `sound` (None: no sound) are the tweaks that the server itself looks at; without `notify`
    they mean nothing. `actions` are in the JSON form, for listings.
    """

    notify: bool
    highlight: bool
    sound: str | None
    actions: tuple[JsonValue, ...]

    @classmethod
    def of(cls, actions: Iterable[JsonValue]) -> Self:
        """Read the actions of a rule. What is no action of the specification is kept, and does nothing."""
        kept = without_historical(actions)
        notify = "notify" in kept
        tweaks = _tweaks(kept)
        sound = tweaks.get("sound")
        return cls(
            notify,
            notify and tweaks.get("highlight") is True,
            sound if notify and isinstance(sound, str) else None,
            kept,
        )

    @property
    def tweaks(self) -> JsonObject:
        """The tweaks as the push gateway is told them."""
        return _tweaks(self.actions)

    @property
    def bits(self) -> int:
        """As a number: 1 for `notify`, 2 for `highlight`."""
        return self.notify + 2 * self.highlight


def _tweaks(actions: Iterable[JsonValue]) -> JsonObject:
    """The tweaks that actions set. A highlight without a value is one."""
    tweaks: JsonObject = {}
    for action in actions:
        if not isinstance(action, dict):
            continue
        name = action.get("set_tweak")
        if isinstance(name, str) and ("value" in action or name == "highlight"):
            tweaks[name] = action.get("value", True)
    return tweaks


SILENT = Outcome.of(())
"""The outcome when no rule matches."""
