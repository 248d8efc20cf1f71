"""Answering a waiting sync from memory: what it needs to know of the user, and how the answer is put together."""

from collections import OrderedDict

import msgspec

from homeserver.core.client_event import Members, delay_id_member
from homeserver.core.filters import CompiledFilter, EventFormat
from homeserver.core.identifiers import RoomID, UserID
from homeserver.core.json import encode
from homeserver.core.splice import array, keyed, object_of
from homeserver.core.sticky_events import ttl_member
from homeserver.core.tokens import SyncToken
from homeserver.services.device_list_changes import DeviceListChanges
from homeserver.services.sync.follower import Follower
from homeserver.services.sync.key_counts import KeySections
from homeserver.services.sync.lazy_members import Sent
from homeserver.services.sync.remembered import Remembered
from homeserver.services.sync.tail import Entry, Tail, TailEvent
from homeserver.services.sync.timeline import DEFAULT_LIMIT, MAX_LIMIT
from homeserver.services.sync.to_device import DeviceMessages
from homeserver.services.sync.unread import UnreadCounts

MOST_ENTRIES = 500
"""Entries looked through for one answer; with more than that behind, the database is the better place to ask."""

FRESH_MS = 250
"""How old the `age` in an event's bytes may be when they are used for the next client."""


class Renderings:
    """The bytes of the tail's events, each made once for all clients that it is shown to in a short while."""

    MOST = 2_000

    def __init__(self) -> None:
        self._rendered: OrderedDict[int, tuple[int, bytes]] = OrderedDict()

    def of(self, event: TailEvent, now_ts: int) -> bytes:
        """The event as seen by a joined user who is not its sender."""
        found = self._rendered.get(event.position)
        if found is not None and now_ts - found[0] < FRESH_MS:
            return found[1]
        rendered = render(event, now_ts, None)
        self._rendered[event.position] = now_ts, rendered
        if len(self._rendered) > self.MOST:
            self._rendered.popitem(last=False)
        return rendered


def render(event: TailEvent, now_ts: int, transaction_id: str | None, extra: Members = b"") -> bytes:
    """The event as seen by a joined user, with `extra` members of `unsigned`."""
    if event.sticks_until_ts is not None and (ttl := ttl_member(event.sticks_until_ts, now_ts=now_ts)):
        extra = b"%b,%b" % (extra, ttl) if extra else ttl
    return event.json.render(
        now_ts=now_ts,
        with_room_id=False,
        transaction_id=transaction_id,
        membership="join",
        prev_content=event.prev_content,
        replaces_state=event.replaces_state,
        extra=extra,
    )


class Asking(msgspec.Struct, frozen=True):
    """A client that waits: whose it is, what it has, and what it has been sent; and what it is told of its keys."""

    user_id: UserID
    device_id: str
    since: int
    filter: CompiledFilter
    sent_members: Sent
    keys: KeySections
    now_ts: int


def can_be_served(filter: CompiledFilter) -> bool:
    """Whether the tail knows enough for such a filter: it lets everything pass, in the usual form."""
    return (
        filter.event_format is EventFormat.CLIENT
        and filter.projection is None
        and filter.rooms.matches_all
        and filter.timeline.matches_all
        and filter.ephemeral.matches_all
        and filter.state.matches_all
    )


