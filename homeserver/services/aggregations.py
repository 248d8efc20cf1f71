"""What is shown of an event's children with the event itself: its latest edit, its thread, its references.

Transaction functions, used by everything that shows events of a timeline to clients. Only what the reader may see of
the children counts, and nothing of users whom the reader ignores. Reactions are not among it, and what is read does
not grow with the number of children. Spec: client-server API, "Aggregations of child events".
"""

from collections.abc import Collection, Iterable, Mapping, Sequence

import msgspec

from homeserver.core.client_event import Members
from homeserver.core.identifiers import EventID
from homeserver.core.json import decode_object, encode
from homeserver.core.relations import REFERENCE, REPLACE, THREAD, Relation, relation_of
from homeserver.core.splice import array, object_of
from homeserver.database.transactions import ReadTransaction
from homeserver.services.client_events import View, render
from homeserver.services.history_access import BEGINNING, Access, Standing, newest_readable, seen
from homeserver.services.ignored_users import ignored_by
from homeserver.storage import events, relations, threads
from homeserver.storage.events import StoredEvent
from homeserver.storage.relations import Child
from homeserver.storage.threads import Thread

MOST_TRIED = 50
"""Edits looked at if the reader may not see the latest one."""

MOST_COUNTED = 200
"""Events of a thread that are looked at one by one, for readers who do not see all of it."""

MOST_REFERENCES = 500
"""References that are listed, the newest ones."""

Shown = tuple[StoredEvent, str]


class ThreadSummary(msgspec.Struct, frozen=True):
    """Of a thread: the latest event that the reader sees, and how many there are."""

    latest: Shown
    count: int
    has_user: bool


def render_aggregated(
    tx: ReadTransaction, view: View, access: Access, shown: Sequence[tuple[StoredEvent, str | None]]
) -> list[bytes]:
    """As `client_events.render`, with what there is of children in `unsigned`."""
    return render(tx, view, shown, aggregations(tx, view, access, [event for event, _ in shown]))


def aggregations(
    tx: ReadTransaction, view: View, access: Access, stored: Iterable[StoredEvent]
) -> dict[int, Members]:
    """The member `m.relations` of those of the events that have such children, by number."""
    parents = [event for event in stored if has_aggregations(event)]
    return Aggregator(tx, view, access).of(parents) if parents else {}


def has_aggregations(event: StoredEvent) -> bool:
    """Whether the event has children that may be shown with it; state never has."""
    return bool(event.aggregates) and event.state_key is None


def relation_of_stored(event: StoredEvent) -> Relation | None:
    """How a stored event relates to its parent, None if it has none."""
    content = decode_object(event.pdu)["content"]
    return relation_of(content) if isinstance(content, dict) else None


