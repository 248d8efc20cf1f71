"""Reading an answer from the database: one snapshot, one answer.

Of rooms outside the windows nothing is read but their rows in the user's list.
"""

from collections.abc import Collection

from homeserver.core.endpoint_errors import UnknownPos
from homeserver.core.sliding_sync.told import UP_TO_DATE, RoomRecord, Telling, Told
from homeserver.core.sliding_sync.windows import Configs, counts
from homeserver.core.splice import object_of
from homeserver.database.kinds import Kind
from homeserver.database.transactions import ReadTransaction
from homeserver.services.ignored_users import ignored_by
from homeserver.services.sliding_sync import extensions
from homeserver.services.sliding_sync.context import Answer, Asking, Context, Wanted
from homeserver.services.sliding_sync.required import look_ahead
from homeserver.services.sliding_sync.room_facts import RoomFactFinder
from homeserver.services.sliding_sync.room_list import Matched, match_rooms, rooms_of_user
from homeserver.services.sliding_sync.room_results import (
    ReadUpto,
    RoomResult,
    ToldRoom,
    counts_result,
    inside_result,
    is_outside,
    may_have_news,
    outside_result,
)
from homeserver.services.spoilt_rooms import left_out, read_together
from homeserver.storage import receipts, sliding_sync
from homeserver.storage.sliding_sync import Connection, Step

IDLE_MS = 3_600_000
"""How exactly it is noted when a connection was last used."""


def read_sliding(tx: ReadTransaction, asking: Asking) -> Answer:
    """Answer a request as of now. Spec: MSC4186.

    Errors: UnknownPos if the token is not (or no longer) one of this device's connection.
    """
    found = find_step(tx, asking)
    step, told = (None, Told()) if found is None else (found[1], found[1].told)
    stream = tx.stream_row()
    since = None if asking.token is None else max(1, min(asking.token.position, stream.position))
    user_id = asking.user_id
    ctx = Context(tx, asking, stream, since, told, Telling(told), ignored_by(tx, user_id))
    rooms = rooms_of_user(tx, user_id, ignored=ctx.ignored, told=told.rooms)
    facts = RoomFactFinder(tx, user_id, rooms.listed, [each.filter for each in asking.request.lists])
    matched = match_rooms(asking.request, rooms, facts)
    wanted = _wanted(ctx, matched, facts.direct)
    shown = _results(ctx, wanted)
    _leave_windows(ctx, {each.room.room_nid for each in wanted})
    bodies = {
        each.wanted.room.room_id: object_of(each.result.body)
        for each in shown
        if each.result.body is not None
    }
    beside = extensions.extensions(ctx, shown, matched, rooms.all)
    return Answer(
        ctx.upto,
        counts(matched.counts),
        bodies,
        beside,
        step,
        ctx.telling.done(),
        is_idle=found is not None and asking.now_ts - found[0].used_ts > IDLE_MS,
        sent_members=ctx.new_members,
        flushed=ctx.flushed,
    )


def find_step(tx: ReadTransaction, asking: Asking) -> tuple[Connection, Step] | None:
    """The connection and the step of the request's token; `None` for a new connection.

    Errors: UnknownPos. "Servers MUST reject a `pos` that was not issued to the requesting user and device."
    """
    token = asking.token
    if token is None:
        return None
    found = sliding_sync.connection(tx, token.connection)
    if found is None or (found.user_id, found.device_id, found.conn_id) != (
        asking.user_id,
        asking.device_id,
        asking.conn_id,
    ):
        raise UnknownPos
    step = sliding_sync.step(tx, token.connection, token.step)
    if step is None:
        raise UnknownPos
    return found, step


def find_connection(tx: ReadTransaction, asking: Asking) -> tuple[Connection, int]:
    """The connection of the request's token, and how far the stream is. Errors: UnknownPos."""
    found = find_step(tx, asking)
    if found is None:
        raise UnknownPos
    return found[0], tx.stream_row().position


def _wanted(ctx: Context, matched: Matched, direct: Collection[str]) -> list[Wanted]:
    configs = Configs()
    return [
        Wanted(room, match, configs.of(match), ctx.told.rooms.get(room.room_nid), room.room_id in direct)
        for room, match in matched.rooms
    ]


def _results(ctx: Context, wanted: list[Wanted]) -> list[ToldRoom]:
    """What is told of each room. One that cannot be read is missing: so nothing else is told of it, either."""
    read = _read_on(ctx, wanted)
    news = {each.room.room_nid for each in wanted if may_have_news(ctx, each)}
    with read_together(ctx.asking.user_id):
        look_ahead(ctx, [each for each in wanted if each.room.room_nid in news])
    read_upto: ReadUpto = {}
    if not ctx.is_stable and news | read:
        read_upto = receipts.own(ctx.tx, ctx.asking.user_id, news | read)
    shown: list[ToldRoom] = []
    for each in wanted:
        nid = each.room.room_nid
        result = None
        with left_out(each.room.room_id, ctx.asking.user_id):
            result = _result(ctx, each, read_upto, is_new=nid in news, is_read=nid in read)
        if result is None:
            _leave_out(ctx, each)
        else:
            shown.append(ToldRoom(each, result))
    return shown


def _leave_out(ctx: Context, wanted: Wanted) -> None:
    """The client is told nothing of the room this time; of what it misses, as soon as the room can be read."""
    room = wanted.room
    ctx.telling.untold(room.room_nid, ctx.since or 0)
    ctx.new_members.pop(room.room_id, None)
    ctx.flushed.discard(room.room_id)


def _result(ctx: Context, wanted: Wanted, read_upto: ReadUpto, *, is_new: bool, is_read: bool) -> RoomResult:
    if is_new:
        if is_outside(wanted):
            return outside_result(ctx, wanted)
        result = inside_result(ctx, wanted, read_upto)
        if result.body is not None or not is_read:
            return result
    elif wanted.record is not None:
        # Nothing is new up to here: the client has all of it, whenever the room was last in a window.
        record = wanted.record
        ctx.telling.record(
            wanted.room.room_nid, RoomRecord(UP_TO_DATE, record.config, record.limit, record.flags)
        )
    return counts_result(ctx, wanted, read_upto) if is_read else RoomResult(None)


def _read_on(ctx: Context, wanted: list[Wanted]) -> set[int]:
    """Where the user has read on since the client was told, which the accepted form leaves to the receipts."""
    if ctx.is_stable:
        return set()
    groups: dict[int, list[int]] = {}
    for each in wanted:
        told = ctx.told_upto(each.record)
        if told is not None and each.room.membership == "join":
            groups.setdefault(told, []).append(each.room.room_nid)
    moved: set[int] = set()
    for told, nids in groups.items():
        if ctx.stream.changed_since(Kind.RECEIPTS, told):
            moved |= receipts.moved(ctx.tx, ctx.asking.user_id, nids, since=told, upto=ctx.upto)
    return moved


def _leave_windows(ctx: Context, wanted: Collection[int]) -> None:
    """Note of the rooms that are in no window any more up to where the client has been told of them."""
    if ctx.since is None:
        return
    for nid, record in ctx.told.rooms.items():
        if record.upto == UP_TO_DATE and nid not in wanted:
            left = RoomRecord(ctx.since, record.config, record.limit, record.flags)
            ctx.telling.record(nid, left)
