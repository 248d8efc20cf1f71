"""MSC4186, "Room results": what is told of a room."""

from typing import Any

import attrs
import pytest

from tests.api.client.sliding_sync.harness import EVERYTHING, Sliding, bodies, keys, old_list, one_list
from tests.api.server import Client, TestServer, path_of, room_path

ALL = "all"


async def test_name_avatar_and_heroes(alice: Client, bob: Client) -> None:
    room = await alice.create_room(name="first", invite=[bob.user_id])
    client, old = Sliding(alice), Sliding(alice, "old")
    section = (await client.ask(lists=one_list()))["rooms"][room]
    await old.ask_old(lists=old_list())
    assert section["name"] == "first"
    assert not {"heroes", "avatar"} & section.keys()
    assert (section["joined_count"], section["invited_count"]) == (1, 1)
    await alice.set_state(room, "m.room.avatar", {"url": "mxc://test.example/a"})
    section = (await client.ask(lists=one_list()))["rooms"][room]
    assert section["avatar"] == "mxc://test.example/a"
    assert "name" not in section
    await bob.join(room)
    section = (await client.ask(lists=one_list()))["rooms"][room]
    assert (section["joined_count"], section["invited_count"]) == (2, 0)
    await alice.set_state(room, "m.room.name", {"name": ""})
    await alice.set_state(room, "m.room.avatar", {})
    section = (await client.ask(lists=one_list()))["rooms"][room]
    assert section["name"] is None
    assert section["avatar"] is None
    assert section["heroes"] == [{"user_id": bob.user_id, "displayname": "bob"}]
    # The unstable form knows no name that is gone.
    section = (await old.ask_old(lists=old_list()))["rooms"][room]
    assert "name" not in section
    assert section["heroes"] == [{"user_id": bob.user_id, "displayname": "bob"}]


async def test_a_name_and_an_avatar_that_are_redacted(alice: Client, bob: Client) -> None:
    room = await alice.create_room(invite=[bob.user_id])
    await bob.join(room)
    wrong = [
        await alice.set_state(room, "m.room.name", {"name": "an insult"}),
        await alice.set_state(room, "m.room.avatar", {"url": "mxc://test.example/insult"}),
    ]
    client, gap, old, ignoring = (Sliding(bob, name) for name in ("a", "gap", "old", "ignoring"))
    for each in (client, gap, ignoring):
        assert (await each.ask(lists=one_list(limit=2)))["rooms"][room]["name"] == "an insult"
    await old.ask_old(lists=old_list(limit=2))
    for number, event_id in enumerate(wrong):
        (await alice.put(room_path(room, "redact", event_id, f"t{number}"))).ok()

    hero = {"user_id": alice.user_id, "displayname": "alice"}
    section = (await client.ask(lists=one_list(limit=2)))["rooms"][room]
    assert (section["name"], section["avatar"], section["heroes"]) == (None, None, [hero])
    await alice.send(room, "hello")
    section = (await client.ask(lists=one_list(limit=2)))["rooms"][room]
    assert not {"name", "avatar", "heroes"} & section.keys()
    # So it is where the redactions themselves are not shown: before a gap, and of somebody who is ignored.
    path = path_of("user", bob.user_id, "account_data", "m.ignored_user_list")
    (await bob.put(path, {"ignored_users": {alice.user_id: {}}})).ok()
    section = (await ignoring.ask(lists=one_list(limit=2)))["rooms"][room]
    assert (section["name"], section["avatar"]) == (None, None)
    (await bob.put(path, {})).ok()
    await alice.send(room, "and more")
    section = (await gap.ask(lists=one_list(limit=2)))["rooms"][room]
    assert (section["name"], section["avatar"], section["heroes"]) == (None, None, [hero])
    section = (await old.ask_old(lists=old_list(limit=2)))["rooms"][room]
    assert "name" not in section
    assert (section["avatar"], section["heroes"]) == (None, [hero])


