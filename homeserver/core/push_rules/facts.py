"""What push rules look at."""

from collections.abc import Callable
from typing import Final, Self, TypeAlias

import attrs
import msgspec

from homeserver.core.event import Event
from homeserver.core.globs import Subject
from homeserver.core.identifiers import EventID, RoomID, UserID
from homeserver.core.json import JsonObject, JsonValue
from homeserver.core.power_levels import PowerLevels
from homeserver.core.property_paths import MISSING, Missing, PropertyPath, property_at

Scalar: TypeAlias = str | int | bool | None
"""A non-compound value of canonical JSON."""

TypedScalar: TypeAlias = tuple[type, Scalar]
"""A value with its type, since Python takes `True` for 1, and JSON does not."""

MENTIONS: Final[PropertyPath] = ("content", "m.mentions", "user_ids")

_ENVELOPE: Final = frozenset(
    {"event_id", "origin_server_ts", "redacts", "room_id", "sender", "state_key", "type"}
)
"""The properties beside `content` that clients see, and so may name in rules."""

_SCALAR_TYPES: Final = (str, int, bool, type(None))


def typed_scalar(value: JsonValue | Missing) -> TypedScalar | None:
    """The value with its type; None for arrays, objects, floats, and what is missing."""
    kind = type(value)
    # The types are exact: canonical JSON is made of these, and a bool is no int.
    return (kind, value) if kind in _SCALAR_TYPES else None  # type: ignore[return-value]  # the types have just been looked at


@attrs.frozen(slots=True, eq=False)
class EventFacts:
    """An event and its room, as push rules see them.

    The same for all users, so that what the rules of one derive from it (folded texts, sets of array
    elements) serves the rules of all. `joined_members` counts the joined members of the room, after the
    event. `may_notify` tells whether the sender's power level reaches the one that the room asks for under
    the key given, in `notifications` of its power levels.
    """

    event_id: EventID
    room_id: RoomID
    type: str
    sender: UserID
    state_key: str | None
    content: JsonObject
    origin_server_ts: int
    joined_members: int
    may_notify: Callable[[str], bool]
    redacts: EventID | None = None
    _texts: dict[PropertyPath, Subject | None] = attrs.field(factory=dict, init=False, repr=False)
    _elements: dict[PropertyPath, frozenset[TypedScalar]] = attrs.field(factory=dict, init=False, repr=False)

    @classmethod
    def of(cls, event: Event, *, joined_members: int, power_levels: PowerLevels) -> Self:
        """The facts of an event; `power_levels` are those of the room before it."""

        def may_notify(key: str) -> bool:
            return power_levels.user_level(event.sender) >= power_levels.notifications(key)

        return cls(
            event.event_id,
            event.room_id,
            event.type,
            event.sender,
            event.state_key,
            event.content,
            event.origin_server_ts,
            joined_members,
            may_notify,
            event.redacts,
        )

    def property(self, path: PropertyPath) -> JsonValue | Missing:
        """The property of the event, in the form that clients see, at a path; MISSING if it has none."""
        if path[0] == "content":
            return property_at(self.content, path[1:])
        if len(path) > 1 or path[0] not in _ENVELOPE:
            return MISSING
        value: str | int | None = getattr(self, path[0])
        return MISSING if value is None else value

    def text(self, path: PropertyPath) -> Subject | None:
        """The string at a path, ready for matching; None if there is none."""
        try:
            return self._texts[path]
        except KeyError:
            value = self.property(path)
            subject = self._texts[path] = Subject(value) if isinstance(value, str) else None
            return subject

    def elements(self, path: PropertyPath) -> frozenset[TypedScalar]:
        """The strings, integers, booleans and nulls in the array at a path; none if there is no array."""
        try:
            return self._elements[path]
        except KeyError:
            value = self.property(path)
            array = value if isinstance(value, list) else ()
            scalars = frozenset(scalar for item in array if (scalar := typed_scalar(item)))
            self._elements[path] = scalars
            return scalars

    def mentions(self, user_id: UserID) -> bool:
        """Whether the event mentions the user. Spec: client-server API, "User and room mentions"."""
        return (str, user_id) in self.elements(MENTIONS)

    def singled_out(self) -> frozenset[UserID]:
        """The users for whom the predefined rules may see more in the event than for all others.

        These are whom it mentions and whom it may invite, of whatever server.
        """
        mentioned = (value for _, value in self.elements(MENTIONS) if isinstance(value, str))
        # Nobody has NUL in the user ID, and no database can look for it.
        users = {UserID(user_id) for user_id in mentioned if "\0" not in user_id}
        if self.type == "m.room.member" and self.state_key is not None:
            users.add(UserID(self.state_key))
        return frozenset(users)


class UserFacts(msgspec.Struct, frozen=True):
    """The user whose rules are evaluated; `display_name` is that in the room, None if unknown."""

    user_id: UserID
    display_name: str | None = None
