"""Client-server API, `old_sync.yaml`. `getEvents` is in `test_peeking_events.py`."""

from typing import Any

from homeserver.services.account_data import AccountData
from tests.api.http_harness import TOKENS
from tests.api.room_reading_harness import ALICE, BOB, GUEST, Reading


async def test_one_event_whatever_room_it_is_in(reading: Reading) -> None:
    story = await reading.story().begin("shared")
    await story.member(ALICE, "join")
    event_id = await story.say("hello")
    answer = await reading.get(f"/events/{event_id}")
    assert (answer.body["event_id"], answer.body["room_id"]) == (event_id, story.room_id)


async def test_events_that_may_not_be_seen(reading: Reading) -> None:
    story = await reading.story().begin("shared")
    event_id = await story.say("hello")
    for each in (event_id, "$none"):
        assert (await reading.get(f"/events/{each}")).outcome == (404, "M_NOT_FOUND")
        assert (await reading.get(f"/events/{each}", by=None)).outcome == (401, "M_MISSING_TOKEN")
        assert (await reading.get(f"/events/{each}", by=GUEST)).outcome == (403, "M_GUEST_ACCESS_FORBIDDEN")


async def everything(reading: Reading, **query: Any) -> Any:
    answer = await reading.get("/initialSync", query)
    assert answer.status == 200, answer
    return answer.body


async def test_all_rooms_of_a_user(reading: Reading) -> None:
    joined = await reading.story().begin("shared", seed="joined")
    await joined.member(ALICE, "join")
    for number in range(4):
        await joined.say(str(number))
    invited = await reading.story().begin("shared", seed="invited")
    await invited.member(ALICE, "invite", by=BOB)
    left = await reading.story().begin("shared", seed="left")
    await left.member(ALICE, "join")
    await left.say("then")
    await left.member(ALICE, "leave")
    await left.say("later")
    forgotten = await reading.story().begin("shared", seed="forgotten")
    await forgotten.member(ALICE, "join")
    await forgotten.member(ALICE, "leave")
    await forgotten.forget(ALICE)
    rejected = await reading.story().begin("shared", seed="rejected")
    await rejected.member(ALICE, "invite", by=BOB)
    await rejected.member(ALICE, "leave")
    await reading.story().begin("world_readable", seed="other")
    await AccountData(reading.database).put(TOKENS["alice"], ALICE, None, "org.mine", {"a": 1})

    found = await everything(reading, limit=2)
    by_id = {room["room_id"]: room for room in found["rooms"]}
    assert by_id.keys() == {joined.room_id, invited.room_id}
    room = by_id[joined.room_id]
    assert room["membership"] == "join"
    assert [event["content"]["body"] for event in room["messages"]["chunk"]] == ["2", "3"]
    assert any(event["type"] == "m.room.create" for event in room["state"])
    invite = by_id[invited.room_id]
    assert (invite["membership"], invite["invite"]["state_key"]) == ("invite", ALICE)
    assert "messages" not in invite
    assert "state" not in invite
    assert found["end"] == f"s{await joined.position()}"
    types = {data["type"]: data["content"] for data in found["account_data"]}
    assert types["org.mine"] == {"a": 1}
    assert "m.push_rules" in types
    assert isinstance(found["presence"], list)

    found = await everything(reading, archived="true")
    by_id = {room["room_id"]: room for room in found["rooms"]}
    assert by_id.keys() == {joined.room_id, invited.room_id, left.room_id, rejected.room_id}
    room = by_id[left.room_id]
    assert room["membership"] == "leave"
    assert [event["content"].get("body") for event in room["messages"]["chunk"]][-2:] == ["then", None]
    assert by_id[rejected.room_id] == {"room_id": rejected.room_id, "membership": "leave"}


async def test_the_token_goes_on_with_events(reading: Reading) -> None:
    story = await reading.story().begin("shared")
    await story.member(ALICE, "join")
    end = (await everything(reading))["end"]
    event_id = await story.say("new")
    answer = await reading.get("/events", {"from": end, "timeout": 0})
    assert [event["event_id"] for event in answer.body["chunk"]] == [event_id]


async def test_an_account_without_rooms(reading: Reading) -> None:
    found = await everything(reading)
    assert (found["rooms"], found["presence"]) == ([], [])
    assert (await reading.get("/initialSync", by=GUEST)).outcome == (403, "M_GUEST_ACCESS_FORBIDDEN")
    assert (await reading.get("/initialSync", by=None)).outcome == (401, "M_MISSING_TOKEN")
