"""Setting and reading the state of rooms."""

import msgspec

from homeserver.core.errors import InvalidParam, NotFound
from homeserver.core.event import StateKey
from homeserver.core.identifiers import EventID, RoomID
from homeserver.core.json import JsonObject
from homeserver.core.requester import Requester
from homeserver.core.splice import array
from homeserver.database.database import Database
from homeserver.database.transactions import ReadTransaction, WriteTransaction
from homeserver.rooms.append import Appender
from homeserver.rooms.draft import Draft, Signer
from homeserver.rooms.membership_changes import GUEST_ACCESS, check_not_suspended
from homeserver.runtime.clock import Clock
from homeserver.services.awaited_members import AwaitedMembers
from homeserver.services.client_events import View, content_of, render, render_one
from homeserver.services.guest_access import GuestAccess
from homeserver.services.history_access import Access, enter, readable_root
from homeserver.services.memberships import Memberships
from homeserver.services.state_checks import check_state_content
from homeserver.storage import events, state

MEMBER = "m.room.member"


class RoomState(msgspec.Struct, frozen=True):
    """Sets state events, and reads the state of rooms."""

    database: Database
    clock: Clock
    signer: Signer
    guest_access: GuestAccess
    memberships: Memberships
    awaited: AwaitedMembers

    async def set(
        self,
        requester: Requester,
        room_id: RoomID,
        type: str,
        state_key: str,
        content: JsonObject,
        *,
        sticky_duration_ms: int | None = None,
    ) -> EventID:
        """Set a state event; what is set already gives the event that set it.

        With `sticky_duration_ms` it is a sticky event, and a new one in any case.
        Errors: Forbidden if the auth rules refuse; InvalidParam, BadAlias, BadJson, TooLarge for the content;
        for memberships as their own endpoints, and InvalidParam for one that is to stick. Spec: client-server API,
        `room_state.yaml`.
        """
        if type == MEMBER:
            check_may_stick(type, sticky_duration_ms)
            return await self.memberships.set_member(requester, room_id, state_key, content)
        event_id = await self.database.write(
            set_state,
            self.signer,
            requester,
            room_id,
            (type, state_key),
            content,
            now_ts=self.clock.now_ts(),
            sticky_duration_ms=sticky_duration_ms,
        )
        if (type, state_key) == GUEST_ACCESS:
            await self.guest_access.enforce(room_id)
        return event_id

    async def whole(self, requester: Requester, room_id: RoomID) -> bytes:
        """The state as a JSON array of events: the current one, or that at which the requester left.

        Errors: Forbidden; LimitExceeded if it is not known for too long. Spec: client-server API,
        `GET /rooms/{roomId}/state`.
        """
        await self.awaited.need(room_id)
        return await self.database.read(whole_state, requester, room_id, now_ts=self.clock.now_ts())

    async def one(self, requester: Requester, room_id: RoomID, key: StateKey, *, as_event: bool) -> bytes:
        """The JSON of one state event's content, or of the event.

        Errors: Forbidden; NotFound if the state has no such event; LimitExceeded, as `whole`.
        """
        if key[0] == MEMBER:
            await self.awaited.need(room_id)
        return await self.database.read(
            one_state_event, requester, room_id, key, as_event=as_event, now_ts=self.clock.now_ts()
        )


def set_state(
    tx: WriteTransaction,
    signer: Signer,
    requester: Requester,
    room_id: RoomID,
    key: StateKey,
    content: JsonObject,
    *,
    now_ts: int,
    delay_id: str | None = None,
    sticky_duration_ms: int | None = None,
) -> EventID:
    """Set a state event other than a membership. Errors: see `RoomState.set`."""
    check_not_suspended(tx, requester.user_id)
    appender = Appender.lock(tx, room_id, signer, now_ts=now_ts)
    check_state_content(tx, appender, signer, *key, content)
    draft = Draft(requester.user_id, key[0], content, state_key=key[1], txn_id=delay_id)
    event = appender.append(msgspec.structs.replace(draft, sticky_duration_ms=sticky_duration_ms))
    appender.publish()
    return event.event_id


def check_may_stick(type: str, sticky_duration_ms: int | None) -> None:
    """Refuse a membership that is to stick: every client knows it anyway. Errors: InvalidParam."""
    if type == MEMBER and sticky_duration_ms is not None:
        raise InvalidParam("A membership cannot be sticky")


def whole_state(tx: ReadTransaction, requester: Requester, room_id: RoomID, *, now_ts: int) -> bytes:
    """The state that the requester may see. Errors: Forbidden."""
    access = enter(tx, requester.user_id, room_id)
    stored = events.of_nids(tx, state.event_nids(tx, readable_root(tx, access)))
    shown = [(stored[nid], None) for nid in sorted(stored)]
    return array(render(tx, _view(requester, access, now_ts), shown))


def one_state_event(
    tx: ReadTransaction, requester: Requester, room_id: RoomID, key: StateKey, *, as_event: bool, now_ts: int
) -> bytes:
    """One event of that state. Errors: Forbidden, NotFound."""
    access = enter(tx, requester.user_id, room_id)
    nid = state.get(tx, readable_root(tx, access), key)
    if nid is None:
        raise NotFound("The room has no such state")
    event = events.of_nids(tx, [nid])[nid]
    if not as_event:
        return content_of(event)
    return render_one(tx, _view(requester, access, now_ts), event, None)


def _view(requester: Requester, access: Access, now_ts: int) -> View:
    return View(
        access.room_id, access.version, requester.user_id, requester.device_id, now_ts, with_room_id=True
    )
