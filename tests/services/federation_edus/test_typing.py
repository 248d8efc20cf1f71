"""Server-server API, "Typing Notifications"."""

from typing import Any

import pytest

from homeserver.core.identifiers import RoomID, ServerName, UserID
from homeserver.database.database import Database
from homeserver.services.federation_edus.typing import TIMEOUT_MS, IncomingTyping
from homeserver.services.presence import Presence
from homeserver.services.typing import Typing
from homeserver.storage import typing as stored
from tests.population import add_member, add_room, leave
from tests.room_stories import Story
from tests.services.conftest import Commits, MovableClock

ALICE = UserID("@alice:x")
BOB = UserID("@bob:other.example")
CAROL = UserID("@carol:third.example")
ORIGIN = ServerName("other.example")
ROOM = RoomID("!room:x")


def says(user_id: object = BOB, room_id: object = ROOM, typing: object = True) -> dict[str, Any]:
    return {"room_id": room_id, "user_id": user_id, "typing": typing}


@pytest.fixture
async def room(database: Database) -> int:
    return await database.write(add_room, ROOM, ALICE, BOB, CAROL)


@pytest.fixture
def incoming(database: Database, clock: MovableClock) -> IncomingTyping:
    return IncomingTyping(database, clock)


async def who(incoming: IncomingTyping, room: int) -> list[UserID]:
    found = await incoming.database.read(stored.now, [room], now_ts=incoming.clock.now_ts())
    return found.get(room, [])


async def test_a_member_types_and_stops(incoming: IncomingTyping, room: int, commits: Commits) -> None:
    await incoming.receive(ORIGIN, [says()])
    assert await who(incoming, room) == [BOB]
    assert await commits.take() == [{f"room:{ROOM}"}]
    await incoming.receive(ORIGIN, [says(typing=False)])
    assert await who(incoming, room) == []
    assert await commits.take() == [{f"room:{ROOM}"}]


async def test_who_is_not_heard_of_again_has_stopped(
    incoming: IncomingTyping, room: int, clock: MovableClock, commits: Commits
) -> None:
    await incoming.receive(ORIGIN, [says()])
    clock.advance(TIMEOUT_MS - 1)
    assert await who(incoming, room) == [BOB]
    await incoming.receive(ORIGIN, [says()])
    clock.advance(TIMEOUT_MS - 1)
    assert await who(incoming, room) == [BOB]
    clock.advance(1)
    assert await who(incoming, room) == []
    await commits.take()
    await Typing(incoming.database, clock, Presence(incoming.database, clock)).expire()
    assert await commits.take() == [{f"room:{ROOM}"}]


@pytest.mark.parametrize(
    "false",
    [
        says(CAROL),  # of a third server: CVE-2024-6301
        says(ALICE),
        says("@nobody:other.example"),
        says(room_id="!elsewhere:x"),
        says("bob"),
        says("@" + "b" * 300 + ":other.example"),
        says(5),
        says(room_id=None),
        says(typing="yes"),
        says(typing=1),
        {},
        [],
        None,
        "typing",
    ],
)
async def test_what_is_not_for_that_server_to_say_is_left_out(
    incoming: IncomingTyping, room: int, false: object
) -> None:
    await incoming.receive(ORIGIN, [false])
    assert await who(incoming, room) == []
    await incoming.receive(ORIGIN, [false, says(), false])
    assert await who(incoming, room) == [BOB]


async def test_who_has_left_does_not_type(incoming: IncomingTyping, room: int, database: Database) -> None:
    await database.write(leave, room, BOB)
    await incoming.receive(ORIGIN, [says()])
    assert await who(incoming, room) == []


async def test_who_is_invited_does_not_type(incoming: IncomingTyping, room: int, database: Database) -> None:
    dave = UserID("@dave:other.example")
    await database.write(add_member, room, dave, membership="invite", is_local=False)
    await incoming.receive(ORIGIN, [says(dave)])
    assert await who(incoming, room) == []


async def test_a_server_that_the_room_denies_is_ignored(
    incoming: IncomingTyping, database: Database, commits: Commits
) -> None:
    """ "If the sending server is denied access to the room identified by `room_id`, the EDU MUST be ignored.\""""
    story = await Story(database, ALICE).begin("shared")
    await story.member(BOB, "join")
    await commits.take()
    await incoming.receive(ORIGIN, [says(room_id=story.room_id)])
    assert await commits.take()
    await story.set("m.room.server_acl", {"allow": ["*"], "deny": ["other.example"]})
    await commits.take()
    await incoming.receive(ORIGIN, [says(room_id=story.room_id, typing=False)])
    assert not await commits.take()
