"""Which servers are in which room: those that have joined members there."""

from collections.abc import Collection, Mapping

from sqlalchemy import bindparam, delete, select
from sqlalchemy.dialects.sqlite import insert

from homeserver.core.identifiers import RoomID, ServerName
from homeserver.database.statements import in_list, statement
from homeserver.database.tables.rooms import room_servers, rooms
from homeserver.database.transactions import ReadTransaction, WriteTransaction

_s = room_servers.c
_new = insert(room_servers)
COUNT = statement(
    _new.on_conflict_do_update(
        index_elements=["room_nid", "server_name"],
        set_={"joined_members": _s.joined_members + _new.excluded.joined_members},
    ),
    [column.name for column in room_servers.columns],
)
DROP_EMPTY = statement(
    delete(room_servers).where(
        _s.room_nid == bindparam("room_nid"),
        _s.server_name == bindparam("server_name"),
        _s.joined_members <= 0,
    )
)
REMOVE_ALL = statement(delete(room_servers).where(_s.room_nid == bindparam("room_nid")))
ONE = statement(
    select(_s.joined_members).where(
        _s.room_nid == bindparam("room_nid"), _s.server_name == bindparam("server_name")
    )
)
AMONG = statement(
    select(_s.room_nid).where(
        in_list(_s.room_nid, "room_nids"), _s.server_name == bindparam("server_name"), _s.joined_members > 0
    )
)
OF_ROOM = statement(
    select(_s.server_name, _s.joined_members)
    .where(_s.room_nid == bindparam("room_nid"))
    .order_by(_s.server_name)
)
OF_ROOMS = statement(
    select(_s.room_nid, _s.server_name).where(in_list(_s.room_nid, "room_nids")).order_by(_s.server_name)
)
ANY_OF = statement(select(_s.room_nid).where(_s.server_name == bindparam("server_name")).limit(1))
ROOMS_OF = statement(
    select(rooms.c.room_nid, rooms.c.room_id)
    .select_from(room_servers.join(rooms, rooms.c.room_nid == _s.room_nid))
    .where(_s.server_name == bindparam("server_name"))
    .order_by(rooms.c.room_nid)
)


def count(tx: WriteTransaction, room_nid: int, server_name: ServerName, joined: int) -> None:
    """The server has `joined` more joined members in the room; fewer, if negative."""
    if joined == 0:
        return
    tx.execute(COUNT, room_nid=room_nid, server_name=server_name, joined_members=joined)
    if joined < 0:
        tx.execute(DROP_EMPTY, room_nid=room_nid, server_name=server_name)


def replace(tx: WriteTransaction, room_nid: int, counts: Mapping[ServerName, int]) -> None:
    """These are the servers in the room, each with the number of its joined members."""
    tx.execute(REMOVE_ALL, room_nid=room_nid)
    rows = [
        {"room_nid": room_nid, "server_name": server_name, "joined_members": joined}
        for server_name, joined in sorted(counts.items())
    ]
    if rows:
        tx.execute_many(COUNT, rows)


def joined(tx: ReadTransaction, room_nid: int, server_name: ServerName) -> int:
    """How many joined members the server has in the room; 0: it is not in the room."""
    members: int | None = tx.value(ONE, room_nid=room_nid, server_name=server_name)
    return members or 0


def among(tx: ReadTransaction, room_nids: Collection[int], server_name: ServerName) -> set[int]:
    """Those of the rooms in which the server has joined members."""
    return {row[0] for row in tx.all(AMONG, room_nids=sorted(room_nids), server_name=server_name)}


def is_in_some_room(tx: ReadTransaction, server_name: ServerName) -> bool:
    """Whether the server has joined members in any room."""
    return tx.value(ANY_OF, server_name=server_name) is not None


def of_room(tx: ReadTransaction, room_nid: int) -> dict[ServerName, int]:
    """The servers in the room, this one included, each with the number of its joined members."""
    return {row[0]: row[1] for row in tx.all(OF_ROOM, room_nid=room_nid)}


def of_rooms(tx: ReadTransaction, room_nids: set[int]) -> dict[int, list[ServerName]]:
    """The servers in each of the rooms, this one included; rooms that nobody is in are left out."""
    found: dict[int, list[ServerName]] = {}
    for room_nid, server_name in tx.all(OF_ROOMS, room_nids=sorted(room_nids)):
        found.setdefault(room_nid, []).append(server_name)
    return found


def rooms_of(tx: ReadTransaction, server_name: ServerName) -> dict[int, RoomID]:
    """The rooms that the server is in, as far as this server knows: room number to room ID."""
    return {row[0]: row[1] for row in tx.all(ROOMS_OF, server_name=server_name)}
