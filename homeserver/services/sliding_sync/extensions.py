"""What clients are told beside rooms: account data, receipts, typing, threads, keys, messages, sticky events.

Spec: MSC3959, MSC3960, MSC3961, MSC4308, MSC3884, MSC3885 and MSC4480, extensions of sliding sync.
"""

from collections.abc import Collection, Mapping

from homeserver.core.identifiers import RoomID
from homeserver.core.json import JsonObject, encode
from homeserver.core.receipts import Receipt, combined_receipt_event
from homeserver.core.sliding_sync.requests import Scope, ToDeviceWanted
from homeserver.core.sliding_sync.told import ACCOUNT_DATA, RECEIPTS, TYPING
from homeserver.core.splice import array, keyed, object_of
from homeserver.core.tokens import stream_token
from homeserver.database.kinds import Kind
from homeserver.services.device_list_changes import DeviceListChanges, read_changes
from homeserver.services.sliding_sync.context import Context
from homeserver.services.sliding_sync.room_list import Matched
from homeserver.services.sliding_sync.room_results import ToldRoom
from homeserver.services.sliding_sync.sticky_events import sticky_events
from homeserver.services.sync.key_counts import KeySections, has_changed, read_sections
from homeserver.services.sync.read import data_json, push_rules_event
from homeserver.services.sync.to_device import read_messages
from homeserver.services.thread_subscriptions import changes_json
from homeserver.storage import account_data, push_rules, receipts, typing
from homeserver.storage.memberships import RoomOfUser

_ACCOUNT_DATA, _THREAD_SUBSCRIPTIONS = 1, 8
"""In `core.sliding_sync.told.Told.extensions`."""

THREAD_SUBSCRIPTIONS = "io.element.msc4308.thread_subscriptions"
STICKY_EVENTS = "org.matrix.msc4354.sticky_events"
"""Not accepted yet, and so called that in both forms."""


TO_DEVICE = "to_device"
E2EE = "e2ee"

Groups = Mapping[int | None, Collection[ToldRoom]]


def extensions(
    ctx: Context, told: Collection[ToldRoom], matched: Matched, rooms: Collection[RoomOfUser]
) -> dict[str, bytes]:
    """Those that are wanted, and have something to tell; `rooms` are all of the user's."""
    wanted = ctx.asking.request.extensions
    found: dict[str, bytes | None] = {}
    flags = {each.wanted.room.room_nid: 0 for each in told}
    if wanted.account_data is not None:
        covered = _in_scope(wanted.account_data, told)
        found["account_data"] = _account_data(ctx, _groups(ctx, ACCOUNT_DATA, covered, flags))
    if wanted.receipts is not None:
        covered = _joined(_in_scope(wanted.receipts, told))
        found["receipts"] = _receipts(ctx, _groups(ctx, RECEIPTS, covered, flags))
    if wanted.typing is not None:
        covered = _joined(_in_scope(wanted.typing, told))
        found["typing"] = _typing(ctx, _groups(ctx, TYPING, covered, flags))
    for room_nid, told_by in flags.items():
        ctx.telling.extend(room_nid, told_by)
    if wanted.thread_subscriptions is not None:
        found[THREAD_SUBSCRIPTIONS] = _thread_subscriptions(ctx, wanted.thread_subscriptions)
    if wanted.to_device is not None:
        found[TO_DEVICE] = _to_device(ctx, wanted.to_device)
    if wanted.e2ee:
        found[E2EE] = _e2ee(ctx, rooms)
    if wanted.sticky_events is not None:
        found[STICKY_EVENTS] = sticky_events(ctx, wanted.sticky_events, told, matched)
    return {name: body for name, body in found.items() if body is not None}


def _in_scope(scope: Scope, told: Collection[ToldRoom]) -> list[ToldRoom]:
    return [
        each
        for each in told
        if scope.covers(
            each.wanted.room.room_id, each.wanted.match.lists, is_subscribed=each.wanted.match.is_subscribed
        )
    ]


def _joined(told: Collection[ToldRoom]) -> list[ToldRoom]:
    return [each for each in told if each.wanted.room.membership == "join"]


def _begin(ctx: Context, extension: int) -> int | None:
    """From where the client needs what is new beside rooms: all of it, if it did not ask for the extension before."""
    ctx.telling.extensions |= extension
    return ctx.since if ctx.told.extensions & extension else None


def _groups(ctx: Context, flag: int, covered: Collection[ToldRoom], flags: dict[int, int]) -> Groups:
    """The rooms by the position from which the client needs what is new of them; `None`: from the beginning.

    That is where the client does not know the room, or has not been told of it by this extension, which `flag` stands
    for in the room's record. The flag is added to the `flags` of the rooms.
    """
    groups: dict[int | None, list[ToldRoom]] = {}
    for each in covered:
        flags[each.wanted.room.room_nid] |= flag
        record = each.wanted.record
        is_new = each.result.is_initial or record is None or not record.is_(flag)
        groups.setdefault(None if is_new else ctx.told_upto(record), []).append(each)
    return groups


