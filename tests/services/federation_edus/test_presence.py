"""Server-server API, "Presence"."""

from typing import Any

import pytest

from homeserver.core.identifiers import RoomID, ServerName, UserID
from homeserver.core.presence import OFFLINE, UserPresence
from homeserver.database.database import Database
from homeserver.services.federation_edus.presence import EXPIRY_MS, MOST_UPDATES, IncomingPresence
from homeserver.services.presence import MAX_STATUS_LENGTH
from homeserver.storage import pending_joins
from homeserver.storage import presence as stored
from tests.population import add_room
from tests.services.conftest import Commits, MovableClock

ALICE = UserID("@alice:x")
BOB = UserID("@bob:other.example")
CAROL = UserID("@carol:third.example")
ORIGIN = ServerName("other.example")


def says(user_id: object = BOB, presence: object = "online", **more: object) -> dict[str, Any]:
    return {"push": [{"user_id": user_id, "presence": presence, "last_active_ago": 1000, **more}]}


@pytest.fixture
async def incoming(database: Database, clock: MovableClock) -> IncomingPresence:
    await database.write(add_room, RoomID("!room:x"), ALICE, BOB, CAROL)
    return IncomingPresence(database, clock)


async def state(incoming: IncomingPresence, user_id: UserID = BOB) -> UserPresence:
    return await incoming.database.read(stored.of, user_id) or OFFLINE


async def test_a_user_comes_and_goes(
    incoming: IncomingPresence, clock: MovableClock, commits: Commits
) -> None:
    await incoming.receive(ORIGIN, [says(status_msg="Here", currently_active=True)])
    assert await state(incoming) == UserPresence("online", "Here", clock.ts - 1000, currently_active=True)
    assert any(f"user:{BOB}" in topics for topics in await commits.take())
    await incoming.receive(ORIGIN, [says(presence="unavailable")])
    assert await state(incoming) == UserPresence("unavailable", None, clock.ts - 1000, currently_active=False)
    await incoming.receive(ORIGIN, [says(presence="offline", currently_active=True)])
    assert await state(incoming) == UserPresence("offline", None, clock.ts - 1000, currently_active=False)


async def test_nobody_is_told_what_is_no_news(
    incoming: IncomingPresence, clock: MovableClock, commits: Commits
) -> None:
    await incoming.receive(ORIGIN, [says()])
    await commits.take()
    clock.advance(60_000)
    await incoming.receive(ORIGIN, [says()])
    assert await commits.take() == []
    assert (await state(incoming)).last_active_ts == clock.ts - 1000


async def test_who_is_not_heard_of_again_is_gone(
    incoming: IncomingPresence, clock: MovableClock, commits: Commits
) -> None:
    await incoming.receive(ORIGIN, [says()])
    clock.advance(EXPIRY_MS - 1)
    await incoming.receive(ORIGIN, [says()])
    clock.advance(EXPIRY_MS - 1)
    await incoming.expire()
    assert (await state(incoming)).presence == "online"
    clock.advance(1)
    await commits.take()
    await incoming.expire()
    assert (await state(incoming)).presence == "offline"
    assert len(await commits.take()) == 1
    await incoming.expire()
    assert await commits.take() == []


async def test_who_is_in_a_room_that_is_being_entered_is_heard(
    incoming: IncomingPresence, clock: MovableClock
) -> None:
    """Their server tells of them at once, and not again for 25 minutes."""
    stranger = UserID("@stranger:other.example")
    until_ts = clock.ts + 1_000
    await incoming.receive(ORIGIN, [says(stranger)])
    assert await incoming.database.read(stored.of, stranger) is None
    room = RoomID("!entered:other.example")
    await incoming.database.write(pending_joins.claim, room, "us", now_ts=clock.ts, until_ts=until_ts)
    await incoming.receive(ORIGIN, [says(stranger)])
    found = await incoming.database.read(stored.of, stranger)
    assert found is not None
    assert found.presence == "online"


async def test_of_one_user_the_last_word_counts(incoming: IncomingPresence) -> None:
    await incoming.receive(ORIGIN, [says(), says(presence="unavailable"), says(presence="offline"), says()])
    assert (await state(incoming)).presence == "online"


async def test_times_and_messages_have_bounds(incoming: IncomingPresence, clock: MovableClock) -> None:
    await incoming.receive(ORIGIN, [says(status_msg="a\0" * 3000, last_active_ago=2**63)])
    assert await state(incoming) == UserPresence(
        "online", "a" * MAX_STATUS_LENGTH, None, currently_active=False
    )
    await incoming.receive(ORIGIN, [says(last_active_ago=-5)])
    assert (await state(incoming)).last_active_ts == clock.ts


@pytest.mark.parametrize(
    "false",
    [
        says(CAROL),  # of a third server: CVE-2024-6301
        says(ALICE),
        says("@nobody:other.example"),  # in no room
        says("bob"),
        says(None),
        says(presence="busy"),
        says(presence=None),
        says(last_active_ago="long"),
        says(status_msg=5),
        says(currently_active="yes"),
        {"push": [None]},
        {"push": {}},
        {},
        [],
        None,
    ],
)
async def test_what_is_not_for_that_server_to_say_is_left_out(
    incoming: IncomingPresence, false: object
) -> None:
    await incoming.receive(ORIGIN, [false])
    for user_id in (ALICE, BOB, CAROL, UserID("@nobody:other.example")):
        assert await incoming.database.read(stored.of, user_id) is None
    await incoming.receive(ORIGIN, [false, says(), false])
    assert (await state(incoming)).presence == "online"


async def test_one_transaction_has_no_more_than_so_many(incoming: IncomingPresence) -> None:
    (update,) = says()["push"]
    strangers = [{**update, "user_id": f"@{number}:other.example"} for number in range(MOST_UPDATES)]
    await incoming.receive(ORIGIN, [{"push": [*strangers, update]}])
    assert await state(incoming) == OFFLINE


async def test_a_server_that_keeps_no_presence_stores_none(incoming: IncomingPresence) -> None:
    disabled = IncomingPresence(incoming.database, incoming.clock, enabled=False)
    await disabled.receive(ORIGIN, [says()])
    await disabled.expire()
    assert await state(incoming) == OFFLINE
