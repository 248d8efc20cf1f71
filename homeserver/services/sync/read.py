"""Reading a sync from the database: one snapshot, one answer."""

from collections.abc import Collection, Mapping

import msgspec
import structlog

from homeserver.core.identifiers import RoomID, UserID
from homeserver.core.json import encode
from homeserver.core.presence import presence_event
from homeserver.core.push_rules import UNMODIFIED, Customisation, Ruleset
from homeserver.core.receipts import receipt_events
from homeserver.core.splice import array, keyed, object_of
from homeserver.core.tokens import SyncToken
from homeserver.database.kinds import Kind
from homeserver.database.transactions import ReadTransaction
from homeserver.services.device_list_changes import read_changes
from homeserver.services.ignored_users import ignored_by
from homeserver.services.spoilt_rooms import left_out
from homeserver.services.sync.context import SyncContext
from homeserver.services.sync.key_counts import KeySections, has_changed, read_sections
from homeserver.services.sync.request import SyncAnswer, SyncRequest
from homeserver.services.sync.rooms import RoomExtras, joined_room, left_room
from homeserver.services.sync.stripped import stripped_room
from homeserver.services.sync.to_device import DeviceMessages, read_messages
from homeserver.services.unwanted_invites import unwanted
from homeserver.storage import (
    account_data,
    memberships,
    presence,
    push_rules,
    receipts,
    sticky_events,
    typing,
)
from homeserver.storage.account_data import AccountData
from homeserver.storage.memberships import RoomOfUser
from homeserver.storage.presence import PresenceOf
from homeserver.storage.sticky_events import StickyEvent

_GLOBAL = RoomID("")

_log = structlog.get_logger(__name__)


def read_sync(tx: ReadTransaction, request: SyncRequest) -> SyncAnswer:
    """Answer a sync as of now. Spec: client-server API, "Syncing"."""
    context = SyncContext(tx, request, tx.stream_row())
    since = request.since
    messages = _messages(context)
    if since is not None and since >= context.upto and not request.full_state:
        return _answer(context, messages.section, messages)
    context = msgspec.structs.replace(context, ignored=ignored_by(tx, request.user_id))
    all_rooms = memberships.rooms_of(tx, request.user_id)
    rooms = [room for room in all_rooms if request.filter.rooms.matches(room.room_id)]
    sections = _rooms(context, rooms)
    body = messages.section
    if sections:
        body["rooms"] = object_of({name: keyed(found) for name, found in sections.items()})
    if own_data := _account_data(context):
        body["account_data"] = object_of({"events": array(own_data)})
    if present := _presence(context, rooms):
        body["presence"] = object_of({"events": array(present)})
    if since is not None:
        changes = read_changes(tx, request.user_id, all_rooms, context.stream, since=since)
        if changes:
            body["device_lists"] = changes.to_json()
    return _answer(context, body, messages)


def _answer(context: SyncContext, body: Mapping[str, bytes], messages: DeviceMessages) -> SyncAnswer:
    token = SyncToken(context.upto, messages.upto)
    keys, have_changed = _keys(context)
    return SyncAnswer(
        object_of({"next_batch": encode(str(token)), **body, **keys}),
        context.upto,
        is_empty=not body and not messages and not have_changed,
        sent_members=context.new_members,
        unread=context.unread,
        messages=messages,
        keys=keys,
    )


def _keys(context: SyncContext) -> tuple[KeySections, bool]:
    """What the device is told of its keys, and whether that is news."""
    tx, request, since = context.tx, context.request, context.request.since
    if (
        since is not None
        and request.keys is not None
        and not context.stream.changed_since(Kind.DEVICE_LISTS, since)
    ):
        return request.keys, False
    keys = read_sections(tx, request.user_id, request.device_id)
    if since is None:
        return keys, False
    return keys, has_changed(tx, request.user_id, request.device_id, context.stream, since=since)


def _messages(context: SyncContext) -> DeviceMessages:
    request = context.request
    after = request.messages_after
    if after <= context.upto and not context.stream.changed_since(Kind.TO_DEVICE, after):
        return DeviceMessages()
    return read_messages(context.tx, request.user_id, request.device_id, after=after, upto=context.upto)


def _rooms(context: SyncContext, rooms: Collection[RoomOfUser]) -> dict[str, dict[RoomID, bytes]]:
    """The rooms by their section. One that cannot be shown, whatever a row of it holds, is left out and reported."""
    sections: dict[str, dict[RoomID, bytes]] = {}
    extras = _extras(context, [room for room in rooms if room.membership == "join"])
    hidden = unwanted(context.tx, context.request.user_id, rooms, context.ignored)
    for room in rooms:
        if room.room_nid not in extras if room.membership == "join" else room.room_nid in hidden:
            continue
        with left_out(room.room_id, context.request.user_id):
            section, found = _room(context, room, extras)
            if found is not None:
                sections.setdefault(section, {})[room.room_id] = found
    return sections


