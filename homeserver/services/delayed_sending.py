"""Sending an event whose time has come, in the transaction that notes that it was sent.

Whether its user may send it is judged then, by the room and the account as they are at that moment. Spec: MSC4140,
"Power levels are evaluated at the point of sending".
"""

import msgspec

from homeserver.core.errors import Forbidden, UserLocked
from homeserver.core.identifiers import EventID, ServerName, UserID, parse_user_id, server_of
from homeserver.core.json import JsonObject, decode_object
from homeserver.core.requester import Requester
from homeserver.database.transactions import WriteTransaction
from homeserver.rooms.append import Appender
from homeserver.rooms.draft import Signer
from homeserver.services.memberships import set_member
from homeserver.services.messages import append_message, message_draft
from homeserver.services.room_state import MEMBER, set_state
from homeserver.storage import users
from homeserver.storage.delayed_events import Delayed


def send_delayed(tx: WriteTransaction, signer: Signer, delayed: Delayed, *, now_ts: int) -> EventID:
    """Send the event in its user's name.

    Errors: UserLocked; Forbidden for an account that is gone; as for sending it at once.
    """
    requester = _requester(tx, delayed.user_id)
    content = decode_object(delayed.content)
    if delayed.state_key is None:
        appender = Appender.lock(tx, delayed.room_id, signer, now_ts=now_ts)
        draft = message_draft(delayed.user_id, delayed.type, content, delay_id=delayed.delay_id)
        draft = msgspec.structs.replace(draft, sticky_duration_ms=delayed.sticky_duration_ms)
        return append_message(tx, appender, draft, only_own=requester.is_suspended).event_id
    if delayed.type == MEMBER:
        user_id = parse_user_id(delayed.state_key)
        return set_member(
            tx,
            signer,
            requester,
            delayed.room_id,
            user_id,
            content,
            now_ts=now_ts,
            delay_id=delayed.delay_id,
        )
    key = (delayed.type, delayed.state_key)
    return set_state(
        tx,
        signer,
        requester,
        delayed.room_id,
        key,
        content,
        now_ts=now_ts,
        delay_id=delayed.delay_id,
        sticky_duration_ms=delayed.sticky_duration_ms,
    )


def check_sendable(
    server_name: ServerName, sender: UserID, type: str, state_key: str | None, content: JsonObject
) -> None:
    """Refuse at once what could not be sent later by this server alone.

    Errors: Forbidden for an invitation of a user of another server, which that one has to sign; InvalidParam.
    """
    if state_key is None:
        message_draft(sender, type, content)
    elif type == MEMBER:
        user_id = parse_user_id(state_key)
        if content.get("membership") == "invite" and server_of(user_id) != server_name:
            raise Forbidden("Invitations of users of other servers cannot be delayed")


def _requester(tx: WriteTransaction, user_id: UserID) -> Requester:
    """The user, without any device. Errors: Forbidden, UserLocked."""
    user = users.find(tx, user_id)
    if user is None or user.is_deactivated:
        raise Forbidden("The account is not in use any more")
    if user.is_locked:
        raise UserLocked
    return Requester(
        user_id,
        None,
        is_guest=user.is_guest,
        is_admin=user.is_admin,
        appservice_id=None,
        token_hash=b"",
        is_suspended=user.is_suspended,
    )
