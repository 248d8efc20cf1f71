"""Who sees what of a room's history: each history visibility with each course that a membership can take."""

import json
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, cast

import pytest
from twisted.internet import reactor

from homeserver.core.errors import Forbidden, MatrixError, NotFound
from homeserver.core.identifiers import EventID, RoomID, UserID
from homeserver.database.database import Database
from homeserver.services.awaited_members import AwaitedMembers
from homeserver.services.event_context import EventContexts
from homeserver.services.room_events import RoomEvents
from homeserver.services.room_members import MembersRequest, RoomMembers
from homeserver.services.room_snapshots import RoomSnapshots
from homeserver.services.timelines import Direction, Timelines
from tests.older_history import NoOlderHistory
from tests.room_stories import Story
from tests.services.conftest import MovableClock, requester

OWNER = UserID("@owner:x")
READER = UserID("@reader:x")
ASKING = requester(READER)

WORLD, SHARED, INVITED, JOINED = "world_readable", "shared", "invited", "joined"
STEPS = ("before", "invited", "joined", "left", "again")


async def never(story: Story) -> None:
    await story.say("before")


async def invited(story: Story) -> None:
    await never(story)
    await story.member(READER, "invite", by=OWNER)
    await story.say("invited")


async def rejected(story: Story) -> None:
    await invited(story)
    await story.member(READER, "leave")
    await story.say("left")


async def uninvited(story: Story) -> None:
    await invited(story)
    await story.member(READER, "leave", by=OWNER)
    await story.say("left")


async def banned_unseen(story: Story) -> None:
    await never(story)
    await story.member(READER, "ban", by=OWNER)
    await story.say("left")


async def joined(story: Story) -> None:
    await invited(story)
    await story.member(READER, "join")
    await story.say("joined")


async def left(story: Story) -> None:
    await joined(story)
    await story.member(READER, "leave")
    await story.say("left")


async def kicked(story: Story) -> None:
    await joined(story)
    await story.member(READER, "leave", by=OWNER)
    await story.say("left")


async def banned(story: Story) -> None:
    await joined(story)
    await story.member(READER, "ban", by=OWNER)
    await story.say("left")


async def left_then_banned(story: Story) -> None:
    await left(story)
    await story.member(READER, "ban", by=OWNER)


async def left_then_rejected(story: Story) -> None:
    await left(story)
    await story.member(READER, "invite", by=OWNER)
    await story.member(READER, "leave")


async def rejoined(story: Story) -> None:
    await left(story)
    await story.member(READER, "join")
    await story.say("again")


async def forgotten(story: Story) -> None:
    await left(story)
    await story.forget(READER)


TABLE: dict[Callable[[Story], Awaitable[None]], dict[str, str]] = {
    # What the reader sees of the messages in a room of that visibility; "-" if the room is closed to them.
    never: {WORLD: "before", SHARED: "-", INVITED: "-", JOINED: "-"},
    invited: {WORLD: "before invited", SHARED: "-", INVITED: "-", JOINED: "-"},
    rejected: {WORLD: "before invited left", SHARED: "-", INVITED: "-", JOINED: "-"},
    uninvited: {WORLD: "before invited left", SHARED: "-", INVITED: "-", JOINED: "-"},
    banned_unseen: {WORLD: "before left", SHARED: "-", INVITED: "-", JOINED: "-"},
    joined: {
        WORLD: "before invited joined",
        SHARED: "before invited joined",
        INVITED: "invited joined",
        JOINED: "joined",
    },
    left: {
        WORLD: "before invited joined left",
        SHARED: "before invited joined",
        INVITED: "invited joined",
        JOINED: "joined",
    },
    kicked: {
        WORLD: "before invited joined left",
        SHARED: "before invited joined",
        INVITED: "invited joined",
        JOINED: "joined",
    },
    banned: {
        WORLD: "before invited joined left",
        SHARED: "before invited joined",
        INVITED: "invited joined",
        JOINED: "joined",
    },
    left_then_banned: {
        WORLD: "before invited joined left",
        SHARED: "before invited joined",
        INVITED: "invited joined",
        JOINED: "joined",
    },
    left_then_rejected: {
        WORLD: "before invited joined left",
        SHARED: "before invited joined",
        INVITED: "invited joined",
        JOINED: "joined",
    },
    rejoined: {
        WORLD: "before invited joined left again",
        SHARED: "before invited joined left again",
        INVITED: "invited joined again",
        JOINED: "joined again",
    },
    forgotten: {WORLD: "before invited joined left", SHARED: "-", INVITED: "-", JOINED: "-"},
}
CASES = [
    pytest.param(course, visibility, expected, id=f"{course.__name__}-{visibility}")
    for course, row in TABLE.items()
    for visibility, expected in row.items()
]


@pytest.fixture
def story(database: Database) -> Story:
    return Story(database, OWNER)


