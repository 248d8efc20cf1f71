"""The index of full-text search: filled beside the sending of events, by the position up to which that is done."""

from collections.abc import Collection, Sequence

import msgspec
from sqlalchemy import and_, bindparam, delete, desc, func, or_, select
from sqlalchemy.dialects.sqlite import insert

from homeserver.core.identifiers import EventID
from homeserver.core.json import JsonObject, decode_object
from homeserver.core.relations import REPLACE
from homeserver.core.search_terms import KEYS
from homeserver.database.full_text import all_of, has_terms
from homeserver.database.kinds import Kind
from homeserver.database.statements import Statement, in_list, insert_into, statement
from homeserver.database.tables.events import events
from homeserver.database.tables.relations import relations
from homeserver.database.tables.search import search_progress, search_queue, search_texts
from homeserver.database.transactions import ReadTransaction, WriteTransaction

REDACTION = "m.room.redaction"

_e = events.c
_t = search_texts.c
_SOURCE = (_e.event_nid, _e.room_nid, _e.position, _e.type, _e.pdu)
PROGRESS = statement(select(search_progress.c.position))
_new = insert(search_progress)
ADVANCE = statement(
    _new.values(id=1, position=bindparam("new_position")).on_conflict_do_update(
        index_elements=["id"],
        set_={"position": _new.excluded.position},
        where=search_progress.c.position == bindparam("old_position"),
    )
)
LAST_OF_SOME = statement(
    select(_e.position)
    .where(_e.position > bindparam("after"))
    .order_by(_e.position)
    .offset(bindparam("most"))
    .limit(1)
)
SOURCES = statement(
    select(*_SOURCE).where(
        _e.position > bindparam("after"),
        _e.position <= bindparam("upto"),
        _e.status == 0,
        or_(*(_e.type == each for each in (*KEYS.values(), REDACTION))),
    )
)
QUEUED = statement(
    select(search_queue.c.event_nid).order_by(search_queue.c.event_nid).limit(bindparam("most"))
)
QUEUED_SOURCES = statement(
    select(*_SOURCE).where(
        in_list(_e.event_nid, "event_nids"),
        _e.position.is_not(None),
        _e.status == 0,
        or_(*(_e.type == each for each in KEYS.values())),
    )
)
QUEUE = insert_into(search_queue, ignore_conflict=True)
UNQUEUE = statement(delete(search_queue).where(in_list(search_queue.c.event_nid, "event_nids")))
STILL_THERE = statement(
    select(_e.event_nid).where(in_list(_e.event_nid, "event_nids"), _e.redacted_by.is_(None))
)
ADD = insert_into(search_texts, ignore_conflict=True)
REMOVE_REDACTED = statement(
    delete(search_texts).where(
        _t.event_nid
        == select(_e.event_nid)
        .where(_e.event_id == bindparam("the_event"), _e.redacted_by.is_not(None))
        .scalar_subquery()
    )
)
_edit = events.alias("edit")
REMOVE_EDITS_OF_REDACTED = statement(
    delete(search_texts).where(
        _t.event_nid.in_(
            select(_edit.c.event_nid)
            .select_from(
                events.join(
                    relations,
                    and_(relations.c.room_nid == _e.room_nid, relations.c.parent_id == _e.event_id),
                ).join(_edit, _edit.c.event_id == relations.c.event_id)
            )
            .where(
                _e.event_id == bindparam("the_event"),
                _e.redacted_by.is_not(None),
                relations.c.rel_type == REPLACE,
            )
        )
    )
)
FIND = statement(
    select(_t.event_nid, _t.room_nid, _t.position, _t.terms)
    .where(
        has_terms(search_texts, "search_index", "wanted"),
        in_list(_t.room_nid, "room_nids"),
        _t.position <= bindparam("upto"),
    )
    .order_by(desc(_t.position))
    .limit(bindparam("most"))
)
FIND_SHORT = statement(
    select(_t.event_nid, _t.room_nid, _t.position, _t.terms)
    .where(
        has_terms(search_texts, "search_index", "wanted"),
        in_list(_t.room_nid, "room_nids"),
        _t.position <= bindparam("upto"),
    )
    .order_by(func.length(_t.terms), desc(_t.position))
    .limit(bindparam("most"))
)