def _account_data(ctx: Context, groups: Groups) -> bytes | None:
    body: dict[str, bytes] = {}
    if own := _global_account_data(ctx):
        body["global"] = array(own)
    rooms: dict[RoomID, list[bytes]] = {}
    for since, group in groups.items():
        room_ids = {each.wanted.room.room_id for each in group}
        if since is None:
            rows = account_data.of_rooms(ctx.tx, ctx.asking.user_id, room_ids, upto=ctx.upto)
        elif ctx.stream.changed_since(Kind.ACCOUNT_DATA, since):
            rows = account_data.since(ctx.tx, ctx.asking.user_id, since=since, upto=ctx.upto)
        else:
            continue
        for data in rows:
            if data.room_id in room_ids:
                rooms.setdefault(data.room_id, []).append(data_json(data))
    if rooms:
        body["rooms"] = keyed({room_id: array(listed) for room_id, listed in rooms.items()})
    return object_of(body) if body else None


def _global_account_data(ctx: Context) -> list[bytes]:
    since, user_id = _begin(ctx, _ACCOUNT_DATA), ctx.asking.user_id
    if since is None:
        rows = account_data.of_rooms(ctx.tx, user_id, [account_data.GLOBAL], upto=ctx.upto)
    elif ctx.stream.changed_since(Kind.ACCOUNT_DATA, since):
        rows = account_data.since(ctx.tx, user_id, since=since, upto=ctx.upto)
    else:
        return []
    found = [data_json(data) for data in rows if data.room_id == account_data.GLOBAL]
    if since is None or push_rules.has_changed(ctx.tx, user_id, since=since, upto=ctx.upto):
        found.append(push_rules_event(ctx.tx, user_id))
    return found


def _receipts(ctx: Context, groups: Groups) -> bytes | None:
    """Of a room that is new to the client, those on the events that it is sent, and the user's own.

    Likewise where the timeline goes further back than before, beside those that are new.
    """
    found: dict[RoomID, list[Receipt]] = {}
    user_id = ctx.asking.user_id
    for since, group in groups.items():
        names = {each.wanted.room.room_nid: each.wanted.room.room_id for each in group}
        deeper = [each for each in group if since is None or each.result.is_expanded]
        if deeper:
            nids = [each.wanted.room.room_nid for each in deeper]
            event_ids = [event_id for each in deeper for event_id in each.result.event_ids]
            for nid, listed in receipts.of_events(ctx.tx, user_id, nids, event_ids, upto=ctx.upto).items():
                found.setdefault(names[nid], []).extend(listed)
        if since is not None and ctx.stream.changed_since(Kind.RECEIPTS, since):
            for nid, listed in receipts.since(ctx.tx, user_id, names, since=since, upto=ctx.upto).items():
                found.setdefault(names[nid], []).extend(listed)
    return _of_rooms({room_id: encode(combined_receipt_event(listed)) for room_id, listed in found.items()})


def _typing(ctx: Context, groups: Groups) -> bytes | None:
    """Where it has changed who types; of a room that is new to the client, if somebody does."""
    rooms: dict[RoomID, bytes] = {}
    for since, group in groups.items():
        names = {each.wanted.room.room_nid: each.wanted.room.room_id for each in group}
        nids: Collection[int] = names
        if since is not None:
            if not ctx.stream.changed_since(Kind.TYPING, since):
                continue
            nids = typing.changed(ctx.tx, names, since=since, upto=ctx.upto)
        users = typing.now(ctx.tx, nids, now_ts=ctx.asking.now_ts) if nids else {}
        for nid in nids if since is not None else users:
            content: JsonObject = {"user_ids": [*users.get(nid, ())]}
            rooms[names[nid]] = encode({"type": "m.typing", "content": content})
    return _of_rooms(rooms)


def _of_rooms(rooms: Mapping[RoomID, bytes]) -> bytes | None:
    return object_of({"rooms": keyed(rooms)}) if rooms else None


def _thread_subscriptions(ctx: Context, most: int) -> bytes | None:
    since = _begin(ctx, _THREAD_SUBSCRIPTIONS)
    if since is not None and not ctx.stream.changed_since(Kind.THREAD_SUBSCRIPTIONS, since):
        return None
    after = 0 if since is None else since
    body = changes_json(ctx.tx, ctx.asking.user_id, after=after, upto=ctx.upto, most=most, more="prev_batch")
    return object_of(body) if body else None


def _e2ee(ctx: Context, rooms: Collection[RoomOfUser]) -> bytes | None:
    user_id, device_id, since = ctx.asking.user_id, ctx.asking.device_id, ctx.since
    if since is None:
        return None
    changes = read_changes(ctx.tx, user_id, rooms, ctx.stream, since=since)
    if not changes and not has_changed(ctx.tx, user_id, device_id, ctx.stream, since=since):
        return None
    return e2ee_json(read_sections(ctx.tx, user_id, device_id), changes)


def e2ee_json(keys: KeySections, changes: DeviceListChanges | None = None) -> bytes:
    """What the device is told of its keys, as always, and whose devices have changed."""
    return object_of({**keys, "device_lists": changes.to_json()} if changes else keys)


def _to_device(ctx: Context, wanted: ToDeviceWanted) -> bytes | None:
    after = wanted.after or 0
    if after <= ctx.upto and not ctx.stream.changed_since(Kind.TO_DEVICE, after):
        return None
    asking = ctx.asking
    found = read_messages(
        ctx.tx, asking.user_id, asking.device_id, after=after, upto=ctx.upto, most=wanted.limit
    )
    if not found:
        return None
    return to_device_json(ctx.upto if found.upto is None else found.upto, found.events)


def to_device_json(position: int, events: Collection[bytes] = ()) -> bytes:
    """Messages to the device, and the token that proves that it has them."""
    body = {"next_batch": encode(stream_token(position))}
    return object_of(body | {"events": array(events)} if events else body)