@pytest.fixture
def timelines(database: Database, clock: MovableClock) -> Timelines:
    return Timelines(database, clock, NoOlderHistory())


@pytest.fixture
def contexts(database: Database, clock: MovableClock) -> EventContexts:
    return EventContexts(database, clock, NoOlderHistory())


@pytest.fixture
def single(database: Database, clock: MovableClock) -> RoomEvents:
    return RoomEvents(database, clock, NoOlderHistory())


async def everything(
    timelines: Timelines, room_id: RoomID, direction: Direction, *, limit: int = 100, start: int | None = None
) -> list[Any]:
    """The events of all pages, one after the other."""
    found: list[Any] = []
    for _ in range(200):
        body = json.loads(
            await timelines.page(
                ASKING, room_id, direction=direction, start=start, stop=None, limit=limit, filter=None
            )
        )
        assert len(body["chunk"]) <= limit
        found += body["chunk"]
        if "end" not in body:
            return found
        assert int(body["end"][1:]) != start, "no progress"
        start = int(body["end"][1:])
    raise AssertionError("pages without end")


def texts(events: Iterable[Any]) -> str:
    return " ".join(event["content"]["body"] for event in events if event["type"] == "m.room.message")


async def outcome(awaitable: Awaitable[bytes]) -> Any:
    """The decoded answer, or the class of the error."""
    try:
        return json.loads(await awaitable)
    except MatrixError as error:
        return type(error)


@pytest.mark.parametrize(("course", "visibility", "expected"), CASES)
async def test_messages(
    story: Story,
    timelines: Timelines,
    course: Callable[[Story], Awaitable[None]],
    visibility: str,
    expected: str,
) -> None:
    await course(await story.begin(visibility))
    newest = await story.position()
    if expected == "-":
        for direction in Direction:
            for start in (None, newest, -5):
                with pytest.raises(Forbidden):
                    await everything(timelines, story.room_id, direction, start=start)
        return
    forwards = await everything(timelines, story.room_id, Direction.FORWARDS)
    backwards = await everything(timelines, story.room_id, Direction.BACKWARDS)
    assert texts(forwards) == expected
    assert [event["event_id"] for event in backwards] == [event["event_id"] for event in forwards][::-1]
    for limit in (1, 2, 3):
        for direction, whole in ((Direction.FORWARDS, forwards), (Direction.BACKWARDS, backwards)):
            assert await everything(timelines, story.room_id, direction, limit=limit) == whole
    # Tokens from nowhere lead no further than those that the server gave.
    for start in (newest, newest + 10**6, 2**63 - 1):
        found = await everything(timelines, story.room_id, Direction.BACKWARDS, start=start)
        assert texts(found[::-1]) == expected
    assert await everything(timelines, story.room_id, Direction.FORWARDS, start=-(2**63)) == forwards


@pytest.mark.parametrize(("course", "visibility", "expected"), CASES)
async def test_single_events_and_their_context(
    story: Story,
    contexts: EventContexts,
    single: RoomEvents,
    course: Callable[[Story], Awaitable[None]],
    visibility: str,
    expected: str,
) -> None:
    await course(await story.begin(visibility))
    refused = Forbidden if expected == "-" else NotFound
    for text, event_id in story.said.items():
        event = await outcome(single.get(ASKING, story.room_id, event_id))
        without_room = await outcome(single.get(ASKING, None, event_id))
        context = await outcome(contexts.around(ASKING, story.room_id, event_id, limit=100, filter=None))
        if text in expected.split():
            assert event["event_id"] == without_room["event_id"] == event_id
            assert event["room_id"] == story.room_id
            surroundings = [*context["events_before"][::-1], context["event"], *context["events_after"]]
            assert texts(surroundings) == expected
        else:
            assert event is without_room is NotFound
            assert context is refused


@pytest.mark.parametrize(("course", "visibility", "expected"), CASES)
async def test_the_state_is_that_of_the_departure(
    story: Story,
    database: Database,
    clock: MovableClock,
    course: Callable[[Story], Awaitable[None]],
    visibility: str,
    expected: str,
) -> None:
    await course(await story.begin(visibility))
    await story.member(UserID("@late:x"), "join")
    awaited = AwaitedMembers(database, clock, cast("Any", reactor))
    members, snapshots = RoomMembers(database, clock, awaited), RoomSnapshots(database, clock, awaited)
    listed = await outcome(members.members(ASKING, MembersRequest(story.room_id, None, None, None)))
    snapshot = await outcome(snapshots.room(ASKING, story.room_id))
    if expected == "-":
        assert listed is snapshot is Forbidden
        return
    has_left = course in (left, kicked, banned, left_then_banned, left_then_rejected)
    who = {event["state_key"]: event["content"]["membership"] for event in listed["chunk"]}
    assert ("@late:x" in who) is not has_left
    assert who == {
        event["state_key"]: event["content"]["membership"]
        for event in snapshot["state"]
        if event["type"] == "m.room.member"
    }
    if has_left:
        assert who[READER] == ("ban" if course is banned else "leave")
        assert "left" not in texts(snapshot["messages"]["chunk"]).split()


