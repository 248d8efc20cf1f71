"""Client-server API, `event_context.yaml`. Who sees what: `tests/services/test_history_access.py`."""

from typing import Any

import pytest

from homeserver.core.identifiers import RoomID
from tests.api.room_reading_harness import ALICE, BOB, GUEST, Reading
from tests.room_stories import Story


async def conversation(reading: Reading) -> Story:
    story = await reading.story().begin("shared")
    await story.member(ALICE, "join")
    for number in range(12):
        await story.say(str(number), by=(ALICE, BOB)[number % 2])
    return story


async def context(reading: Reading, story: Story, text: str, **query: Any) -> Any:
    answer = await reading.in_room(story.room_id, f"context/{story.said[text]}", **query)
    assert answer.status == 200, answer
    return answer.body


def bodies(chunk: list[Any]) -> list[str]:
    return [event["content"].get("body", event["type"]) for event in chunk]


async def test_an_event_in_its_surroundings(reading: Reading) -> None:
    story = await conversation(reading)
    found = await context(reading, story, "6")
    assert found["event"]["event_id"] == story.said["6"]
    assert bodies(found["events_before"]) == ["5", "4", "3", "2", "1"]
    assert bodies(found["events_after"]) == ["7", "8", "9", "10", "11"]
    assert found["event"]["room_id"] == story.room_id
    assert found["event"]["unsigned"]["membership"] == "join"


@pytest.mark.parametrize(
    ("limit", "before", "after"),
    [(0, [], []), (1, [], ["7"]), (3, ["5"], ["7", "8"]), (4, ["5", "4"], ["7", "8"])],
)
async def test_the_limit_is_for_both_sides_together(
    reading: Reading, limit: int, before: list[str], after: list[str]
) -> None:
    story = await conversation(reading)
    found = await context(reading, story, "6", limit=limit)
    assert bodies(found["events_before"]) == before
    assert bodies(found["events_after"]) == after
    assert bodies([found["event"]]) == ["6"]


@pytest.mark.parametrize("limit", [0, 1, 4, 5])
async def test_the_tokens_lead_on_from_there(reading: Reading, limit: int) -> None:
    story = await conversation(reading)
    found = await context(reading, story, "6", limit=limit)
    shown = [*found["events_before"][::-1], found["event"], *found["events_after"]]
    older = await reading.in_room(story.room_id, "messages", dir="b", start=found["start"], limit=100)
    newer = await reading.in_room(story.room_id, "messages", dir="f", start=found["end"], limit=100)
    whole = await reading.in_room(story.room_id, "messages", dir="f", limit=100)
    joined = [*older.body["chunk"][::-1], *shown, *newer.body["chunk"]]
    assert [event["event_id"] for event in joined] == [event["event_id"] for event in whole.body["chunk"]]


async def test_the_state_is_that_at_the_last_event(reading: Reading) -> None:
    story = await conversation(reading)
    named = await story.set("m.room.name", {"name": "one"})
    story.said["name"] = named
    await story.say("after")
    await story.set("m.room.name", {"name": "two"})

    async def name(text: str, limit: int) -> str | None:
        state = (await context(reading, story, text, limit=limit))["state"]
        assert sum(event["type"] == "m.room.create" for event in state) == 1
        names = [event["content"]["name"] for event in state if event["type"] == "m.room.name"]
        return names[0] if names else None

    assert await name("11", 0) is None
    assert await name("11", 1) == "one"
    assert await name("name", 0) == "one"
    assert await name("after", 0) == "one"
    assert await name("after", 1) == "two"


async def test_members_are_loaded_lazily(reading: Reading) -> None:
    story = await conversation(reading)
    await story.member(GUEST, "join")
    await story.say("last", by=ALICE)

    async def members(text: str, limit: int, **filter: Any) -> set[str]:
        state = (await context(reading, story, text, limit=limit, filter=filter))["state"]
        assert any(event["type"] == "m.room.power_levels" for event in state)
        return {event["state_key"] for event in state if event["type"] == "m.room.member"}

    assert await members("last", 0) == {ALICE, BOB, GUEST}
    assert await members("last", 0, lazy_load_members=True) == {ALICE}
    assert await members("last", 6, lazy_load_members=True) == {ALICE, BOB, GUEST}


async def test_the_filter_is_for_all_but_the_event(reading: Reading) -> None:
    story = await conversation(reading)
    found = await context(reading, story, "6", filter={"senders": [BOB], "types": ["m.room.m*"]})
    assert bodies([found["event"]]) == ["6"]
    assert bodies(found["events_before"]) == ["5", "3", "1", "m.room.member"]
    assert bodies(found["events_after"]) == ["7", "9", "11"]
    assert [(event["type"], event["state_key"]) for event in found["state"]] == [("m.room.member", BOB)]
    nothing = await context(reading, story, "6", filter={"not_rooms": [story.room_id]})
    assert (nothing["events_before"], nothing["events_after"], nothing["state"]) == ([], [], [])


async def test_what_is_not_there(reading: Reading) -> None:
    story = await conversation(reading)
    missing = await reading.in_room(story.room_id, "context/$none")
    assert missing.outcome == (404, "M_NOT_FOUND")
    for room_id in (story.room_id, RoomID("!none:x")):
        for event_id in (story.said["6"], "$none"):
            outside = await reading.in_room(room_id, f"context/{event_id}", by=GUEST)
            assert outside.outcome == (403, "M_FORBIDDEN")
            anonymous = await reading.in_room(room_id, f"context/{event_id}", by=None)
            assert anonymous.outcome == (401, "M_MISSING_TOKEN")
    for limit in ("-1", "x"):
        answer = await reading.in_room(story.room_id, f"context/{story.said['6']}", limit=limit)
        assert answer.outcome == (400, "M_INVALID_PARAM")


async def test_a_guest_looks_into_a_room_that_everybody_may_read(reading: Reading) -> None:
    story = await reading.story().begin("world_readable")
    event_id = await story.say("hello")
    answer = await reading.in_room(story.room_id, f"context/{event_id}", by=GUEST)
    assert answer.body["event"]["content"]["body"] == "hello"
