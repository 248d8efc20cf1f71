from homeserver.core.identifiers import RoomID, UserID
from homeserver.core.presence import DevicePresence, PresenceState, UserPresence
from homeserver.core.profiles import NameAndAvatar
from homeserver.database.kinds import Kind
from homeserver.storage import presence, profiles
from homeserver.storage.presence import MOST_ROOMS, SMALL_ROOM
from tests.population import add_member, add_room, leave
from tests.storage.store import Store

ALICE = UserID("@alice:test")
BOB = UserID("@bob:test")
CAROL = UserID("@carol:test")
EVERYTHING = 2**62
NOW = 1_000_000


def state(
    name: PresenceState, status_msg: str | None = None, last_active_ts: int | None = NOW
) -> UserPresence:
    return UserPresence(name, status_msg, last_active_ts, currently_active=name == "online")


def put(store: Store, user_id: UserID, given: UserPresence) -> None:
    store.write(presence.put, user_id, given)


def seen(store: Store, reader: UserID, *, since: int = 0, upto: int = EVERYTHING) -> list[UserID]:
    return [each.user_id for each in store.read(presence.since, reader, since=since, upto=upto)]


def test_presence_is_stored_as_given(store: Store) -> None:
    assert store.read(presence.of, ALICE) is None
    for given in (state("online", "busy"), state("offline", None, None)):
        put(store, ALICE, given)
        assert store.read(presence.of, ALICE) == given
    assert [row.kinds for row in store.published] == [(Kind.PRESENCE,)]


def test_lock_gives_the_presence_and_offline_to_who_has_none(store: Store) -> None:
    put(store, ALICE, state("unavailable"))
    assert store.write(presence.lock, ALICE) == state("unavailable")
    assert store.write(presence.lock, BOB) == state("offline", None, None)


def test_activity_alone_is_kept_without_telling_anybody(store: Store) -> None:
    put(store, ALICE, state("online"))
    store.write(presence.set_active, ALICE, NOW + 5)
    assert store.published == []
    assert store.read(presence.of, ALICE) == state("online", last_active_ts=NOW + 5)


def test_who_shares_a_room_sees_it_and_nobody_else(store: Store) -> None:
    room = store.write(add_room, RoomID("!room:test"), ALICE, BOB)
    store.write(add_member, room, CAROL, membership="invite")
    put(store, ALICE, state("online"))
    assert seen(store, BOB) == [ALICE]
    assert seen(store, ALICE) == [ALICE]
    assert seen(store, CAROL) == []
    assert store.read(presence.share_a_room, ALICE, BOB)
    assert not store.read(presence.share_a_room, CAROL, ALICE)
    store.write(leave, room, ALICE)
    assert seen(store, BOB) == []
    assert not store.read(presence.share_a_room, ALICE, BOB)


def test_changes_are_read_between_positions_in_their_order(store: Store) -> None:
    users = [UserID(f"@user{number}:test") for number in range(5)]
    store.write(add_room, RoomID("!room:test"), ALICE, *users)
    for user_id in users:
        put(store, user_id, state("online"))
    put(store, users[1], state("offline"))
    assert seen(store, ALICE, since=2, upto=4) == [users[2], users[3]]
    assert seen(store, ALICE, since=4) == [users[4], users[1]]


def test_who_begins_is_told_of_those_who_are_there(store: Store) -> None:
    store.write(add_room, RoomID("!room:test"), ALICE, BOB, CAROL)
    put(store, BOB, state("offline"))
    put(store, CAROL, state("unavailable"))
    assert seen(store, ALICE) == [CAROL]


def test_name_and_avatar_come_along(store: Store) -> None:
    store.write(profiles.put, ALICE, "displayname", "Alice")
    store.write(profiles.put, BOB, "avatar_url", "mxc://test/bob")
    store.write(profiles.put, BOB, "m.tz", "Europe/Berlin")
    for user_id in (ALICE, BOB, CAROL):
        put(store, user_id, state("online"))
    found = store.read(presence.of_users, [ALICE, BOB, CAROL], upto=EVERYTHING)
    assert [each.profile for each in found] == [
        NameAndAvatar("Alice", None),
        NameAndAvatar(None, "mxc://test/bob"),
        NameAndAvatar(),
    ]
    assert [each.presence for each in found] == [state("online")] * 3


def test_of_users(store: Store) -> None:
    for user_id in (ALICE, CAROL):
        put(store, user_id, state("online"))
    put(store, BOB, state("offline"))
    of_users = store.read(presence.of_users, {BOB, CAROL}, upto=EVERYTHING)
    assert [each.user_id for each in of_users] == [CAROL, BOB]
    assert store.read(presence.of_users, {BOB, CAROL}, upto=1) == []


