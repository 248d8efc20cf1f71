"""The threads of a room. Spec: client-server API, "Querying threads in a room"."""

from collections.abc import Collection
from typing import Final

import msgspec

from homeserver.core.identifiers import EventID, RoomID, UserID
from homeserver.core.json import canonical, decode_object
from homeserver.core.redaction import redact
from homeserver.core.requester import Requester
from homeserver.core.splice import array, object_of
from homeserver.database.database import Database
from homeserver.database.transactions import ReadTransaction
from homeserver.runtime.clock import Clock
from homeserver.services.aggregations import Aggregator, relation_of_stored, render_aggregated
from homeserver.services.client_events import View
from homeserver.services.history_access import NEWEST, Access, enter, seen
from homeserver.services.ignored_users import ignored_by
from homeserver.storage import events, threads
from homeserver.storage.events import StoredEvent
from homeserver.storage.threads import Thread

DEFAULT_LIMIT: Final = 20
MAX_LIMIT: Final = 100

MOST_SCANNED: Final = 500
"""Threads looked through for one page: where few of them are wanted, or may be seen, a page has few."""


class ThreadsRequest(msgspec.Struct, frozen=True):
    """The threads that a client asks for; `start` is the position of its token."""

    room_id: RoomID
    only_participated: bool
    limit: int
    start: int | None


class Threads(msgspec.Struct, frozen=True):
    """Lists the threads of rooms."""

    database: Database
    clock: Clock

    async def page(self, requester: Requester, request: ThreadsRequest) -> bytes:
        """The body of a response: the roots, that of the thread with the latest event first.

        Errors: Forbidden if the requester may not read the room.
        """
        return await self.database.read(
            read_threads, request, requester.user_id, requester.device_id, now_ts=self.clock.now_ts()
        )


def read_threads(
    tx: ReadTransaction, request: ThreadsRequest, user_id: UserID, device_id: str | None, *, now_ts: int
) -> bytes:
    """As `Threads.page`."""
    access = enter(tx, user_id, request.room_id)
    view = View(access.room_id, access.version, user_id, device_id, now_ts, with_room_id=True)
    chunk, reached = _read_page(tx, view, access, request)
    body = {"chunk": array(render_aggregated(tx, view, access, chunk))}
    if reached is not None:
        body["next_batch"] = b'"s%d"' % reached
    return object_of(body)


def _read_page(
    tx: ReadTransaction, view: View, access: Access, request: ThreadsRequest
) -> tuple[list[tuple[StoredEvent, str]], int | None]:
    """Roots, and the position to go on from, `None` at the end."""
    ignored = ignored_by(tx, view.user_id)
    newest = NEWEST if request.start is None else request.start
    # One more than wanted tells whether there is more.
    most = request.limit + 1
    chunk: list[tuple[StoredEvent, str]] = []
    scanned = 0
    while True:
        found = threads.page(tx, access.room_nid, view.user_id, newest=newest, most=most, ignored=ignored)
        roots = _roots(tx, view, access, found)
        for thread in found:
            if len(chunk) == request.limit:
                return chunk, newest
            newest = thread.last_position - 1
            root = roots.get(thread.root_id)
            if root is None:
                continue
            event, membership = root
            if not request.only_participated or thread.has_user or event.sender == view.user_id:
                chunk.append((_hidden(event, access) if event.sender in ignored else event, membership))
        if len(found) < most:
            return chunk, None
        scanned += len(found)
        if scanned >= MOST_SCANNED:
            return chunk, newest


def _roots(
    tx: ReadTransaction, view: View, access: Access, found: Collection[Thread]
) -> dict[EventID, tuple[StoredEvent, str]]:
    """The roots of those of the threads that are some, and of which the reader sees something."""
    summaries = Aggregator(tx, view, access).summaries(found)
    stored = events.of_ids(tx, summaries)
    here = [
        event
        for event in stored.values()
        if event.room_nid == access.room_nid and relation_of_stored(event) is None
    ]
    return {event.event_id: (event, membership) for event, membership in seen(tx, access, here)}


def _hidden(event: StoredEvent, access: Access) -> StoredEvent:
    """What is shown of the root if the reader ignores its sender: as if it had been redacted."""
    return msgspec.structs.replace(event, pdu=canonical(redact(decode_object(event.pdu), access.version)))
