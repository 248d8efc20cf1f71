"""What the room directory says of a room, read from the contents of its state.

Whatever members have put there that is not of the right kind counts as absent. Spec: client-server API,
`PublishedRoomsChunk`.
"""

from collections.abc import Mapping
from typing import Final

import msgspec

from homeserver.core.event import StateKey
from homeserver.core.json import JsonObject, JsonValue

CREATE: Final[StateKey] = ("m.room.create", "")
NAME: Final[StateKey] = ("m.room.name", "")
TOPIC: Final[StateKey] = ("m.room.topic", "")
AVATAR: Final[StateKey] = ("m.room.avatar", "")
CANONICAL_ALIAS: Final[StateKey] = ("m.room.canonical_alias", "")
JOIN_RULES: Final[StateKey] = ("m.room.join_rules", "")
GUEST_ACCESS: Final[StateKey] = ("m.room.guest_access", "")
HISTORY_VISIBILITY: Final[StateKey] = ("m.room.history_visibility", "")

KEYS: Final = (
    CREATE,
    NAME,
    TOPIC,
    AVATAR,
    CANONICAL_ALIAS,
    JOIN_RULES,
    GUEST_ACCESS,
    HISTORY_VISIBILITY,
)
"""The state that a summary is made from."""


class RoomSummary(msgspec.Struct, frozen=True, kw_only=True):
    """A room as those see it who are not in it; `None` for what it does not have."""

    name: str | None
    topic: str | None
    canonical_alias: str | None
    avatar_url: str | None
    room_type: str | None
    join_rule: str
    guest_can_join: bool
    world_readable: bool

    @classmethod
    def of(cls, state: Mapping[StateKey, JsonObject]) -> "RoomSummary":
        """Read it from the contents of the room's state, of which only `KEYS` matter."""

        def text(key: StateKey, name: str) -> str | None:
            return _text(state.get(key, {}).get(name))

        return cls(
            name=text(NAME, "name"),
            topic=_topic(state.get(TOPIC, {})),
            canonical_alias=text(CANONICAL_ALIAS, "alias"),
            avatar_url=text(AVATAR, "url"),
            room_type=text(CREATE, "type"),
            # The auth rules' default, which is not that of the directory.
            join_rule=text(JOIN_RULES, "join_rule") or "invite",
            guest_can_join=text(GUEST_ACCESS, "guest_access") == "can_join",
            world_readable=text(HISTORY_VISIBILITY, "history_visibility") == "world_readable",
        )

    def to_json(self) -> JsonObject:
        """As in a `PublishedRoomsChunk`, which also has the room's ID and its number of members."""
        return {key: value for key, value in msgspec.structs.asdict(self).items() if value is not None}


def _topic(content: JsonObject) -> str | None:
    """The plain text of the topic: its `text/plain` representation, or the `topic` of old."""
    block = content.get("m.topic")
    texts = block.get("m.text") if isinstance(block, dict) else None
    for text in texts if isinstance(texts, list) else ():
        if (
            isinstance(text, dict)
            and text.get("mimetype", "text/plain") == "text/plain"
            and (body := _text(text.get("body"))) is not None
        ):
            return body
    return _text(content.get("topic"))


def _text(value: JsonValue) -> str | None:
    return value if isinstance(value, str) and value else None