async def test_direct_chats(alice: Client) -> None:
    room = await alice.create_room()
    client = Sliding(alice)
    path = path_of("user", alice.user_id, "account_data", "m.direct")
    assert "is_dm" not in (await client.ask(lists=one_list()))["rooms"][room]
    (await alice.put(path, {"@bob:x": [room], "@carol:x": "nonsense", "@dave:x": [1]})).ok()
    assert (await client.ask(lists=one_list()))["rooms"] == {
        room: {"is_dm": True, "bump_stamp": any_number(), "membership": "join", "lists": [ALL]}
    }
    assert (await Sliding(alice, "other").ask(lists=one_list()))["rooms"][room]["is_dm"]
    (await alice.put(path, {})).ok()
    assert (await client.ask(lists=one_list()))["rooms"][room]["is_dm"] is False
    assert (await client.ask(lists=one_list()))["rooms"] == {}


def any_number() -> Any:
    return type("AnyNumber", (), {"__eq__": lambda _, other: isinstance(other, int), "__hash__": None})()


async def test_unread_counts_in_the_unstable_form(alice: Client, bob: Client) -> None:
    room = await alice.create_room(invite=[bob.user_id])
    await bob.join(room)
    client = Sliding(bob)
    await client.ask_old(lists=old_list())
    await alice.send(room, "one")
    mention: dict[str, Any] = {"m.mentions": {"user_ids": [bob.user_id]}}
    event_id = await alice.send(room, "two", **mention)
    section = (await client.ask_old(lists=old_list()))["rooms"][room]
    assert (section["notification_count"], section["highlight_count"]) == (2, 1)
    # Reading on is news, too; whose client speaks the accepted form is told by the receipt.
    (await bob.post(room_path(room, "receipt", "m.read", event_id))).ok()
    section = (await client.ask_old(lists=old_list()))["rooms"][room]
    assert (section["notification_count"], section["highlight_count"]) == (0, 0)
    assert "timeline" not in section
    assert (await client.ask_old(lists=old_list()))["rooms"] == {}


async def test_unread_counts_of_a_room_that_returns_to_the_window(alice: Client, bob: Client) -> None:
    room = await alice.create_room(invite=[bob.user_id])
    await bob.join(room)
    event_id = await alice.send(room, "hello")
    client = Sliding(bob)
    section = (await client.ask_old(lists=old_list()))["rooms"][room]
    assert section["notification_count"] == 1
    other = await bob.create_room()
    assert set((await client.ask_old(lists=old_list(last=0)))["rooms"]) == {other}
    (await bob.post(room_path(room, "receipt", "m.read", event_id))).ok()
    assert (await client.ask_old(lists=old_list(last=0)))["rooms"] == {}
    section = (await client.ask_old(lists=old_list()))["rooms"][room]
    assert section["notification_count"] == 0
    assert (await client.ask_old(lists=old_list(last=9)))["rooms"] == {}


async def test_a_gap_is_limited(alice: Client) -> None:
    room = await alice.create_room()
    client = Sliding(alice)
    await client.ask(lists=one_list(limit=2))
    for number in range(4):
        await alice.send(room, f"m{number}")
    section = (await client.ask(lists=one_list(limit=2)))["rooms"][room]
    assert bodies(section) == ["m2", "m3"]
    assert section["limited"]
    assert section["num_live"] == 2
    page = (
        await alice.get(room_path(room, "messages"), dir="b", limit=2, **{"from": section["prev_batch"]})
    ).ok()
    assert [event["content"]["body"] for event in page["chunk"]] == ["m1", "m0"]
    await alice.send(room, "m4")
    section = (await client.ask(lists=one_list(limit=0)))["rooms"][room]
    assert (section["timeline"], section["limited"]) == ([], True)


async def test_more_of_the_timeline_is_given_at_once(alice: Client) -> None:
    """ "Changes to `timeline_limit`"."""
    room = await alice.create_room()
    for number in range(5):
        await alice.send(room, f"m{number}")
    client, old = Sliding(alice), Sliding(alice, "old")
    assert bodies((await client.ask(lists=one_list(limit=1)))["rooms"][room]) == ["m4"]
    await old.ask_old(lists=old_list(limit=1))
    section = (await client.ask(lists=one_list(limit=3), timeout=30_000))["rooms"][room]
    assert bodies(section) == ["m2", "m3", "m4"]
    assert section["expanded_timeline"]
    assert section["num_live"] == 0
    assert "initial" not in section
    assert (await old.ask_old(lists=old_list(limit=3)))["rooms"][room]["unstable_expanded_timeline"]
    # Less, and as much as before: the client has it.
    await client.ask(lists=one_list(limit=1))
    assert (await client.ask(lists=one_list(limit=3)))["rooms"] == {}
    # But not after a gap.
    for number in range(5, 8):
        await alice.send(room, f"m{number}")
    assert bodies((await client.ask(lists=one_list(limit=1)))["rooms"][room]) == ["m7"]
    await alice.send(room, "m8")
    section = (await client.ask(lists=one_list(limit=3)))["rooms"][room]
    assert bodies(section) == ["m6", "m7", "m8"]
    assert section["num_live"] == 1
    # Whoever has been sent all there is has no more to get.
    assert (await client.ask(lists=one_list(limit=90)))["rooms"][room]["expanded_timeline"]
    assert (await client.ask(lists=one_list(limit=95)))["rooms"] == {}


