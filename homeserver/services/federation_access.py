"""Whether another server may ask about a room, and what of an event it is shown.

Transaction functions. Spec: server-server API, "Server Access Control Lists (ACLs)"; client-server API, "Room history
visibility".
"""

from collections.abc import Sequence

from homeserver.core.errors import Forbidden
from homeserver.core.identifiers import RoomID, ServerName
from homeserver.core.json import canonical, decode_object
from homeserver.core.redaction import redact
from homeserver.core.room_versions import RoomVersion, get_room_version
from homeserver.core.splice import array, object_of
from homeserver.database.transactions import ReadTransaction
from homeserver.services.server_acls import is_allowed
from homeserver.services.server_visibility import ServerReader, visible
from homeserver.storage import events, room_servers, rooms
from homeserver.storage.events import StoredEvent
from homeserver.storage.rooms import Room

SERVED = frozenset({events.ACCEPTED, events.SOFT_FAILED, events.HIDDEN})
"""What of the room's history is handed on: what clients are not shown takes part in the protocol as other events do."""


def reader_of(tx: ReadTransaction, room: Room, server_name: ServerName) -> ServerReader:
    """The server as a reader of the room. Errors: Forbidden if the room's access control list refuses it."""
    if not is_allowed(tx, room, server_name):
        raise Forbidden("The access control list of the room refuses your server")
    is_joined = room_servers.joined(tx, room.room_nid, server_name) > 0
    return ServerReader(
        server_name, room.room_nid, get_room_version(room.version), is_joined, room.is_partial
    )


def enter(tx: ReadTransaction, server_name: ServerName, room_id: RoomID) -> tuple[Room, ServerReader]:
    """The room, for a server that is in it.

    Errors: Forbidden if it is not, in the same words for a room that is not known here, or if the room's access
    control list refuses it.
    """
    room = rooms.of(tx, room_id)
    if room is not None and room.is_held:
        reader = reader_of(tx, room, server_name)
        if reader.is_joined:
            return room, reader
    raise Forbidden("Your server is not in this room")


def shown(tx: ReadTransaction, reader: ServerReader, stored: Sequence[StoredEvent]) -> list[bytes]:
    """The events as PDUs for the server: whole where it may see them, else redacted."""
    seen = visible(tx, reader, stored)
    return [event.pdu if event.event_nid in seen else redacted(event.pdu, reader.version) for event in stored]


def redacted(pdu: bytes, version: RoomVersion) -> bytes:
    """What redaction leaves of a PDU: enough for its place in the room, and for the authorisation of others."""
    return canonical(redact(decode_object(pdu), version))


def transaction_of(server_name: ServerName, pdus: Sequence[bytes], *, now_ts: int) -> bytes:
    """The PDUs as a transaction of this server, which is how single events and history are handed over."""
    return object_of(
        {"origin": b'"%b"' % server_name.encode(), "origin_server_ts": b"%d" % now_ts, "pdus": array(pdus)}
    )