def _room(
    context: SyncContext, room: RoomOfUser, extras: Mapping[int, RoomExtras]
) -> tuple[str, bytes | None]:
    """The section that a room belongs to, and what is to be said of it there, if anything."""
    since = context.request.since
    if room.membership == "join":
        return "join", joined_room(context, room, extras[room.room_nid])
    if since is not None and room.position <= since and not _is_new_to_full_state(context, room):
        return room.membership, None
    if room.membership in ("invite", "knock"):
        return room.membership, stripped_room(context.tx, room, context.request.user_id)
    if room.forgotten or (since is None and not context.request.filter.include_leave):
        return "leave", None
    return "leave", left_room(context, room, RoomExtras([], [], {}))


def _is_new_to_full_state(context: SyncContext, room: RoomOfUser) -> bool:
    """With `full_state` the client gets its invites and knocks again, not the rooms that it has left."""
    return context.request.full_state and room.membership in ("invite", "knock")


def _extras(context: SyncContext, joined: list[RoomOfUser]) -> dict[int, RoomExtras]:
    """What else there is for each joined room that has any news at all."""
    since = context.request.since
    all_of_them = since is None or context.request.full_state
    receipts_of = _receipts(context, joined)
    typing_of = _typing(context, joined)
    data_of = _room_account_data(context, joined)
    sticky_of = _sticky(context, joined)
    read_on = _read_on(context, joined)
    news = [
        room
        for room in joined
        if all_of_them
        or room.last_position > (since or 0)
        or room.since_position > (since or 0)
        or room.room_nid in receipts_of
        or room.room_nid in typing_of
        or room.room_id in data_of
        or room.room_nid in sticky_of
        or room.room_nid in read_on
    ]
    read_upto = (
        receipts.own(context.tx, context.request.user_id, [room.room_nid for room in news]) if news else {}
    )
    matcher = context.request.filter.ephemeral
    return {
        room.room_nid: RoomExtras(
            [*receipts_of.get(room.room_nid, ()), *typing_of.get(room.room_nid, ())]
            if matcher.rooms.matches(room.room_id)
            else [],
            data_of.get(room.room_id, []),
            read_upto.get(room.room_nid, {}),
            sticky_of.get(room.room_nid, ()),
            has_read_on=room.room_nid in read_on,
        )
        for room in news
    }


def _receipts(context: SyncContext, joined: Collection[RoomOfUser]) -> dict[int, list[bytes]]:
    """The receipt events by room; all of its receipts for a room that is new to the client."""
    matcher = context.request.filter.ephemeral
    if not joined or not matcher.matches("m.receipt", None, has_url=False):
        return {}
    found: dict[int, list[bytes]] = {}
    for since, rooms in _by_since(context, joined).items():
        if since and not context.stream.changed_since(Kind.RECEIPTS, since):
            continue
        by_room = receipts.since(
            context.tx,
            context.request.user_id,
            [room.room_nid for room in rooms],
            since=since,
            upto=context.upto,
        )
        for room_nid, listed in by_room.items():
            found[room_nid] = [encode(event) for event in receipt_events(listed)]
    return found


def _read_on(context: SyncContext, joined: Collection[RoomOfUser]) -> set[int]:
    """The rooms whose unread counts have changed since the user has read on, and which show no receipts."""
    request, since = context.request, context.request.since
    matcher = request.filter.ephemeral
    if since is None or matcher.matches_all or not context.stream.changed_since(Kind.RECEIPTS, since):
        return set()
    passes = matcher.matches("m.receipt", None, has_url=False)
    hidden = [room.room_nid for room in joined if not (passes and matcher.rooms.matches(room.room_id))]
    if not hidden:
        return set()
    return receipts.moved(context.tx, request.user_id, hidden, since=since, upto=context.upto)


def _typing(context: SyncContext, joined: Collection[RoomOfUser]) -> dict[int, list[bytes]]:
    """The typing event by room, where it changed; for a room that is new to the client, where somebody types."""
    matcher = context.request.filter.ephemeral
    if not joined or not matcher.matches("m.typing", None, has_url=False):
        return {}
    found: dict[int, list[bytes]] = {}
    for since, rooms in _by_since(context, joined).items():
        if not context.stream.changed_since(Kind.TYPING, since):
            continue
        nids = {room.room_nid for room in rooms}
        if since:
            nids = typing.changed(context.tx, nids, since=since, upto=context.upto)
        if not nids:
            continue
        users = typing.now(context.tx, nids, now_ts=context.request.now_ts)
        for nid in nids if since else users:
            found[nid] = [encode({"type": "m.typing", "content": {"user_ids": [*users.get(nid, ())]}})]
    return found