async def test_the_visibility_counts_that_stood_when_something_was_said(
    story: Story, timelines: Timelines, contexts: EventContexts, single: RoomEvents
) -> None:
    await story.begin(JOINED)
    await story.say("one")
    opened = await story.set_visibility(WORLD)
    await story.say("two")
    closed = await story.set_visibility(SHARED)
    await story.say("three")
    # To somebody from outside, the room is closed now, and what was open then is not.
    with pytest.raises(Forbidden):
        await everything(timelines, story.room_id, Direction.BACKWARDS)
    seen = [story.said["two"], opened, closed]
    for event_id in (*story.said.values(), opened, closed):
        event = await outcome(single.get(ASKING, story.room_id, event_id))
        context = await outcome(contexts.around(ASKING, story.room_id, event_id, limit=20, filter=None))
        if event_id in seen:
            assert event["event_id"] == event_id
            around = [*context["events_before"][::-1], context["event"], *context["events_after"]]
            assert [each["event_id"] for each in around] == [opened, story.said["two"], closed]
        else:
            assert (event, context) == (NotFound, Forbidden)
    await story.member(READER, "join")
    found = await everything(timelines, story.room_id, Direction.FORWARDS)
    assert texts(found) == "two three"


async def test_a_former_member_sees_what_was_opened_after_leaving(story: Story, timelines: Timelines) -> None:
    await story.begin(SHARED)
    await story.say("one")
    await story.member(READER, "join")
    await story.member(READER, "leave")
    await story.say("two")
    await story.set_visibility(WORLD)
    await story.say("three")
    await story.set_visibility(JOINED)
    await story.say("four")
    backwards = await everything(timelines, story.room_id, Direction.BACKWARDS)
    assert texts(backwards) == "three one"
    assert await everything(timelines, story.room_id, Direction.FORWARDS) == backwards[::-1]


@pytest.mark.parametrize("value", ["", "public", "World_Readable", 1, None, ["world_readable"], {}])
async def test_what_is_not_understood_is_shared(
    story: Story, timelines: Timelines, single: RoomEvents, value: object
) -> None:
    await story.begin(None)
    await story.set_visibility(value)
    message = await story.say("one")
    with pytest.raises(Forbidden):
        await everything(timelines, story.room_id, Direction.BACKWARDS)
    with pytest.raises(NotFound):
        await single.get(ASKING, story.room_id, message)
    await story.member(READER, "join")
    assert texts(await everything(timelines, story.room_id, Direction.FORWARDS)) == "one"


async def test_rooms_and_events_that_do_not_exist_answer_like_those_that_are_closed(
    story: Story, timelines: Timelines, contexts: EventContexts, single: RoomEvents
) -> None:
    await story.begin(SHARED)
    message = await story.say("one")

    async def answers(room_id: RoomID, event_id: EventID) -> list[str]:
        found = []
        for call in (
            timelines.page(
                ASKING, room_id, direction=Direction.BACKWARDS, start=None, stop=None, limit=1, filter=None
            ),
            contexts.around(ASKING, room_id, event_id, limit=1, filter=None),
            single.get(ASKING, room_id, event_id),
        ):
            with pytest.raises(MatrixError) as raised:
                await call
            found.append(str(raised.value))
        return found

    closed = await answers(story.room_id, message)
    assert closed == await answers(story.room_id, EventID("$none"))
    assert closed == await answers(RoomID("!none:x"), message)
    assert closed == await answers(RoomID("!none:x"), EventID("$none"))


async def test_an_event_is_not_shown_through_another_room(
    story: Story, database: Database, contexts: EventContexts, single: RoomEvents
) -> None:
    await story.begin(SHARED)
    message = await story.say("secret")
    other = await Story(database, OWNER).begin(WORLD, seed="other")
    for call in (
        single.get(ASKING, other.room_id, message),
        contexts.around(ASKING, other.room_id, message, limit=1, filter=None),
    ):
        with pytest.raises(NotFound):
            await call


async def test_the_membership_at_each_event_is_told(story: Story, timelines: Timelines) -> None:
    await left_then_rejected(await story.begin(WORLD))
    found = await everything(timelines, story.room_id, Direction.FORWARDS)
    told = [event["unsigned"]["membership"] for event in found]
    # create, member, power levels, join rules, visibility, "before"; invite, "invited"; join, "joined"; ...
    assert told == ["leave"] * 6 + ["invite"] * 2 + ["join"] * 2 + ["leave"] * 2 + ["invite", "leave"]
