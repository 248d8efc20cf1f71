"""The children of a space, read from its `m.space.child` events.

Spec: client-server API, "`m.space.child` relationship" and "Ordering of children within a space".
"""

import re
from collections.abc import Iterable
from typing import Final, Self

import msgspec

from homeserver.core.errors import InvalidParam
from homeserver.core.identifiers import RoomID, ServerName, parse_room_id
from homeserver.core.json import JsonObject

SPACE_CHILD: Final = "m.space.child"
SPACE: Final = "m.space"
"""The room type of spaces."""

SortKey = tuple[bool, str, int, str]
"""Where a child stands among those of its space; see `in_order`."""

_ORDER = re.compile(r"[\x20-\x7e]{1,50}")


class SpaceChild(msgspec.Struct, frozen=True):
    """A room that a space names as its child.

    `stripped` is the event as `children_state` has it: stripped state with an `origin_server_ts`.
    """

    room_id: RoomID
    via: tuple[ServerName, ...]
    is_suggested: bool
    order: str | None
    origin_server_ts: int
    stripped: JsonObject

    @property
    def sort_key(self) -> SortKey:
        """First those with an `order`, by it; then by the time of their events; then by room ID."""
        return self.order is None, self.order or "", self.origin_server_ts, self.room_id

    @classmethod
    def of(cls, pdu: JsonObject) -> Self | None:
        """Read an event of the type `m.space.child`; None if it names no child.

        "When [`via` is] not present or invalid, the child room is not considered to be part of the space."
        """
        content, state_key, origin_server_ts = (
            pdu.get(key) for key in ("content", "state_key", "origin_server_ts")
        )
        via = content.get("via") if isinstance(content, dict) else None
        if not (isinstance(content, dict) and isinstance(via, list) and via and isinstance(state_key, str)):
            return None
        if not all(isinstance(server, str) for server in via) or not isinstance(origin_server_ts, int):
            return None
        try:
            room_id = parse_room_id(state_key)
        except InvalidParam:
            return None
        order = content.get("order")
        return cls(
            room_id,
            tuple(ServerName(str(server)) for server in via),
            is_suggested=content.get("suggested") is True,
            # "`order` values with the wrong type, or otherwise invalid contents, are to be treated as though the
            # `order` key was not provided."
            order=order if isinstance(order, str) and _ORDER.fullmatch(order) else None,
            origin_server_ts=origin_server_ts,
            stripped={key: pdu.get(key) for key in ("type", "state_key", "sender", "content")}
            | {"origin_server_ts": origin_server_ts},
        )


def in_order(children: Iterable[SpaceChild]) -> list[SpaceChild]:
    """As the specification orders them."""
    return sorted(children, key=lambda child: child.sort_key)
