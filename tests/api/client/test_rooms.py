"""Client-server API, `rooms.yaml`: single events and members. The state is in `test_room_state.py`."""

from typing import Any

import pytest

from homeserver.core.identifiers import RoomID, UserID
from homeserver.rooms.draft import Draft
from tests.api.room_reading_harness import ALICE, BOB, GUEST, Reading
from tests.room_stories import Story

GONE = UserID("@gone:x")
INVITED = UserID("@invited:x")


async def test_one_event(reading: Reading) -> None:
    story = await reading.story().begin("shared")
    await story.member(ALICE, "join")
    event_id = await story.say("hello")
    answer = await reading.in_room(story.room_id, f"event/{event_id}")
    assert answer.status == 200
    assert answer.body["content"]["body"] == "hello"
    assert answer.body["event_id"] == event_id
    assert answer.body["room_id"] == story.room_id
    assert answer.body["unsigned"]["membership"] == "join"
    assert isinstance(answer.body["unsigned"]["age"], int)


async def test_an_event_that_is_not_there_or_not_to_be_seen(reading: Reading) -> None:
    story = await reading.story().begin("joined")
    before = await story.say("before")
    await story.member(ALICE, "join")
    answers = [
        await reading.in_room(story.room_id, "event/$none"),
        await reading.in_room(story.room_id, f"event/{before}"),
        await reading.in_room(story.room_id, f"event/{before}", by=GUEST),
        await reading.in_room(RoomID("!none:x"), f"event/{before}"),
    ]
    assert {answer.outcome for answer in answers} == {(404, "M_NOT_FOUND")}
    # Not even in its words does one answer say more than the other.
    assert len({str(answer.body) for answer in answers}) == 1
    anonymous = await reading.in_room(story.room_id, f"event/{before}", by=None)
    assert anonymous.outcome == (401, "M_MISSING_TOKEN")


async def crowd(reading: Reading, visibility: str = "shared") -> Story:
    """Bob and Alice are in the room, one has left it, one is invited."""
    story = await reading.story().begin(visibility)
    await story.member(GONE, "join")
    await story.member(GONE, "leave")
    await story.member(ALICE, "join")
    await story.member(INVITED, "invite", by=BOB)
    return story


async def members(reading: Reading, story: Story, *, by: UserID = ALICE, **query: Any) -> dict[str, str]:
    answer = await reading.in_room(story.room_id, "members", by=by, **query)
    assert answer.status == 200, answer
    assert all(event["type"] == "m.room.member" for event in answer.body["chunk"])
    return {event["state_key"]: event["content"]["membership"] for event in answer.body["chunk"]}


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({}, {ALICE, BOB, GONE, INVITED}),
        ({"membership": "join"}, {ALICE, BOB}),
        ({"membership": "invite"}, {INVITED}),
        ({"membership": "ban"}, set()),
        ({"not_membership": "leave"}, {ALICE, BOB, INVITED}),
        # With both: has the one, or has not the other.
        ({"membership": "join", "not_membership": "leave"}, {ALICE, BOB, INVITED}),
        ({"membership": "leave", "not_membership": "join"}, {GONE, INVITED}),
        ({"membership": "join", "not_membership": "join"}, {ALICE, BOB, GONE, INVITED}),
    ],
)
async def test_members_by_membership(reading: Reading, query: dict[str, Any], expected: set[str]) -> None:
    story = await crowd(reading)
    assert (await members(reading, story, **query)).keys() == expected


async def test_members_at_a_point_in_time(reading: Reading) -> None:
    story = await crowd(reading)
    then = f"s{await story.position()}"
    await story.member(INVITED, "join")
    await story.member(BOB, "leave")
    assert (await members(reading, story, at=then))[INVITED] == "invite"
    assert (await members(reading, story, at=then, membership="join")).keys() == {ALICE, BOB}
    now = await members(reading, story)
    assert (now[INVITED], now[BOB]) == ("join", "leave")
    assert await members(reading, story, at=f"s{2**62}") == now