class Source(msgspec.Struct, frozen=True):
    """An event that may have to be indexed."""

    event_nid: int
    room_nid: int
    position: int
    type: str
    pdu: bytes

    @property
    def content(self) -> JsonObject:
        """What it says."""
        content = decode_object(self.pdu).get("content")
        return content if isinstance(content, dict) else {}

    @property
    def redacts(self) -> EventID | None:
        """The event that a redaction names, wherever the room's version has that."""
        for place in (self.content, decode_object(self.pdu)):
            if isinstance(target := place.get("redacts"), str):
                return EventID(target)
        return None


class Batch(msgspec.Struct, frozen=True):
    """Events of the stream with `after < position <= upto`, and `queued` ones, as far as they matter to search."""

    after: int
    upto: int
    queued: Sequence[int]
    sources: Sequence[Source]


class Text(msgspec.Struct, frozen=True):
    """The terms of an event."""

    event_nid: int
    room_nid: int
    position: int
    terms: str


def batch(tx: ReadTransaction, *, most: int) -> Batch | None:
    """What is to be indexed next, of about `most` events; `None` if everything is."""
    after: int = tx.value(PROGRESS) or 0
    row = tx.stream_row()
    queued = [each for (each,) in tx.all(QUEUED, most=most)]
    if not row.changed_since(Kind.EVENTS, after) and not queued:
        return None
    beyond: int | None = tx.value(LAST_OF_SOME, after=after, most=most)
    upto = row.position if beyond is None else beyond - 1
    rows = tx.all(SOURCES, after=after, upto=upto)
    if queued:
        rows += tx.all(QUEUED_SOURCES, event_nids=queued)
    return Batch(after, upto, queued, [Source(*each) for each in rows])


def add(tx: WriteTransaction, done: Batch, texts: Collection[Text], redacted: Collection[EventID]) -> bool:
    """Index a batch, unless another process has done so meanwhile: then `False`."""
    if not tx.execute(ADVANCE, old_position=done.after, new_position=done.upto):
        return False
    # What has been redacted since the batch was read, or went with its room, is not to come back.
    there = {nid for (nid,) in tx.all(STILL_THERE, event_nids=[each.event_nid for each in texts])}
    tx.execute_many(ADD, [msgspec.structs.asdict(each) for each in texts if each.event_nid in there])
    for event_id in redacted:
        tx.execute(REMOVE_REDACTED, the_event=event_id)
        tx.execute(REMOVE_EDITS_OF_REDACTED, the_event=event_id)
    if done.queued:
        tx.execute(UNQUEUE, event_nids=list(done.queued))
    return True


def queue(tx: WriteTransaction, event_nids: Collection[int]) -> None:
    """Have events indexed that the stream does not show."""
    tx.execute_many(QUEUE, [{"event_nid": nid} for nid in event_nids])


def find(
    tx: ReadTransaction, terms: Collection[str], room_nids: Collection[int], *, upto: int, most: int
) -> list[Text]:
    """The newest up to `most` texts of the rooms that have all of the terms, newest first.

    A text may have been redacted a moment ago.
    """
    return _found(tx, FIND, terms, room_nids, upto=upto, most=most)


def find_short(
    tx: ReadTransaction, terms: Collection[str], room_nids: Collection[int], *, upto: int, most: int
) -> list[Text]:
    """As `find`: not the newest, but the shortest."""
    return _found(tx, FIND_SHORT, terms, room_nids, upto=upto, most=most)


def _found(
    tx: ReadTransaction,
    query: Statement,
    terms: Collection[str],
    room_nids: Collection[int],
    *,
    upto: int,
    most: int,
) -> list[Text]:
    if not terms or not room_nids:
        return []
    wanted = all_of(terms, tx.backend)
    rows = tx.all(query, wanted=wanted, room_nids=list(room_nids), upto=upto, most=most)
    return [Text(*row) for row in rows]
