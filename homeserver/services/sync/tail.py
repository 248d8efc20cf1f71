"""The tail: the newest rows of the stream in memory, so that a waiting client is answered without a query.

Each process follows the stream once, by reading it after every hint of the bus (and every few seconds, should a hint be
lost). An entry is either *plain*, which means that it can be shown to any client that waits for
its topic as it is, or it only says that a client which it concerns must ask the database.
"""

from collections import OrderedDict, deque
from collections.abc import Collection, Container, Iterable, Iterator, Mapping

import msgspec

from homeserver.core.client_event import ClientEventBytes
from homeserver.core.identifiers import DeviceID, EventID, RoomID, UserID
from homeserver.core.json import encode
from homeserver.core.receipts import READ_PRIVATE, receipt_events
from homeserver.core.room_versions import get_room_version
from homeserver.core.topics import inbox_topic, room_topic, user_topic
from homeserver.database.kinds import Kind
from homeserver.database.transactions import ReadTransaction
from homeserver.services.client_events import content_of
from homeserver.services.sync.heroes import NAMING, holds_name
from homeserver.storage import events, memberships, notifications, published, to_device, typing
from homeserver.storage.events import StoredEvent
from homeserver.storage.published import PublishedSticky


class TailEvent(msgspec.Struct, frozen=True):
    """An event as all members of its room may see it; `outcomes` are the exceptions to `notify`, by user.

    `sticks_until_ts` is `None` for an event that is not sticky.
    """

    position: int
    room_id: RoomID
    event_id: EventID
    sender: UserID
    device_id: str | None
    txn_id: str | None
    thread_id: str | None
    notify: int
    outcomes: Mapping[str, int]
    json: ClientEventBytes
    prev_content: bytes | None
    replaces_state: EventID | None
    sticks_until_ts: int | None


class Entry(msgspec.Struct, frozen=True):
    """A row of the tail. What is not plain has neither event nor ephemeral event nor `changed_keys_of` somebody.

    Of several ephemeral events of a room with the same `subject` only the last one counts.
    """

    position: int
    topic: str
    room_id: RoomID | None = None
    event: TailEvent | None = None
    ephemeral: tuple[bytes, ...] = ()
    subject: tuple[str, ...] = ()
    changed_keys_of: UserID | None = None

    @property
    def is_plain(self) -> bool:
        """Whether the entry can be shown to every client that waits for its topic."""
        return self.event is not None or bool(self.ephemeral) or self.changed_keys_of is not None

    def is_of(self, senders: Container[str]) -> bool:
        """Whether the entry is an event of one of these users."""
        return self.event is not None and self.event.sender in senders


class TailRows(msgspec.Struct, frozen=True):
    """What was new; `unsure` tells that rows were published which the tail does not follow.

    `messages` are positions of messages to devices, each with user and device, in order.
    With `skipped` it was too much to be read: the tail begins anew at `upto`.
    """

    upto: int
    entries: list[Entry]
    unsure: bool
    skipped: bool = False
    messages: Collection[tuple[int, UserID, DeviceID]] = ()


MOST_BEHIND = 50_000
"""Rows. Who is further behind (the process was suspended) does not read all of it into memory."""

MOST_TOLD = 500
"""Topics that changes of devices are told to, in one reading."""

_FOLLOWED = (
    Kind.EVENTS,
    Kind.RECEIPTS,
    Kind.TYPING,
    Kind.ACCOUNT_DATA,
    Kind.THREAD_SUBSCRIPTIONS,
    Kind.TO_DEVICE,
    Kind.DEVICE_LISTS,
    Kind.STICKY_EVENTS,
)


