import pytest

from homeserver.core.errors import Forbidden
from homeserver.core.identifiers import RoomID, UserID
from homeserver.core.presence import IDLE_MS
from homeserver.database.database import Database
from homeserver.services.presence import Presence
from homeserver.services.typing import REMEMBER_MS, Typing
from homeserver.storage import typing as stored
from tests.population import add_member, add_room, leave
from tests.services.conftest import Commits, MovableClock, requester

ALICE = UserID("@alice:test")
BOB = UserID("@bob:test")
CAROL = UserID("@carol:test")
ROOM = RoomID("!room:test")


@pytest.fixture
def typing(database: Database, clock: MovableClock) -> Typing:
    return Typing(database, clock, Presence(database, clock))


@pytest.fixture
async def room(database: Database) -> int:
    return await database.write(add_room, ROOM, ALICE, BOB)


async def types(typing: Typing, user_id: UserID = ALICE, timeout_ms: int | None = 10_000) -> None:
    await typing.set(requester(user_id), user_id, ROOM, is_typing=True, timeout_ms=timeout_ms)


async def stops(typing: Typing, user_id: UserID = ALICE) -> None:
    await typing.set(requester(user_id), user_id, ROOM, is_typing=False, timeout_ms=None)


async def who(typing: Typing, room: int) -> list[UserID]:
    found = await typing.database.read(stored.now, [room], now_ts=typing.clock.now_ts())
    return found.get(room, [])


async def test_typing_lasts_as_long_as_asked_for(typing: Typing, room: int, clock: MovableClock) -> None:
    await types(typing, timeout_ms=10_000)
    clock.advance(9_999)
    assert await who(typing, room) == [ALICE]
    clock.advance(1)
    assert await who(typing, room) == []


async def test_stopping_ends_it(typing: Typing, room: int) -> None:
    await types(typing)
    await stops(typing)
    assert await who(typing, room) == []


@pytest.mark.parametrize(("asked", "given"), [(None, 30_000), (10**12, 120_000)])
async def test_the_time_has_a_default_and_a_bound(
    typing: Typing, room: int, clock: MovableClock, asked: int | None, given: int
) -> None:
    await types(typing, timeout_ms=asked)
    clock.advance(given - 1)
    assert await who(typing, room) == [ALICE]
    clock.advance(1)
    assert await who(typing, room) == []


@pytest.mark.parametrize("timeout_ms", [0, -5])
async def test_no_time_at_all_is_not_typing(typing: Typing, room: int, timeout_ms: int) -> None:
    await types(typing)
    await types(typing, timeout_ms=timeout_ms)
    assert await who(typing, room) == []


async def test_only_joined_members_type(typing: Typing, database: Database, room: int) -> None:
    await database.write(add_member, room, CAROL, membership="invite")
    with pytest.raises(Forbidden):
        await types(typing, CAROL)
    await database.write(leave, room, ALICE)
    with pytest.raises(Forbidden):
        await types(typing)
    with pytest.raises(Forbidden):
        await typing.set(requester(BOB), BOB, RoomID("!unknown:test"), is_typing=True, timeout_ms=None)


async def test_nobody_types_for_others(typing: Typing, room: int) -> None:
    with pytest.raises(Forbidden):
        await typing.set(requester(ALICE), BOB, ROOM, is_typing=True, timeout_ms=None)
    assert await who(typing, room) == []


async def test_the_room_is_told_of_start_and_end_and_of_nothing_between(
    typing: Typing, room: int, clock: MovableClock, commits: Commits
) -> None:
    await types(typing)
    assert await commits.take() == [{"room:!room:test"}]
    clock.advance(5_000)
    await types(typing)
    await typing.expire()
    assert await commits.take() == []
    clock.advance(10_000)
    await typing.expire()
    assert await commits.take() == [{"room:!room:test"}]
    await typing.expire()
    await stops(typing)
    assert await commits.take() == []


async def test_typing_is_activity(typing: Typing, room: int, clock: MovableClock) -> None:
    await typing.presence.touch(requester(ALICE), wait_ms=2 * IDLE_MS)
    clock.advance(IDLE_MS)
    await typing.presence.expire()
    await types(typing)
    assert (await typing.presence.status_of(requester(ALICE), ALICE))["presence"] == "online"


async def test_expiry_goes_through_many(typing: Typing, database: Database, clock: MovableClock) -> None:
    users = [UserID(f"@user{number}:test") for number in range(230)]
    room = await database.write(add_room, ROOM, *users)
    for user_id in users:
        await types(typing, user_id)
    assert await who(typing, room) == users
    clock.advance(10_000)
    await typing.expire()
    assert not await database.read(stored.is_due, now_ts=clock.ts)


async def test_pruning_keeps_what_is_recent(
    typing: Typing, room: int, database: Database, clock: MovableClock
) -> None:
    await types(typing)
    await stops(typing)
    clock.advance(REMEMBER_MS)
    await typing.prune()
    assert await database.read(stored.changed, [room], since=0, upto=2**62) == {room}
    clock.advance(1)
    await typing.prune()
    assert await database.read(stored.changed, [room], since=0, upto=2**62) == set()
