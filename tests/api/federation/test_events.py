"""Server-server API, `events.yaml` and `event_auth.yaml`."""

import pytest
from sqlalchemy import update

from homeserver.core.identifiers import UserID
from homeserver.database.statements import in_list, statement
from homeserver.database.tables.events import events as events_table
from homeserver.database.transactions import WriteTransaction
from homeserver.storage import events
from tests.api.federation.asking import Asking, ids
from tests.api.server import SERVER_NAME
from tests.room_stories import Story, say_many

UNKNOWN = "$" + "A" * 43

FORGET = statement(
    update(events_table)
    .where(in_list(events_table.c.event_id, "event_ids"))
    .values(status=events.OUTLIER, position=None, state_root=None, root_after=None)
)


def forget_where_they_stand(tx: WriteTransaction, event_ids: list[str]) -> None:
    """The events are known only as part of a state."""
    tx.execute(FORGET, event_ids=event_ids)


@pytest.mark.parametrize("version", ["1", "6", "11", "12"])
async def test_an_event_is_given_as_it_was_signed(asking: Asking, version: str) -> None:
    story = await asking.shared_room(version=version)
    event_id = await story.say("hello")
    answer = (await asking.get("event", event_id)).ok()
    assert answer["origin"] == asking.server.server_name
    assert isinstance(answer["origin_server_ts"], int)
    assert ids(answer["pdus"], version) == [event_id]
    [pdu] = answer["pdus"]
    assert pdu["content"]["body"] == "hello"
    assert "unsigned" not in pdu


async def test_an_event_that_is_not_known(asking: Asking) -> None:
    (await asking.get("event", UNKNOWN)).error(404, "M_NOT_FOUND")


async def test_rejected_events_are_not_given_soft_failed_ones_are(asking: Asking) -> None:
    story = await asking.shared_room()
    await say_many(story, ["rejected"], asking.owner, status=events.REJECTED)
    await say_many(story, ["failed"], asking.owner, status=events.SOFT_FAILED)
    extremity = await story.say("last")
    last = await asking.event(extremity)
    [failed] = last["prev_events"]
    pdu = await asking.event(failed)
    assert pdu["content"]["body"] == "failed"
    [rejected] = pdu["prev_events"]
    assert await asking.event(rejected) is None


@pytest.mark.parametrize("version", ["1", "6", "11", "12"])
async def test_the_state_is_that_before_the_event(asking: Asking, version: str) -> None:
    story = await asking.shared_room(version=version)
    first = await story.set("m.room.name", {"name": "first"})
    second = await story.set("m.room.name", {"name": "second"})
    last = await story.say("hello")

    async def names_at(event_id: str) -> list[str]:
        answer = (await asking.get("state", story.room_id, event_id=event_id)).ok()
        listed = (await asking.get("state_ids", story.room_id, event_id=event_id)).ok()
        assert sorted(ids(answer["pdus"], version)) == sorted(listed["pdu_ids"])
        assert sorted(ids(answer["auth_chain"], version)) == sorted(listed["auth_chain_ids"])
        return [pdu["content"]["name"] for pdu in answer["pdus"] if pdu["type"] == "m.room.name"]

    assert await names_at(first) == []
    assert await names_at(second) == ["first"]
    assert await names_at(last) == ["second"]


async def test_the_auth_chain_is_whole(asking: Asking) -> None:
    """Whatever an event of the state or of the chain cites is in the chain, and nothing that is not cited."""
    story = await asking.shared_room()
    for level in range(3):
        await story.set("m.room.power_levels", {"users": {asking.owner: 100}, "invite": level})
    carol = asking.user("carol")
    await story.member(carol, "invite", by=asking.owner)
    await story.member(carol, "join")
    await story.set("m.room.name", {"name": "a room"})
    last = await story.say("hello")
    answer = (await asking.get("state", story.room_id, event_id=last)).ok()
    cited = {auth_event for pdu in answer["pdus"] + answer["auth_chain"] for auth_event in pdu["auth_events"]}
    assert set(ids(answer["auth_chain"])) == cited
    assert len(answer["auth_chain"]) == len(cited)
    name = next(
        event_id
        for event_id, pdu in zip(ids(answer["pdus"]), answer["pdus"], strict=True)
        if pdu["type"] == "m.room.name"
    )
    chain = (await asking.get("event_auth", story.room_id, name)).ok()["auth_chain"]
    cited = set((await asking.event(name))["auth_events"])
    for pdu in chain:
        cited |= set(pdu["auth_events"])
    assert set(ids(chain)) == cited
    types = sorted(pdu["type"] for pdu in chain)
    # The three that are no longer part of the state as well.
    assert types.count("m.room.power_levels") == 4


