"""MSC4186, "Lists and subscriptions": which rooms are sent, and when again."""

from tests.api.client.sliding_sync.harness import Sliding, bodies, keys, old_list, one_list
from tests.api.server import Client


async def test_the_first_answer_has_the_rooms_in_the_window(alice: Client) -> None:
    rooms = [await alice.create_room(name=f"room {number}") for number in range(4)]
    await alice.send(rooms[1], "newest")
    answer = await Sliding(alice).ask(lists=one_list(last=1, limit=1))
    assert answer["lists"] == {"all": {"count": 4}}
    assert set(answer["rooms"]) == {rooms[1], rooms[3]}
    room = answer["rooms"][rooms[1]]
    assert bodies(room) == ["newest"]
    assert room["initial"]
    assert room["limited"]
    assert room["num_live"] == 0
    assert room["name"] == "room 1"
    assert room["membership"] == "join"
    assert room["lists"] == ["all"]
    assert room["joined_count"] == 1
    assert room["invited_count"] == 0
    assert "room_id" not in room["timeline"][0]
    assert room["bump_stamp"] > answer["rooms"][rooms[3]]["bump_stamp"]


async def test_only_what_is_new_comes_again(alice: Client) -> None:
    room = await alice.create_room(name="the room")
    await alice.create_room()
    client = Sliding(alice)
    first = await client.ask(lists=one_list())
    again = await client.ask(lists=one_list())
    assert again["rooms"] == {}
    assert again["lists"] == first["lists"]
    await alice.send(room, "new")
    answer = await client.ask(lists=one_list())
    assert set(answer["rooms"]) == {room}
    section = answer["rooms"][room]
    assert bodies(section) == ["new"]
    assert section["num_live"] == 1
    assert not section["limited"]
    assert not {"initial", "name", "joined_count", "required_state", "heroes"} & section.keys()


async def test_today_s_clients_are_answered_in_their_form(alice: Client) -> None:
    room = await alice.create_room(name="the room")
    await alice.send(room, "hello")
    client = Sliding(alice)
    answer = await client.ask_old(lists=old_list(limit=1), txn_id="t1")
    assert answer["txn_id"] == "t1"
    section = answer["rooms"][room]
    assert bodies(section) == ["hello"]
    assert section["initial"]
    assert section["notification_count"] == 0
    assert section["highlight_count"] == 0
    assert not {"membership", "lists"} & section.keys()
    assert (await client.ask_old(lists=old_list(limit=1)))["rooms"] == {}


async def test_a_window_that_grows_brings_only_the_others(alice: Client) -> None:
    rooms = [await alice.create_room() for _ in range(5)]
    client = Sliding(alice)
    assert set((await client.ask(lists=one_list(last=1)))["rooms"]) == {rooms[4], rooms[3]}
    answer = await client.ask(lists=one_list(last=3))
    assert set(answer["rooms"]) == {rooms[2], rooms[1]}
    assert all(room["initial"] for room in answer["rooms"].values())
    # Without a range it is all of them.
    wanted = {"all": {"timeline_limit": 1, "required_state": {}}}
    assert set((await client.ask(lists=wanted))["rooms"]) == {rooms[0]}
    # Smaller again: what happens outside is not told.
    assert (await client.ask(lists=one_list(last=0)))["rooms"] == {}


async def test_a_room_that_returns_to_the_window_brings_what_was_missed(alice: Client) -> None:
    one, other = await alice.create_room(), await alice.create_room()
    client = Sliding(alice)
    await client.ask(lists=one_list(last=1))
    await alice.send(other, "on top")
    await client.ask(lists=one_list(last=0))
    for number in range(3):
        await alice.send(one, f"m{number}")
        await alice.send(other, f"o{number}")
        answer = await client.ask(lists=one_list(last=0))
        assert set(answer["rooms"]) == {other}
    await alice.send(one, "back")
    answer = await client.ask(lists=one_list(last=0))
    section = answer["rooms"][one]
    assert set(answer["rooms"]) == {one}
    assert bodies(section) == ["m0", "m1", "m2", "back"]
    assert section["num_live"] == 1
    assert "initial" not in section
    # The other one comes back, too, with nothing but what was missed.
    await alice.send(one, "in the window")
    await client.ask(lists=one_list(last=0))
    answer = await client.ask(lists=one_list(last=1))
    assert answer["rooms"] == {}
    await alice.send(other, "again")
    assert bodies((await client.ask(lists=one_list(last=1)))["rooms"][other]) == ["again"]


