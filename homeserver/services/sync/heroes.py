"""What a room is called by: its name, or else its members. Spec: client-server API, `m.heroes` of a `RoomSummary`."""

from collections.abc import Collection, Mapping
from typing import Final

from homeserver.core.event import StateKey
from homeserver.core.identifiers import UserID
from homeserver.core.json import decode_object
from homeserver.database.transactions import ReadTransaction
from homeserver.services.client_events import content_of
from homeserver.storage import events, memberships, state
from homeserver.storage.events import StoredEvent

_MOST = 5

NAMING: Final[Mapping[StateKey, str]] = {("m.room.name", ""): "name", ("m.room.canonical_alias", ""): "alias"}
"""The state that a room is called by, if it has any: where in its content the name stands."""


def naming_events(tx: ReadTransaction, root: int) -> Collection[StoredEvent]:
    """What `NAMING` is in a state; it may hold no name."""
    nids = state.get_many(tx, root, NAMING)
    return events.of_nids(tx, nids.values()).values() if nids else ()


def holds_name(event: StoredEvent) -> bool:
    """Whether a naming event holds a name: it may be empty, or redacted."""
    name = decode_object(content_of(event)).get(NAMING[event.type, ""])
    return isinstance(name, str) and name != ""


def heroes_of(tx: ReadTransaction, room_nid: int, user_id: UserID) -> list[str]:
    """Up to five members other than the user, the longest-standing first: joined and invited, else former ones."""
    found: list[str] = []
    for group in (("join", "invite"), ("leave", "ban")):
        for membership in group:
            users = memberships.users(tx, room_nid, membership, most=_MOST + 1)
            found += (each for each in users if each != user_id)
        if found:
            break
    return found[:_MOST]
