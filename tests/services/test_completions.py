"""Which incoming events are being completed, and who waits for them."""

from twisted.internet.defer import Deferred

from homeserver.core.identifiers import EventID, RoomID, ServerName
from homeserver.services.completions import MOST_OF_SERVER, MOST_OF_SERVER_IN_ALL, Completion, Completions
from homeserver.storage.incoming_pdus import IncomingPdu

ROOM = RoomID("!room:here")
ORIGIN = ServerName("there")


def pdu(number: int, room_id: RoomID = ROOM) -> IncomingPdu:
    return IncomingPdu(number, room_id, EventID(f"${number}"), ORIGIN, 0, 0, frozenset({ORIGIN}), b"{}")


def begun(completions: Completions, number: int, room_id: RoomID = ROOM) -> tuple[Completion, Deferred[None]]:
    running: Deferred[None] = Deferred()
    return completions.begin(pdu(number, room_id), lambda _: running), running


def test_an_event_waits_for_itself_its_parents_and_those_who_wait() -> None:
    completions = Completions()
    first, _ = begun(completions, 1)
    assert completions.waited_for_by(pdu(1), ()) is first
    assert completions.waited_for_by(pdu(2), (EventID("$1"),)) is first
    first.add(pdu(2))
    assert completions.waited_for_by(pdu(3), (EventID("$2"),)) is first
    assert completions.waited_for_by(pdu(4), (EventID("$0"),)) is None
    completions.end(first)
    assert first.is_over
    assert completions.waited_for_by(pdu(2), (EventID("$1"),)) is None


def test_a_server_may_have_some_completed_at_a_time() -> None:
    completions = Completions()
    for number in range(MOST_OF_SERVER):
        assert not completions.is_full(ROOM, ORIGIN)
        begun(completions, number)
    assert completions.is_full(ROOM, ORIGIN)
    assert not completions.is_full(ROOM, ServerName("elsewhere"))


def test_a_server_that_is_in_many_rooms_leaves_something_for_others() -> None:
    completions = Completions()
    in_rooms = [RoomID(f"!{number}:here") for number in range(MOST_OF_SERVER_IN_ALL)]
    made = []
    for number, room_id in enumerate(in_rooms):
        assert not completions.is_full(room_id, ORIGIN)
        made.append(begun(completions, number, room_id)[0])
    assert completions.is_full(ROOM, ORIGIN)
    assert not completions.is_full(ROOM, ServerName("elsewhere"))
    completions.end(made[0])
    assert not completions.is_full(ROOM, ORIGIN)


def test_an_event_that_is_completed_twice_ends_twice() -> None:
    """As when the lease of its room has run out, and the room was taken again."""
    completions = Completions()
    first, _ = begun(completions, 1)
    second, _ = begun(completions, 1)
    completions.end(first)
    assert completions.waited_for_by(pdu(1), ()) is second
    completions.end(second)
    assert completions.waited_for_by(pdu(1), ()) is None
    assert first.is_over
    assert second.is_over