async def test_the_auth_chain_of_a_message_in_a_room_whose_id_is_a_hash(asking: Asking) -> None:
    story = await asking.shared_room(version="12")
    message = await story.say("hello")
    chain = (await asking.get("event_auth", story.room_id, message)).ok()["auth_chain"]
    assert "m.room.create" in {pdu["type"] for pdu in chain}
    assert set((await asking.event(message))["auth_events"]) <= set(ids(chain, "12"))


@pytest.mark.parametrize("path", ["state", "state_ids"])
async def test_states_are_for_servers_in_the_room(asking: Asking, path: str) -> None:
    story = await asking.room("world_readable")
    event_id = await story.say("hello")
    (await asking.get(path, story.room_id, event_id=event_id)).error(403, "M_FORBIDDEN")
    (await asking.get(path, "!other:example.org", event_id=event_id)).error(403, "M_FORBIDDEN")
    await story.member(asking.user("bob"), "join")
    (await asking.get(path, story.room_id, event_id=event_id)).ok()
    (await asking.get(path, story.room_id)).error(400, "M_MISSING_PARAM")
    (await asking.get(path, story.room_id, event_id=UNKNOWN)).error(404, "M_NOT_FOUND")
    await story.member(asking.user("bob"), "leave")
    (await asking.get(path, story.room_id, event_id=event_id)).error(403, "M_FORBIDDEN")


async def test_auth_chains_are_for_servers_in_the_room(asking: Asking) -> None:
    story = await asking.room("world_readable")
    event_id = await story.say("hello")
    (await asking.get("event_auth", story.room_id, event_id)).error(403, "M_FORBIDDEN")
    await story.member(asking.user("bob"), "join")
    (await asking.get("event_auth", story.room_id, event_id)).ok()
    (await asking.get("event_auth", story.room_id, UNKNOWN)).error(404, "M_NOT_FOUND")


async def test_an_event_of_another_room_leads_nowhere(asking: Asking) -> None:
    """The asking server is in one room, and names an event of another, in which it is not."""
    story = await asking.shared_room()
    secret = await asking.room("joined", seed="secret")
    event_id = await secret.say("secret")
    (await asking.get("state", story.room_id, event_id=event_id)).error(404, "M_NOT_FOUND")
    (await asking.get("state_ids", story.room_id, event_id=event_id)).error(404, "M_NOT_FOUND")
    (await asking.get("event_auth", story.room_id, event_id)).error(404, "M_NOT_FOUND")
    (await asking.get("event", event_id)).error(404, "M_NOT_FOUND")


async def test_the_access_control_list_refuses(asking: Asking) -> None:
    story = await asking.shared_room("world_readable")
    event_id = await story.say("hello")
    await story.set("m.room.server_acl", {"allow": ["*"], "deny": [asking.peer_name.partition(":")[0]]})
    for parts, query in (
        (("state", story.room_id), {"event_id": event_id}),
        (("state_ids", story.room_id), {"event_id": event_id}),
        (("event_auth", story.room_id, event_id), {}),
        (("event", event_id), {}),
        (("backfill", story.room_id), {"v": event_id, "limit": 10}),
        (("timestamp_to_event", story.room_id), {"ts": 0, "dir": "f"}),
    ):
        (await asking.get(*parts, **query)).error(403, "M_FORBIDDEN")
    body = {"earliest_events": [], "latest_events": [event_id]}
    (await asking.post("get_missing_events", story.room_id, body=body)).error(403, "M_FORBIDDEN")


@pytest.mark.parametrize(
    ("parts", "query"),
    [
        (("state", "no room"), {"event_id": UNKNOWN}),
        (("state_ids", "no room"), {"event_id": UNKNOWN}),
        (("state", "!room:x"), {"event_id": "$a\0b"}),
        (("event", "no event"), {}),
        (("event", "$a\0b"), {}),
        (("event_auth", "!room:x", "no event"), {}),
        (("timestamp_to_event", "!room:x"), {"ts": "soon", "dir": "f"}),
        (("timestamp_to_event", "!room:x"), {"ts": 0, "dir": "sideways"}),
    ],
)
async def test_what_cannot_be_asked(asking: Asking, parts: tuple[str, ...], query: dict[str, object]) -> None:
    (await asking.get(*parts, **query)).error(400, "M_INVALID_PARAM")


