import pytest

from homeserver.core.errors import Forbidden, InvalidParam, NotFound
from homeserver.core.identifiers import RoomID, UserID
from homeserver.core.presence import GRACE_MS, IDLE_MS
from homeserver.database.database import Database
from homeserver.services.presence import ACTIVITY_MS, SLACK_MS, Presence
from homeserver.storage import presence as stored
from tests.population import add_room
from tests.services.conftest import Commits, MovableClock, requester

ALICE = UserID("@alice:test")
BOB = UserID("@bob:test")
CAROL = UserID("@carol:test")
PHONE = requester(ALICE, "PHONE")
LAPTOP = requester(ALICE, "LAPTOP")


@pytest.fixture
def presence(database: Database, clock: MovableClock) -> Presence:
    return Presence(database, clock)


async def state_of_alice(presence: Presence) -> str:
    return str((await presence.status_of(PHONE, ALICE))["presence"])


async def test_a_user_is_offline_before_being_seen(presence: Presence) -> None:
    assert await presence.status_of(PHONE, ALICE) == {"presence": "offline"}


async def test_syncing_makes_online_and_ending_it_offline(presence: Presence, clock: MovableClock) -> None:
    """Client-server API, "Syncing": without `set_presence` the client is marked as online."""
    await presence.touch(PHONE, wait_ms=30_000)
    assert await presence.status_of(PHONE, ALICE) == {
        "presence": "online",
        "last_active_ago": 0,
        "currently_active": True,
    }
    clock.advance(30_000 + GRACE_MS - 1)
    await presence.expire()
    assert await state_of_alice(presence) == "online"
    clock.advance(1)
    await presence.expire()
    assert await presence.status_of(PHONE, ALICE) == {"presence": "offline", "last_active_ago": 90_000}


async def test_syncing_as_offline_shows_nothing(presence: Presence) -> None:
    await presence.touch(PHONE, "offline")
    assert await presence.status_of(PHONE, ALICE) == {"presence": "offline"}


async def test_syncing_as_offline_does_not_take_away_what_the_device_said_before(presence: Presence) -> None:
    await presence.touch(PHONE, "online")
    await presence.touch(PHONE, "offline")
    assert await state_of_alice(presence) == "online"


async def test_going_on_syncing_keeps_the_user_there(presence: Presence, clock: MovableClock) -> None:
    for _ in range(8):
        await presence.touch(PHONE, wait_ms=30_000)
        clock.advance(30_000)
        await presence.expire()
        assert await state_of_alice(presence) == "online"


async def test_a_poll_that_is_repeated_quickly_is_written_once(
    presence: Presence, clock: MovableClock, database: Database
) -> None:
    await presence.touch(PHONE)
    first = (await database.read(stored.devices_of, ALICE))["PHONE"].expires_ts
    clock.advance(GRACE_MS - SLACK_MS)
    await presence.touch(PHONE)
    assert (await database.read(stored.devices_of, ALICE))["PHONE"].expires_ts == first
    clock.advance(SLACK_MS)
    await presence.touch(PHONE)
    assert (await database.read(stored.devices_of, ALICE))["PHONE"].expires_ts == clock.ts + GRACE_MS


async def test_without_activity_a_syncing_user_becomes_unavailable(
    presence: Presence, clock: MovableClock
) -> None:
    """Client-server API, "Idle timeout"."""
    await presence.touch(PHONE, wait_ms=IDLE_MS)
    clock.advance(IDLE_MS - 1)
    await presence.expire()
    assert await state_of_alice(presence) == "online"
    clock.advance(1)
    await presence.expire()
    assert await presence.status_of(PHONE, ALICE) == {"presence": "unavailable", "last_active_ago": IDLE_MS}
    await presence.touch(PHONE, wait_ms=30_000)
    assert await state_of_alice(presence) == "unavailable"
    await presence.active(PHONE)
    assert await presence.status_of(PHONE, ALICE) == {
        "presence": "online",
        "last_active_ago": 0,
        "currently_active": True,
    }


async def test_activity_postpones_idleness(presence: Presence, clock: MovableClock) -> None:
    await presence.touch(PHONE, wait_ms=2 * IDLE_MS)
    clock.advance(IDLE_MS - 1)
    await presence.active(PHONE)
    clock.advance(IDLE_MS - 1)
    await presence.expire()
    assert await state_of_alice(presence) == "online"


async def test_activity_does_not_betray_a_user_who_hides(presence: Presence) -> None:
    await presence.touch(PHONE, "offline")
    await presence.active(PHONE)
    assert await presence.status_of(PHONE, ALICE) == {"presence": "offline"}


async def test_activity_is_written_every_half_minute_at_most(
    presence: Presence, clock: MovableClock, database: Database
) -> None:
    await presence.touch(PHONE, wait_ms=IDLE_MS)
    await presence.active(PHONE)
    first = clock.ts
    clock.advance(ACTIVITY_MS - 1)
    await presence.active(PHONE)
    assert (await database.read(stored.devices_of, ALICE))["PHONE"].last_active_ts == first
    clock.advance(1)
    await presence.active(PHONE)
    assert (await database.read(stored.devices_of, ALICE))["PHONE"].last_active_ts == clock.ts