def _sticky(context: SyncContext, joined: Collection[RoomOfUser]) -> dict[int, list[StickyEvent]]:
    """The sticky events by room; all that stick of a room that is new to the client."""
    found: dict[int, list[StickyEvent]] = {}
    if not joined or not context.stream.changed_since(Kind.STICKY_EVENTS, 0):
        return found
    for since, rooms in _by_since(context, joined).items():
        if since and not context.stream.changed_since(Kind.STICKY_EVENTS, since):
            continue
        nids = [room.room_nid for room in rooms]
        for each in sticky_events.shown(
            context.tx, nids, since=since, upto=context.upto, now_ts=context.request.now_ts
        ):
            found.setdefault(each.room_nid, []).append(each)
    return found


def _by_since(context: SyncContext, joined: Collection[RoomOfUser]) -> dict[int, list[RoomOfUser]]:
    """The rooms by the position from which the client needs news: its token, or 0 for all of it."""
    since = context.request.since
    groups: dict[int, list[RoomOfUser]] = {}
    for room in joined:
        is_new = since is None or room.since_position > since
        groups.setdefault(0 if is_new or since is None else since, []).append(room)
    return groups


def _room_account_data(context: SyncContext, joined: Collection[RoomOfUser]) -> dict[RoomID, list[bytes]]:
    matcher = context.request.filter.room_account_data
    found: dict[RoomID, list[bytes]] = {}
    for data in _data_rows(context, joined):
        if (
            data.room_id != _GLOBAL
            and matcher.rooms.matches(data.room_id)
            and matcher.matches(data.type, None, has_url=False)
        ):
            found.setdefault(data.room_id, []).append(data_json(data))
    return found


def _data_rows(context: SyncContext, joined: Collection[RoomOfUser]) -> list[AccountData]:
    request, since = context.request, context.request.since
    if since is None or request.full_state:
        return account_data.all_of(context.tx, request.user_id, upto=context.upto)
    rows: list[AccountData] = []
    if context.stream.changed_since(Kind.ACCOUNT_DATA, since):
        rows = account_data.since(context.tx, request.user_id, since=since, upto=context.upto)
    new_rooms = [room.room_id for room in joined if room.since_position > since]
    if new_rooms:
        rows = [data for data in rows if data.room_id not in new_rooms]
        rows += account_data.of_rooms(context.tx, request.user_id, new_rooms, upto=context.upto)
    return rows


def _account_data(context: SyncContext) -> list[bytes]:
    """The user's global account data, with the push rules as `m.push_rules`."""
    request, since = context.request, context.request.since
    matcher = request.filter.account_data
    first = since is None or request.full_state
    if not first and not context.stream.changed_since(Kind.ACCOUNT_DATA, since or 0):
        return []
    found = [
        data_json(data)
        for data in _data_rows(context, ())
        if data.room_id == _GLOBAL and matcher.matches(data.type, None)
    ]
    if matcher.matches("m.push_rules", None) and (
        first or push_rules.has_changed(context.tx, request.user_id, since=since or 0, upto=context.upto)
    ):
        found.append(push_rules_event(context.tx, context.request.user_id))
    return found


def push_rules_event(tx: ReadTransaction, user_id: UserID) -> bytes:
    """The user's push rules, in the form of account data."""
    stored = push_rules.of(tx, user_id)
    ruleset = UNMODIFIED if stored is None else Ruleset.of(Customisation.from_bytes(stored))
    rules = ruleset.to_json(user_id)
    return encode({"type": "m.push_rules", "content": {"global": rules}})


def data_json(data: AccountData) -> bytes:
    """Account data as clients see them."""
    return object_of({"type": encode(data.type), "content": data.content})


def _presence(context: SyncContext, rooms: Collection[RoomOfUser]) -> list[bytes]:
    """What has changed for those whom the user shares a room with, and how those are who have newly become such."""
    request, since = context.request, context.request.since
    matcher = request.filter.presence
    if matcher.matches_none:
        return []
    rows: list[PresenceOf] = []
    if since is None or context.stream.changed_since(Kind.PRESENCE, since):
        rows = presence.since(context.tx, request.user_id, since=since or 0, upto=context.upto)
    if since is not None:
        changed = [
            room.room_nid for room in rooms if room.membership == "join" and room.state_position > since
        ]
        met = presence.newly_met(context.tx, request.user_id, changed, since=since, upto=context.upto)
        told = {row.user_id for row in rows}
        rows = [*(row for row in met if row.user_id not in told), *rows]
    return [
        encode(presence_event(row.user_id, row.presence, row.profile, request.now_ts))
        for row in rows
        if matcher.matches("m.presence", row.user_id)
    ]
