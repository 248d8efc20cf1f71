"""Filters: which events a client wants, and in what form. Spec: client-server API, "Filtering"."""

from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated, Final, Self, TypeAlias, TypeVar, cast

import attrs
import msgspec

from homeserver.core.errors import BadJson, NotJson, TooLarge
from homeserver.core.globs import GlobSet
from homeserver.core.identifiers import RoomID, UserID
from homeserver.core.json import MAX_NESTING, JsonObject
from homeserver.core.property_paths import Missing, PropertyPath, parse_path, property_at

MAX_BYTES: Final = 64 * 1024
"""The longest filter that is read."""

_UserID: TypeAlias = Annotated[str, msgspec.Meta(pattern="^@")]
_RoomID: TypeAlias = Annotated[str, msgspec.Meta(pattern="^!")]
# The specification wants a limit greater than 0; but clients that want no events at all have always sent 0.
_Limit: TypeAlias = Annotated[int, msgspec.Meta(ge=0)]


class EventFormat(StrEnum):
    """The forms in which a client can have its events."""

    CLIENT = "client"
    FEDERATION = "federation"


class EventFilter(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Spec: `EventFilter`.

    An absent list restricts nothing; an empty list of what to include includes nothing.
    """

    limit: _Limit | None = None
    not_senders: tuple[_UserID, ...] | None = None
    not_types: tuple[str, ...] | None = None
    senders: tuple[_UserID, ...] | None = None
    types: tuple[str, ...] | None = None


class RoomEventFilter(EventFilter, frozen=True, kw_only=True, omit_defaults=True):
    """Spec: `RoomEventFilter`.

    `related_by_rel_types` and `related_by_senders` are of MSC3440: clients ask with them for the roots of
    threads. With both, one event must have been related by one of these senders in one of these ways.
    """

    unread_thread_notifications: bool = False
    lazy_load_members: bool = False
    include_redundant_members: bool = False
    not_rooms: tuple[_RoomID, ...] | None = None
    rooms: tuple[_RoomID, ...] | None = None
    contains_url: bool | None = None
    related_by_rel_types: tuple[str, ...] | None = None
    related_by_senders: tuple[_UserID, ...] | None = None


class RoomFilter(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Spec: `RoomFilter`."""

    not_rooms: tuple[_RoomID, ...] | None = None
    rooms: tuple[_RoomID, ...] | None = None
    ephemeral: RoomEventFilter = RoomEventFilter()
    include_leave: bool = False
    state: RoomEventFilter = RoomEventFilter()
    timeline: RoomEventFilter = RoomEventFilter()
    account_data: RoomEventFilter = RoomEventFilter()


class Filter(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Spec: `Filter`."""

    event_fields: tuple[str, ...] | None = None
    event_format: EventFormat = EventFormat.CLIENT
    presence: EventFilter = EventFilter()
    account_data: EventFilter = EventFilter()
    room: RoomFilter = RoomFilter()


_T = TypeVar("_T")

_FILTER_DECODER = msgspec.json.Decoder(Filter)
_ROOM_EVENT_FILTER_DECODER = msgspec.json.Decoder(RoomEventFilter)


def parse_filter(data: bytes) -> Filter:
    """A filter from its JSON; keys that are not known are ignored.

    Errors: NotJson; BadJson with the path of what is wrong, as `$.room.timeline.limit`; TooLarge.
    """
    return _decode(_FILTER_DECODER, data)


def parse_room_event_filter(data: bytes) -> RoomEventFilter:
    """As `parse_filter`, for the endpoints that filter the events of one room."""
    return _decode(_ROOM_EVENT_FILTER_DECODER, data)


def _decode(decoder: msgspec.json.Decoder[_T], data: bytes) -> _T:
    if len(data) > MAX_BYTES:
        raise TooLarge(f"a filter has at most {MAX_BYTES} bytes")
    try:
        return decoder.decode(data)
    except msgspec.ValidationError as error:
        raise BadJson(f"not a filter: {error}") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise NotJson(f"the filter is not JSON: {error}") from None
    except RecursionError:
        raise BadJson("the filter is nested too deeply") from None


@attrs.frozen(slots=True)
class EventMatcher:
    """A compiled filter for events of any kind.

    `matches_all` and `matches_none` spare the work where nothing, or everything, is filtered out. `limit` is
    None if the client gave none.
    """

    limit: int | None
    matches_all: bool
    matches_none: bool
    _types: GlobSet | None
    _not_types: GlobSet | None
    _senders: frozenset[str] | None
    _not_senders: frozenset[str]

    @classmethod
    def of(cls, filter: EventFilter) -> Self:
        """Compile a filter."""
        return cls(
            limit=filter.limit,
            matches_all=filter.types is None
            and filter.senders is None
            and not filter.not_types
            and not filter.not_senders,
            matches_none=filter.types == () or filter.senders == () or "*" in (filter.not_types or ()),
            types=_type_patterns(filter.types),
            not_types=_type_patterns(filter.not_types or None),
            senders=None if filter.senders is None else frozenset(filter.senders),
            not_senders=frozenset(filter.not_senders or ()),
        )

    def matches(self, type: str, sender: str | None) -> bool:
        """Whether an event passes; `sender` is None for what nobody sends, such as account data.

        What is both included and excluded is excluded.
        """
        if self.matches_all:
            return True
        return (
            (self._types is None or self._types.matches(type))
            and (self._not_types is None or not self._not_types.matches(type))
            and (self._senders is None or sender in self._senders)
            and sender not in self._not_senders
        )

    def clamped_limit(self, default: int, maximum: int) -> int:
        """How many events to return, from 1 to `maximum`; `default` if the client does not say."""
        return default if self.limit is None else max(1, min(self.limit, maximum))


def _type_patterns(patterns: Sequence[str] | None) -> GlobSet | None:
    """Event types are told apart by case, and only the asterisk is special in them."""
    return None if patterns is None else GlobSet.of(patterns, match_case=True, question_marks=False)


class RoomMatcher(msgspec.Struct, frozen=True):
    """Which rooms are included; one that is both included and excluded is excluded."""

    matches_all: bool
    included: frozenset[str] | None
    excluded: frozenset[str]

    @classmethod
    def of(cls, rooms: Sequence[str] | None, not_rooms: Sequence[str] | None) -> Self:
        """Compile the two lists of a filter."""
        included = None if rooms is None else frozenset(rooms)
        return cls(included is None and not not_rooms, included, frozenset(not_rooms or ()))

    def matches(self, room_id: RoomID) -> bool:
        """Whether the room is included."""
        return self.matches_all or (
            (self.included is None or room_id in self.included) and room_id not in self.excluded
        )


class RoomEventMatcher(msgspec.Struct, frozen=True):
    """A compiled filter for events of rooms.

    `events` is the part that all filters have. `rooms` and `relations` are asked separately: the first once
    for a room, the second only where it is not None, since it takes other events. The flags are the
    specification's.
    """

    events: EventMatcher
    rooms: RoomMatcher
    contains_url: bool | None
    relations: "RelationMatcher | None"
    lazy_load_members: bool
    include_redundant_members: bool
    unread_thread_notifications: bool
    matches_all: bool

    @classmethod
    def of(cls, filter: RoomEventFilter) -> Self:
        """Compile a filter."""
        events = EventMatcher.of(filter)
        rooms = RoomMatcher.of(filter.rooms, filter.not_rooms)
        relations = RelationMatcher.of(filter)
        return cls(
            events=events,
            rooms=rooms,
            contains_url=filter.contains_url,
            relations=relations,
            lazy_load_members=filter.lazy_load_members,
            include_redundant_members=filter.lazy_load_members and filter.include_redundant_members,
            unread_thread_notifications=filter.unread_thread_notifications,
            matches_all=events.matches_all
            and rooms.matches_all
            and filter.contains_url is None
            and relations is None,
        )

    def matches(self, type: str, sender: str | None, *, has_url: bool) -> bool:
        """Whether an event of an included room passes, relations apart.

        `has_url` tells whether its content has the key `url`.
        """
        if self.matches_all:
            return True
        if self.contains_url is not None and has_url is not self.contains_url:
            return False
        return self.events.matches(type, sender)


class RelationMatcher(msgspec.Struct, frozen=True):
    """Which events are included because other events relate to them; None restricts nothing."""

    rel_types: frozenset[str] | None
    senders: frozenset[str] | None

    @classmethod
    def of(cls, filter: RoomEventFilter) -> Self | None:
        """Compile the two lists of a filter; None if it has neither."""
        if filter.related_by_rel_types is None and filter.related_by_senders is None:
            return None
        rel_types, senders = filter.related_by_rel_types, filter.related_by_senders
        return cls(
            None if rel_types is None else frozenset(rel_types),
            None if senders is None else frozenset(senders),
        )

    def matches(self, rel_type: str, sender: UserID) -> bool:
        """Whether an event passes because `sender` has related another to it by `rel_type`."""
        return (self.rel_types is None or rel_type in self.rel_types) and (
            self.senders is None or sender in self.senders
        )


class CompiledFilter(msgspec.Struct, frozen=True):
    """A filter, ready for use.

    `rooms` comes before the rooms of `ephemeral`, `state`, `timeline` and `room_account_data`. `projection`
    is None where all fields are wanted.
    """

    source: Filter
    projection: "Projection | None"
    event_format: EventFormat
    presence: EventMatcher
    account_data: EventMatcher
    rooms: RoomMatcher
    include_leave: bool
    ephemeral: RoomEventMatcher
    state: RoomEventMatcher
    timeline: RoomEventMatcher
    room_account_data: RoomEventMatcher

    @classmethod
    def of(cls, filter: Filter) -> Self:
        """Compile a filter."""
        return cls(
            source=filter,
            # "A server may include more fields than were requested": nobody wants events without any.
            projection=Projection.of(filter.event_fields) if filter.event_fields else None,
            event_format=filter.event_format,
            presence=EventMatcher.of(filter.presence),
            account_data=EventMatcher.of(filter.account_data),
            rooms=RoomMatcher.of(filter.room.rooms, filter.room.not_rooms),
            include_leave=filter.room.include_leave,
            ephemeral=RoomEventMatcher.of(filter.room.ephemeral),
            state=RoomEventMatcher.of(filter.room.state),
            timeline=RoomEventMatcher.of(filter.room.timeline),
            room_account_data=RoomEventMatcher.of(filter.room.account_data),
        )


class Projection(msgspec.Struct, frozen=True):
    """The fields of events that a client wants: none of the paths leads on from another."""

    paths: tuple[PropertyPath, ...]

    @classmethod
    def of(cls, fields: Sequence[str]) -> Self:
        """Compile `event_fields`."""
        # No event is nested deeper, so that longer paths lead nowhere.
        paths = {path for field in fields if len(path := parse_path(field)) <= MAX_NESTING}
        return cls(
            tuple(
                sorted(path for path in paths if not any(path[:size] in paths for size in range(len(path))))
            )
        )

    def apply(self, event: JsonObject) -> JsonObject:
        """The event with the wanted fields only; those that it does not have are left out."""
        projected: JsonObject = {}
        for path in self.paths:
            value = property_at(event, path)
            if isinstance(value, Missing):
                continue
            inner = projected
            for name in path[:-1]:
                # Made here by a path before this one, or now: never a part of the event.
                inner = cast("JsonObject", inner.setdefault(name, {}))
            inner[path[-1]] = value
        return projected
