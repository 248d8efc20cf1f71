"""Subscribing to threads. Spec: MSC4306, and MSC4308 for how clients learn of it."""

from typing import Final

import msgspec

from homeserver.core.endpoint_errors import ConflictingUnsubscription, NotInThread
from homeserver.core.errors import NotFound
from homeserver.core.identifiers import EventID, RoomID, UserID
from homeserver.core.json import JsonObject, encode
from homeserver.core.requester import Requester
from homeserver.core.tokens import stream_token
from homeserver.database.database import Database
from homeserver.database.transactions import ReadTransaction, WriteTransaction
from homeserver.services.aggregations import relation_of_stored
from homeserver.services.history_access import NEWEST, Access, access_to, seen
from homeserver.storage import events, thread_subscriptions
from homeserver.storage.events import StoredEvent
from homeserver.storage.thread_subscriptions import ThreadSubscription

MAX_LIMIT: Final = 100

_UNKNOWN: Final = "There is no such thread, or you are not subscribed to it"


class ThreadSubscriptions(msgspec.Struct, frozen=True):
    """Remembers which threads users are subscribed to."""

    database: Database

    async def find(self, requester: Requester, room_id: RoomID, root_id: EventID) -> bool:
        """Whether the requester's subscription was made automatically. Errors: NotFound if there is none."""
        found = await self.database.read(_find, requester.user_id, room_id, root_id)
        if found is None or not found.subscribed:
            raise NotFound(_UNKNOWN)
        return found.automatic

    async def subscribe(
        self, requester: Requester, room_id: RoomID, root_id: EventID, cause_id: EventID | None
    ) -> None:
        """Subscribe the requester; with `cause_id`, the event because of which a client does so on its own.

        Errors: NotFound if the requester sees no such thread; NotInThread; ConflictingUnsubscription if the requester
        has unsubscribed since the event.
        """
        await self.database.write(_subscribe, requester.user_id, room_id, root_id, cause_id)

    async def unsubscribe(self, requester: Requester, room_id: RoomID, root_id: EventID) -> None:
        """End the subscription, if there is one. Errors: NotFound if the requester sees no such thread."""
        await self.database.write(_unsubscribe, requester.user_id, room_id, root_id)

    async def changes(
        self, requester: Requester, *, newest: int | None, after: int | None, limit: int
    ) -> dict[str, bytes]:
        """The requester's latest changes from `newest` back to `after`, as `changes_json` gives them."""
        return await self.database.read(
            changes_json,
            requester.user_id,
            after=0 if after is None else after,
            upto=NEWEST if newest is None else newest,
            most=min(limit, MAX_LIMIT),
            more="end",
        )


def changes_json(
    tx: ReadTransaction, user_id: UserID, *, after: int, upto: int, most: int, more: str
) -> dict[str, bytes]:
    """The newest `most` changes with `after < position <= upto`, as members of a JSON object.

    If there are more, the member called `more` has the token that leads to those before.
    """
    found = thread_subscriptions.changes(tx, user_id, after=after, upto=upto, most=most + 1)
    subscribed: dict[str, JsonObject] = {}
    unsubscribed: dict[str, JsonObject] = {}
    for change in found[:most]:
        if change.subscribed:
            said: JsonObject = {"automatic": change.automatic, "bump_stamp": change.position}
            subscribed.setdefault(change.room_id, {})[change.root_id] = said
        else:
            unsubscribed.setdefault(change.room_id, {})[change.root_id] = {"bump_stamp": change.position}
    body: dict[str, bytes] = {}
    if subscribed:
        body["subscribed"] = encode(subscribed)  # type: ignore[arg-type]  # a dict of dicts is JSON
    if unsubscribed:
        body["unsubscribed"] = encode(unsubscribed)  # type: ignore[arg-type]  # as above
    if len(found) > most:
        body[more] = b'"%b"' % stream_token(found[most].position).encode()
    return body


def _find(
    tx: ReadTransaction, user_id: UserID, room_id: RoomID, root_id: EventID
) -> ThreadSubscription | None:
    root = _root(tx, user_id, room_id, root_id)
    return thread_subscriptions.of(tx, user_id, root.room_nid, root_id)


def _subscribe(
    tx: WriteTransaction, user_id: UserID, room_id: RoomID, root_id: EventID, cause_id: EventID | None
) -> None:
    root = _root(tx, user_id, room_id, root_id)
    current = thread_subscriptions.of(tx, user_id, root.room_nid, root_id)
    unsubscribed_position = None if current is None else current.unsubscribed_position
    automatic = cause_id is not None
    if cause_id is not None:
        room_nid, position, thread_id = events.position_of(tx, cause_id) or (None, None, None)
        if room_nid != root.room_nid or thread_id != root_id:
            raise NotInThread
        is_subscribed = current is not None and current.subscribed
        if (
            not is_subscribed
            and unsubscribed_position is not None
            and (position is None or position <= unsubscribed_position)
        ):
            raise ConflictingUnsubscription
        # Who has subscribed by hand stays so.
        automatic = not (is_subscribed and current is not None and not current.automatic)
    new = ThreadSubscription(
        subscribed=True, automatic=automatic, unsubscribed_position=unsubscribed_position
    )
    if new != current:
        thread_subscriptions.put(tx, user_id, root.room_nid, root_id, new)


def _unsubscribe(tx: WriteTransaction, user_id: UserID, room_id: RoomID, root_id: EventID) -> None:
    root = _root(tx, user_id, room_id, root_id)
    current = thread_subscriptions.of(tx, user_id, root.room_nid, root_id)
    if current is not None and current.subscribed:
        now = tx.stream_row().position
        new = ThreadSubscription(subscribed=False, automatic=False, unsubscribed_position=now)
        thread_subscriptions.put(tx, user_id, root.room_nid, root_id, new)


def _root(tx: ReadTransaction, user_id: UserID, room_id: RoomID, root_id: EventID) -> StoredEvent:
    """The event that a thread begins with, or may begin with. Errors: NotFound if the user does not see it as one."""
    access: Access | None = access_to(tx, user_id, room_id)
    root = events.of(tx, root_id)
    if access is None or root is None or root.room_nid != access.room_nid:
        raise NotFound(_UNKNOWN)
    if relation_of_stored(root) is not None or not seen(tx, access, [root]):
        raise NotFound(_UNKNOWN)
    return root
