"""MSC4186, "RequiredStateRequest": which state is sent."""

from typing import Any

from homeserver.core.identifiers import RoomID
from homeserver.core.topics import room_topic
from homeserver.database.kinds import Kind
from homeserver.database.transactions import WriteTransaction
from homeserver.storage import rooms, state
from tests.api.client.sliding_sync.harness import EVERYTHING, Sliding, keys, old_list, one_list
from tests.api.server import Client, TestServer, room_path

LAZY: dict[str, Any] = {"include": [{}], "lazy_members": True}
TOPIC = ("m.room.topic", "")


async def test_what_is_asked_for(alice: Client, bob: Client) -> None:
    room = await alice.create_room(name="n", topic="t", invite=[bob.user_id])
    await alice.set_state(room, "org.example", {}, "a")
    await alice.set_state(room, "org.example", {}, "b")

    async def state(limit: int = 2, **wanted: Any) -> set[tuple[str, str]]:
        return keys((await Sliding(alice).ask(lists=one_list(state=wanted, limit=limit)))["rooms"][room])

    name, create = {"type": "m.room.name", "state_key": ""}, {"type": "m.room.create", "state_key": ""}
    everything = await state(include=[{}])
    assert {TOPIC, ("m.room.member", bob.user_id), ("org.example", "a")} < everything
    assert await state() == set()
    assert await state(include=[name, create, {"type": "m.room.x", "state_key": ""}]) == {
        ("m.room.name", ""),
        ("m.room.create", ""),
    }
    assert await state(include=[{"type": "org.example"}]) == {("org.example", "a"), ("org.example", "b")}
    assert await state(include=[{"state_key": "a"}, name]) == {("org.example", "a"), ("m.room.name", "")}
    assert await state(include=[{}], exclude=[create]) == everything - {("m.room.create", "")}
    assert await state(include=[name], exclude=[{}]) == set()
    # Who has not said anything is not needed, and of whom nothing is said; but who is asked for by name is sent.
    assert await state(include=[{}], lazy_members=True) == everything - {("m.room.member", bob.user_id)}
    assert await state(include=[{}], lazy_members=True, limit=20) == everything
    wanted = [{"type": "m.room.member", "state_key": bob.user_id}]
    assert await state(include=wanted, lazy_members=True) == {
        ("m.room.member", bob.user_id),
        ("m.room.member", alice.user_id),
    }


async def test_the_unstable_form(alice: Client, bob: Client) -> None:
    room = await alice.create_room(name="n", invite=[bob.user_id])
    await bob.join(room)
    await alice.send(room, "hello")

    async def state(*wanted: tuple[str, str]) -> set[tuple[str, str]]:
        answer = await Sliding(alice).ask_old(lists=old_list(state=wanted, limit=1))
        return keys(answer["rooms"][room])

    mine, his = ("m.room.member", alice.user_id), ("m.room.member", bob.user_id)
    everything = await state(("*", "*"))
    assert {mine, his, ("m.room.create", "")} < everything
    assert await state(("m.room.member", "$ME")) == {mine}
    assert await state(("m.room.member", "$LAZY")) == {mine}
    assert await state(("m.room.member", "*")) == {mine, his}
    assert await state(("*", "*"), ("m.room.member", "$LAZY")) == everything - {his}
    assert await state(("*", "$ME"), ("m.room.name", "*")) == {mine, ("m.room.name", "")}


async def test_only_changes_come_again(alice: Client) -> None:
    room = await alice.create_room(topic="one")
    client = Sliding(alice)
    wanted = {"include": [{"type": "m.room.topic", "state_key": ""}]}
    await client.ask(lists=one_list(state=wanted))
    await alice.send(room, "hello")
    assert "required_state" not in (await client.ask(lists=one_list(state=wanted)))["rooms"][room]
    await alice.set_state(room, "m.room.topic", {"topic": "two"})
    await alice.set_state(room, "m.room.name", {"name": "x"})
    section = (await client.ask(lists=one_list(state=wanted)))["rooms"][room]
    assert [event["content"] for event in section["required_state"]] == [{"topic": "two"}]


async def test_state_that_is_redacted_comes_again(alice: Client) -> None:
    room = await alice.create_room()
    events = [
        await alice.set_state(room, kind, {"topic": "an insult"}) for kind in ("m.room.topic", "org.other")
    ]
    wanted = {"include": [{"type": "m.room.topic", "state_key": ""}]}
    client, gap, everything = (Sliding(alice, name) for name in ("a", "gap", "everything"))
    for each in (client, gap):
        await each.ask(lists=one_list(state=wanted, limit=5))
    await everything.ask(lists=one_list(state=EVERYTHING, limit=5))
    for number, event_id in enumerate(events):
        (await alice.put(room_path(room, "redact", event_id, f"t{number}"))).ok()

    async def told(each: Sliding, state: Any) -> dict[str, Any]:
        section = (await each.ask(lists=one_list(state=state, limit=5)))["rooms"][room]
        return {event["type"]: event["content"] for event in section.get("required_state", ())}

    assert await told(client, wanted) == {"m.room.topic": {}}
    assert await told(everything, EVERYTHING) == {"m.room.topic": {}, "org.other": {}}
    for number in range(6):
        await alice.send(room, f"m{number}")
    assert await told(gap, wanted) == {"m.room.topic": {}}
    assert await told(client, wanted) == {}


