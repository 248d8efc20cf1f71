"""The members of rooms, as clients ask for them."""

from typing import Final

import msgspec

from homeserver.core.appservices import Appservice, Appservices
from homeserver.core.errors import Forbidden
from homeserver.core.identifiers import RoomID, UserID, server_of
from homeserver.core.requester import Requester
from homeserver.core.splice import array, object_of
from homeserver.core.state_trie import EMPTY
from homeserver.database.database import Database
from homeserver.database.transactions import ReadTransaction
from homeserver.runtime.clock import Clock
from homeserver.services.awaited_members import AwaitedMembers
from homeserver.services.client_events import View, render
from homeserver.services.history_access import BEGINNING, NEWEST, Access, Standing, enter, readable_root, seen
from homeserver.storage import events, memberships, partial_joins, rooms, state
from homeserver.storage.events import StoredEvent

MEMBER: Final = "m.room.member"


class MembersRequest(msgspec.Struct, frozen=True):
    """Which members a client asks for: as of the position `at` (`None`: now), and with which membership.

    Given both `membership` and `not_membership`, whoever has the one or has not the other.
    """

    room_id: RoomID
    at: int | None
    membership: str | None
    not_membership: str | None

    def wants(self, event: StoredEvent) -> bool:
        """Whether this membership event is asked for."""
        if self.membership is None and self.not_membership is None:
            return True
        return (self.membership is not None and event.membership == self.membership) or (
            self.not_membership is not None and event.membership != self.not_membership
        )


class RoomMember(msgspec.Struct, omit_defaults=True):
    """A member's profile in a room."""

    display_name: str | None = None
    avatar_url: str | None = None


class _Content(msgspec.Struct, gc=False):
    # Other servers' users put there what they like.
    displayname: object = None
    avatar_url: object = None


class _Pdu(msgspec.Struct, gc=False):
    content: _Content


_pdu = msgspec.json.Decoder(_Pdu)


class RoomMembers(msgspec.Struct, frozen=True):
    """Lists members."""

    database: Database
    clock: Clock
    awaited: AwaitedMembers
    appservices: Appservices = Appservices()

    async def members(self, requester: Requester, request: MembersRequest) -> bytes:
        """The membership events in a JSON array; for a former member, as of the departure.

        Errors: Forbidden if the requester may not read the room, or not at the position asked for; LimitExceeded if
        the members are not known for too long.
        """
        await self.awaited.need(request.room_id)
        return await self.database.read(
            read_members, request, requester.user_id, requester.device_id, now_ts=self.clock.now_ts()
        )

    async def joined(self, requester: Requester, room_id: RoomID) -> dict[UserID, RoomMember]:
        """Who is joined, with the profiles that they have in the room.

        An application service may ask about the rooms of all its users. Errors: Forbidden if the requester is not
        joined; LimitExceeded, as `members`.
        """
        await self.awaited.need(room_id)
        appservice = (
            None if requester.appservice_id is None else self.appservices.of_id(requester.appservice_id)
        )
        return await self.database.read(read_joined, room_id, requester.user_id, appservice)


def read_members(
    tx: ReadTransaction, request: MembersRequest, user_id: UserID, device_id: str | None, *, now_ts: int
) -> bytes:
    """As `RoomMembers.members`."""
    access = enter(tx, user_id, request.room_id)
    root = readable_root(tx, access) if request.at is None else _root_at(tx, access, request.at)
    nids = sorted((key, nid) for key, nid in state.whole(tx, root).items() if key[0] == MEMBER)
    stored = events.of_nids(tx, [nid for _, nid in nids])
    shown = (stored[nid] for _, nid in nids)
    view = View(access.room_id, access.version, user_id, device_id, now_ts, with_room_id=True)
    rendered = render(tx, view, [(event, None) for event in shown if request.wants(event)])
    return object_of({"chunk": array(rendered)})


def _user_inside(tx: ReadTransaction, room_id: RoomID, appservice: Appservice) -> UserID | None:
    """A user of the application service who is joined to the room."""
    room_nid = rooms.nid_of(tx, room_id)
    if room_nid is None:
        return None
    here = server_of(appservice.sender)
    joined = memberships.member_events(tx, room_nid, "join")
    return next((each for each, _ in joined if server_of(each) == here and appservice.may_act_as(each)), None)


def read_joined(
    tx: ReadTransaction, room_id: RoomID, user_id: UserID, appservice: Appservice | None
) -> dict[UserID, RoomMember]:
    """As `RoomMembers.joined`."""
    if appservice is not None:
        user_id = _user_inside(tx, room_id, appservice) or user_id
    access = enter(tx, user_id, room_id)
    if access.standing is not Standing.MEMBER:
        raise Forbidden("You are not joined to this room")
    return {
        member_id: _profile(pdu) for member_id, pdu in memberships.member_events(tx, access.room_nid, "join")
    }


def _root_at(tx: ReadTransaction, access: Access, at: int) -> int:
    """The room's state as of a position, for who may see the events on one side of it.

    Errors: Forbidden for everybody else.
    """
    at = min(at, access.departure)
    last = events.page(tx, access.room_nid, after=BEGINNING, newest=at, most=1, order="newest first")
    following = events.page(tx, access.room_nid, after=at, newest=NEWEST, most=1, order="oldest first")
    if not seen(tx, access, [*last, *following]):
        raise Forbidden("You may not see the room as it was then")
    completed = partial_joins.completed_at(tx, access.room_nid)
    # Before that, many who were there are not in the state.
    root = state.root_at(tx, access.room_nid, at if completed is None else max(at, completed))
    if root == EMPTY and following and following[0].state_root is not None:
        # History that was fetched later has no current state of its own.
        root = following[0].state_root
    return root


def _profile(pdu: bytes) -> RoomMember:
    content = _pdu.decode(pdu).content
    name, avatar = content.displayname, content.avatar_url
    return RoomMember(name if isinstance(name, str) else None, avatar if isinstance(avatar, str) else None)