async def test_aggregations_come_where_the_client_has_a_gap(alice: Client) -> None:
    room = await alice.create_room()
    event_id = await alice.send(room, "original")
    client = Sliding(alice)
    await client.ask(lists=one_list())
    edit = {
        "body": "* edited",
        "m.new_content": {"body": "edited"},
        "m.relates_to": {"rel_type": "m.replace", "event_id": event_id},
    }
    await alice.send_event(room, "m.room.message", edit)
    (shown,) = (await client.ask(lists=one_list()))["rooms"][room]["timeline"]
    assert "m.relations" not in shown["unsigned"]
    shown = (await Sliding(alice, "new").ask(lists=one_list(limit=2)))["rooms"][room]["timeline"]
    assert shown[0]["unsigned"]["m.relations"]["m.replace"]["content"]["body"] == "* edited"


async def test_own_events_have_their_transaction_id(alice: Client, server: TestServer) -> None:
    room = await alice.create_room()
    clients = [Sliding(alice), Sliding(await server.device(alice))]
    for client in clients:
        await client.ask(lists=one_list())
    await alice.send(room, "hello", txn_id="mine")
    shown = [(await client.ask(lists=one_list()))["rooms"][room]["timeline"][0] for client in clients]
    assert shown[0]["unsigned"]["transaction_id"] == "mine"
    assert "transaction_id" not in shown[1]["unsigned"]


async def test_ignored_users_are_not_heard(alice: Client, bob: Client) -> None:
    room = await alice.create_room(invite=[bob.user_id])
    await bob.join(room)
    client = Sliding(alice)
    await client.ask(lists=one_list())
    path = path_of("user", alice.user_id, "account_data", "m.ignored_user_list")
    (await alice.put(path, {"ignored_users": {bob.user_id: {}}})).ok()
    await bob.send(room, "not heard")
    await bob.invite(await bob.create_room(), alice.user_id)
    answer = await client.ask(lists=one_list())
    assert answer["rooms"] == {}
    assert answer["lists"]["all"]["count"] == 1
    assert "not heard" not in bodies((await Sliding(alice, "new").ask(lists=one_list()))["rooms"][room])


async def test_invitations_of_who_blocks_them(alice: Client, bob: Client) -> None:
    """ "Invite permission": "already in the database [...] MUST NOT be served"."""
    room = await bob.create_room(invite=[alice.user_id])
    path = path_of("user", alice.user_id, "account_data", "m.invite_permission_config")
    for content, count in (({"default_action": "block"}, 0), ({}, 1)):
        (await alice.put(path, content)).ok()
        answer = await Sliding(alice, f"c{count}").ask(lists=one_list())
        assert answer["lists"]["all"]["count"] == count
        assert (room in answer["rooms"]) == bool(count)