async def test_more_state_is_given_at_once(alice: Client) -> None:
    """ "Changes to `required_state`"."""
    room = await alice.create_room(name="n", topic="t")
    client = Sliding(alice)
    topic, name = {"type": "m.room.topic", "state_key": ""}, {"type": "m.room.name", "state_key": ""}
    await client.ask(lists=one_list(state={"include": [topic]}))
    answer = await client.ask(lists=one_list(state={"include": [topic, name]}), timeout=30_000)
    assert keys(answer["rooms"][room]) == {("m.room.name", "")}
    assert "timeline" not in answer["rooms"][room]
    assert (await client.ask(lists=one_list(state={"include": [name]})))["rooms"] == {}
    # What was not asked for meanwhile may have changed.
    await alice.set_state(room, "m.room.topic", {"topic": "changed"})
    assert (
        "required_state" not in (await client.ask(lists=one_list(state={"include": [name]})))["rooms"][room]
    )
    section = (await client.ask(lists=one_list(state=EVERYTHING)))["rooms"][room]
    assert TOPIC in keys(section)
    assert ("m.room.name", "") not in keys(section)


async def test_members_as_they_are_needed(alice: Client, bob: Client, carol: Client) -> None:
    room = await alice.create_room(invite=[bob.user_id, carol.user_id])
    await bob.join(room)
    await carol.join(room)
    await alice.send(room, "hello")
    client = Sliding(alice)

    async def members(limit: int = 2) -> set[str]:
        answer = await client.ask(lists=one_list(state=LAZY, limit=limit))
        return {key for kind, key in keys(answer["rooms"].get(room, {})) if kind == "m.room.member"}

    async def rename(name: str) -> None:
        content = {"membership": "join", "displayname": name}
        await carol.set_state(room, "m.room.member", content, carol.user_id)

    assert await members(limit=1) == {alice.user_id}
    await bob.send(room, "hi")
    assert await members() == {alice.user_id, bob.user_id}  # two events: more than before
    await bob.send(room, "again")
    assert await members() == set()
    # Changes of any member, as long as there is no gap.
    await rename("C")
    assert await members() == {carol.user_id}
    # After a gap the client begins anew.
    await rename("D")
    for _ in range(3):
        await bob.send(room, "x")
    assert await members() == {bob.user_id}
    await carol.send(room, "y")
    assert await members() == {carol.user_id}
    # An answer that was lost brought nobody.
    dave = {"type": "m.room.member", "state_key": alice.user_id}
    wanted = one_list(state={"include": [dave], "lazy_members": True}, limit=2)
    await alice.send(room, "z")
    for _ in range(2):
        lost = await client.repeat(lists=wanted)
        assert ("m.room.member", alice.user_id) in keys(lost["rooms"][room])


async def test_members_after_a_gap_that_came_without_them(alice: Client, bob: Client) -> None:
    """ "clients must flush any "membership" cache when `limited` is true"."""
    room = await alice.create_room(invite=[bob.user_id])
    await bob.join(room)
    await bob.send(room, "hello")
    client = Sliding(alice)
    lazy, his = {"lazy_members": True}, ("m.room.member", bob.user_id)
    assert his in keys((await client.ask(lists=one_list(state=lazy, limit=2)))["rooms"][room])
    renamed = {"membership": "join", "displayname": "Robert"}
    await bob.set_state(room, "m.room.member", renamed, bob.user_id)
    for number in range(3):
        await alice.send(room, f"m{number}")
    assert (await client.ask(lists=one_list(limit=2)))["rooms"][room]["limited"]
    await bob.send(room, "again")
    section = (await client.ask(lists=one_list(state=lazy, limit=2)))["rooms"][room]
    assert [event["content"] for event in section["required_state"]] == [renamed]


def lose_topic(tx: WriteTransaction, room_id: RoomID) -> None:
    """The resolution of a fork has left the room without its topic."""
    room = rooms.lock(tx, room_id)
    assert room is not None
    root = state.put(tx, room.room_nid, room.state_root, {TOPIC: None})
    tx.publish(
        rooms.ADVANCE_STATE,
        kind=Kind.EVENTS,
        to=[room_topic(room_id)],
        also=[(state.INSERT_ROOT, {"room_nid": room.room_nid, "state_root": root})],
        the_room=room.room_nid,
        state_root=root,
        forward_extremities=rooms.extremities_json(room.extremities),
        joined_members=room.joined_members,
        invited_members=room.invited_members,
        remote_members=room.remote_members,
        bumps=0,
    )


async def test_state_that_is_gone(alice: Client, server: TestServer) -> None:
    """ "To handle state being deleted, the list may include a `StateStub`"."""
    room = await alice.create_room(topic="t")
    client, old = Sliding(alice), Sliding(alice, "old")
    await client.ask(lists=one_list(state=EVERYTHING))
    await old.ask_old(lists=old_list(state=[("*", "*")]))
    await server.server.database.write(lose_topic, RoomID(room))
    # There is no event that would wake anybody; a request that is not the same as before is read in any case.
    section = (await client.ask(lists=one_list(state=EVERYTHING, last=9)))["rooms"][room]
    assert section["required_state"] == [{"type": "m.room.topic", "state_key": ""}]
    assert "timeline" not in section
    # Which the unstable form does not have.
    assert (await old.ask_old(lists=old_list(state=[("*", "*")], last=9)))["rooms"] == {}