async def test_subscriptions_and_lists_are_combined(alice: Client, bob: Client) -> None:
    room, other = await alice.create_room(name="a"), await alice.create_room()
    foreign = await bob.create_room(preset="public_chat")
    for number in range(5):
        await alice.send(room, f"m{number}")
    client = Sliding(alice)
    named = {"include": [{"type": "m.room.name", "state_key": ""}]}
    created = {"include": [{"type": "m.room.create", "state_key": ""}]}
    subscriptions = {
        each: {"timeline_limit": 3, "required_state": named}
        for each in (room, foreign, "!none:x", "nonsense")
    }
    answer = await client.ask(lists=one_list(limit=1, state=created), room_subscriptions=subscriptions)
    assert set(answer["rooms"]) == {room, other}
    assert bodies(answer["rooms"][room]) == ["m2", "m3", "m4"]
    assert keys(answer["rooms"][room]) == {("m.room.name", ""), ("m.room.create", "")}
    assert bodies(answer["rooms"][other]) == ["m.room.guest_access"]
    assert keys(answer["rooms"][other]) == {("m.room.create", "")}
    # Only subscribed to: no list is named.
    await alice.send(room, "more")
    answer = await client.ask(room_subscriptions=subscriptions)
    assert answer["lists"] == {}
    assert set(answer["rooms"]) == {room}
    assert "lists" not in answer["rooms"][room]


async def test_several_lists_and_ranges(alice: Client) -> None:
    rooms = [await alice.create_room() for _ in range(5)]
    lists = {
        "ends": {"ranges": [[0, 0], [4, 9]], "timeline_limit": 1},
        "middle": {"ranges": [[2, 2]], "timeline_limit": 1},
        "all": {"slow_get_all_rooms": True, "ranges": [[0, 0]], "timeline_limit": 1},
    }
    client = Sliding(alice)
    answer = await client.ask_old(lists={name: lists[name] for name in ("ends", "middle")})
    assert set(answer["rooms"]) == {rooms[4], rooms[0], rooms[2]}
    assert answer["lists"] == {"ends": {"count": 5}, "middle": {"count": 5}}
    assert set((await client.ask_old(lists=lists))["rooms"]) == {rooms[1], rooms[3]}


async def test_invitations_are_sorted_by_when_they_came(alice: Client, bob: Client) -> None:
    old, new = await alice.create_room(), await bob.create_room()
    await alice.create_room()
    await bob.invite(new, alice.user_id)
    await bob.send(new, "what outsiders do not see moves nothing")
    await alice.send(old, "on top")
    await bob.send(new, "once more")
    answer = await Sliding(alice).ask(lists=one_list(last=1))
    assert set(answer["rooms"]) == {old, new}
    assert answer["rooms"][new]["membership"] == "invite"
    assert set((await Sliding(alice).ask(lists=one_list(last=0)))["rooms"]) == {old}


async def test_bump_stamps_follow_messages_only(alice: Client) -> None:
    room = await alice.create_room()
    client = Sliding(alice)
    created = (await client.ask(lists=one_list()))["rooms"][room]["bump_stamp"]
    await alice.set_state(room, "m.room.topic", {"topic": "x"})
    assert (await client.ask(lists=one_list()))["rooms"][room]["bump_stamp"] == created
    await alice.send_event(room, "m.reaction", {})
    assert (await client.ask(lists=one_list()))["rooms"][room]["bump_stamp"] == created
    for kind in ("m.room.message", "m.room.encrypted", "m.sticker", "m.call.invite", "m.poll.start"):
        await alice.send_event(room, kind, {"body": "x"})
        stamp = (await client.ask(lists=one_list()))["rooms"][room]["bump_stamp"]
        assert stamp > created
        created = stamp
