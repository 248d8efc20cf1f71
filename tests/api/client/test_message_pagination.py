"""Client-server API, `message_pagination.yaml`. Who sees what: `tests/services/test_history_access.py`."""

import json
from typing import Any

import pytest

from homeserver.core.identifiers import RoomID, UserID
from homeserver.rooms.draft import Draft
from homeserver.storage import events
from tests.api.room_reading_harness import ALICE, BOB, GUEST, Reading
from tests.room_stories import Story, say_many


def bodies(chunk: list[Any]) -> list[str]:
    return [event["content"]["body"] for event in chunk if event["type"] == "m.room.message"]


async def conversation(reading: Reading, count: int = 12) -> Story:
    """Alice and Bob in a room, taking turns."""
    story = await reading.story().begin("shared")
    await story.member(ALICE, "join")
    for number in range(count):
        await story.say(str(number), by=(ALICE, BOB)[number % 2])
    return story


async def messages(reading: Reading, story: Story, **query: Any) -> Any:
    answer = await reading.in_room(story.room_id, "messages", **query)
    assert answer.status == 200, answer
    return answer.body


async def test_pages_lead_from_the_newest_event_to_the_first(reading: Reading) -> None:
    story = await conversation(reading)
    first = await messages(reading, story, dir="b")
    assert bodies(first["chunk"]) == [str(number) for number in range(11, 1, -1)]
    assert first["start"] == f"s{await story.position()}"
    assert "state" not in first
    second = await messages(reading, story, dir="b", start=first["end"], limit=3)
    assert second["start"] == first["end"]
    assert bodies(second["chunk"]) == ["1", "0"]
    last = await messages(reading, story, dir="b", start=second["end"])
    assert [event["type"] for event in last["chunk"]][-1] == "m.room.create"
    assert "end" not in last


async def test_pages_lead_from_the_first_event_to_the_newest(reading: Reading) -> None:
    story = await conversation(reading)
    first = await messages(reading, story, dir="f", limit=7)
    assert first["chunk"][0]["type"] == "m.room.create"
    assert bodies(first["chunk"]) == ["0"]
    rest = await messages(reading, story, dir="f", start=first["end"], limit=100)
    assert bodies(rest["chunk"]) == [str(number) for number in range(1, 12)]
    assert "end" not in rest
    # The token that the page began with leads to the same page.
    assert (await messages(reading, story, dir="f", start=first["start"], limit=7))["chunk"] == first["chunk"]


async def test_a_token_means_the_same_place_in_both_directions(reading: Reading) -> None:
    story = await conversation(reading)
    here = (await messages(reading, story, dir="b", limit=5))["end"]
    assert bodies((await messages(reading, story, dir="b", start=here, limit=2))["chunk"]) == ["6", "5"]
    assert bodies((await messages(reading, story, dir="f", start=here, limit=2))["chunk"]) == ["7", "8"]


async def test_a_page_stops_where_it_is_told_to(reading: Reading) -> None:
    story = await conversation(reading)
    newer = (await messages(reading, story, dir="b", limit=3))["end"]
    older = (await messages(reading, story, dir="b", limit=8))["end"]
    between = [str(number) for number in range(4, 9)]
    forwards = await messages(reading, story, dir="f", start=older, to=newer, limit=100)
    assert bodies(forwards["chunk"]) == between
    backwards = await messages(reading, story, dir="b", start=newer, to=older, limit=100)
    assert bodies(backwards["chunk"]) == between[::-1]
    # More is there beyond, for who leaves `to` out; with it, asking on ends at once.
    assert (forwards["end"], backwards["end"]) == (newer, older)
    on = await messages(reading, story, dir="f", start=forwards["end"], to=newer)
    assert (on["chunk"], "end" in on) == ([], False)
    on = await messages(reading, story, dir="b", start=backwards["end"], to=older)
    assert (on["chunk"], "end" in on) == ([], False)
    part = await messages(reading, story, dir="f", start=older, to=newer, limit=2)
    rest = await messages(reading, story, dir="f", start=part["end"], to=newer, limit=100)
    assert bodies(part["chunk"] + rest["chunk"]) == between
    # The wrong way round there is nothing.
    assert (await messages(reading, story, dir="b", start=older, to=newer))["chunk"] == []


