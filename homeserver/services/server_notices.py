"""What this server tells its users, each in a room of its own. Spec: client-server API, "Server Notices"."""

import secrets
from typing import Final

import msgspec

from homeserver.core.auth_events import member_of
from homeserver.core.errors import Forbidden, InvalidParam, NotFound, Unknown
from homeserver.core.identifiers import EventID, RoomID, UserID, server_of
from homeserver.core.json import JsonObject
from homeserver.core.profiles import AVATAR_URL, DISPLAY_NAME
from homeserver.core.requester import Requester
from homeserver.core.room_versions import RoomVersion, get_room_version
from homeserver.database.database import Database
from homeserver.database.transactions import WriteTransaction
from homeserver.rooms import invitations
from homeserver.rooms.append import Appender
from homeserver.rooms.current_state import current_content
from homeserver.rooms.draft import Draft, Signer
from homeserver.rooms.members import member_content
from homeserver.runtime.clock import Clock
from homeserver.services import tags
from homeserver.services.room_creation import NewRoom, StateDraft, create_room
from homeserver.storage import client_transactions, profiles, rooms, server_notices, users

TAG: Final = "m.server_notice"

USER_TYPE: Final = "server_notices"
"""Of the account that sends them: nobody else's is called so."""

NO_POWER: Final[JsonObject] = {"users_default": -10}
"""Who is told something does not answer there."""


class Sender(msgspec.Struct, frozen=True):
    """Who sends the notices, and how the rooms look. With `auto_join` users are in them without being asked."""

    user_id: UserID
    display_name: str
    avatar_url: str | None
    room_name: str
    room_topic: str | None
    auto_join: bool


class Notice(msgspec.Struct, frozen=True):
    """What a user is told: a message, or with a `state_key` a state event."""

    user_id: UserID
    type: str
    content: JsonObject
    state_key: str | None = None


class ServerNotices(msgspec.Struct, frozen=True):
    """Sends notices; without a `sender` there are none."""

    database: Database
    clock: Clock
    signer: Signer
    sender: Sender | None
    room_version: str

    async def send(self, requester: Requester, notice: Notice, txn_id: str | None) -> EventID:
        """Send a notice to a user of this server; the same `txn_id` from the same device gives the same event.

        The user is invited, unless the configuration says otherwise, or the user blocks invitations: then he is
        joined. Errors: Forbidden for who is no administrator; Unknown if there are no notices here; InvalidParam for a
        user of another server; NotFound for one who is not there; BadJson, TooLarge for what cannot be an event.
        """
        if not requester.is_admin:
            raise Forbidden("You are not a server admin")
        sender = self._sender()
        if server_of(notice.user_id) != self.signer.server_name:
            raise InvalidParam("Server notices can only be sent to local users")
        if notice.type == "m.room.member":
            raise InvalidParam("Who is in the room is not for notices to say")
        version = get_room_version(self.room_version)
        room_id = None
        if not version.room_id_is_create_hash:
            room_id = RoomID(f"!{secrets.token_urlsafe(18)}:{self.signer.server_name}")
        now_ts = self.clock.now_ts()
        room_id = await self.database.write(
            prepare, sender, notice.user_id, version, room_id, self.signer, now_ts=now_ts
        )
        return await self.database.write(
            send_once, sender, requester, room_id, notice, txn_id, self.signer, now_ts=now_ts
        )

    def _sender(self) -> Sender:
        if self.sender is None:
            raise Unknown("Server notices are not enabled on this server", status=400)
        return self.sender


def prepare(
    tx: WriteTransaction,
    sender: Sender,
    user_id: UserID,
    version: RoomVersion,
    room_id: RoomID | None,
    signer: Signer,
    *,
    now_ts: int,
) -> RoomID:
    """The user's room, which is made if there is none yet: as `room_id`, where it does not follow from its first event.

    Errors: NotFound for a user who is not there; Unknown if somebody else has the name of the sender.
    """
    user = users.find(tx, user_id)
    if user is None or user.is_deactivated:
        raise NotFound("User not found")
    known = server_notices.room_of(tx, user_id)
    if known is not None and (room := rooms.of(tx, known)) is not None and room.is_held:
        return known
    _make_sender(tx, sender, now_ts=now_ts)
    avatar: tuple[StateDraft, ...] = ()
    if sender.avatar_url is not None:
        avatar = (StateDraft("m.room.avatar", "", {"url": sender.avatar_url}),)
    wanted = NewRoom(
        preset="private_chat",
        name=sender.room_name,
        topic=sender.room_topic,
        creation_content={"m.federate": False},
        initial_state=avatar,
        power_level_content_override=NO_POWER,
    )
    made = create_room(tx, sender.user_id, wanted, version, room_id, None, signer, now_ts=now_ts)
    server_notices.set_room(tx, user_id, made)
    return made


def send_once(
    tx: WriteTransaction,
    sender: Sender,
    requester: Requester,
    room_id: RoomID,
    notice: Notice,
    txn_id: str | None,
    signer: Signer,
    *,
    now_ts: int,
) -> EventID:
    """Send the notice, unless this device has already made this request; who is not in the room is asked in."""
    device, request = requester.device_id or "", f"send_server_notice/{txn_id}"
    appender = Appender.lock(tx, room_id, signer, now_ts=now_ts)
    if txn_id is not None:
        done = client_transactions.result_of(tx, requester.user_id, device, request)
        if done is not None:
            return EventID(done)
    _bring_in(tx, appender, sender, notice.user_id)
    event = appender.append(Draft(sender.user_id, notice.type, notice.content, state_key=notice.state_key))
    appender.publish()
    if TAG not in tags.tags_of(tx, notice.user_id, room_id):
        tags.set_tag(tx, notice.user_id, room_id, TAG, {})
    if txn_id is not None:
        client_transactions.remember(
            tx, requester.user_id, device, request, result=event.event_id, now_ts=now_ts
        )
    return event.event_id


def _bring_in(tx: WriteTransaction, appender: Appender, sender: Sender, user_id: UserID) -> None:
    """Invite the user, or have him join, if he is neither invited nor joined."""
    membership = current_content(appender, member_of(user_id)).get("membership")
    if membership == "join":
        return
    if membership != "invite":
        content = member_content(tx, user_id, "invite")
        appender.append(Draft(sender.user_id, "m.room.member", content, state_key=user_id))
    if sender.auto_join or invitations.are_blocked(tx, user_id):
        content = member_content(tx, user_id, "join")
        appender.append(Draft(user_id, "m.room.member", content, state_key=user_id))


def _make_sender(tx: WriteTransaction, sender: Sender, *, now_ts: int) -> None:
    """Make the account that sends notices, if it is not there, and give it its name. Errors: Unknown."""
    user_id = sender.user_id
    users.create(
        tx,
        user_id,
        password_hash=None,
        display_name=sender.display_name,
        now_ts=now_ts,
        user_type=USER_TYPE,
    )
    account = users.find(tx, user_id)
    if account is None or account.user_type != USER_TYPE:
        raise Unknown(f"{user_id}, who is to send server notices, is somebody's account")
    profiles.put(tx, user_id, DISPLAY_NAME, sender.display_name)
    if sender.avatar_url is not None:
        profiles.put(tx, user_id, AVATAR_URL, sender.avatar_url)