def test_who_is_newly_met(store: Store) -> None:
    """Who comes is met by all, and meets all; who is not there is not told of."""
    for user_id in (ALICE, BOB):
        put(store, user_id, state("online"))
    put(store, CAROL, state("offline"))
    room = store.write(add_room, RoomID("!room:test"), ALICE, BOB, CAROL)

    def met(reader: UserID, since: int) -> list[UserID]:
        found = store.read(presence.newly_met, reader, [room], since=since, upto=EVERYTHING)
        return [each.user_id for each in found]

    assert met(ALICE, -1) == [BOB]
    assert met(CAROL, -1) == [ALICE, BOB]
    assert met(ALICE, EVERYTHING) == []
    assert store.read(presence.newly_met, ALICE, [], since=0, upto=EVERYTHING) == []


def test_a_change_wakes_small_rooms_only_and_a_bounded_number_of_them(store: Store) -> None:
    many = [UserID(f"@user{number}:test") for number in range(SMALL_ROOM)]
    store.write(add_room, RoomID("!large:test"), ALICE, *many)
    store.write(add_room, RoomID("!alone:test"), ALICE)
    left = store.write(add_room, RoomID("!left:test"), ALICE, BOB)
    store.write(leave, left, ALICE)
    put(store, ALICE, state("online"))
    assert store.topics == ["user:@alice:test"]
    for number in range(MOST_ROOMS + 5):
        store.write(add_room, RoomID(f"!three{number}:test"), ALICE, BOB, CAROL)
    store.write(add_room, RoomID("!two:test"), ALICE, BOB)
    put(store, ALICE, state("offline"))
    assert store.topics[:2] == ["user:@alice:test", "room:!two:test"]
    assert len(store.topics) == 1 + MOST_ROOMS


def test_devices_are_kept_until_they_are_gone(store: Store) -> None:
    phone = DevicePresence("PHONE", "online", NOW, NOW + 60_000)
    laptop = DevicePresence("LAPTOP", "unavailable", 0, NOW + 90_000)
    for device in (phone, laptop):
        store.write(presence.put_device, ALICE, device, now_ts=NOW)
    assert store.read(presence.devices_of, ALICE) == {"PHONE": phone, "LAPTOP": laptop}
    assert store.read(presence.devices_of, BOB) == {}
    store.write(presence.delete_device, ALICE, "PHONE")
    assert store.read(presence.devices_of, ALICE) == {"LAPTOP": laptop}


def test_users_are_due_when_a_device_changes_by_itself(store: Store) -> None:
    gone = DevicePresence("A", "online", NOW, NOW + 60_000)
    idle = DevicePresence("B", "online", NOW - 4 * 60_000, NOW + 90_000)
    store.write(presence.put_device, ALICE, gone, now_ts=NOW)
    store.write(presence.put_device, BOB, idle, now_ts=NOW)
    store.write(presence.put_device, CAROL, gone, now_ts=NOW)
    assert store.read(presence.due, now_ts=NOW + 59_999, most=9) == []
    assert store.read(presence.due, now_ts=NOW + 60_000, most=9) == [ALICE, BOB, CAROL]
    assert len(store.read(presence.due, now_ts=NOW + 60_000, most=2)) == 2
    store.write(presence.put_device, BOB, idle, now_ts=NOW + 60_000)
    assert store.read(presence.due, now_ts=NOW + 60_000, most=9) == [ALICE, CAROL]


def test_presence_of_other_servers_users_expires_unless_it_is_refreshed(store: Store) -> None:
    online = UserPresence("online", None, 1000, currently_active=True)
    store.write(presence.put, ALICE, online, expires_ts=5000)
    store.write(presence.put, BOB, online, expires_ts=4000)
    store.write(presence.put, CAROL, online)
    assert store.read(presence.expired, now_ts=3999, most=10) == []
    assert store.read(presence.expired, now_ts=5000, most=10) == [BOB, ALICE]
    assert store.read(presence.expired, now_ts=5000, most=1) == [BOB]
    store.write(presence.refresh, BOB, active_ts=3000, expires_ts=6000)
    assert store.published == []
    assert store.read(presence.expired, now_ts=5000, most=10) == [ALICE]
    assert store.read(presence.is_expired, ALICE, now_ts=5000)
    assert not store.read(presence.is_expired, BOB, now_ts=5000)
    assert not store.read(presence.is_expired, CAROL, now_ts=5000)
    assert store.read(presence.of, BOB) == UserPresence("online", None, 3000, currently_active=True)
    store.write(presence.put, ALICE, online)
    assert store.read(presence.expired, now_ts=2**62, most=10) == [BOB]


def test_who_is_joined_to_any_room(store: Store) -> None:
    room = store.write(add_room, RoomID("!room:test"), ALICE)
    store.write(add_member, room, BOB, membership="invite")
    assert store.read(presence.is_in_any_room, ALICE)
    assert not store.read(presence.is_in_any_room, BOB)