async def test_members_at_a_time_that_is_not_to_be_seen(reading: Reading) -> None:
    story = await crowd(reading, "joined")
    own = await story.position()
    # What was visible is, up to the state right before the join, which a sync brings, too.
    assert GONE in await members(reading, story, at=f"s{own}")
    join = own - 1
    assert (await members(reading, story, at=f"s{join - 1}")).keys() == {BOB, GONE}
    answer = await reading.in_room(story.room_id, "members", at=f"s{join - 2}")
    assert answer.outcome == (403, "M_FORBIDDEN")
    # When the visibility changed, all that came before was still for everybody.
    assert (await members(reading, story, at=f"s{join - 3}")).keys() == {BOB}


async def test_a_former_member_gets_no_later_list_by_any_token(reading: Reading) -> None:
    story = await crowd(reading)
    await story.member(ALICE, "leave")
    left = await members(reading, story)
    await story.member(INVITED, "join")
    for at in (await story.position(), 2**62):
        assert await members(reading, story, at=f"s{at}") == left
    assert left[ALICE] == "leave"
    assert left[INVITED] == "invite"


async def test_a_guest_lists_the_members_of_a_room_that_everybody_may_read(reading: Reading) -> None:
    story = await crowd(reading, "world_readable")
    assert (await members(reading, story, by=GUEST)).keys() == {ALICE, BOB, GONE, INVITED}


async def test_who_may_not_list_members(reading: Reading) -> None:
    story = await crowd(reading)
    for room_id in (story.room_id, RoomID("!none:x")):
        for what in ("members", "joined_members"):
            anonymous = await reading.in_room(room_id, what, by=None)
            assert anonymous.outcome == (401, "M_MISSING_TOKEN")
        answer = await reading.in_room(room_id, "members", by=GUEST)
        assert answer.outcome == (403, "M_FORBIDDEN")
        answer = await reading.in_room(room_id, "joined_members", by=GUEST)
        assert answer.outcome == (403, "M_GUEST_ACCESS_FORBIDDEN")
    for name, value in (("membership", "friend"), ("not_membership", ""), ("at", "now")):
        query: dict[str, Any] = {name: value}
        answer = await reading.in_room(story.room_id, "members", **query)
        assert answer.outcome == (400, "M_INVALID_PARAM")


async def joined(reading: Reading, story: Story) -> Any:
    answer = await reading.in_room(story.room_id, "joined_members")
    assert answer.status == 200, answer
    return answer.body["joined"]


async def test_joined_members_have_a_name_and_an_avatar(reading: Reading) -> None:
    story = await crowd(reading)
    bare = UserID("@bare:x")
    await story.add(Draft(bare, "m.room.member", {"membership": "join"}, state_key=bare))
    odd = UserID("@odd:x")
    content = {"membership": "join", "displayname": ["x"], "avatar_url": None}
    await story.add(Draft(odd, "m.room.member", content, state_key=odd))  # type: ignore[arg-type]  # what the test wants to be taken
    await story.add(
        Draft(
            ALICE,
            "m.room.member",
            {"membership": "join", "displayname": "A", "avatar_url": "mxc://x/a"},
            state_key=ALICE,
        )
    )
    assert await joined(reading, story) == {
        ALICE: {"display_name": "A", "avatar_url": "mxc://x/a"},
        BOB: {"display_name": "Owner"},
        bare: {},
        odd: {},
    }


@pytest.mark.parametrize("visibility", ["shared", "world_readable"])
async def test_joined_members_are_for_the_joined(reading: Reading, visibility: str) -> None:
    story = await reading.story().begin(visibility)
    assert (await reading.in_room(story.room_id, "joined_members")).outcome == (403, "M_FORBIDDEN")
    await story.member(ALICE, "invite", by=BOB)
    assert (await reading.in_room(story.room_id, "joined_members")).outcome == (403, "M_FORBIDDEN")
    await story.member(ALICE, "join")
    assert (await joined(reading, story)).keys() == {ALICE, BOB}
    await story.member(ALICE, "leave")
    assert (await reading.in_room(story.room_id, "joined_members")).outcome == (403, "M_FORBIDDEN")