async def test_an_invitation_that_is_accepted(alice: Client, bob: Client) -> None:
    room = await alice.create_room(name="secrets")
    await alice.send(room, "before")
    client, old = Sliding(bob), Sliding(bob, "old")
    await client.ask(lists=one_list())
    await old.ask_old(lists=old_list())
    await alice.invite(room, bob.user_id)
    section = (await client.ask(lists=one_list(state=EVERYTHING)))["rooms"][room]
    assert section.keys() == {"bump_stamp", "membership", "lists", "initial", "stripped_state"}
    assert section["membership"] == "invite"
    stripped = {event["type"]: event for event in section["stripped_state"]}
    assert stripped["m.room.name"]["content"] == {"name": "secrets"}
    assert section["stripped_state"][-1]["content"]["membership"] == "invite"
    assert stripped["m.room.name"].keys() == {"type", "state_key", "content", "sender"}
    assert (await old.ask_old(lists=old_list()))["rooms"][room]["invite_state"] == section["stripped_state"]
    assert (await client.ask(lists=one_list(state=EVERYTHING)))["rooms"] == {}
    await bob.join(room)
    section = (await client.ask(lists=one_list(state=EVERYTHING)))["rooms"][room]
    assert section["initial"]
    assert section["membership"] == "join"
    assert section["name"] == "secrets"
    assert "before" in bodies(section)
    assert ("m.room.create", "") in keys(section)
    assert section["num_live"] == 1


async def test_an_invitation_that_comes_to_nothing(alice: Client, bob: Client) -> None:
    rejected, revoked = await alice.create_room(name="one"), await alice.create_room(name="two")
    client = Sliding(bob)
    await client.ask(lists=one_list())
    for room in (rejected, revoked):
        await alice.invite(room, bob.user_id)
    await client.ask(lists=one_list())
    await bob.leave(rejected)
    (await alice.post(room_path(revoked, "kick"), {"user_id": bob.user_id})).ok()
    await alice.set_state(rejected, "m.room.name", {"name": "none of Bob's business"})
    answer = await client.ask(lists=one_list())
    assert set(answer["rooms"]) == {rejected, revoked}
    for section in answer["rooms"].values():
        assert section["membership"] == "leave"
        assert [event["type"] for event in section["stripped_state"]] == ["m.room.member"]
        assert "timeline" not in section
    assert (await client.ask(lists=one_list()))["rooms"] == {}
    # A new connection does not hear of them at all.
    assert (await Sliding(bob, "new").ask(lists=one_list()))["lists"]["all"]["count"] == 0


async def test_what_another_device_forgets_is_told_as_left(alice: Client, bob: Client) -> None:
    """Element X forgets a room as soon as it has declined the invitation, or left it."""
    invited, joined = [await alice.create_room(invite=[bob.user_id]) for _ in range(2)]
    await bob.join(joined)
    client, old = Sliding(bob), Sliding(bob, "old")
    await client.ask(lists=one_list())
    await old.ask_old(lists=old_list())
    for room in (invited, joined):
        await bob.leave(room)
        (await bob.post(room_path(room, "forget"))).ok()
    rooms = (await client.ask(lists=one_list()))["rooms"]
    assert {room: section["membership"] for room, section in rooms.items()} == {
        invited: "leave",
        joined: "leave",
    }
    assert bodies(rooms[joined]) == ["m.room.member"]
    rooms = (await old.ask_old(lists=old_list()))["rooms"]
    assert [event["content"]["membership"] for event in rooms[invited]["invite_state"]] == ["leave"]
    assert bodies(rooms[joined]) == ["m.room.member"]
    # With that they are gone.
    for answer in (await client.ask(lists=one_list(last=9)), await old.ask_old(lists=old_list(last=9))):
        assert answer["rooms"] == {}
        assert answer["lists"]["all"]["count"] == 0
    # Whoever invites again is heard.
    await alice.invite(invited, bob.user_id)
    assert (await client.ask(lists=one_list()))["rooms"][invited]["membership"] == "invite"


async def test_a_knock(alice: Client, bob: Client) -> None:
    rules = {"type": "m.room.join_rules", "state_key": "", "content": {"join_rule": "knock"}}
    room = await alice.create_room(initial_state=[rules], name="closed")
    (await bob.post(path_of("knock", room))).ok()
    section = (await Sliding(bob).ask(lists=one_list()))["rooms"][room]
    assert section["membership"] == "knock"
    assert {"m.room.name", "m.room.member"} <= {event["type"] for event in section["stripped_state"]}


@attrs.frozen
class Stay:
    """A room of Alice's that Bob was told of, with his connection."""

    alice: Client
    bob: Client
    room: str
    client: Sliding


@pytest.fixture
async def stay(alice: Client, bob: Client) -> Stay:
    room = await alice.create_room(name="room", invite=[bob.user_id])
    await bob.join(room)
    client = Sliding(bob)
    await client.ask(lists=one_list(state=EVERYTHING))
    return Stay(alice, bob, room, client)