class FromTail(msgspec.Struct, frozen=True):
    """Puts answers together from entries of the tail."""

    follower: Follower
    remembered: Remembered
    renderings: Renderings

    @property
    def tail(self) -> Tail:
        """The tail as it is now."""
        return self.follower.tail

    def answer(self, asking: Asking, entries: list[Entry], messages: DeviceMessages) -> bytes | None:
        """The body that shows these entries and messages; `None` if the database must be asked."""
        by_room: dict[RoomID, list[Entry]] = {}
        changed: set[UserID] = set()
        for entry in entries:
            if entry.changed_keys_of is not None:
                changed.add(entry.changed_keys_of)
            elif entry.room_id is None or not entry.is_plain:
                return None
            else:
                by_room.setdefault(entry.room_id, []).append(entry)
        rooms: dict[str, bytes] = {}
        unread: dict[RoomID, UnreadCounts] = {}
        for room_id, listed in by_room.items():
            events = [entry.event for entry in listed if entry.event is not None]
            counts = self._unread(asking, room_id)
            if counts is None or not _may_show(asking, room_id, events):
                return None
            unread[room_id] = counts
            rooms[room_id] = self._room(asking, listed, events, counts)
        self.remembered.remember_unread(asking.user_id, self.tail.position, unread)
        body = {"next_batch": encode(str(SyncToken(self.tail.position, messages.upto))), **messages.section}
        if rooms:
            body["rooms"] = object_of({"join": keyed(rooms)})
        if changed:
            # Who comes into a room or leaves one is no plain entry: there is nobody to tell as `left`.
            body["device_lists"] = DeviceListChanges(frozenset(changed)).to_json()
        return object_of(body | {**asking.keys})

    def _room(
        self, asking: Asking, entries: list[Entry], events: list[TailEvent], counts: UnreadCounts
    ) -> bytes:
        # Nothing is left out, so the client sees for itself what relates to what: aggregations are for gaps.
        prev_batch = events[0].position - 1 if events else self.tail.position
        rendered = (self._rendered(asking, event) for event in events)
        timeline = {
            "events": array(rendered),
            "limited": b"false",
            "prev_batch": b'"s%d"' % prev_batch,
        }
        newest = {entry.subject: entry for entry in entries if entry.ephemeral}
        ephemeral = [shown for entry in newest.values() for shown in entry.ephemeral]
        nothing = b'{"events":[]}'
        return object_of(
            {
                "timeline": object_of(timeline),
                "state": nothing,
                "ephemeral": object_of({"events": array(ephemeral)}) if ephemeral else nothing,
                "account_data": nothing,
                **counts.sections(by_thread=asking.filter.timeline.unread_thread_notifications),
            }
        )

    def _rendered(self, asking: Asking, event: TailEvent) -> bytes:
        if event.sender == asking.user_id and event.txn_id is not None:
            if event.device_id is None:
                return render(event, asking.now_ts, None, delay_id_member(event.txn_id))
            if event.device_id == asking.device_id:
                return render(event, asking.now_ts, event.txn_id)
        return self.renderings.of(event, asking.now_ts)

    def _unread(self, asking: Asking, room_id: RoomID) -> UnreadCounts | None:
        """The user's counts as of the tail's end, carried on from when they were last told."""
        known = self.remembered.unread(asking.user_id, room_id)
        if known is None or not self.tail.holds(known[0]):
            return None
        position, counts = known
        topics = (f"room:{room_id}", f"user:{asking.user_id}")
        entries = self.tail.after(position, topics, most=MOST_ENTRIES)
        if entries is None:
            return None
        for entry in entries:
            event = entry.event
            if event is not None:
                if event.sender != asking.user_id:
                    counts = counts.plus(event.thread_id, event.outcomes.get(asking.user_id, event.notify))
                elif event.device_id is not None:
                    counts = counts.read_in(event.thread_id)
            elif not entry.is_plain:
                # A receipt of the user's own, or a redaction: to be counted anew.
                return None
        return counts


def _may_show(asking: Asking, room_id: RoomID, events: list[TailEvent]) -> bool:
    """Whether the events fit the client's limit, and need no members that it has not been sent."""
    wanted = asking.filter.timeline.events.limit
    limit = DEFAULT_LIMIT if wanted is None else min(wanted, MAX_LIMIT)
    if len(events) > limit:
        return False
    if not asking.filter.state.lazy_load_members or not events:
        return True
    if asking.filter.state.include_redundant_members:
        return False
    sent = asking.sent_members.get(room_id, frozenset())
    return all(event.sender in sent for event in events)