async def test_events_by_their_time(asking: Asking) -> None:
    story = await asking.shared_room()
    one = await story.say("one")
    one_ts = story.ts
    two = await story.say("two")

    async def nearest(ts: int, direction: str) -> object:
        return (await asking.get("timestamp_to_event", story.room_id, ts=ts, dir=direction)).ok()

    assert await nearest(one_ts, "f") == {"event_id": one, "origin_server_ts": one_ts}
    assert await nearest(one_ts, "b") == {"event_id": one, "origin_server_ts": one_ts}
    assert await nearest(one_ts + 1, "f") == {"event_id": two, "origin_server_ts": story.ts}
    assert await nearest(one_ts + 1, "b") == {"event_id": one, "origin_server_ts": one_ts}
    answer = await asking.get("timestamp_to_event", story.room_id, ts=story.ts + 1, dir="f")
    answer.error(404, "M_NOT_FOUND")
    answer = await asking.get("timestamp_to_event", story.room_id, ts=2**70, dir="f")
    answer.error(400, "M_INVALID_PARAM")


async def test_what_a_server_may_not_see_is_not_found_by_its_time(asking: Asking) -> None:
    story = await asking.room("joined")
    before = await story.say("before")
    ts = story.ts
    (await asking.get("timestamp_to_event", story.room_id, ts=ts, dir="f")).error(403, "M_FORBIDDEN")
    joined = await story.member(asking.user("bob"), "join")
    found = (await asking.get("timestamp_to_event", story.room_id, ts=ts, dir="f")).ok()
    assert found["event_id"] == joined
    found = (await asking.get("timestamp_to_event", story.room_id, ts=ts, dir="b")).ok()
    # When all who join later were to see everything.
    assert found["event_id"] != before
    assert (await asking.event(found["event_id"]))["type"] == "m.room.history_visibility"


async def test_of_a_state_that_it_may_not_see_a_server_gets_what_authorises(asking: Asking) -> None:
    story = await asking.room("joined")
    await story.set("m.room.topic", {"topic": "secret"})
    before = await story.say("before")
    await story.member(asking.user("bob"), "join")
    after = await story.say("after")

    async def contents_at(event_id: str) -> dict[str, object]:
        answer = (await asking.get("state", story.room_id, event_id=event_id)).ok()
        return {pdu["type"]: pdu["content"] for pdu in answer["pdus"]}

    seen, hidden = await contents_at(after), await contents_at(before)
    assert seen["m.room.topic"] == {"topic": "secret"}
    assert hidden["m.room.topic"] == {}
    assert hidden["m.room.power_levels"] == seen["m.room.power_levels"]
    assert hidden["m.room.join_rules"] == seen["m.room.join_rules"]


async def test_a_big_room(asking: Asking) -> None:
    """More members than a node of the state holds."""
    story = await asking.shared_room()
    for number in range(60):
        await story.member(UserID(f"@user{number}:{SERVER_NAME}"), "join")
    last = await story.say("hello")
    answer = (await asking.get("state_ids", story.room_id, event_id=last)).ok()
    # Create, power levels, join rules, history visibility, two members.
    assert len(set(answer["pdu_ids"])) == len(answer["pdu_ids"]) == 60 + 6


async def test_an_event_known_by_the_state_only(asking: Asking) -> None:
    """Who is in the room may have to ask for single events of a state that it was given the IDs of."""
    story: Story = await asking.shared_room("joined")
    old = await story.set("m.room.topic", {"topic": "old"})
    new = await story.set("m.room.topic", {"topic": "new"})
    levels = await story.set("m.room.power_levels", {"users": {asking.owner: 100}, "invite": 1})
    await asking.database.write(forget_where_they_stand, [old, new, levels])
    assert (await asking.event(old))["content"] == {}
    assert (await asking.event(new))["content"] == {"topic": "new"}
    assert (await asking.event(levels))["content"]["invite"] == 1
    (await asking.get("state", story.room_id, event_id=old)).error(404, "M_NOT_FOUND")
    await story.member(asking.user("bob"), "leave")
    assert await asking.event(levels) is None
