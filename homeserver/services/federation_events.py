"""Events, states and auth chains for other servers. Spec: server-server API, "Retrieving events"."""

from collections.abc import Collection
from typing import Final

import msgspec

from homeserver.core.errors import NotFound
from homeserver.core.history_visibility import SHARED, WORLD_READABLE, history_visibility_of
from homeserver.core.identifiers import EventID, RoomID, ServerName
from homeserver.core.json import encode
from homeserver.core.references import auth_events_of
from homeserver.core.splice import array, object_of
from homeserver.database.database import Database
from homeserver.database.transactions import ReadTransaction
from homeserver.runtime.clock import Clock
from homeserver.services.federation_access import SERVED, enter, reader_of, redacted, shown, transaction_of
from homeserver.services.room_access import content_at
from homeserver.services.server_visibility import VISIBILITY, ServerReader, visible
from homeserver.storage import auth_edges, event_bytes, events, partial_joins, rooms, state
from homeserver.storage.events import StoredEvent
from homeserver.storage.rooms import Room

AUTHORISING: Final = frozenset(
    {
        "m.room.create",
        "m.room.power_levels",
        "m.room.join_rules",
        "m.room.member",
        "m.room.third_party_invite",
    }
)
"""Types of events that the auth rules read: without their whole content others could not be authorised."""


class FederationEvents(msgspec.Struct, frozen=True):
    """Hands out events, and the state at events."""

    database: Database
    clock: Clock
    server_name: ServerName

    async def event(self, origin: ServerName, event_id: EventID) -> bytes:
        """A transaction with the event; redacted, if the asking server is in the room but may not see it.

        Errors: NotFound, also for what an asking server outside the room may not see; Forbidden by the room's access
        control list.
        """
        pdu = await self.database.read(read_event, origin, event_id)
        return transaction_of(self.server_name, [pdu], now_ts=self.clock.now_ts())

    async def state(self, origin: ServerName, room_id: RoomID, event_id: EventID) -> bytes:
        """The state before the event, with its auth chain, as PDUs: the body of the answer.

        Of a state that the asking server may not see, it gets whole only what the auth rules read.
        Errors: Forbidden if the asking server is not in the room; NotFound if the event or the state is not known.
        """
        return await self.database.read(read_state, origin, room_id, event_id)

    async def state_ids(self, origin: ServerName, room_id: RoomID, event_id: EventID) -> bytes:
        """As `state`, as event IDs."""
        return await self.database.read(read_state_ids, origin, room_id, event_id)

    async def auth_chain(self, origin: ServerName, room_id: RoomID, event_id: EventID) -> bytes:
        """The auth chain of an event: the body of the answer.

        Errors: Forbidden if the asking server is not in the room; NotFound if the event is not known.
        """
        return await self.database.read(read_auth_chain, origin, room_id, event_id)


def read_event(tx: ReadTransaction, origin: ServerName, event_id: EventID) -> bytes:
    """The PDU for this server. Errors: see `FederationEvents.event`."""
    event = events.of(tx, event_id)
    if event is None or event.status == events.REJECTED:
        raise _not_found()
    room = rooms.of_nids(tx, [event.room_nid])[event.room_nid]
    reader = reader_of(tx, room, origin)
    if event.status == events.OUTLIER or event.state_root is None:
        return _read_outlier(tx, room, reader, event)
    if not reader.is_joined and not visible(tx, reader, [event]):
        raise _not_found()
    return shown(tx, reader, [event])[0]


def read_state(tx: ReadTransaction, origin: ServerName, room_id: RoomID, event_id: EventID) -> bytes:
    """As `FederationEvents.state`."""
    reader, at, root = _state_at(tx, origin, room_id, event_id)
    nids = state.event_nids(tx, root)
    chain = auth_edges.chain_of(tx, nids)
    found = {each.event_nid: each for each in event_bytes.of_nids(tx, {*nids, *chain})}
    is_visible = bool(visible(tx, reader, [at]))

    def of_state(nid: int) -> bytes:
        event = found[nid]
        is_whole = is_visible or nid in chain or event.type in AUTHORISING
        return event.pdu if is_whole else redacted(event.pdu, reader.version)

    return object_of(
        {
            "pdus": array(of_state(nid) for nid in nids),
            "auth_chain": array(found[nid].pdu for nid in chain),
        }
    )


