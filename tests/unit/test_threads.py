"""Client-server API, "Threaded read receipts": which thread an event is in."""

import pytest

from homeserver.core.identifiers import EventID
from homeserver.core.json import JsonObject, JsonValue
from homeserver.core.relations import Relation, relation_of
from homeserver.core.threads import thread_of


def related(rel_type: str, event_id: str) -> JsonObject:
    return {"m.relates_to": {"rel_type": rel_type, "event_id": event_id}}


# The specification's diagram, with I as the latest of the main timeline, and a few annotations.
ROOM: dict[str, JsonObject] = {
    "$A": {},
    "$B": {},
    "$C": related("m.thread", "$A"),
    "$D": related("m.thread", "$B"),
    "$E": related("m.thread", "$A"),
    "$F": related("m.thread", "$B"),
    "$G": related("m.thread", "$A"),
    "$H": related("m.thread", "$A"),
    "$I": {},
    "$edit": related("m.replace", "$C"),
    "$on_edit": related("m.annotation", "$edit"),
    "$on_that": related("m.reference", "$on_edit"),
    "$too_far": related("m.reference", "$on_that"),
    "$on_root": related("m.annotation", "$A"),
    "$on_on_root": related("m.annotation", "$on_root"),
    "$to_unknown": related("m.annotation", "$unknown"),
    "$reply": {"m.relates_to": {"m.in_reply_to": {"event_id": "$C"}}},
    "$threaded_reply": {
        "m.relates_to": {
            "rel_type": "m.thread",
            "event_id": "$A",
            "m.in_reply_to": {"event_id": "$C"},
            "is_falling_back": True,
        }
    },
    "$itself": related("m.annotation", "$itself"),
    "$of_elsewhere": related("m.thread", "$elsewhere"),
    "$on_that_one": related("m.annotation", "$of_elsewhere"),
    "$of_unknown": related("m.thread", "$unknown"),
}


def relation_in_room(event_id: EventID) -> Relation | None:
    return relation_of(ROOM.get(event_id, {}))


def is_elsewhere(event_id: EventID) -> bool:
    return event_id == "$elsewhere"


@pytest.mark.parametrize(
    ("event_id", "thread"),
    [
        ("$A", None),
        ("$B", None),
        ("$I", None),
        ("$C", "$A"),
        ("$E", "$A"),
        ("$G", "$A"),
        ("$H", "$A"),
        ("$D", "$B"),
        ("$F", "$B"),
        ("$edit", "$A"),
        ("$on_edit", "$A"),
        ("$on_that", "$A"),
        ("$too_far", None),
        ("$on_root", None),
        ("$on_on_root", None),
        ("$to_unknown", None),
        ("$reply", None),
        ("$threaded_reply", "$A"),
        ("$itself", None),
        ("$of_elsewhere", None),
        ("$on_that_one", None),
        ("$of_unknown", "$unknown"),
    ],
)
def test_threads(event_id: str, thread: str | None) -> None:
    assert thread_of(ROOM[event_id], relation_in_room, is_elsewhere) == thread


def test_at_most_three_parents_are_looked_at() -> None:
    seen: list[str] = []

    def endless(event_id: EventID) -> Relation:
        seen.append(event_id)
        return Relation("m.annotation", EventID(event_id + "x"))

    assert thread_of(related("m.annotation", "$a"), endless, is_elsewhere) is None
    assert seen == ["$a", "$ax", "$axx"]


@pytest.mark.parametrize(
    "relates_to",
    [
        None,
        "text",
        [],
        {},
        {"rel_type": "m.thread"},
        {"event_id": "$a"},
        {"rel_type": 1, "event_id": "$a"},
        {"rel_type": "m.thread", "event_id": {}},
        {"rel_type": "m.thread", "event_id": "$a\0"},
        {"rel_type": "m.thread", "event_id": "$" + "a" * 255},
    ],
)
def test_malformed_relationships_count_as_none(relates_to: JsonValue) -> None:
    assert relation_of({"m.relates_to": relates_to}) is None
