"""Client-server API, `room_initial_sync.yaml`. Who sees what: `tests/services/test_history_access.py`."""

from typing import Any

from homeserver.core.identifiers import RoomID
from homeserver.services.account_data import AccountData
from homeserver.storage import rooms
from tests.api.http_harness import TOKENS
from tests.api.room_reading_harness import ALICE, BOB, GUEST, Reading
from tests.room_stories import Story


async def snapshot(reading: Reading, story: Story, **query: Any) -> Any:
    answer = await reading.in_room(story.room_id, "initialSync", **query)
    assert answer.status == 200, answer
    return answer.body


async def test_a_guest_looks_into_a_room(reading: Reading) -> None:
    story = await reading.story().begin("world_readable")
    for number in range(12):
        await story.say(str(number))
    found = await snapshot(reading, story, by=GUEST)
    assert found["room_id"] == story.room_id
    assert "membership" not in found
    bodies = [event["content"]["body"] for event in found["messages"]["chunk"]]
    assert bodies == [str(number) for number in range(2, 12)]
    assert {event["type"] for event in found["state"]} >= {"m.room.create", "m.room.member"}
    assert found["visibility"] == "private"
    assert found["account_data"] == []
    older = await reading.in_room(
        story.room_id, "messages", by=GUEST, dir="b", start=found["messages"]["start"], limit=2
    )
    assert [event["content"]["body"] for event in older.body["chunk"]] == ["1", "0"]
    newer = await reading.in_room(
        story.room_id, "messages", by=GUEST, dir="f", start=found["messages"]["end"]
    )
    assert newer.body["chunk"] == []


async def test_a_member_gets_own_data_and_membership(reading: Reading) -> None:
    story = await reading.story().begin("shared")
    await story.member(ALICE, "join")
    data = AccountData(reading.database)
    await data.put(TOKENS["alice"], ALICE, story.room_id, "m.tag", {"tags": {}})
    await data.put(TOKENS["alice"], ALICE, None, "org.other", {})
    await reading.database.write(rooms.set_public, story.room_id, public=True)
    found = await snapshot(reading, story)
    assert found["membership"] == "join"
    assert found["visibility"] == "public"
    assert found["account_data"] == [{"type": "m.tag", "content": {"tags": {}}}]
    # Nothing was left out, so nothing leads to more.
    assert "start" not in found["messages"]


async def test_who_has_left_gets_the_room_as_it_was_then(reading: Reading) -> None:
    story = await reading.story().begin("shared")
    await story.member(ALICE, "join")
    await story.set("m.room.topic", {"topic": "then"})
    await story.say("then")
    await story.member(ALICE, "leave", by=BOB)
    await story.say("later")
    await story.set("m.room.topic", {"topic": "later"})
    found = await snapshot(reading, story)
    assert found["membership"] == "leave"
    assert [event["content"]["topic"] for event in found["state"] if event["type"] == "m.room.topic"] == [
        "then"
    ]
    kicked = found["messages"]["chunk"][-1]
    assert (kicked["state_key"], kicked["content"]["membership"]) == (ALICE, "leave")
    assert "later" not in [event["content"].get("body") for event in found["messages"]["chunk"]]


async def test_who_may_not_look(reading: Reading) -> None:
    story = await reading.story().begin("shared")
    await story.member(ALICE, "invite", by=BOB)
    for room_id in (story.room_id, RoomID("!none:x")):
        for by in (ALICE, GUEST):
            answer = await reading.in_room(room_id, "initialSync", by=by)
            assert answer.outcome == (403, "M_FORBIDDEN")
        answer = await reading.in_room(room_id, "initialSync", by=None)
        assert answer.outcome == (401, "M_MISSING_TOKEN")