def read_tail(tx: ReadTransaction, *, after: int, now_ts: int) -> TailRows:
    """Everything that was published after a position."""
    stream = tx.stream_row()
    upto = stream.position
    if (
        upto - after > MOST_BEHIND
        and published.count(tx, after=after, upto=upto, most=MOST_BEHIND) > MOST_BEHIND
    ):
        return TailRows(upto, [], unsure=True, skipped=True)
    entries: list[Entry] = []
    sticky: list[PublishedSticky] = []
    if stream.changed_since(Kind.STICKY_EVENTS, after):
        sticky = published.sticky_between(tx, after=after, upto=upto)
        entries += _late_sticky(tx, sticky)
    if stream.changed_since(Kind.EVENTS, after):
        entries += _events(tx, after, upto, {each.position: each.expires_ts for each in sticky})
    if stream.changed_since(Kind.RECEIPTS, after):
        entries += _receipts(tx, after, upto)
    if stream.changed_since(Kind.TYPING, after):
        entries += _typing(tx, after, upto, now_ts)
    if stream.changed_since(Kind.ACCOUNT_DATA, after):
        changed = published.account_data_between(tx, after=after, upto=upto)
        entries += (Entry(position, user_topic(user_id)) for position, user_id in changed)
    if stream.changed_since(Kind.THREAD_SUBSCRIPTIONS, after):
        changed = published.thread_subscriptions_between(tx, after=after, upto=upto)
        entries += (Entry(position, user_topic(user_id)) for position, user_id in changed)
    unsure = any(stream.changed_since(kind, after) for kind in Kind if kind not in _FOLLOWED)
    if stream.changed_since(Kind.DEVICE_LISTS, after):
        told = published.keys_between(tx, after=after, upto=upto, most=MOST_TOLD)
        # Rather than to drive everything else out of the memory.
        unsure = unsure or len(told) == MOST_TOLD
        entries += (Entry(each.position, each.topic, changed_keys_of=each.changed) for each in told)
    entries.sort(key=lambda entry: entry.position)
    messages = (
        to_device.between(tx, after=after, upto=upto) if stream.changed_since(Kind.TO_DEVICE, after) else ()
    )
    return TailRows(upto, entries, unsure, messages=messages)


def _late_sticky(tx: ReadTransaction, sticky: Iterable[PublishedSticky]) -> Iterator[Entry]:
    """What is shown as sticky long after it came is in no timeline: the database has to be asked for it."""
    late = [each for each in sticky if not each.is_new]
    rooms = published.rooms_of(tx, {each.room_nid for each in late}) if late else {}
    for each in late:
        if each.room_nid in rooms:
            yield Entry(each.position, room_topic(rooms[each.room_nid][0]))


def _events(tx: ReadTransaction, after: int, upto: int, sticky: Mapping[int, int]) -> Iterator[Entry]:
    new = events.published(tx, after=after, upto=upto)
    rooms = published.rooms_of(tx, {event.room_nid for event in new})
    outcomes: Mapping[int, Mapping[str, int]] = {}
    if any(event.notify & notifications.HAS_EXCEPTIONS for event in new):
        outcomes = notifications.outcomes(tx, after=after, upto=upto)
    replaced_nids = {event.replaces_nid for event in new if event.replaces_nid is not None}
    replaced = events.of_nids(tx, replaced_nids) if replaced_nids else {}
    for event in new:
        if event.room_nid not in rooms:
            continue  # the room is being removed
        room_id, version = rooms[event.room_nid]
        position = event.position or 0
        if _is_plain(event):
            shown = _tail_event(
                event,
                room_id,
                outcomes.get(position, {}),
                replaced.get(event.replaces_nid or 0),
                redacts_in_content=get_room_version(version).redacts_in_content,
                sticks_until_ts=sticky.get(position),
            )
            yield Entry(position, room_topic(room_id), room_id, event=shown)
        else:
            yield from (Entry(position, topic) for topic in _concerned(tx, event, room_id))


def _is_plain(event: StoredEvent) -> bool:
    """Whether all members see the event, and nothing else has to be looked up for it.

    Membership changes what is shown to whom, and the room's summary, as does a name that becomes empty; where
    encryption begins, devices are of interest; what a redaction redacts must be looked up, and so must the state where
    it has changed in other ways. A timeline ends at a gap, which may have been filled meanwhile.
    """
    return (
        event.status == events.ACCEPTED
        and not event.notify & (notifications.RESETS_STATE | events.FOLLOWS_GAP)
        and event.redacted_by is None
        and event.type not in ("m.room.member", "m.room.redaction", "m.room.encryption")
        and ((event.type, event.state_key) not in NAMING or holds_name(event))
    )


def _concerned(tx: ReadTransaction, event: StoredEvent, room_id: RoomID) -> Iterator[str]:
    """The topics of those who have to ask the database about what came with the event."""
    resets = bool(event.notify & notifications.RESETS_STATE)
    if event.status == events.ACCEPTED or resets or event.notify & events.FOLLOWS_GAP:
        yield room_topic(room_id)
    if event.status != events.HIDDEN and event.type == "m.room.member" and event.state_key is not None:
        yield user_topic(UserID(event.state_key))
    if resets:
        yield from map(user_topic, memberships.local_changed_at(tx, event.room_nid, event.position or 0))


