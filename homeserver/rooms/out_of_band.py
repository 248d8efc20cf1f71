"""Memberships of this server's users in rooms that it is not in: invitations, knocks, and how they end.

Such an event is stored as an outlier, but with a position, since it is news to the user. Nothing of it counts as
the room's state: that is only known once the server has joined.
"""

import msgspec

from homeserver.core.event import Event
from homeserver.core.identifiers import ServerName, UserID, server_of
from homeserver.core.power_levels import PowerLevels
from homeserver.core.topics import user_topic
from homeserver.database.kinds import Kind
from homeserver.database.statements import Statement
from homeserver.database.transactions import ReadTransaction, WriteTransaction
from homeserver.rooms.event_rows import row_of
from homeserver.rooms.member_rows import member_row, set_by
from homeserver.rooms.notify import Notifications, notifications_of
from homeserver.storage import events, memberships, notifications, room_servers, rooms, stripped_states


class OutOfBand(msgspec.Struct, frozen=True):
    """A membership event, its canonical JSON, and what the user is told of the room (a JSON array, or nothing)."""

    event: Event
    data: bytes
    stripped: bytes | None = None

    @property
    def user_id(self) -> UserID:
        """The user whom the event is about."""
        return UserID(self.event.state_key or "")

    @property
    def membership(self) -> str:
        """The user's new membership."""
        return str(self.event.content.get("membership"))


def record(tx: WriteTransaction, news: OutOfBand, server_name: ServerName, *, now_ts: int) -> bool:
    """Note the membership for its user, of this server `server_name`.

    False, and nothing is done, if this server is in the room: then the event has to be judged as any other; or if
    the event's ID is taken.
    """
    event = news.event
    if is_id_taken(tx, event):
        return False
    room = rooms.lock(tx, event.room_id) or _make(tx, event, now_ts=now_ts)
    room_nid = room.room_nid
    if room_servers.joined(tx, room_nid, server_name):
        return False
    if not room.is_held and room.version != event.room_version.identifier:
        # Whoever spoke first of the room may have lied, or have been wrong.
        rooms.set_version(tx, room_nid, event.room_version.identifier)
    before = memberships.of(tx, room_nid, news.user_id)
    if before is not None and before.event_id == event.event_id:
        return True
    if news.stripped is not None:
        stripped_states.put(tx, room_nid, news.user_id, news.stripped)
    else:
        stripped_states.remove(tx, room_nid, news.user_id)
    known = events.of(tx, event.event_id)
    event_nid = tx.new_nid() if known is None else known.event_nid
    is_local = server_of(news.user_id) == server_name
    member = set_by(event, event_nid, news.user_id)
    noted = (memberships.SET, member_row(room_nid, member, is_local=is_local))
    topics = [user_topic(news.user_id)]
    if known is not None:
        tx.publish(memberships.SET, kind=Kind.EVENTS, to=topics, also=[], room_before=0, **noted[1])
        return True
    notify = _notifications(tx, event, room_nid)
    also: list[tuple[Statement, dict[str, object]]] = [noted]
    also += notifications.exceptions_rows(room_nid, notify.exceptions)
    row = _event_row(room_nid, event_nid, news, notify)
    tx.publish(events.INSERT, kind=Kind.EVENTS, to=topics, also=also, room_before=0, **row)
    return True


def is_id_taken(tx: ReadTransaction, event: Event) -> bool:
    """Whether another event is stored under the ID: room versions 1 and 2 leave it to servers to choose one."""
    known = events.of(tx, event.event_id)
    if known is None:
        return False
    is_same = (known.type, known.state_key) == (event.type, event.state_key)
    is_same = is_same and known.membership == event.content.get("membership")
    return not is_same or known.room_nid != rooms.nid_of(tx, event.room_id)


def _make(tx: WriteTransaction, event: Event, *, now_ts: int) -> rooms.Room:
    """A row for a room of which this server knows nothing but that it exists."""
    return rooms.know_of(
        tx,
        room_nid=tx.new_nid(),
        room_id=event.room_id,
        version=event.room_version.identifier,
        creator=event.sender,
        created_ts=now_ts,
    )


def _notifications(tx: WriteTransaction, event: Event, room_nid: int) -> Notifications:
    """Whom an invitation notifies: its user, by the rules that need no state of the room."""
    if event.content.get("membership") != "invite":
        return Notifications(0, {})
    # There is no create event to go by; the inviter stands in for the creator, who may notify as they please.
    levels = PowerLevels.of(None, event)
    return notifications_of(tx, event, room_nid, 0, levels, lambda _: {})


def _event_row(room_nid: int, event_nid: int, news: OutOfBand, notify: Notifications) -> dict[str, object]:
    outcome = notify.ordinary | (notifications.HAS_EXCEPTIONS if notify.exceptions else 0)
    return row_of(news.event, event_nid, room_nid, news.data) | {"notify": outcome}