async def test_events_have_the_form_that_clients_see(reading: Reading) -> None:
    story = await conversation(reading, 0)
    renamed = await story.set("m.room.name", {"name": "one"})
    await story.set("m.room.name", {"name": "two"})
    mine = await story.add(
        Draft(ALICE, "m.room.message", {"body": "x", "msgtype": "m.text"}, device_id="D", txn_id="t1")
    )
    await story.add(
        Draft(ALICE, "m.room.message", {"body": "y", "msgtype": "m.text"}, device_id="E", txn_id="t2")
    )
    await story.add(Draft(BOB, "m.room.redaction", {"reason": "no"}, redacts=mine))
    redaction, other, redacted, name, *_ = (await messages(reading, story, dir="b"))["chunk"]
    assert redaction["redacts"] == redaction["content"]["redacts"] == mine
    assert "transaction_id" not in other["unsigned"]
    assert redacted["content"] == {}
    assert redacted["unsigned"]["transaction_id"] == "t1"
    assert redacted["unsigned"]["redacted_because"]["event_id"] == redaction["event_id"]
    assert redacted["unsigned"]["membership"] == "join"
    assert name["unsigned"]["prev_content"] == {"name": "one"}
    assert name["unsigned"]["replaces_state"] == renamed
    assert all(event["room_id"] == story.room_id for event in (redaction, other, redacted, name))
    bob = await reading.in_room(story.room_id, "messages", by=BOB, dir="b")
    assert "transaction_id" not in bob.body["chunk"][2]["unsigned"]


@pytest.mark.parametrize(
    ("filter", "expected"),
    [
        ({"types": ["m.room.message"]}, ["3", "2", "1", "0"]),
        ({"types": []}, []),
        ({"not_types": ["m.room.*"]}, []),
        ({"types": ["m.room.message"], "not_senders": [BOB]}, ["2", "0"]),
        ({"senders": [BOB], "types": ["m.*"]}, ["3", "1"]),
        ({"contains_url": True}, ["1"]),
        ({"contains_url": False, "types": ["m.room.message"]}, ["3", "2", "0"]),
        ({"limit": 2, "types": ["m.room.message"]}, ["3", "2"]),
        ({"rooms": ["!room:x"], "types": ["m.room.message"]}, ["3", "2", "1", "0"]),
        ({"rooms": []}, []),
        ({"not_rooms": ["!room:x"]}, []),
    ],
)
async def test_filters(reading: Reading, filter: dict[str, Any], expected: list[str]) -> None:
    story = await conversation(reading, 1)
    await story.say("1", url="mxc://x/y")
    await story.say("2", by=ALICE)
    await story.say("3")
    found = await messages(reading, story, dir="b", filter=filter)
    assert bodies(found["chunk"]) == expected
    if "limit" not in filter:
        assert len(found["chunk"]) == len(expected) or "contains_url" in filter or "types" in filter


async def test_the_limit_of_the_request_goes_before_that_of_the_filter(reading: Reading) -> None:
    story = await conversation(reading)
    found = await messages(reading, story, dir="b", limit=4, filter={"limit": 2})
    assert bodies(found["chunk"]) == ["11", "10", "9", "8"]


async def test_a_page_that_a_filter_empties_still_leads_on(reading: Reading) -> None:
    story = await reading.story().begin("shared")
    await story.say("needle", by=BOB)
    await say_many(story, [str(number) for number in range(2_500)], BOB)
    await story.member(ALICE, "join")
    start: str | None = None
    pages = 0
    while True:
        query: dict[str, Any] = {} if start is None else {"start": start}
        wanted = {"types": ["m.room.message"], "contains_url": True, "senders": [BOB]}
        page = await messages(reading, story, dir="b", limit=50, filter=wanted, **query)
        assert page["chunk"] == []
        pages += 1
        if "end" not in page:
            break
        assert page["end"] != start
        start = page["end"]
    # Each page looks through about a thousand events, and no page through all of them.
    assert 2 <= pages <= 4


async def test_events_that_were_rejected_do_not_end_the_timeline(reading: Reading) -> None:
    story = await conversation(reading, 2)
    for status in (events.REJECTED, events.SOFT_FAILED, events.OUTLIER):
        await say_many(story, [f"bad {number}" for number in range(25)], BOB, status=status)
    await story.say("2")
    first = await messages(reading, story, dir="b", limit=2)
    assert bodies(first["chunk"]) == ["2", "1"]
    second = await messages(reading, story, dir="b", limit=100, start=first["end"])
    assert bodies(second["chunk"]) == ["0"]
    forwards = await messages(reading, story, dir="f", limit=100)
    assert bodies(forwards["chunk"]) == ["0", "1", "2"]


async def test_what_was_said_before_is_passed_over_in_pages_that_lead_on(reading: Reading) -> None:
    story = await reading.story().begin("joined")
    await say_many(story, [str(number) for number in range(2_500)], BOB)
    await story.member(ALICE, "join")
    await story.say("mine")
    found: list[str] = []
    start: str | None = None
    for _ in range(10):
        query: dict[str, Any] = {} if start is None else {"start": start}
        page = await messages(reading, story, dir="f", limit=10, **query)
        found += bodies(page["chunk"])
        if "end" not in page:
            break
        start = page["end"]
    assert found == ["mine"]


