"""An event, read from its PDU in each room version."""

import attrs
import pytest

from homeserver.core.errors import BadJson
from homeserver.core.event import Event, create_event_id_of, room_id_of_create
from homeserver.core.hashes import event_id_of
from homeserver.core.identifiers import EventID, RoomID
from homeserver.core.json import JsonObject
from homeserver.core.room_versions import ROOM_VERSIONS

VERSIONS = list(ROOM_VERSIONS)
HASH_VERSIONS = VERSIONS[2:]


def pdu_of(identifier: str, **changes: object) -> JsonObject:
    """A state event in the format of a room version."""
    pdu: JsonObject = {
        "auth_events": ["$a", "$b"],
        "content": {"name": "Room"},
        "depth": 7,
        "hashes": {"sha256": "x"},
        "origin_server_ts": 1_700_000_000_000,
        "prev_events": ["$c"],
        "room_id": "!room:example.org",
        "sender": "@alice:example.org",
        "signatures": {"example.org": {"ed25519:1": "x"}},
        "state_key": "",
        "type": "m.room.name",
    }
    if identifier in {"1", "2"}:
        pdu["event_id"] = "$0:example.org"
        pdu["auth_events"] = [["$a", {"sha256": "h"}], ["$b", {"sha256": "h"}]]
        pdu["prev_events"] = [["$c", {"sha256": "h"}]]
    pdu.update(changes)  # type: ignore[arg-type]  # what the test wants to be taken
    return pdu


@pytest.mark.parametrize("identifier", VERSIONS)
def test_the_fields_of_an_event(identifier: str) -> None:
    version = ROOM_VERSIONS[identifier]
    pdu = pdu_of(identifier)
    event = Event.from_pdu(pdu, version)
    assert event.event_id == event_id_of(pdu, version)
    assert event.room_id == "!room:example.org"
    assert event.type == "m.room.name"
    assert event.sender == "@alice:example.org"
    assert event.state_key == ""
    assert event.content == {"name": "Room"}
    assert event.origin_server_ts == 1_700_000_000_000
    assert event.depth == 7
    assert event.prev_events == ("$c",)
    assert event.auth_events == ("$a", "$b")
    assert event.redacts is None
    assert event.room_version is version
    assert event.pdu == pdu
    assert not event.rejected


def test_event_ids_before_version_3_are_those_in_the_event() -> None:
    assert Event.from_pdu(pdu_of("1"), ROOM_VERSIONS["1"]).event_id == "$0:example.org"
    pdu = pdu_of("1")
    del pdu["event_id"]
    with pytest.raises(BadJson):
        Event.from_pdu(pdu, ROOM_VERSIONS["1"])


@pytest.mark.parametrize("identifier", HASH_VERSIONS)
def test_an_event_id_in_the_event_is_not_its_id_since_version_3(identifier: str) -> None:
    version = ROOM_VERSIONS[identifier]
    event = Event.from_pdu(pdu_of(identifier, event_id="$forged"), version)
    assert event.event_id == event_id_of(event.pdu, version)
    assert event.event_id != "$forged"


def test_a_known_event_id_is_not_computed_again() -> None:
    event = Event.from_pdu(pdu_of("11"), ROOM_VERSIONS["11"], event_id=EventID("$known"), rejected=True)
    assert event.event_id == "$known"
    assert event.rejected


def test_unsigned_is_left_out() -> None:
    version = ROOM_VERSIONS["11"]
    pdu = pdu_of("11", unsigned={"age": 5, "redacted_because": {}})
    event = Event.from_pdu(pdu, version)
    assert "unsigned" not in event.pdu
    assert "unsigned" in pdu
    assert event == Event.from_pdu(pdu_of("11"), version)


def test_state_and_message_events() -> None:
    version = ROOM_VERSIONS["11"]
    state = Event.from_pdu(pdu_of("11", state_key="x"), version)
    assert state.is_state
    assert state.key == ("m.room.name", "x")
    pdu = pdu_of("11")
    del pdu["state_key"]
    message = Event.from_pdu(pdu, version)
    assert not message.is_state
    assert message.state_key is None
    with pytest.raises(ValueError):
        _ = message.key


@pytest.mark.parametrize("identifier", VERSIONS)
def test_where_redacts_stands(identifier: str) -> None:
    """At the top level until version 10, in `content` since."""

    def redacts(**changes: object) -> EventID | None:
        pdu = pdu_of(identifier, **{"type": "m.room.redaction", **changes})
        return Event.from_pdu(pdu, ROOM_VERSIONS[identifier]).redacts

    in_content = int(identifier) >= 11
    assert redacts(redacts="$top", content={"redacts": "$inner"}) == ("$inner" if in_content else "$top")
    assert redacts(redacts="$top", content={}) == (None if in_content else "$top")
    assert redacts(content={"redacts": "$inner"}) == ("$inner" if in_content else None)
    assert redacts(redacts=1, content={"redacts": ["$inner"]}) is None
    assert redacts(redacts="$top", content={"redacts": "$inner"}, type="m.room.message") is None


def test_the_create_event_of_version_12_makes_the_room_id() -> None:
    version = ROOM_VERSIONS["12"]
    pdu = pdu_of("12", type="m.room.create", content={"room_version": "12"}, auth_events=[], prev_events=[])
    del pdu["room_id"]
    create = Event.from_pdu(pdu, version)
    assert create.room_id == "!" + create.event_id[1:]
    assert len(create.room_id) == 44
    assert room_id_of_create(create.event_id) == create.room_id
    assert create_event_id_of(create.room_id) == create.event_id
    assert "room_id" not in create.pdu

    other = Event.from_pdu(pdu_of("12", room_id=create.room_id), version)
    assert other.room_id == create.room_id
    assert create_event_id_of(RoomID(other.room_id)) not in other.auth_events


def test_events_are_the_same_if_their_ids_are() -> None:
    version = ROOM_VERSIONS["11"]
    event = Event.from_pdu(pdu_of("11"), version)
    again = Event.from_pdu(pdu_of("11"), version, rejected=True)
    other = Event.from_pdu(pdu_of("11", depth=8), version)
    assert event == again
    assert hash(event) == hash(again)
    assert len({event, again, other}) == 2
    assert event != other
    assert event != event.event_id


def test_an_event_cannot_be_changed() -> None:
    event = Event.from_pdu(pdu_of("11"), ROOM_VERSIONS["11"])
    with pytest.raises(AttributeError):
        event.rejected = True  # type: ignore[misc]  # mypy cannot tell
    assert attrs.evolve(event, rejected=True).rejected
