from typing import Any

import attrs
import pytest

from homeserver.core.endpoint_errors import KeyTooLarge, ProfileTooLarge
from homeserver.core.errors import (
    BadJson,
    Forbidden,
    GuestAccessForbidden,
    InvalidParam,
    MissingParam,
    NotFound,
    UserSuspended,
)
from homeserver.core.identifiers import ServerName, UserID
from homeserver.core.json import JsonObject
from homeserver.database.database import Database
from homeserver.database.transactions import WriteTransaction
from homeserver.services.presence import Presence
from homeserver.services.profiles import Profiles
from tests.population import add_user
from tests.services.conftest import Commits, MovableClock, requester

ALICE = UserID("@alice:test")
BOB = UserID("@bob:test")
GONE = UserID("@gone:test")
SUSPENDED = UserID("@suspended:test")
MXC = "mxc://example.org/SEsfnsuifSDFSSEF"


@attrs.define
class Members:
    """Stands for the rooms."""

    updates: list[tuple[UserID, str | None, str | None]] = attrs.field(factory=list)
    is_broken: bool = False

    async def update_member_events(
        self, user_id: UserID, display_name: str | None, avatar_url: str | None
    ) -> None:
        if self.is_broken:
            raise RuntimeError("the rooms are out of reach")
        self.updates.append((user_id, display_name, avatar_url))


@attrs.define
class Elsewhere:
    """Stands for the other servers."""

    async def profile_of(self, user_id: UserID) -> JsonObject:
        return {"displayname": f"{user_id} elsewhere", "org.example": 1}


def populate(tx: WriteTransaction) -> None:
    add_user(tx, ALICE)
    add_user(tx, BOB)
    add_user(tx, GONE, is_deactivated=1)
    add_user(tx, SUSPENDED, is_suspended=1)


@pytest.fixture
def members() -> Members:
    return Members()


@pytest.fixture
async def profiles(database: Database, clock: MovableClock, members: Members) -> Profiles:
    await database.write(populate)
    return Profiles(database, members, Presence(database, clock), ServerName("test"), Elsewhere())


async def put(profiles: Profiles, key: str, value: Any) -> None:
    await profiles.set_field(requester(ALICE), ALICE, key, {key: value})


async def test_fields_are_set_and_read(profiles: Profiles) -> None:
    assert await profiles.profile_of(ALICE) == {}
    await put(profiles, "displayname", "Alice 🍰")
    await put(profiles, "avatar_url", MXC)
    await put(profiles, "m.tz", "Europe/London")
    await put(profiles, "org.example.any-thing", {"a": [None, 1.5]})
    await put(profiles, "org.example.null", None)
    assert await profiles.profile_of(ALICE) == {
        "displayname": "Alice 🍰",
        "avatar_url": MXC,
        "m.tz": "Europe/London",
        "org.example.any-thing": {"a": [None, 1.5]},
        "org.example.null": None,
    }
    assert await profiles.field_of(ALICE, "displayname") == "Alice 🍰"
    assert await profiles.field_of(ALICE, "org.example.null") is None


async def test_deleting_a_field_that_is_not_there_is_fine(profiles: Profiles) -> None:
    await put(profiles, "m.tz", "Europe/London")
    for _ in range(2):
        await profiles.delete_field(requester(ALICE), ALICE, "m.tz")
    with pytest.raises(NotFound):
        await profiles.field_of(ALICE, "m.tz")


async def test_who_does_not_exist_has_no_profile(profiles: Profiles) -> None:
    for user_id in (GONE, UserID("@nobody:test")):
        with pytest.raises(NotFound):
            await profiles.profile_of(user_id)
        with pytest.raises(NotFound):
            await profiles.field_of(user_id, "displayname")


async def test_names_and_avatars_go_to_the_rooms(profiles: Profiles, members: Members) -> None:
    """Client-server API, "Events on Change of Profile Information"."""
    await put(profiles, "displayname", "Alice")
    await put(profiles, "avatar_url", MXC)
    await put(profiles, "m.tz", "Europe/London")
    await profiles.delete_field(requester(ALICE), ALICE, "displayname")
    assert members.updates == [(ALICE, "Alice", None), (ALICE, "Alice", MXC), (ALICE, None, MXC)]


async def test_an_empty_name_or_avatar_is_none(profiles: Profiles, members: Members) -> None:
    await put(profiles, "displayname", "Alice")
    await put(profiles, "avatar_url", MXC)
    await put(profiles, "displayname", "")
    await put(profiles, "avatar_url", "")
    assert members.updates[-1] == (ALICE, None, None)
    assert await profiles.profile_of(ALICE) == {}


async def test_repeating_a_change_tells_the_rooms_that_were_not_reached(
    profiles: Profiles, members: Members
) -> None:
    members.is_broken = True
    with pytest.raises(RuntimeError):
        await put(profiles, "displayname", "Alice")
    members.is_broken = False
    await put(profiles, "displayname", "Alice")
    assert members.updates == [(ALICE, "Alice", None)]


