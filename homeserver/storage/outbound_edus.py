"""What this server tells other servers beside events: public receipts, typing and presence of its users.

Only of rooms in which other servers are, and of those only what was published in a window of the stream.
"""

from collections.abc import Collection

import msgspec
from sqlalchemy import bindparam, desc, select

from homeserver.core.identifiers import RoomID, ServerName, UserID
from homeserver.core.presence import UserPresence
from homeserver.core.receipts import READ, Receipt
from homeserver.database.statements import in_list, statement
from homeserver.database.tables.ephemeral import presence, receipts, typing
from homeserver.database.tables.rooms import memberships, room_servers, rooms
from homeserver.database.transactions import ReadTransaction, Row


class OutboundReceipt(msgspec.Struct, frozen=True):
    """A public receipt."""

    position: int
    room_nid: int
    room_id: RoomID
    receipt: Receipt


class OutboundTyping(msgspec.Struct, frozen=True):
    """Someone types until `expires_ts`, or has stopped if that has passed."""

    position: int
    room_nid: int
    room_id: RoomID
    user_id: UserID
    expires_ts: int


class OutboundPresence(msgspec.Struct, frozen=True):
    """What others see of a user."""

    position: int
    user_id: UserID
    presence: UserPresence


_r = receipts.c
_t = typing.c
_p = presence.c
_m = memberships.c
_s = room_servers.c
_RECEIPT = (
    _r.position,
    _r.room_nid,
    rooms.c.room_id,
    _r.user_id,
    _r.receipt_type,
    _r.thread_id,
    _r.event_id,
    _r.ts,
)
RECEIPTS = statement(
    select(*_RECEIPT)
    .select_from(receipts.join(rooms, rooms.c.room_nid == _r.room_nid))
    .where(
        _r.position > bindparam("after"),
        _r.position <= bindparam("upto"),
        _r.receipt_type == READ,
        rooms.c.remote_members > 0,
    )
    .order_by(_r.position)
    .limit(bindparam("most"))
)
MISSED_RECEIPTS = statement(
    select(*_RECEIPT)
    .select_from(
        room_servers.join(rooms, rooms.c.room_nid == _s.room_nid).join(receipts, _r.room_nid == _s.room_nid)
    )
    .where(
        _s.server_name == bindparam("server_name"),
        _r.position > bindparam("after"),
        _r.position <= bindparam("upto"),
        _r.receipt_type == READ,
    )
    .order_by(desc(_r.position))
    .limit(bindparam("most"))
)
TYPING = statement(
    select(_t.position, _t.room_nid, rooms.c.room_id, _t.user_id, _t.expires_ts)
    .select_from(typing.join(rooms, rooms.c.room_nid == _t.room_nid))
    .where(_t.position > bindparam("after"), _t.position <= bindparam("upto"), rooms.c.remote_members > 0)
    .order_by(_t.position)
    .limit(bindparam("most"))
)
_SHOWN = (_p.position, _p.user_id, _p.presence, _p.status_msg, _p.last_active_ts, _p.currently_active)
PRESENCE = statement(
    select(*_SHOWN)
    .where(_p.position > bindparam("after"), _p.position <= bindparam("upto"))
    .order_by(_p.position)
    .limit(bindparam("most"))
)
PRESENT_IN = statement(
    select(_m.room_nid, *_SHOWN)
    .select_from(memberships.join(presence, _p.user_id == _m.user_id))
    .where(
        in_list(_m.room_nid, "room_nids"),
        _m.membership == "join",
        _m.is_local == 1,
        _p.presence != "offline",
    )
    .order_by(desc(_p.position), _m.room_nid)
    .limit(bindparam("most"))
)
PRESENCE_OF = statement(select(*_SHOWN).where(in_list(_p.user_id, "user_ids"), _p.presence != "offline"))
SERVERS_OF_USERS = statement(
    select(_m.user_id, _s.server_name)
    .select_from(memberships.join(room_servers, _s.room_nid == _m.room_nid))
    .where(in_list(_m.user_id, "user_ids"), _m.membership == "join")
    .distinct()
)


def receipts_between(tx: ReadTransaction, *, after: int, upto: int, most: int) -> list[OutboundReceipt]:
    """Up to `most` receipts with `after < position <= upto`, oldest first; also those of other servers' users."""
    return [_receipt(row) for row in tx.all(RECEIPTS, after=after, upto=upto, most=most)]


def missed_receipts(
    tx: ReadTransaction, server_name: ServerName, *, after: int, upto: int, most: int
) -> list[OutboundReceipt]:
    """The newest `most` receipts in the rooms of the server with `after < position <= upto`, newest first."""
    rows = tx.all(MISSED_RECEIPTS, server_name=server_name, after=after, upto=upto, most=most)
    return [_receipt(row) for row in rows]


def typing_between(tx: ReadTransaction, *, after: int, upto: int, most: int) -> list[OutboundTyping]:
    """Who started or stopped typing with `after < position <= upto`, oldest first."""
    return [OutboundTyping(*row) for row in tx.all(TYPING, after=after, upto=upto, most=most)]


def presence_between(tx: ReadTransaction, *, after: int, upto: int, most: int) -> list[OutboundPresence]:
    """Whose presence changed with `after < position <= upto`, oldest first."""
    return [_presence(row) for row in tx.all(PRESENCE, after=after, upto=upto, most=most)]


def present_in(
    tx: ReadTransaction, room_nids: Collection[int], *, most: int
) -> list[tuple[int, OutboundPresence]]:
    """Users here who are in these rooms and not offline, each with the room's number; the latest `most`."""
    rows = tx.all(PRESENT_IN, room_nids=sorted(room_nids), most=most)
    return [(row[0], _presence(row[1:])) for row in rows]


def presence_of(tx: ReadTransaction, user_ids: Collection[UserID]) -> dict[UserID, OutboundPresence]:
    """What others see of those of the users who are not offline."""
    rows = tx.all(PRESENCE_OF, user_ids=sorted(user_ids))
    return {row[1]: _presence(row) for row in rows}


def servers_of(tx: ReadTransaction, user_ids: Collection[UserID]) -> dict[UserID, set[ServerName]]:
    """The servers that share a room with each of these users, this one included."""
    found: dict[UserID, set[ServerName]] = {}
    for user_id, server_name in tx.all(SERVERS_OF_USERS, user_ids=sorted(user_ids)):
        found.setdefault(user_id, set()).add(server_name)
    return found


def _receipt(row: Row) -> OutboundReceipt:
    position, room_nid, room_id, *receipt = row
    return OutboundReceipt(position, room_nid, room_id, Receipt(*receipt))


def _presence(row: Row) -> OutboundPresence:
    position, user_id, state, status_msg, last_active_ts, currently_active = row
    shown = UserPresence(state, status_msg, last_active_ts or None, currently_active=bool(currently_active))
    return OutboundPresence(position, user_id, shown)
