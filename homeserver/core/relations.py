"""How events relate to others. Spec: client-server API, "Forming relationships between events"."""

import hashlib
from typing import Final

import msgspec

from homeserver.core.identifiers import MAX_IDENTIFIER_BYTES, EventID
from homeserver.core.json import JsonObject

REPLACE: Final = "m.replace"
ANNOTATION: Final = "m.annotation"
REFERENCE: Final = "m.reference"
THREAD: Final = "m.thread"

ENCRYPTED: Final = "m.room.encrypted"


class Relation(msgspec.Struct, frozen=True):
    """What an event's `m.relates_to` says of its parent."""

    rel_type: str
    event_id: EventID


class Relative(msgspec.Struct, frozen=True):
    """Of an event what matters for being the parent or the child of another of its room.

    `rel_type` is that of its own relationship to a parent, None if it has none. `is_sound` is False for a replacement
    that can replace nothing, see `is_sound`.
    """

    type: str
    sender: str
    is_state: bool
    rel_type: str | None
    is_sound: bool = True


def relation_of(content: JsonObject) -> Relation | None:
    """The relationship to a parent event; None if there is none, or a malformed one, which counts as none.

    A rich reply has no `rel_type`, so it is no relationship in this sense.
    """
    relates_to = content.get("m.relates_to")
    if not isinstance(relates_to, dict):
        return None
    rel_type, event_id = relates_to.get("rel_type"), relates_to.get("event_id")
    if not isinstance(rel_type, str) or not isinstance(event_id, str):
        return None
    # What can be the ID of no event, or the name of nothing; no database would take it.
    if not event_id.startswith("$") or not _is_storable(rel_type) or not _is_storable(event_id):
        return None
    return Relation(rel_type, EventID(event_id))


def _is_storable(text: str) -> bool:
    return len(text) <= MAX_IDENTIFIER_BYTES and "\0" not in text


def annotation_key(content: JsonObject) -> bytes | None:
    """What stands for the `key` of an annotation, and is the same for the same key; None if it has none.

    A key may be of any length, and of characters that no database takes.
    """
    relates_to = content.get("m.relates_to")
    key = relates_to.get("key") if isinstance(relates_to, dict) else None
    return hashlib.sha256(key.encode()).digest()[:16] if isinstance(key, str) else None


def is_sound(type: str, content: JsonObject, *, is_state: bool) -> bool:
    """Whether an event with the relationship `m.replace` may replace anything, whatever its parent is.

    Spec: "Validity of replacement events", as far as it is about the replacement alone.
    """
    # State cannot be edited, nor can it edit. What is encrypted has its new content where nobody sees it.
    return not is_state and (type == ENCRYPTED or isinstance(content.get("m.new_content"), dict))


def is_valid(parent: Relative, child: Relative) -> bool:
    """Whether the child's relationship to the parent keeps the rules of its type; otherwise it is to be ignored.

    Both are of the same room. Spec: "Validity of replacement events", "Event annotations and reactions", "Threading".
    """
    if child.rel_type == REPLACE:
        # Nobody edits others' events, nor makes another kind of event of them, nor edits an edit.
        return (
            child.is_sound
            and not child.is_state
            and not parent.is_state
            and child.sender == parent.sender
            and child.type == parent.type
            and parent.rel_type != REPLACE
        )
    if child.rel_type == ANNOTATION:
        # Annotations are of the original event.
        return parent.rel_type not in (ANNOTATION, REPLACE)
    if child.rel_type == THREAD:
        # There are no threads within threads.
        return parent.rel_type is None
    return True