def read_state_ids(tx: ReadTransaction, origin: ServerName, room_id: RoomID, event_id: EventID) -> bytes:
    """As `FederationEvents.state_ids`."""
    _, _, root = _state_at(tx, origin, room_id, event_id)
    nids = state.event_nids(tx, root)
    chain = auth_edges.chain_of(tx, nids)
    ids = events.ids_of(tx, {*nids, *chain})
    return encode(
        {"pdu_ids": [ids[nid] for nid in nids], "auth_chain_ids": [ids[nid] for nid in sorted(chain)]}
    )


def read_auth_chain(tx: ReadTransaction, origin: ServerName, room_id: RoomID, event_id: EventID) -> bytes:
    """As `FederationEvents.auth_chain`."""
    room, reader = enter(tx, origin, room_id)
    event = _event_of(tx, room, event_id)
    cited = _nids(tx, auth_events_of(event.pdu))
    create = state.get(tx, room.state_root, ("m.room.create", ""))
    if reader.version.room_id_is_create_hash and create is not None and create != event.event_nid:
        # The room's ID names it, `auth_events` do not: yet nothing can be authorised without.
        cited.append(create)
    chain = {*cited, *auth_edges.chain_of(tx, cited)}
    return object_of({"auth_chain": array(each.pdu for each in event_bytes.of_nids(tx, chain))})


def _state_at(
    tx: ReadTransaction, origin: ServerName, room_id: RoomID, event_id: EventID
) -> tuple[ServerReader, StoredEvent, int]:
    """The event, and the root of the state before it. Errors: Forbidden, NotFound."""
    room, reader = enter(tx, origin, room_id)
    event = _event_of(tx, room, event_id)
    if event.status not in SERVED or event.state_root is None:
        raise NotFound("The state at this event is not known")
    if partial_joins.is_unsure(tx, room.room_nid, event.position):
        raise NotFound("This server does not know the members of that room yet")
    return reader, event, event.state_root


def _event_of(tx: ReadTransaction, room: Room, event_id: EventID) -> StoredEvent:
    """The event, if it is of this room. Errors: NotFound."""
    event = events.of(tx, event_id)
    if event is None or event.room_nid != room.room_nid:
        raise _not_found()
    return event


def _read_outlier(tx: ReadTransaction, room: Room, reader: ServerReader, event: StoredEvent) -> bytes:
    """An event that is known only as part of a state or auth chain: for who is in the room, which may have to ask.

    With no state at the event, it is shown whole if it stands in the room's current state, or would in any case be
    shown as part of a state or auth chain, or if the room shows all of its history to its members.
    """
    if not reader.is_joined:
        raise _not_found()
    if event.type in AUTHORISING or _is_current(tx, room, event) or _shares_its_history(tx, room, reader):
        return event.pdu
    return redacted(event.pdu, reader.version)


def _is_current(tx: ReadTransaction, room: Room, event: StoredEvent) -> bool:
    if event.state_key is None:
        return False
    return state.get(tx, room.state_root, (event.type, event.state_key)) == event.event_nid


def _shares_its_history(tx: ReadTransaction, room: Room, reader: ServerReader) -> bool:
    content = content_at(tx, room.state_root, reader.version, VISIBILITY)
    return history_visibility_of(content.get("history_visibility")) in (SHARED, WORLD_READABLE)


def _nids(tx: ReadTransaction, event_ids: Collection[EventID]) -> list[int]:
    return [place.event_nid for place in auth_edges.places(tx, event_ids).values()]


def _not_found() -> NotFound:
    return NotFound("There is no such event, or your server may not see it")
