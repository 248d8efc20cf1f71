"""Membership events of this server's users, on top of what the auth rules ask of everybody.

Suspended users and guests may do less, restricted joins need a member who vouches, and the display name and the
avatar come from the profile of the user whom the event is about.
"""

from typing import Final, Self

import msgspec

from homeserver.core.auth_events import member_of
from homeserver.core.errors import CannotLeaveServerNoticeRoom, GuestAccessForbidden, UserSuspended
from homeserver.core.event import Event
from homeserver.core.identifiers import RoomID, UserID
from homeserver.core.json import JsonObject
from homeserver.core.profiles import AVATAR_URL, DISPLAY_NAME, check_value
from homeserver.core.requester import Requester
from homeserver.database.transactions import ReadTransaction, WriteTransaction
from homeserver.rooms import invitations
from homeserver.rooms.append import Appender
from homeserver.rooms.current_state import RoomState, current_content
from homeserver.rooms.draft import Draft, Signer
from homeserver.rooms.members import member_content
from homeserver.rooms.partial_states import check_known
from homeserver.rooms.restricted_joins import authoriser_for
from homeserver.storage import server_notices, users

AUTHORISER: Final = "join_authorised_via_users_server"
GUEST_ACCESS: Final = ("m.room.guest_access", "")


class MembershipChanges(msgspec.Struct, frozen=True):
    """What one user changes about the members of one locked room."""

    tx: WriteTransaction
    signer: Signer
    requester: Requester
    appender: Appender

    @classmethod
    def lock(
        cls,
        tx: WriteTransaction,
        signer: Signer,
        requester: Requester,
        room_id: RoomID,
        *,
        now_ts: int,
    ) -> Self:
        """Lock the room for the transaction. Errors: NotFound if this server does not hold it."""
        return cls(tx, signer, requester, Appender.lock(tx, room_id, signer, now_ts=now_ts))

    def current(self, user_id: UserID) -> str | None:
        """The user's membership, `None` if the room's state has never named the user. Errors: StateWanted."""
        member = self.appender.state_event(member_of(user_id))
        if member is None:
            check_known(self.appender.room, [member_of(user_id)], ())
        return None if member is None else str(member.content.get("membership"))

    def set(
        self, user_id: UserID, membership: str, extra: JsonObject, *, delay_id: str | None = None
    ) -> Event:
        """Append and publish the membership event; `extra` is what else the client wants in its content.

        `delay_id` is for one that had been scheduled.

        Errors: Forbidden, GuestAccessForbidden, InviteBlocked, UserSuspended; CannotLeaveServerNoticeRoom;
        InvalidParam, BadJson, TooLarge if `extra` cannot be.
        """
        requester = self.requester
        if membership == "leave" and user_id == requester.user_id:
            self._check_may_refuse(user_id)
        check_account(self.tx, requester, user_id, membership)
        content = content_of(self.tx, requester, user_id, membership, extra)
        if membership == "join" and user_id == requester.user_id:
            if requester.is_guest and not guests_can_join(self.appender):
                raise GuestAccessForbidden("This room does not admit guests")
            authoriser = authoriser_for(self.tx, self.appender, user_id, self.signer.server_name)
            if authoriser is not None:
                content[AUTHORISER] = authoriser
        draft = Draft(requester.user_id, "m.room.member", content, state_key=user_id, txn_id=delay_id)
        event = self.appender.append(draft)
        if membership == "invite":
            # After the auth rules have had their say; it is all taken back if the user does not want it.
            invitations.check_accepts(self.tx, user_id)
        self.appender.publish()
        return event

    def _check_may_refuse(self, user_id: UserID) -> None:
        """Whether an invitation, if the user has one, may be rejected. Errors: CannotLeaveServerNoticeRoom.

        Spec: client-server API, "Server Notices".
        """
        room_id = self.appender.room.room_id
        if server_notices.room_of(self.tx, user_id) == room_id and self.current(user_id) == "invite":
            raise CannotLeaveServerNoticeRoom


def check_account(tx: ReadTransaction, requester: Requester, user_id: UserID, membership: str) -> None:
    """Whether the requester's account may set such a membership. Errors: GuestAccessForbidden, UserSuspended."""
    is_own = user_id == requester.user_id
    if requester.is_guest and not (is_own and membership in ("join", "leave")):
        raise GuestAccessForbidden("Guests can only join and leave")
    if not (is_own and membership == "leave"):
        check_not_suspended(tx, requester.user_id)


def content_of(
    tx: ReadTransaction, requester: Requester, user_id: UserID, membership: str, extra: JsonObject
) -> JsonObject:
    """The content of the event that the requester wants; `extra` as in `MembershipChanges.set`.

    Errors: InvalidParam, BadJson for names that cannot be.
    """
    given = {key: value for key, value in extra.items() if key not in ("membership", AUTHORISER)}
    for key in (DISPLAY_NAME, AVATAR_URL):
        if user_id != requester.user_id:
            # Nobody gives names to others.
            given.pop(key, None)
        elif given.get(key) is not None:
            check_value(key, given[key])
    return member_content(tx, user_id, membership) | given


def guests_can_join(state: RoomState) -> bool:
    """Whether the room admits guests. Spec: client-server API, "Guest Access"."""
    return current_content(state, GUEST_ACCESS).get("guest_access") == "can_join"


def check_not_suspended(tx: ReadTransaction, user_id: UserID) -> None:
    """Errors: UserSuspended. Spec: client-server API, "Account suspension"."""
    user = users.find(tx, user_id)
    if user is not None and user.is_suspended:
        raise UserSuspended("You cannot do this while your account is suspended")
