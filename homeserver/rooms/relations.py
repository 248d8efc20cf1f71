"""What is noted of events that relate to others, when they are stored and when they are redacted.

Parents may come after their children: from other servers, and with history that is fetched later.
"""

from collections.abc import Collection, Mapping

from homeserver.core.endpoint_errors import DuplicateAnnotation
from homeserver.core.errors import Unknown
from homeserver.core.event import Event
from homeserver.core.identifiers import EventID
from homeserver.core.json import decode_object
from homeserver.core.relations import ANNOTATION, REPLACE, THREAD, annotation_key, is_sound, relation_of
from homeserver.database.statements import Statement
from homeserver.database.transactions import ReadTransaction, WriteTransaction
from homeserver.rooms.draft import Draft
from homeserver.storage import events, relations, threads

Write = tuple[Statement, dict[str, object]]


def writes(event: Event, room_nid: int) -> list[Write]:
    """What is to be written with an event that clients see; nothing if it relates to none.

    All of it takes the parameter `position`, the event's own.
    """
    relation = relation_of(event.content)
    if relation is None:
        return []
    parent_id, rel_type = relation.event_id, relation.rel_type
    sound = rel_type != REPLACE or is_sound(event.type, event.content, is_state=event.is_state)
    child = {
        "room_nid": room_nid,
        "parent_id": parent_id,
        "rel_type": rel_type,
        "event_id": event.event_id,
        "type": event.type,
        "sender": event.sender,
        "origin_server_ts": event.origin_server_ts,
        "is_sound": int(sound),
        "annotation_key": annotation_key(event.content) if rel_type == ANNOTATION else None,
    }
    found: list[Write] = [(relations.INSERT, child)]
    if (bit := relations.BITS.get(rel_type)) is not None:
        found.append((relations.MARK, {"the_room": room_nid, "parent_id": parent_id, "bit": bit}))
    if rel_type == THREAD:
        found.append((threads.ADD, {"room_nid": room_nid, "root_id": parent_id}))
    return found


def write(tx: WriteTransaction, placed: Mapping[int, Event], room_nid: int) -> None:
    """Note all of this of events that are stored, by their positions."""
    for position, event in placed.items():
        for query, params in writes(event, room_nid):
            tx.execute(query, **params, position=position)


def forget(tx: WriteTransaction, target: Event, target_nid: int, room_nid: int) -> None:
    """A stored event that is being redacted relates to nothing any more; `target` is as it was."""
    relation = relation_of(target.content)
    if relation is None:
        return
    parent_id, rel_type = relation.event_id, relation.rel_type
    was_there = relations.remove(tx, room_nid, target_nid, parent_id=parent_id, rel_type=rel_type)
    if was_there and rel_type == THREAD:
        threads.shrink(tx, room_nid, parent_id)


def check(tx: ReadTransaction, room_nid: int, draft: Draft) -> None:
    """Whether a user of this server may have an event relate to another as the draft does.

    Errors: DuplicateAnnotation; Unknown (400) for a thread whose root relates to another event itself.
    Spec: client-server API, "Avoiding duplicate annotations", "Validation of `m.thread` relationships".
    """
    relation = relation_of(draft.content)
    if relation is None:
        return
    if relation.rel_type == ANNOTATION and (key := annotation_key(draft.content)) is not None:
        if relations.is_annotated(
            tx, room_nid, relation.event_id, sender=draft.sender, type=draft.type, annotation_key=key
        ):
            raise DuplicateAnnotation
    elif relation.rel_type == THREAD:
        root = events.of(tx, relation.event_id)
        if root is None or root.room_nid != room_nid:
            return
        content = decode_object(root.pdu)["content"]
        if isinstance(content, dict) and relation_of(content) is not None:
            raise Unknown("No thread can begin with an event that relates to another one", status=400)


def aggregates_of(tx: ReadTransaction, room_nid: int, event_ids: Collection[EventID]) -> dict[EventID, int]:
    """The column `aggregates` of events that are about to be stored, where others relate to them already."""
    return relations.bits_of(tx, room_nid, event_ids)


def mark(tx: WriteTransaction, room_nid: int, event_id: EventID, aggregates: int) -> None:
    """Have the row of an outlier that gets its place say what relates to it."""
    relations.set_bits(tx, room_nid, event_id, aggregates)