class Aggregator:
    """Aggregates for one reader of one room."""

    def __init__(self, tx: ReadTransaction, view: View, access: Access) -> None:
        self._tx = tx
        self._view = msgspec.structs.replace(view, projection=None)
        self._access = access
        self._newest = newest_readable(tx, access)
        self._ignored = ignored_by(tx, view.user_id)

    def of(self, parents: Sequence[StoredEvent], *, with_threads: bool = True) -> dict[int, Members]:
        """The member `m.relations` of these events, by number; without threads inside of a thread."""
        rel_types = {
            event.event_nid: None if (relation := relation_of_stored(event)) is None else relation.rel_type
            for event in parents
        }
        edits = self.edits([event for event in parents if rel_types[event.event_nid] != REPLACE])
        roots = [event for event in parents if with_threads and rel_types[event.event_nid] is None]
        found = self.threads(roots)
        latest = [summary.latest for summary in found.values()]
        inner = [event for event, _ in latest if has_aggregations(event)]
        rendered = self._rendered(
            [*edits.values(), *latest], self.of(inner, with_threads=False) if inner else {}
        )
        members: dict[int, Members] = {}
        for event in parents:
            parts: dict[str, bytes] = {}
            if (edit := edits.get(event.event_id)) is not None:
                parts[REPLACE] = rendered[edit[0].event_nid]
            if (summary := found.get(event.event_id)) is not None:
                parts[THREAD] = _thread_json(summary, rendered, is_own=event.sender == self._view.user_id)
            if references := self._references(event):
                chunk = array(object_of({"event_id": encode(event_id)}) for event_id in references)
                parts[REFERENCE] = object_of({"chunk": chunk})
            if parts:
                members[event.event_nid] = b'"m.relations":' + object_of(parts)
        return members

    def threads(self, roots: Sequence[StoredEvent]) -> dict[EventID, ThreadSummary]:
        """What the reader sees of the threads that these events are the roots of."""
        root_ids = [event.event_id for event in roots if event.aggregates & relations.BITS[THREAD]]
        if not root_ids:
            return {}
        found = threads.of(self._tx, self._access.room_nid, root_ids, self._view.user_id)
        return self.summaries(found.values())

    def summaries(self, found: Collection[Thread]) -> dict[EventID, ThreadSummary]:
        """What the reader sees of these threads, by their roots; without those of which that is nothing."""
        ends = {thread.last_id for thread in found}
        ends |= {thread.first_id for thread in found if not self._is_open(thread.first_position)}
        visible = self._seen(ends)
        summaries: dict[EventID, ThreadSummary] = {}
        for thread in found:
            is_open = self._is_open(thread.first_position) or thread.first_id in visible
            summary = self._summary(thread, visible.get(thread.last_id), is_open=is_open)
            if summary is not None:
                summaries[thread.root_id] = summary
        return summaries

    def _summary(self, thread: Thread, last: Shown | None, *, is_open: bool) -> ThreadSummary | None:
        """Of a thread whose last event is `last` if the reader sees it; `is_open`: the first one is seen, too.

        Who sees both ends is taken to see all: the number of events is approximate, as the specification has it.
        """
        count = None
        if last is not None and is_open:
            count = thread.replies - self._of_ignored(thread)
        if count is None or last is None or last[0].sender in self._ignored:
            children = self._page(thread.root_id, THREAD, MOST_COUNTED)
            visible = self._listened_to(self._seen([child.event_id for child in children]))
            shown = [visible[child.event_id] for child in children if child.event_id in visible]
            if not shown:
                return None
            last = shown[0]
            count = len(shown) if count is None else count
        return ThreadSummary(last, count, thread.has_user)

    def _of_ignored(self, thread: Thread) -> int:
        if not self._ignored:
            return 0
        return relations.count_of_senders(
            self._tx, self._access.room_nid, thread.root_id, THREAD, self._ignored
        )

    def edits(self, parents: Sequence[StoredEvent]) -> dict[EventID, Shown]:
        """The latest edit of each of these events that the reader sees; of what is redacted, edits are not shown."""
        edited = {
            event.event_nid: event
            for event in parents
            if event.aggregates & relations.BITS[REPLACE]
            and event.redacted_by is None
            and event.sender not in self._ignored
        }
        if not edited:
            return {}
        latest = relations.latest_edits(self._tx, self._access.room_nid, edited, newest=self._newest)
        visible = self._seen(latest.values())
        found: dict[EventID, Shown] = {}
        for event in edited.values():
            if (edit_id := latest.get(event.event_id)) is None:
                continue
            edit = visible.get(edit_id) or self._earlier_edit(event)
            if edit is not None:
                found[event.event_id] = edit
        return found

    def _earlier_edit(self, event: StoredEvent) -> Shown | None:
        edit_ids = relations.edits(
            self._tx,
            self._access.room_nid,
            event.event_id,
            sender=event.sender,
            type=event.type,
            newest=self._newest,
            most=MOST_TRIED,
        )
        visible = self._seen(edit_ids)
        return next((visible[edit_id] for edit_id in edit_ids if edit_id in visible), None)

    def _references(self, event: StoredEvent) -> list[EventID]:
        """The events that refer to this one, oldest first."""
        if not event.aggregates & relations.BITS[REFERENCE]:
            return []
        children = self._page(event.event_id, REFERENCE, MOST_REFERENCES)[::-1]
        if all(self._is_open(child.position) for child in children):
            return [child.event_id for child in children if child.sender not in self._ignored]
        visible = self._listened_to(self._seen([child.event_id for child in children]))
        return [child.event_id for child in children if child.event_id in visible]

    def _page(self, parent_id: EventID, rel_type: str, most: int) -> list[Child]:
        """The newest children."""
        return relations.page(
            self._tx,
            self._access.room_nid,
            parent_id,
            rel_type=rel_type,
            after=BEGINNING,
            newest=self._newest,
            most=most,
            order="newest first",
        )

    def _is_open(self, position: int) -> bool:
        """Whether the reader sees everything from this position on."""
        return self._access.standing is Standing.MEMBER and position >= self._access.reader.since_position

    def _seen(self, event_ids: Collection[EventID]) -> dict[EventID, Shown]:
        """Those of the events that the history visibility lets the reader see."""
        if not event_ids:
            return {}
        stored = list(events.of_ids(self._tx, event_ids).values())
        return {
            event.event_id: (event, membership) for event, membership in seen(self._tx, self._access, stored)
        }

    def _listened_to(self, shown: Mapping[EventID, Shown]) -> dict[EventID, Shown]:
        return {event_id: each for event_id, each in shown.items() if each[0].sender not in self._ignored}

    def _rendered(self, shown: Sequence[Shown], inner: Mapping[int, Members]) -> dict[int, bytes]:
        rendered = render(self._tx, self._view, shown, inner)
        return {event.event_nid: data for (event, _), data in zip(shown, rendered, strict=True)}


def _thread_json(summary: ThreadSummary, rendered: Mapping[int, bytes], *, is_own: bool) -> bytes:
    return object_of(
        {
            "latest_event": rendered[summary.latest[0].event_nid],
            "count": b"%d" % summary.count,
            "current_user_participated": b"true" if summary.has_user or is_own else b"false",
        }
    )
