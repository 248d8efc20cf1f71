"""The windows of lists."""

from homeserver.core.identifiers import RoomID
from homeserver.core.sliding_sync.requests import RoomConfig, Scope
from homeserver.core.sliding_sync.required_state import RequiredState
from homeserver.core.sliding_sync.windows import Configs, Match, window


def test_ranges() -> None:
    rooms = list("abcde")
    assert window(rooms, None) == rooms
    assert window(rooms, []) == []
    assert window(rooms, [(0, 0)]) == ["a"]
    assert window(rooms, [(3, 10**30)]) == ["d", "e"]
    assert window(rooms, [(7, 9)]) == []
    assert window(rooms, [(1, 2), (2, 3), (0, 0)]) == ["a", "b", "c", "d"]


def test_what_is_wanted_is_combined() -> None:
    name, topic = (RequiredState(((kind, ""),)) for kind in ("m.room.name", "m.room.topic"))
    one, other = RoomConfig(5, (name,)), RoomConfig(2, (topic,))
    configs = Configs()
    assert configs.of(Match([one])) is one
    both = configs.of(Match([one, other]))
    assert both.timeline_limit == 5
    assert set(both.required_state) == {name, topic}
    assert configs.of(Match([other, one, other])) is both


def test_scopes_of_extensions() -> None:
    room = RoomID("!r")
    everything = Scope()
    assert everything.covers(room, ("a",), is_subscribed=False)
    assert everything.covers(room, (), is_subscribed=True)
    some = Scope(frozenset({"a"}), frozenset({"!s"}))
    assert some.covers(room, ("a", "b"), is_subscribed=False)
    assert not some.covers(room, ("b",), is_subscribed=True)
    assert some.covers(RoomID("!s"), (), is_subscribed=True)
