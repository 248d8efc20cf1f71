from hypothesis import given
from hypothesis import strategies as st

from homeserver.core.identifiers import UserID
from homeserver.core.presence import (
    IDLE_MS,
    OFFLINE,
    DevicePresence,
    PresenceState,
    UserPresence,
    combine,
    presence_event,
)
from homeserver.core.profiles import NameAndAvatar

ALICE = UserID("@alice:test")
NOW = 10_000_000

TIMES = st.integers(NOW - 3 * IDLE_MS, NOW + 3 * IDLE_MS)
SAID: st.SearchStrategy[PresenceState] = st.sampled_from(["online", "unavailable"])
DEVICES = st.builds(DevicePresence, st.text(max_size=3), SAID, TIMES, TIMES)


@given(DEVICES, TIMES)
def test_a_state_holds_until_the_moment_it_is_said_to_change(device: DevicePresence, now_ts: int) -> None:
    state, changes_ts = device.state(now_ts), device.changes_ts(now_ts)
    if state == "offline":
        assert changes_ts <= now_ts
        return
    assert changes_ts > now_ts
    assert device.state(changes_ts - 1) == state
    assert device.state(changes_ts) != state


@given(st.lists(DEVICES), TIMES)
def test_a_user_is_there_if_any_device_is(devices: list[DevicePresence], now_ts: int) -> None:
    states = {device.state(now_ts) for device in devices}
    combined = combine(devices, now_ts)
    assert (combined == "online") == ("online" in states)
    assert (combined == "offline") == (states <= {"offline"})


def test_the_event_has_what_is_known() -> None:
    presence = UserPresence("online", "hi", NOW - 500, currently_active=True)
    assert presence_event(ALICE, presence, NameAndAvatar("Alice", None), NOW) == {
        "type": "m.presence",
        "sender": ALICE,
        "content": {
            "presence": "online",
            "status_msg": "hi",
            "last_active_ago": 500,
            "currently_active": True,
            "displayname": "Alice",
        },
    }
    assert presence_event(ALICE, OFFLINE, None, NOW)["content"] == {"presence": "offline"}


def test_a_clock_that_goes_back_gives_no_negative_age() -> None:
    presence = UserPresence("unavailable", None, NOW + 5, currently_active=False)
    assert presence.to_content(NOW) == {"presence": "unavailable", "last_active_ago": 0}
