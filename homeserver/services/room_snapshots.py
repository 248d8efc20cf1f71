"""Rooms as they are now, with their newest messages: a look into a room, and what there was before `/sync`.

Spec: client-server API, `room_initial_sync` and `old_sync`.
"""

from typing import Final

import msgspec

from homeserver.core.identifiers import RoomID, UserID
from homeserver.core.json import encode
from homeserver.core.presence import presence_event
from homeserver.core.push_rules import UNMODIFIED, Customisation, Ruleset
from homeserver.core.requester import Requester
from homeserver.core.room_versions import get_room_version
from homeserver.core.splice import array, object_of
from homeserver.database.database import Database
from homeserver.database.transactions import ReadTransaction
from homeserver.runtime.clock import Clock
from homeserver.services.awaited_members import AwaitedMembers
from homeserver.services.client_events import View, render, render_one
from homeserver.services.history_access import BEGINNING, Access, enter
from homeserver.services.ignored_users import ignored_by
from homeserver.services.spoilt_rooms import left_out
from homeserver.services.timelines import DEFAULT_LIMIT, EVERYTHING, MAX_LIMIT, Direction, read_up_to_gap
from homeserver.services.unwanted_invites import unwanted
from homeserver.storage import account_data, events, memberships, presence, push_rules, rooms, state
from homeserver.storage.account_data import AccountData

TOLD: Final = frozenset({"invite", "join", "leave", "ban"})
"""The memberships that these responses know."""


class _Account(msgspec.Struct, frozen=True):
    """What a snapshot of an account has beside its rooms, all as JSON, and which rooms those are."""

    upto: int
    room_ids: list[RoomID]
    presence: list[bytes]
    account_data: list[bytes]


class RoomSnapshots(msgspec.Struct, frozen=True):
    """Takes snapshots."""

    database: Database
    clock: Clock
    awaited: AwaitedMembers

    async def room(self, requester: Requester, room_id: RoomID) -> bytes:
        """The JSON of one room: state, newest messages, the requester's own data.

        Errors: Forbidden if the requester may not read the room; LimitExceeded if its members are not known for too
        long.
        """
        await self.awaited.need(room_id)
        return await self.database.read(
            read_room, room_id, requester.user_id, requester.device_id, now_ts=self.clock.now_ts()
        )

    async def account(self, requester: Requester, *, limit: int | None, archived: bool) -> bytes:
        """The JSON of all of the requester's rooms; those that were left, too, if `archived`.

        `limit` is the number of messages per room.
        """
        now_ts = self.clock.now_ts()
        user_id = requester.user_id
        account = await self.database.read(read_account, user_id, archived=archived, now_ts=now_ts)
        most = DEFAULT_LIMIT if limit is None else max(0, min(limit, MAX_LIMIT))
        found: list[bytes] = []
        for room_id in account.room_ids:
            # A transaction each: an account may have thousands of rooms, and others want to read, too.
            with left_out(room_id, user_id):
                room = await self.database.read(
                    read_room_of,
                    room_id,
                    user_id,
                    requester.device_id,
                    upto=account.upto,
                    limit=most,
                    now_ts=now_ts,
                )
                if room is not None:
                    found.append(room)
        return object_of(
            {
                "end": b'"s%d"' % account.upto,
                "presence": array(account.presence),
                "rooms": array(found),
                "account_data": array(account.account_data),
            }
        )


def read_room(
    tx: ReadTransaction, room_id: RoomID, user_id: UserID, device_id: str | None, *, now_ts: int
) -> bytes:
    """As `RoomSnapshots.room`."""
    access = enter(tx, user_id, room_id)
    view = View(access.room_id, access.version, user_id, device_id, now_ts, with_room_id=True)
    return _snapshot(tx, access, view, upto=tx.stream_row().position, limit=DEFAULT_LIMIT)


def read_account(tx: ReadTransaction, user_id: UserID, *, archived: bool, now_ts: int) -> _Account:
    """Everything but the rooms themselves."""
    upto = tx.stream_row().position
    shown = ("join", "invite", "leave", "ban") if archived else ("join", "invite")
    stored = push_rules.of(tx, user_id)
    ruleset = UNMODIFIED if stored is None else Ruleset.of(Customisation.from_bytes(stored))
    rules = encode({"type": "m.push_rules", "content": {"global": ruleset.to_json(user_id)}})
    own = account_data.of_rooms(tx, user_id, [account_data.GLOBAL], upto=upto)
    rooms_of_user = memberships.rooms_of(tx, user_id)
    hidden = unwanted(tx, user_id, rooms_of_user, ignored_by(tx, user_id))
    return _Account(
        upto,
        [
            room.room_id
            for room in rooms_of_user
            if room.membership in shown and not room.forgotten and room.room_nid not in hidden
        ],
        [
            encode(presence_event(row.user_id, row.presence, row.profile, now_ts))
            for row in presence.since(tx, user_id, since=0, upto=upto)
        ],
        [*map(_data, own), rules],
    )


def read_room_of(
    tx: ReadTransaction,
    room_id: RoomID,
    user_id: UserID,
    device_id: str | None,
    *,
    upto: int,
    limit: int,
    now_ts: int,
) -> bytes | None:
    """One of the user's rooms, as of `upto`; `None` if it is no longer one."""
    mine = memberships.room_of(tx, user_id, room_id)
    if mine is None or mine.forgotten:
        return None
    version = get_room_version(mine.version)
    view = View(room_id, version, user_id, device_id, now_ts, with_room_id=True)
    if mine.membership == "join" or (mine.was_joined and mine.membership != "invite"):
        return _snapshot(tx, enter(tx, user_id, room_id), view, upto=upto, limit=limit)
    body = {"room_id": encode(room_id), "membership": encode(mine.membership)}
    if mine.membership == "invite":
        invite = events.of_nids(tx, [mine.event_nid])[mine.event_nid]
        body["invite"] = render_one(tx, view, invite, None)
    return object_of(body)


def _snapshot(tx: ReadTransaction, access: Access, view: View, *, upto: int, limit: int) -> bytes:
    newest = min(upto, access.departure)
    page = read_up_to_gap(
        tx, access, EVERYTHING, Direction.BACKWARDS, after=BEGINNING, newest=newest, limit=limit
    )
    messages = {
        "end": b'"s%d"' % newest,
        "chunk": array(render(tx, view, page.events[::-1])),
    }
    if not page.is_exhausted or page.gap is not None:
        messages["start"] = b'"s%d"' % page.reached
    stored = events.of_nids(tx, state.event_nids(tx, state.root_at(tx, access.room_nid, newest)))
    room = rooms.of(tx, access.room_id)
    own = account_data.of_rooms(tx, view.user_id, [access.room_id], upto=upto)
    body = {
        "room_id": encode(access.room_id),
        "messages": object_of(messages),
        "state": array(render(tx, view, [(stored[nid], None) for nid in sorted(stored)])),
        "visibility": b'"public"' if room is not None and room.is_public else b'"private"',
        "account_data": array(map(_data, own)),
    }
    if access.reader.membership in TOLD:
        body["membership"] = encode(access.reader.membership)
    return object_of(body)


def _data(data: AccountData) -> bytes:
    return object_of({"type": encode(data.type), "content": data.content})