async def test_those_who_see_the_user_are_told(profiles: Profiles, commits: Commits) -> None:
    await profiles.presence.touch(requester(ALICE))
    await commits.take()
    await put(profiles, "displayname", "Alice")
    assert await commits.take() == [{"user:@alice:test"}]


async def test_profiles_of_others_cannot_be_changed(profiles: Profiles) -> None:
    admin = requester(ALICE, is_admin=True)
    with pytest.raises(Forbidden):
        await profiles.set_field(admin, BOB, "displayname", {"displayname": "x"})
    with pytest.raises(Forbidden):
        await profiles.delete_field(admin, BOB, "displayname")


async def test_guests_change_their_display_name_only(profiles: Profiles) -> None:
    """Client-server API, "Guest Access"."""
    guest = requester(ALICE, is_guest=True)
    await profiles.set_field(guest, ALICE, "displayname", {"displayname": "Guest"})
    with pytest.raises(GuestAccessForbidden):
        await profiles.set_field(guest, ALICE, "avatar_url", {"avatar_url": MXC})
    with pytest.raises(GuestAccessForbidden):
        await profiles.delete_field(guest, ALICE, "m.tz")
    await profiles.delete_field(guest, ALICE, "displayname")


async def test_suspended_users_change_nothing(profiles: Profiles, members: Members) -> None:
    """Client-server API, "Account suspension"."""
    with pytest.raises(UserSuspended):
        await profiles.set_field(requester(SUSPENDED), SUSPENDED, "displayname", {"displayname": "x"})
    with pytest.raises(UserSuspended):
        await profiles.delete_field(requester(SUSPENDED), SUSPENDED, "displayname")
    assert members.updates == []


@pytest.mark.parametrize("key", ["Upper.case", "1.digit.first", "with space", ".dot", "ä.b", "a/b"])
async def test_names_of_fields_follow_the_grammar(profiles: Profiles, key: str) -> None:
    for attempt in (
        put(profiles, key, 1),
        profiles.delete_field(requester(ALICE), ALICE, key),
        profiles.field_of(ALICE, key),
    ):
        with pytest.raises(InvalidParam):
            await attempt


async def test_names_of_fields_have_255_bytes_at_most(profiles: Profiles) -> None:
    await put(profiles, "a." + "b" * 253, 1)
    with pytest.raises(KeyTooLarge):
        await put(profiles, "a." + "b" * 254, 1)
    with pytest.raises(KeyTooLarge):
        await profiles.delete_field(requester(ALICE), ALICE, "ä" * 128)


async def test_the_body_must_have_the_field(profiles: Profiles) -> None:
    with pytest.raises(MissingParam):
        await profiles.set_field(requester(ALICE), ALICE, "displayname", {"avatar_url": MXC})


@pytest.mark.parametrize("key", ["displayname", "avatar_url", "m.tz"])
@pytest.mark.parametrize("value", [None, 5, ["a"], {}])
async def test_fields_of_the_specification_are_strings(profiles: Profiles, key: str, value: Any) -> None:
    with pytest.raises(BadJson):
        await put(profiles, key, value)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("displayname", "x" * 257),
        ("avatar_url", "https://example.org/a.png"),
        ("avatar_url", "mxc://example.org"),
        ("avatar_url", "mxc://example.org/a/../b"),
        ("avatar_url", "mxc://example.org/" + "a" * 1000),
        ("m.tz", "x" * 256),
    ],
)
async def test_values_that_are_refused(profiles: Profiles, key: str, value: str) -> None:
    with pytest.raises(InvalidParam):
        await put(profiles, key, value)


async def test_a_profile_stays_under_64_kib(profiles: Profiles) -> None:
    """`profile.yaml`: "the total profile MUST be under 64 KiB"."""
    await put(profiles, "org.example.a", "x" * 32_000)
    # {"org.example.a":"...","org.example.b":"..."} with 65,535 bytes in all.
    room = 65_535 - len('{"org.example.a":"","org.example.b":""}') - 32_000
    with pytest.raises(ProfileTooLarge):
        await put(profiles, "org.example.b", "x" * (room + 1))
    await put(profiles, "org.example.b", "x" * room)
    await put(profiles, "org.example.b", "y" * room)
    with pytest.raises(ProfileTooLarge):
        await put(profiles, "m.tz", "a")


async def test_the_profiles_of_other_servers_are_theirs(profiles: Profiles) -> None:
    carol = UserID("@carol:elsewhere")
    assert await profiles.field_of(carol, "displayname") == "@carol:elsewhere elsewhere"
    assert (await profiles.profile_of(carol))["org.example"] == 1
    with pytest.raises(NotFound):
        await profiles.field_of(carol, "avatar_url")
