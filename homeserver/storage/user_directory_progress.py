"""How far the user directory has been brought up to date with the stream, and what is to be looked at besides."""

from collections.abc import Sequence

import msgspec
from sqlalchemy import and_, bindparam, delete, or_, select, update
from sqlalchemy.dialects.sqlite import insert

from homeserver.core.identifiers import UserID
from homeserver.database.statements import insert_into, statement
from homeserver.database.tables.accounts import users
from homeserver.database.tables.events import events
from homeserver.database.tables.rooms import memberships, rooms
from homeserver.database.tables.user_directory import directory_progress, directory_scans
from homeserver.database.transactions import ReadTransaction, WriteTransaction

MEMBER = "m.room.member"
RESETS_STATE = 8
"""In an event's `notify`: more has changed with it than it shows."""


class Progress(msgspec.Struct, frozen=True):
    """After so many `steps`; the stream has been followed up to `position`.

    `phase` is what is being looked at anew, up to `after`; `None` if that is over. It began at `begun_ts`.
    """

    steps: int
    position: int
    phase: str | None
    after: str
    begun_ts: int


class Scan(msgspec.Struct, frozen=True):
    """Members of a room, beyond `after_user`, are to be looked at: whose membership is later than `since_position`."""

    scan_nid: int
    room_nid: int
    since_position: int
    after_user: str


class News(msgspec.Struct, frozen=True):
    """What the stream has brought up to `upto`.

    `user_ids` have become members, or no longer are; of `rooms` it may have changed who may look in; `reset_rooms`
    have other members in ways that no event shows.
    """

    upto: int
    user_ids: Sequence[UserID]
    rooms: Sequence[int]
    reset_rooms: Sequence[int]


_e = events.c
_m = memberships.c
_p = directory_progress.c
_s = directory_scans.c
PROGRESS = statement(select(*(_p[name] for name in Progress.__struct_fields__)))
_new = insert(directory_progress)
ADVANCE = statement(
    _new.values(id=1, **{name: bindparam(name) for name in Progress.__struct_fields__}).on_conflict_do_update(
        index_elements=["id"],
        set_={name: _new.excluded[name] for name in Progress.__struct_fields__},
        where=_p.steps == bindparam("old_steps"),
    )
)
LAST_OF_SOME = statement(
    select(_e.position)
    .where(_e.position > bindparam("after"))
    .order_by(_e.position)
    .offset(bindparam("most"))
    .limit(1)
)
NEWS = statement(
    select(_e.type, _e.state_key, _e.room_nid, _e.notify)
    .where(
        _e.position > bindparam("after"),
        _e.position <= bindparam("upto"),
        or_(
            and_(
                _e.status == 0,
                or_(
                    _e.type == MEMBER,
                    _e.type == "m.room.join_rules",
                    _e.type == "m.room.history_visibility",
                ),
            ),
            _e.notify.op("&")(RESETS_STATE) != 0,
        ),
    )
    .order_by(_e.position)
)
ADD_SCAN = insert_into(directory_scans)
FIRST_SCAN = statement(select(*(_s[name] for name in Scan.__struct_fields__)).order_by(_s.scan_nid).limit(1))
MOVE_SCAN = statement(
    update(directory_scans)
    .where(_s.scan_nid == bindparam("the_scan"))
    .values(after_user=bindparam("new_after"))
)
END_SCAN = statement(delete(directory_scans).where(_s.scan_nid == bindparam("the_scan")))
SCANNED = statement(
    select(_m.user_id)
    .where(
        _m.room_nid == bindparam("room_nid"),
        _m.user_id > bindparam("after_user"),
        _m.position > bindparam("since_position"),
    )
    .order_by(_m.user_id)
    .limit(bindparam("most"))
)
ROOMS = statement(
    select(rooms.c.room_nid)
    .where(rooms.c.room_nid > bindparam("after"))
    .order_by(rooms.c.room_nid)
    .limit(bindparam("most"))
)
ACCOUNTS = statement(
    select(users.c.user_id)
    .where(users.c.user_id > bindparam("after"))
    .order_by(users.c.user_id)
    .limit(bindparam("most"))
)
MEMBERS = statement(
    select(_m.user_id)
    .where(_m.user_id > bindparam("after"))
    .distinct()
    .order_by(_m.user_id)
    .limit(bindparam("most"))
)


def of(tx: ReadTransaction) -> Progress | None:
    """How far it is; `None` before the first step."""
    row = tx.one(PROGRESS)
    return None if row is None else Progress(*row)


def advance(tx: WriteTransaction, new: Progress) -> bool:
    """Take the step that leads to `new`, unless another process has taken it meanwhile: then `False`."""
    return tx.execute(ADVANCE, old_steps=new.steps - 1, **msgspec.structs.asdict(new)) == 1


def news(tx: ReadTransaction, after: int, upto: int, *, most: int) -> News:
    """What of the stream's events with `after < position <= upto` matters, of the first `most` or so."""
    beyond: int | None = tx.value(LAST_OF_SOME, after=after, most=most)
    upto = upto if beyond is None else beyond - 1
    user_ids: dict[UserID, None] = {}
    changed: dict[int, None] = {}
    reset: dict[int, None] = {}
    for event_type, state_key, room_nid, notify in tx.all(NEWS, after=after, upto=upto):
        if notify & RESETS_STATE:
            reset[room_nid] = None
        if event_type != MEMBER:
            changed[room_nid] = None
        elif state_key is not None:
            user_ids[UserID(state_key)] = None
    return News(upto, list(user_ids), list(changed), list(reset))


def add_scan(tx: WriteTransaction, room_nid: int, *, since_position: int = -1) -> None:
    """Have the members of a room looked at whose membership is later than the position, and its openness."""
    tx.execute(
        ADD_SCAN,
        scan_nid=tx.new_nid(),
        room_nid=room_nid,
        since_position=since_position,
        after_user="",
    )


def first_scan(tx: ReadTransaction) -> Scan | None:
    """A room whose members are to be looked at, if there is one."""
    row = tx.one(FIRST_SCAN)
    return None if row is None else Scan(*row)


def scanned(tx: ReadTransaction, scan: Scan, *, most: int) -> list[UserID]:
    """The next up to `most` users whom a scan comes to."""
    rows = tx.all(
        SCANNED,
        room_nid=scan.room_nid,
        after_user=scan.after_user,
        since_position=scan.since_position,
        most=most,
    )
    return [UserID(row[0]) for row in rows]


def move_scan(tx: WriteTransaction, scan_nid: int, after_user: UserID | None) -> None:
    """The scan has come to this user; `None`: to its end."""
    if after_user is None:
        tx.execute(END_SCAN, the_scan=scan_nid)
    else:
        tx.execute(MOVE_SCAN, the_scan=scan_nid, new_after=after_user)


def rooms_after(tx: ReadTransaction, room_nid: int, *, most: int) -> list[int]:
    """Up to `most` rooms with greater numbers, in order."""
    return [row[0] for row in tx.all(ROOMS, after=room_nid, most=most)]


def accounts_after(tx: ReadTransaction, user_id: str, *, most: int) -> list[UserID]:
    """Up to `most` users of this server beyond `user_id`, in the database's order."""
    return [UserID(row[0]) for row in tx.all(ACCOUNTS, after=user_id, most=most)]


def members_after(tx: ReadTransaction, user_id: str, *, most: int) -> list[UserID]:
    """Up to `most` users beyond `user_id` whom the states of rooms name, in the database's order."""
    return [UserID(row[0]) for row in tx.all(MEMBERS, after=user_id, most=most)]