async def test_leaving(stay: Stay) -> None:
    await stay.alice.send(stay.room, "last words")
    await stay.bob.leave(stay.room)
    await stay.alice.send(stay.room, "behind his back")
    await stay.alice.set_state(stay.room, "m.room.name", {"name": "behind his back"})
    answer = await stay.client.ask(lists=one_list(state=EVERYTHING))
    section = answer["rooms"][stay.room]
    assert section["membership"] == "leave"
    assert bodies(section) == ["last words", "m.room.member"]
    assert keys(section) == {("m.room.member", stay.bob.user_id)}
    assert not {"joined_count", "heroes", "name", "initial"} & section.keys()
    assert (await stay.client.ask(lists=one_list(state=EVERYTHING)))["rooms"] == {}
    # A client that begins anew is not told of rooms that the user has left, but may ask for them.
    anew = Sliding(stay.bob, "new")
    assert (await anew.ask(lists=one_list()))["rooms"] == {}
    wanted = {stay.room: {"timeline_limit": 2, "required_state": EVERYTHING}}
    section = (await anew.ask(room_subscriptions=wanted))["rooms"][stay.room]
    assert section["initial"]
    assert bodies(section) == ["last words", "m.room.member"]
    names = [event["content"] for event in section["required_state"] if event["type"] == "m.room.name"]
    assert names == [{"name": "room"}]
    # Coming back, it is as new.
    await stay.alice.invite(stay.room, stay.bob.user_id)
    assert "stripped_state" in (await stay.client.ask(lists=one_list()))["rooms"][stay.room]
    await stay.bob.join(stay.room)
    assert (await stay.client.ask(lists=one_list()))["rooms"][stay.room]["initial"]


async def test_being_thrown_out(stay: Stay) -> None:
    """ "Rooms the user has been kicked or banned from will always be included"."""
    (await stay.alice.post(room_path(stay.room, "kick"), {"user_id": stay.bob.user_id, "reason": "x"})).ok()
    await stay.alice.send(stay.room, "behind his back")
    section = (await stay.client.ask(lists=one_list()))["rooms"][stay.room]
    assert section["membership"] == "leave"
    assert bodies(section) == ["m.room.member"]
    assert section["timeline"][0]["content"]["reason"] == "x"
    anew = Sliding(stay.bob, "new")
    section = (await anew.ask(lists=one_list(limit=1)))["rooms"][stay.room]
    assert section["initial"]
    assert bodies(section) == ["m.room.member"]
    # A ban afterwards is told, and nothing of what happened in between.
    (await stay.alice.post(room_path(stay.room, "ban"), {"user_id": stay.bob.user_id})).ok()
    for client in (stay.client, anew):
        section = (await client.ask(lists=one_list(limit=1)))["rooms"][stay.room]
        assert section["membership"] == "ban"
        assert [event["content"]["membership"] for event in section["timeline"]] == ["ban"]
        assert (await client.ask(lists=one_list(limit=1)))["rooms"] == {}
    # Forgetting takes it away.
    (await stay.bob.post(room_path(stay.room, "forget"))).ok()
    assert (await Sliding(stay.bob, "newer").ask(lists=one_list()))["lists"]["all"]["count"] == 0


async def test_who_was_banned_without_having_been_there_is_not_told(alice: Client, bob: Client) -> None:
    room = await alice.create_room()
    (await alice.post(room_path(room, "ban"), {"user_id": bob.user_id})).ok()
    wanted = {room: {"timeline_limit": 1, "required_state": EVERYTHING}}
    answer = await Sliding(bob).ask(lists=one_list(), room_subscriptions=wanted)
    assert answer["rooms"] == {}


async def test_history_that_is_not_for_newcomers(alice: Client, bob: Client) -> None:
    visibility = {
        "type": "m.room.history_visibility",
        "state_key": "",
        "content": {"history_visibility": "joined"},
    }
    room = await alice.create_room(initial_state=[visibility], preset="public_chat")
    await alice.send(room, "before")
    await bob.join(room)
    await alice.send(room, "after")
    section = (await Sliding(bob).ask(lists=one_list()))["rooms"][room]
    assert bodies(section)[-2:] == ["m.room.member", "after"]
    assert "before" not in bodies(section)