async def test_members_are_loaded_lazily(reading: Reading) -> None:
    story = await reading.story().begin("shared")
    await story.member(ALICE, "join")
    await story.member(GUEST, "join")
    await story.say("one", by=ALICE)
    await story.add(
        Draft(ALICE, "m.room.member", {"membership": "join", "displayname": "New"}, state_key=ALICE)
    )
    await story.say("two", by=ALICE)
    lazy = {"lazy_load_members": True}

    async def names(**query: Any) -> dict[str, str]:
        page = await messages(reading, story, filter=lazy, **query)
        assert {event["type"] for event in page["state"]} <= {"m.room.member"}
        return {event["state_key"]: event["content"]["displayname"] for event in page["state"]}

    # The state is that in which the client applies the page: at the end that the page begins with.
    assert await names(dir="b", limit=1) == {ALICE: "New"}
    start = f"s{await story.position_of(story.said['one'])}"
    assert await names(dir="b", limit=1, start=start) == {ALICE: "Alice"}
    assert await names(dir="f", limit=3, start=start) == {ALICE: "Alice"}
    assert await names(dir="b", limit=100) == {ALICE: "New", BOB: "Owner", GUEST: "Guest"}
    # Where the page begins with the membership itself, it says all.
    changed = f"s{await story.position() - 1}"
    assert await names(dir="b", limit=1, start=changed) == {}
    empty = await messages(reading, story, filter={**lazy, "types": []}, dir="b")
    assert "state" not in empty


@pytest.mark.parametrize(
    ("query", "errcode"),
    [
        ({}, "M_MISSING_PARAM"),
        ({"dir": "up"}, "M_INVALID_PARAM"),
        ({"dir": "b", "limit": "-1"}, "M_INVALID_PARAM"),
        ({"dir": "b", "limit": "many"}, "M_INVALID_PARAM"),
        ({"dir": "b", "start": "x5"}, "M_INVALID_PARAM"),
        ({"dir": "b", "start": "s5_3"}, "M_INVALID_PARAM"),
        ({"dir": "b", "start": "s9223372036854775808"}, "M_INVALID_PARAM"),
        ({"dir": "b", "to": "s 5"}, "M_INVALID_PARAM"),
        ({"dir": "b", "filter": "{"}, "M_NOT_JSON"),
        ({"dir": "b", "filter": "f123"}, "M_NOT_JSON"),
        ({"dir": "b", "filter": '{"types":"m.room.message"}'}, "M_BAD_JSON"),
    ],
)
async def test_what_makes_no_sense_is_refused(reading: Reading, query: dict[str, Any], errcode: str) -> None:
    story = await conversation(reading, 1)
    answer = await reading.in_room(story.room_id, "messages", **query)
    assert answer.outcome == (400, errcode)


async def test_limits(reading: Reading) -> None:
    story = await conversation(reading, 0)
    await say_many(story, [str(number) for number in range(1_200)], BOB)
    page = await messages(reading, story, dir="b", limit=10**9)
    assert len(page["chunk"]) == 1_000
    none = await messages(reading, story, dir="b", limit=0)
    assert (none["chunk"], none["end"]) == ([], none["start"])


@pytest.mark.parametrize("by", [ALICE, GUEST])
async def test_a_room_that_everybody_may_read(reading: Reading, by: UserID) -> None:
    story = await reading.story().begin("world_readable")
    await story.say("hello")
    answer = await reading.in_room(story.room_id, "messages", by=by, dir="b")
    assert bodies(answer.body["chunk"]) == ["hello"]
    assert answer.body["chunk"][0]["unsigned"]["membership"] == "leave"


async def test_who_may_not_read_learns_nothing(reading: Reading) -> None:
    story = await reading.story().begin("shared")
    for room_id in (story.room_id, RoomID("!none:x")):
        for by in (ALICE, GUEST):
            answer = await reading.in_room(room_id, "messages", by=by, dir="b")
            assert answer.outcome == (403, "M_FORBIDDEN")
        answer = await reading.in_room(room_id, "messages", by=None, dir="b")
        assert answer.outcome == (401, "M_MISSING_TOKEN")


async def test_rooms_whose_id_is_a_hash(reading: Reading) -> None:
    story = await reading.story().begin("shared", version="12")
    assert ":" not in story.room_id
    await story.member(ALICE, "join")
    page = await messages(reading, story, dir="f")
    assert page["chunk"][0]["type"] == "m.room.create"
    assert {event["room_id"] for event in page["chunk"]} == {story.room_id}


async def test_the_old_path(reading: Reading) -> None:
    story = await conversation(reading, 1)
    answer = await reading.in_room(story.room_id, "messages", version="r0", dir="b", limit=1)
    assert bodies(answer.body["chunk"]) == ["0"]
    assert json.dumps(answer.body)
