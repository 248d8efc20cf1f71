"""A room's unread counts as a sync tells them."""

from collections.abc import Collection, Mapping
from typing import Self

import msgspec

from homeserver.core.identifiers import UserID
from homeserver.core.json import JsonObject, encode
from homeserver.database.transactions import ReadTransaction
from homeserver.storage import notifications
from homeserver.storage.memberships import RoomOfUser

HIGHLIGHTS = 2
NOTIFIES = 1

_Counts = tuple[int, int]
"""Notifications, and highlights among them."""


class UnreadCounts(msgspec.Struct, frozen=True):
    """The counts of each thread; `None` is the main timeline."""

    threads: Mapping[str | None, _Counts]

    def plus(self, thread_id: str | None, outcome: int) -> Self:
        """With one more event, whose push outcome is given in bits."""
        notifications, highlights = self.threads.get(thread_id, (0, 0))
        added = (notifications + (outcome & NOTIFIES), highlights + ((outcome & HIGHLIGHTS) >> 1))
        return msgspec.structs.replace(self, threads={**self.threads, thread_id: added})

    def read_in(self, thread_id: str | None) -> Self:
        """With one more event, which the user has sent: so what was there before has been read."""
        return msgspec.structs.replace(self, threads={**self.threads, thread_id: (0, 0)})

    def sections(self, *, by_thread: bool) -> dict[str, bytes]:
        """The members of the room's section; threads apart if the client's filter asks for that.

        Spec: client-server API, "Receiving notifications", "Unread thread notifications".
        """
        main = [counts for thread, counts in self.threads.items() if thread is None or not by_thread]
        sections = {"unread_notifications": _json(sum(c[0] for c in main), sum(c[1] for c in main))}
        if by_thread:
            threads: JsonObject = {
                thread: {"notification_count": counts[0], "highlight_count": counts[1]}
                for thread, counts in self.threads.items()
                if thread is not None and any(counts)
            }
            if threads:
                sections["unread_thread_notifications"] = encode(threads)
        return sections


def read_unread(
    tx: ReadTransaction,
    user_id: UserID,
    room: RoomOfUser,
    read_upto: Mapping[str, int],
    *,
    upto: int,
    ignored: Collection[str],
) -> UnreadCounts:
    """The user's counts at `upto`; `read_upto` as `receipts.own` gives it for the room."""
    counts = notifications.unread(
        tx,
        user_id,
        room.room_nid,
        read_upto=max(read_upto.get("", 0), room.since_position),
        threads_read_upto={thread: position for thread, position in read_upto.items() if thread},
        upto=upto,
        ignored=ignored,
    )
    return UnreadCounts({thread: (count.notifications, count.highlights) for thread, count in counts.items()})


def _json(notifications: int, highlights: int) -> bytes:
    return b'{"notification_count":%d,"highlight_count":%d}' % (notifications, highlights)