async def test_the_user_is_what_the_best_device_is(presence: Presence, clock: MovableClock) -> None:
    await presence.touch(PHONE, "unavailable", wait_ms=300_000)
    assert await state_of_alice(presence) == "unavailable"
    await presence.touch(LAPTOP, "online")
    assert await state_of_alice(presence) == "online"
    clock.advance(GRACE_MS)
    await presence.expire()
    assert await state_of_alice(presence) == "unavailable"
    clock.advance(300_000)
    await presence.expire()
    assert await state_of_alice(presence) == "offline"


async def test_a_device_that_only_idles_tells_no_time_of_activity(presence: Presence) -> None:
    await presence.touch(PHONE, "unavailable")
    assert await presence.status_of(PHONE, ALICE) == {"presence": "unavailable"}


async def test_status_is_set_with_its_message(presence: Presence, clock: MovableClock) -> None:
    await presence.set_status(PHONE, ALICE, "unavailable", "at lunch")
    clock.advance(1_000)
    assert await presence.status_of(PHONE, ALICE) == {
        "presence": "unavailable",
        "status_msg": "at lunch",
        "last_active_ago": 1_000,
    }
    await presence.set_status(PHONE, ALICE, "online", None)
    assert "status_msg" not in await presence.status_of(PHONE, ALICE)


async def test_going_offline_and_coming_back_by_the_next_sync(presence: Presence) -> None:
    await presence.touch(PHONE)
    await presence.set_status(PHONE, ALICE, "offline", None)
    assert await state_of_alice(presence) == "offline"
    await presence.touch(PHONE)
    assert await state_of_alice(presence) == "online"


async def test_a_status_does_not_outlive_its_device(presence: Presence, clock: MovableClock) -> None:
    await presence.set_status(PHONE, ALICE, "online", "hi")
    clock.advance(GRACE_MS)
    await presence.expire()
    answer = await presence.status_of(PHONE, ALICE)
    assert answer["presence"] == "offline"
    assert answer["status_msg"] == "hi"


async def test_nobody_sets_the_presence_of_others(presence: Presence) -> None:
    with pytest.raises(Forbidden):
        await presence.set_status(PHONE, BOB, "online", None)


async def test_a_very_long_message_is_refused(presence: Presence) -> None:
    with pytest.raises(InvalidParam):
        await presence.set_status(PHONE, ALICE, "online", "x" * 1001)


async def test_only_those_who_share_a_room_see_it(presence: Presence, database: Database) -> None:
    await database.write(add_room, RoomID("!room:test"), ALICE, BOB)
    await presence.touch(PHONE)
    assert (await presence.status_of(requester(BOB), ALICE))["presence"] == "online"
    with pytest.raises(Forbidden):
        await presence.status_of(requester(CAROL), ALICE)
    # Nor does it show who exists.
    with pytest.raises(Forbidden):
        await presence.status_of(requester(CAROL), UserID("@nobody:test"))


async def test_only_changes_are_told(
    presence: Presence, database: Database, clock: MovableClock, commits: Commits
) -> None:
    await database.write(add_room, RoomID("!room:test"), ALICE, BOB)
    await presence.touch(PHONE, wait_ms=IDLE_MS)
    assert await commits.take() == [{"user:@alice:test", "room:!room:test"}]
    clock.advance(ACTIVITY_MS)
    await presence.active(PHONE)
    await presence.touch(LAPTOP)
    await presence.expire()
    assert await commits.take() == []
    await presence.set_status(PHONE, ALICE, "online", "new message")
    assert len(await commits.take()) == 1


async def test_a_new_profile_is_told_unless_the_user_is_offline(presence: Presence, commits: Commits) -> None:
    await presence.profile_changed(ALICE)
    assert await commits.take() == []
    await presence.touch(PHONE)
    await commits.take()
    await presence.profile_changed(ALICE)
    assert await commits.take() == [{"user:@alice:test"}]


async def test_expiry_goes_through_many_users(
    presence: Presence, database: Database, clock: MovableClock
) -> None:
    users = [UserID(f"@user{number}:test") for number in range(230)]
    for user_id in users:
        await presence.touch(requester(user_id))
    clock.advance(GRACE_MS)
    await presence.expire()
    states = {(await database.read(stored.of, user_id)) for user_id in users}
    assert {state.presence for state in states if state is not None} == {"offline"}
    assert await database.read(stored.due, now_ts=clock.ts + 10**9, most=9) == []


async def test_switched_off_nothing_is_kept_or_shown(database: Database, clock: MovableClock) -> None:
    presence = Presence(database, clock, enabled=False)
    await presence.touch(PHONE)
    await presence.active(PHONE)
    await presence.set_status(PHONE, ALICE, "online", None)
    await presence.profile_changed(ALICE)
    await presence.expire()
    with pytest.raises(NotFound):
        await presence.status_of(PHONE, ALICE)
    assert await database.read(stored.of, ALICE) is None
