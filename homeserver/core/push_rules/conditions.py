"""The conditions of push rules. Spec: client-server API, "Push Rules", "Conditions"."""

import operator
import re
from collections.abc import Callable, Mapping
from typing import Final, Protocol, TypeAlias

import msgspec

from homeserver.core.globs import Glob, fold
from homeserver.core.json import MAX_SAFE_INTEGER, JsonObject
from homeserver.core.property_paths import MISSING, PropertyPath, parse_path
from homeserver.core.push_rules.facts import EventFacts, TypedScalar, UserFacts, typed_scalar

BODY: Final[PropertyPath] = ("content", "body")
ROOM_ID: Final[PropertyPath] = ("room_id",)


class Condition(Protocol):
    """Something that must hold for a rule to match."""

    def holds(self, event: EventFacts, user: UserFacts, /) -> bool:
        """Whether it does for this event and this user."""
        ...


class EventMatch(msgspec.Struct, frozen=True):
    """A pattern must match the text at a path: all of it, or some words of it if it is `content.body`."""

    path: PropertyPath
    glob: Glob

    def holds(self, event: EventFacts, _user: UserFacts, /) -> bool:
        """See `Condition`."""
        subject = event.text(self.path)
        if subject is None:
            return False
        return self.glob.matches_words(subject) if self.path == BODY else self.glob.matches(subject)


class EventTextIs(msgspec.Struct, frozen=True):
    """`EventMatch` where a comparison is enough: a whole text, no wildcards. `text` is folded."""

    path: PropertyPath
    text: str

    def holds(self, event: EventFacts, _user: UserFacts, /) -> bool:
        """See `Condition`."""
        subject = event.text(self.path)
        return subject is not None and subject.text == self.text


class EventPropertyIs(msgspec.Struct, frozen=True):
    """The property at a path must be exactly this value, of the same type."""

    path: PropertyPath
    value: TypedScalar

    def holds(self, event: EventFacts, _user: UserFacts, /) -> bool:
        """See `Condition`."""
        return typed_scalar(event.property(self.path)) == self.value


class EventPropertyContains(msgspec.Struct, frozen=True):
    """The array at a path must have exactly this value among its elements."""

    path: PropertyPath
    value: TypedScalar

    def holds(self, event: EventFacts, _user: UserFacts, /) -> bool:
        """See `Condition`."""
        return self.value in event.elements(self.path)


class ContainsDisplayName(msgspec.Struct, frozen=True):
    """The body must contain the user's display name in the room, as words of its own."""

    def holds(self, event: EventFacts, user: UserFacts, /) -> bool:
        """See `Condition`."""
        subject = event.text(BODY)
        if subject is None or not user.display_name:
            return False
        return Glob(user.display_name, literal=True).matches_words(subject)


class RoomMemberCount(msgspec.Struct, frozen=True):
    """The number of joined members must compare like this with a number."""

    compare: Callable[[int, int], bool]
    count: int

    def holds(self, event: EventFacts, _user: UserFacts, /) -> bool:
        """See `Condition`."""
        return self.compare(event.joined_members, self.count)


class SenderNotificationPermission(msgspec.Struct, frozen=True):
    """The sender's power level must reach that for notifications of this name."""

    key: str

    def holds(self, event: EventFacts, _user: UserFacts, /) -> bool:
        """See `Condition`."""
        return event.may_notify(self.key)


class Never(msgspec.Struct, frozen=True):
    """What an unrecognised or malformed condition amounts to."""

    def holds(self, _event: EventFacts, _user: UserFacts, /) -> bool:
        """See `Condition`."""
        return False


def compile_condition(condition: JsonObject) -> Condition:
    """A condition from its JSON form.

    One of an unknown kind, or that lacks what its kind requires, never holds.
    """
    kind = condition.get("kind")
    make = _KINDS.get(kind) if isinstance(kind, str) else None
    return (make and make(condition)) or Never()


_Maker: TypeAlias = Callable[[JsonObject], Condition | None]


def _event_match(condition: JsonObject) -> Condition | None:
    key, pattern = condition.get("key"), condition.get("pattern")
    if not isinstance(key, str) or not isinstance(pattern, str):
        return None
    path = parse_path(key)
    if path != BODY and "*" not in pattern and "?" not in pattern:
        return EventTextIs(path, fold(pattern))
    return EventMatch(path, Glob(pattern))


def _path_and_value(condition: JsonObject) -> tuple[PropertyPath, TypedScalar] | None:
    """What both conditions on exact values take: a value that is a string, integer, boolean or null."""
    key, value = condition.get("key"), typed_scalar(condition.get("value", MISSING))
    if not isinstance(key, str) or value is None:
        return None
    if isinstance(value[1], int) and abs(value[1]) > MAX_SAFE_INTEGER:
        return None
    return parse_path(key), value


def _event_property_is(condition: JsonObject) -> Condition | None:
    given = _path_and_value(condition)
    return EventPropertyIs(*given) if given else None


def _event_property_contains(condition: JsonObject) -> Condition | None:
    given = _path_and_value(condition)
    return EventPropertyContains(*given) if given else None


_COMPARISONS: Final[Mapping[str | None, Callable[[int, int], bool]]] = {
    None: operator.eq,
    "==": operator.eq,
    "<": operator.lt,
    ">": operator.gt,
    ">=": operator.ge,
    "<=": operator.le,
}
_MEMBER_COUNT = re.compile(r"(==|<=|>=|<|>)?([0-9]{1,15})")


def _room_member_count(condition: JsonObject) -> Condition | None:
    text = condition.get("is")
    match = _MEMBER_COUNT.fullmatch(text) if isinstance(text, str) else None
    return RoomMemberCount(_COMPARISONS[match[1]], int(match[2])) if match else None


def _sender_notification_permission(condition: JsonObject) -> Condition | None:
    key = condition.get("key")
    return SenderNotificationPermission(key) if isinstance(key, str) else None


_KINDS: Final[Mapping[str, _Maker]] = {
    "event_match": _event_match,
    "event_property_is": _event_property_is,
    "event_property_contains": _event_property_contains,
    "contains_display_name": lambda _: ContainsDisplayName(),
    "room_member_count": _room_member_count,
    "sender_notification_permission": _sender_notification_permission,
}