def _tail_event(
    event: StoredEvent,
    room_id: RoomID,
    outcomes: Mapping[str, int],
    replaced: StoredEvent | None,
    *,
    redacts_in_content: bool,
    sticks_until_ts: int | None,
) -> TailEvent:
    return TailEvent(
        event.position or 0,
        room_id,
        event.event_id,
        event.sender,
        event.device_id,
        event.txn_id,
        event.thread_id,
        event.notify,
        outcomes,
        ClientEventBytes.of(
            event.pdu, event_id=event.event_id, room_id=room_id, redacts_in_content=redacts_in_content
        ),
        None if replaced is None else content_of(replaced),
        None if replaced is None else replaced.event_id,
        sticks_until_ts,
    )


def _receipts(tx: ReadTransaction, after: int, upto: int) -> Iterator[Entry]:
    for row in published.receipts_between(tx, after=after, upto=upto):
        receipt = row.receipt
        # The reader's own unread counts change.
        yield Entry(row.position, user_topic(receipt.user_id))
        if receipt.receipt_type != READ_PRIVATE:
            shown = tuple(encode(event) for event in receipt_events([receipt]))
            subject = receipt.user_id, receipt.receipt_type, receipt.thread_id
            yield Entry(row.position, room_topic(row.room_id), row.room_id, ephemeral=shown, subject=subject)


def _typing(tx: ReadTransaction, after: int, upto: int, now_ts: int) -> Iterator[Entry]:
    changed = published.typing_between(tx, after=after, upto=upto)
    users = typing.now(tx, [nid for nid, _ in changed], now_ts=now_ts)
    for (nid, room_id), position in changed.items():
        event = encode({"type": "m.typing", "content": {"user_ids": [*users.get(nid, ())]}})
        yield Entry(position, room_topic(room_id), room_id, ephemeral=(event,), subject=("m.typing",))


class NewestMessages:
    """Where the newest message to each device is, of those after `floor`.

    Beside the entries, which the messages of one request to a thousand devices would drive out.
    """

    MOST = 10_000

    def __init__(self, position: int) -> None:
        self.floor = position
        self._newest: OrderedDict[tuple[str, str], int] = OrderedDict()

    def add(self, position: int, user_id: UserID, device_id: DeviceID) -> None:
        """There is a message, after all that are known."""
        self._newest[user_id, device_id] = position
        self._newest.move_to_end((user_id, device_id))
        if len(self._newest) > self.MOST:
            self.floor = self._newest.popitem(last=False)[1]

    def may_be_after(self, position: int, user_id: UserID, device_id: str) -> bool:
        """Whether there may be a message to the device after a position, as far as the tail reaches."""
        return position < self.floor or self._newest.get((user_id, device_id), 0) > position


class Tail:
    """The entries of the last few thousand positions; in the reactor's thread only.

    Complete for every position after `floor`, up to `position`. A client with a token before
    `unsure` must ask the database.
    """

    MOST = 4_000

    def __init__(self, position: int) -> None:
        self.position = position
        self.floor = position
        self.unsure = position
        self.messages = NewestMessages(position)
        self._entries: deque[Entry] = deque()

    def extend(self, rows: TailRows) -> Collection[str]:
        """Take over what was read; gives the topics to wake."""
        if rows.skipped:
            self.begin_anew(rows.upto)
        self._entries.extend(rows.entries)
        self.position = rows.upto
        if rows.unsure:
            self.unsure = rows.upto
        while len(self._entries) > self.MOST:
            self.floor = self._entries.popleft().position
        for message in rows.messages:
            self.messages.add(*message)
        return {
            *(entry.topic for entry in rows.entries),
            *(inbox_topic(user_id) for _, user_id, _ in rows.messages),
        }

    def begin_anew(self, position: int) -> None:
        """Know nothing of what came before `position`."""
        self._entries.clear()
        self.messages = NewestMessages(position)
        self.position = self.floor = self.unsure = position

    def holds(self, since: int) -> bool:
        """Whether the tail knows everything after `since`."""
        return since >= self.floor and since >= self.unsure

    def after(self, since: int, topics: Collection[str], *, most: int) -> list[Entry] | None:
        """The entries after `since` with one of these topics, in order; `None` if more than `most` are newer."""
        found: list[Entry] = []
        for count, entry in enumerate(reversed(self._entries)):
            if entry.position <= since:
                break
            if count >= most:
                return None
            if entry.topic in topics:
                found.append(entry)
        found.reverse()
        return found
