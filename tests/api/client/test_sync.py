"""Client-server API, "Syncing": what a client is told, over HTTP, on both databases."""

import asyncio
from typing import Any

import pytest
from twisted.internet.defer import Deferred, gatherResults

from tests.api.server import Client, TestServer, room_path


def joined(answer: Any, room_id: str) -> Any:
    return answer["rooms"]["join"][room_id]


def bodies(room: Any) -> list[str]:
    return [e["content"].get("body", e["type"]) for e in room["timeline"]["events"]]


def state_types(room: Any, name: str = "state") -> set[tuple[str, str]]:
    return {(e["type"], e["state_key"]) for e in room[name]["events"]}


async def test_an_initial_sync_has_state_before_the_timeline(alice: Client) -> None:
    room = await alice.create_room(name="The room")
    for number in range(12):
        await alice.send(room, f"m{number}")
    section = joined(await alice.sync(), room)
    assert bodies(section) == [f"m{n}" for n in range(2, 12)]
    assert section["timeline"]["limited"]
    assert ("m.room.name", "") in state_types(section)
    assert ("m.room.member", alice.user_id) in state_types(section)
    # Going on from prev_batch shows what the window left out, and nothing twice.
    page = (
        await alice.get(
            room_path(room, "messages"), dir="b", limit=100, **{"from": section["timeline"]["prev_batch"]}
        )
    ).ok()
    shown = [e["content"].get("body") for e in page["chunk"] if e["type"] == "m.room.message"]
    assert shown == ["m1", "m0"]


async def test_an_incremental_sync_has_only_what_is_new(alice: Client) -> None:
    room = await alice.create_room()
    since = (await alice.sync())["next_batch"]
    assert "rooms" not in await alice.sync(since)
    event_id = await alice.send(room, "new", txn_id="mine")
    answer = await alice.sync(since)
    section = joined(answer, room)
    assert bodies(section) == ["new"]
    assert section["state"]["events"] == []
    assert not section["timeline"]["limited"]
    event = section["timeline"]["events"][0]
    assert event["event_id"] == event_id
    assert event["unsigned"]["transaction_id"] == "mine"
    assert event["unsigned"]["membership"] == "join"
    assert "room_id" not in event
    assert "rooms" not in await alice.sync(answer["next_batch"])


async def test_a_repeated_request_gets_the_same_again(alice: Client) -> None:
    """The answer was lost: the client asks again with the old token."""
    room = await alice.create_room()
    since = (await alice.sync())["next_batch"]
    await alice.send(room, "once")
    first = await alice.sync(since)
    again = await alice.sync(since)
    assert bodies(joined(first, room)) == bodies(joined(again, room)) == ["once"]


async def test_a_waiting_client_is_woken(alice: Client, bob: Client) -> None:
    room = await alice.create_room(invite=[bob.user_id])
    await bob.join(room)
    since = (await bob.sync())["next_batch"]
    for number in range(5):  # the first is answered by the database, the others from memory
        waiting = Deferred.fromCoroutine(bob.sync(since, timeout=30_000))
        await alice.send(room, f"m{number}", txn_id=f"w{number}")
        answer = await waiting
        section = joined(answer, room)
        assert bodies(section) == [f"m{number}"]
        assert "transaction_id" not in section["timeline"]["events"][0]["unsigned"]
        assert section["unread_notifications"]["notification_count"] == number + 1
        since = answer["next_batch"]


async def test_memory_and_database_tell_the_same(alice: Client, bob: Client, server: TestServer) -> None:
    """What a woken client is told from memory is what it would have read from the database."""
    room = await alice.create_room(invite=[bob.user_id])
    await bob.join(room)
    other = await server.user("dave")
    await alice.invite(room, other.user_id)
    await other.join(room)
    since = (await bob.sync())["next_batch"]
    waiting = Deferred.fromCoroutine(bob.sync(since, timeout=30_000))
    await alice.send(room, "warm up")
    since = (await waiting)["next_batch"]
    waiting = Deferred.fromCoroutine(bob.sync(since, timeout=30_000))
    mention: dict[str, Any] = {"m.mentions": {"user_ids": [bob.user_id]}}
    await alice.send(room, f"hello {bob.user_id}", **mention)
    from_memory = joined(await waiting, room)
    # A filter that the memory cannot serve, and that changes nothing.
    from_database = joined(
        await bob.sync(since, filter={"room": {"timeline": {"not_types": ["org.example.none"]}}}), room
    )
    for section in (from_memory, from_database):
        for event in section["timeline"]["events"]:
            event["unsigned"].pop("age")
    assert from_memory == from_database
    assert from_memory["unread_notifications"] == {"notification_count": 2, "highlight_count": 1}


async def test_a_timeout_returns_a_token_that_loses_nothing(alice: Client) -> None:
    room = await alice.create_room()
    since = (await alice.sync())["next_batch"]
    answer = await alice.sync(since, timeout=20)
    assert "rooms" not in answer
    await alice.send(room, "after")
    assert bodies(joined(await alice.sync(answer["next_batch"]), room)) == ["after"]


async def test_a_gap_is_limited_and_has_the_state_that_changed_in_it(alice: Client) -> None:
    room = await alice.create_room(name="before")
    since = (await alice.sync())["next_batch"]
    await alice.set_state(room, "m.room.name", {"name": "in the gap"})
    for number in range(11):
        await alice.send(room, f"m{number}")
    await alice.set_state(room, "m.room.topic", {"topic": "in the timeline"})
    section = joined(await alice.sync(since), room)
    assert section["timeline"]["limited"]
    assert state_types(section) == {("m.room.name", "")}
    assert section["state"]["events"][0]["content"] == {"name": "in the gap"}
    assert section["timeline"]["events"][-1]["type"] == "m.room.topic"
    missing = (
        await alice.get(
            room_path(room, "messages"),
            dir="b",
            to=since,
            limit=100,
            **{"from": section["timeline"]["prev_batch"]},
        )
    ).ok()["chunk"]
    assert [e["content"].get("body", e["type"]) for e in missing] == ["m1", "m0", "m.room.name"]


async def test_state_after_has_everything_up_to_the_end(alice: Client) -> None:
    room = await alice.create_room()
    since = (await alice.sync())["next_batch"]
    await alice.set_state(room, "m.room.topic", {"topic": "shown twice"})
    section = joined(await alice.sync(since, use_state_after="true"), room)
    assert "state" not in section
    assert state_types(section, "state_after") == {("m.room.topic", "")}
    assert bodies(section) == ["m.room.topic"]


async def test_state_that_a_timeline_filter_hides_is_in_the_state(alice: Client) -> None:
    room = await alice.create_room()
    since = (await alice.sync())["next_batch"]
    await alice.set_state(room, "m.room.topic", {"topic": "hidden"})
    await alice.send(room, "shown")
    section = joined(
        await alice.sync(since, filter={"room": {"timeline": {"types": ["m.room.message"]}}}), room
    )
    assert bodies(section) == ["shown"]
    assert state_types(section) == {("m.room.topic", "")}


async def test_replaced_state_says_what_it_replaced(alice: Client) -> None:
    room = await alice.create_room()
    first = await alice.set_state(room, "m.room.topic", {"topic": "one"})
    since = (await alice.sync())["next_batch"]
    await alice.set_state(room, "m.room.topic", {"topic": "two"})
    event = joined(await alice.sync(since), room)["timeline"]["events"][0]
    assert event["unsigned"]["prev_content"] == {"topic": "one"}
    assert event["unsigned"]["replaces_state"] == first


async def test_invite_join_leave_sections(alice: Client, bob: Client) -> None:
    room = await alice.create_room(name="The room")
    await alice.send(room, "before")
    since = (await bob.sync())["next_batch"]
    await alice.invite(room, bob.user_id)
    invited = await bob.sync(since)
    stripped = invited["rooms"]["invite"][room]["invite_state"]["events"]
    assert stripped[-1]["state_key"] == bob.user_id
    assert {"m.room.create", "m.room.name", "m.room.join_rules"} <= {e["type"] for e in stripped}
    assert all(set(e) == {"type", "state_key", "content", "sender"} for e in stripped)
    # A repeated sync does not repeat the invite.
    assert "rooms" not in await bob.sync(invited["next_batch"])
    await bob.join(room)
    new = await bob.sync(invited["next_batch"])
    section = joined(new, room)
    # Newly joined: the whole state, though the client has a token.
    assert ("m.room.create", "") in state_types(section) | {
        (e["type"], e.get("state_key")) for e in section["timeline"]["events"]
    }
    assert section["summary"]["m.joined_member_count"] == 2
    await bob.leave(room)
    await alice.send(room, "not for bob")
    left = await bob.sync(new["next_batch"])
    timeline = left["rooms"]["leave"][room]["timeline"]["events"]
    assert [e["content"].get("membership") for e in timeline] == ["leave"]
    assert room not in left["rooms"].get("join", {})
    later = await bob.sync(left["next_batch"])
    assert "rooms" not in later
    assert "rooms" not in await bob.sync()
    everything = await bob.sync(filter={"room": {"include_leave": True}})
    assert room in everything["rooms"]["leave"]


async def test_rejecting_an_invite(alice: Client, bob: Client) -> None:
    room = await alice.create_room(invite=[bob.user_id])
    since = (await bob.sync())["next_batch"]
    await bob.leave(room)
    answer = await bob.sync(since)
    assert room in answer["rooms"]["leave"]
    shown = answer["rooms"]["leave"][room]
    assert all(e["type"] == "m.room.member" for e in shown["timeline"]["events"])
    assert shown.get("state", {"events": []})["events"] == []


async def test_a_kick_ends_the_room(alice: Client, bob: Client) -> None:
    room = await alice.create_room(invite=[bob.user_id])
    await bob.join(room)
    since = (await bob.sync())["next_batch"]
    waiting = Deferred.fromCoroutine(bob.sync(since, timeout=30_000))
    (await alice.post(room_path(room, "kick"), {"user_id": bob.user_id, "reason": "test"})).ok()
    answer = await waiting
    event = answer["rooms"]["leave"][room]["timeline"]["events"][-1]
    assert event["content"]["membership"] == "leave"
    assert event["sender"] == alice.user_id


async def test_lazy_loading_sends_each_member_once(alice: Client, server: TestServer) -> None:
    room = await alice.create_room(preset="public_chat")
    members = [await server.user(f"member{n}") for n in range(5)]
    for member in members:
        await member.join(room)
    for member in members[:2]:
        await member.send(room, "hello")
    lazy = {"room": {"state": {"lazy_load_members": True}, "timeline": {"limit": 2}}}
    first = await alice.sync(filter=lazy)
    section = joined(first, room)
    users = {key for kind, key in state_types(section) if kind == "m.room.member"}
    heroes = set(section["summary"]["m.heroes"])
    assert users == {members[0].user_id, members[1].user_id, alice.user_id} | heroes
    stranger = next(m for m in members if m.user_id not in users) if len(users) < 6 else None
    await members[0].send(room, "again")
    second = await alice.sync(first["next_batch"], filter=lazy)
    assert joined(second, room)["state"]["events"] == []
    # The answer was lost: the same token again gets the same.
    repeated = await alice.sync(first["next_batch"], filter=lazy)
    assert joined(repeated, room)["state"]["events"] == []
    if stranger is not None:
        await stranger.send(room, "hi")
        third = joined(await alice.sync(second["next_batch"], filter=lazy), room)
        assert state_types(third) == {("m.room.member", stranger.user_id)}
    redundant = {"room": {"state": {"lazy_load_members": True, "include_redundant_members": True}}}
    fourth = joined(await alice.sync(first["next_batch"], filter=redundant), room)
    assert ("m.room.member", members[0].user_id) in state_types(fourth)


async def test_lazy_members_are_repeated_if_the_answer_was_lost(alice: Client, bob: Client) -> None:
    room = await alice.create_room(preset="public_chat", name="named")
    await bob.join(room)
    lazy = {"room": {"state": {"lazy_load_members": True}, "timeline": {"limit": 1}}}
    await alice.send(room, "x")
    since = (await alice.sync(filter=lazy))["next_batch"]
    await bob.send(room, "y")
    for _ in range(2):
        section = joined(await alice.sync(since, filter=lazy), room)
        assert state_types(section) == {("m.room.member", bob.user_id)}


@pytest.mark.parametrize("way", ["empty", "nothing", "redaction"])
@pytest.mark.parametrize("kind", ["m.room.name", "m.room.canonical_alias"])
async def test_a_room_that_loses_its_name_has_heroes(
    alice: Client, bob: Client, carol: Client, kind: str, way: str
) -> None:
    """Who waits is told of them, who comes back later, and who is new; with their memberships."""
    options = {"name": "A name"} if kind == "m.room.name" else {"room_alias_name": "place"}
    room = await alice.create_room(preset="public_chat", **options)
    await bob.join(room)
    await carol.join(room)
    path = room_path(room, "state", kind, "")
    named = (await alice.get(path)).ok()
    event_id = await alice.set_state(room, kind, named)
    await alice.send(room, "hello")
    room_filter = {"state": {"lazy_load_members": True}, "timeline": {"limit": 1}}
    lazy: dict[str, Any] = {"room": room_filter}
    answer = await bob.sync(filter=lazy)
    section = joined(answer, room)
    assert section["summary"] == {"m.joined_member_count": 3, "m.invited_member_count": 0}
    assert ("m.room.member", carol.user_id) not in state_types(section)
    since = answer["next_batch"]
    waiting = Deferred.fromCoroutine(bob.sync(since, timeout=30_000, filter=lazy))
    if way == "redaction":
        (await alice.put(room_path(room, "redact", event_id, "t"), {})).ok()
    else:
        await alice.set_state(room, kind, dict.fromkeys(named, "") if way == "empty" else {})
    # A filter that the memory cannot serve, and that changes nothing.
    asks_database = {"room": {**room_filter, "ephemeral": {"not_types": ["org.example.none"]}}}
    told = await waiting
    for answer in (told, await bob.sync(since, filter=asks_database), await bob.sync(filter=lazy)):
        section = joined(answer, room)
        assert section["summary"]["m.heroes"] == [alice.user_id, carol.user_id]
        assert ("m.room.member", carol.user_id) in state_types(section)
    # Until it has a name again.
    await alice.set_state(room, kind, named)
    for answer in (await bob.sync(told["next_batch"], filter=asks_database), await bob.sync(filter=lazy)):
        assert "m.heroes" not in joined(answer, room)["summary"]


async def test_a_room_that_keeps_a_name_has_no_heroes(alice: Client, bob: Client) -> None:
    room = await alice.create_room(preset="public_chat", name="A name", room_alias_name="place")
    await bob.join(room)
    event_id = await alice.send(room, "hello")
    since = (await bob.sync())["next_batch"]
    await alice.set_state(room, "m.room.canonical_alias", {})
    answer = await bob.sync(since)
    assert "m.heroes" not in joined(answer, room)["summary"]
    # Most redactions are not of names.
    (await alice.put(room_path(room, "redact", event_id, "t"), {})).ok()
    assert "summary" not in joined(await bob.sync(answer["next_batch"]), room)


async def test_member_counts_follow_members_that_are_not_shown(
    alice: Client, bob: Client, carol: Client
) -> None:
    room = await alice.create_room(preset="public_chat", name="A name")
    hidden: dict[str, Any] = {
        "room": {
            "state": {"not_types": ["m.room.member"]},
            "timeline": {"not_types": ["m.room.member"]},
        }
    }
    since = (await alice.sync(filter=hidden))["next_batch"]
    waiting = Deferred.fromCoroutine(alice.sync(since, timeout=30_000, filter=hidden))
    await bob.join(room)
    answer = await waiting
    section = joined(answer, room)
    assert section["summary"] == {"m.joined_member_count": 2, "m.invited_member_count": 0}
    assert section["timeline"]["events"] == section["state"]["events"] == []
    await alice.invite(room, carol.user_id)
    section = joined(await alice.sync(answer["next_batch"], filter=hidden), room)
    assert section["summary"] == {"m.joined_member_count": 2, "m.invited_member_count": 1}


async def test_full_state_repeats_the_state(alice: Client) -> None:
    room = await alice.create_room(name="n")
    since = (await alice.sync())["next_batch"]
    section = joined(await alice.sync(since, full_state="true"), room)
    assert {("m.room.create", ""), ("m.room.name", "")} <= state_types(section)
    assert section["timeline"]["events"] == []


async def test_typing_receipts_and_account_data_wake_and_show(alice: Client, bob: Client) -> None:
    room = await alice.create_room(invite=[bob.user_id])
    await bob.join(room)
    event_id = await alice.send(room, "read me")
    token = (await alice.sync())["next_batch"]
    waiting = Deferred.fromCoroutine(alice.sync(token, timeout=30_000))
    (await bob.put(room_path(room, "typing", bob.user_id), {"typing": True, "timeout": 30_000})).ok()
    answer = await waiting
    ephemeral = joined(answer, room)["ephemeral"]["events"]
    assert ephemeral == [{"type": "m.typing", "content": {"user_ids": [bob.user_id]}}]
    waiting = Deferred.fromCoroutine(alice.sync(answer["next_batch"], timeout=30_000))
    (await bob.post(room_path(room, "receipt", "m.read", event_id))).ok()
    answer = await waiting
    (receipt,) = joined(answer, room)["ephemeral"]["events"]
    assert list(receipt["content"][event_id]["m.read"]) == [bob.user_id]
    waiting = Deferred.fromCoroutine(alice.sync(answer["next_batch"], timeout=30_000))
    path = f"/_matrix/client/v3/user/{alice.user_id}/account_data/org.example.test"
    (await alice.put(path, {"a": 1})).ok()
    answer = await waiting
    assert answer["account_data"]["events"] == [{"type": "org.example.test", "content": {"a": 1}}]


async def test_private_receipts_stay_private(alice: Client, bob: Client) -> None:
    room = await alice.create_room(invite=[bob.user_id])
    await bob.join(room)
    event_id = await alice.send(room, "read me")
    alices = (await alice.sync())["next_batch"]
    bobs = (await bob.sync())["next_batch"]
    (await bob.post(room_path(room, "receipt", "m.read.private", event_id))).ok()
    assert "rooms" not in await alice.sync(alices)
    mine = joined(await bob.sync(bobs), room)
    assert "m.read.private" in mine["ephemeral"]["events"][0]["content"][event_id]
    assert mine["unread_notifications"]["notification_count"] == 0


@pytest.mark.parametrize("kind", ["m.read", "m.read.private"])
@pytest.mark.parametrize("hides", ["types", "rooms"])
async def test_unread_counts_follow_receipts_that_are_not_shown(
    alice: Client, bob: Client, hides: str, kind: str
) -> None:
    room = await alice.create_room(invite=[bob.user_id])
    await bob.join(room)
    event_id = await alice.send(room, "read me")
    hidden: dict[str, Any] = {"room": {"ephemeral": {hides: []}}}
    answer = await bob.sync(filter=hidden)
    assert joined(answer, room)["unread_notifications"]["notification_count"] == 1
    since = answer["next_batch"]
    waiting = Deferred.fromCoroutine(bob.sync(since, timeout=30_000, filter=hidden))
    (await bob.post(room_path(room, "receipt", kind, event_id))).ok()
    for answer in (await waiting, await bob.sync(since, filter=hidden)):
        section = joined(answer, room)
        assert section["unread_notifications"]["notification_count"] == 0
        assert section["ephemeral"]["events"] == []
    # What others read is hidden for good.
    since = answer["next_batch"]
    (await alice.post(room_path(room, "receipt", "m.read", event_id))).ok()
    assert "rooms" not in await bob.sync(since, filter=hidden)


async def test_unread_counts_follow_receipts(alice: Client, bob: Client) -> None:
    room = await alice.create_room(invite=[bob.user_id])
    await bob.join(room)
    events = [await alice.send(room, f"m{n}") for n in range(4)]
    token = await bob.sync()
    assert joined(token, room)["unread_notifications"]["notification_count"] == 4
    (await bob.post(room_path(room, "receipt", "m.read", events[1]))).ok()
    answer = await bob.sync(token["next_batch"])
    assert joined(answer, room)["unread_notifications"]["notification_count"] == 2


async def test_who_sends_something_has_read_what_was_before(alice: Client, bob: Client) -> None:
    """Client-server API, "Marking notifications as read": that is to update the read receipt, too."""
    room = await alice.create_room(invite=[bob.user_id])
    await bob.join(room)
    root = await alice.send(room, "root")
    relation: dict[str, Any] = {"m.relates_to": {"rel_type": "m.thread", "event_id": root}}
    in_thread = await alice.send(room, "in thread", **relation)
    since = (await bob.sync())["next_batch"]

    async def unread() -> tuple[int, int]:
        """In the main timeline and in the thread: for a client that goes on, and for a new one."""
        nonlocal since
        by_thread = {"room": {"timeline": {"unread_thread_notifications": True}}}
        answer = await bob.sync(since, filter=by_thread)
        since = answer["next_batch"]
        found = set()
        for section in (joined(answer, room), joined(await bob.sync(filter=by_thread), room)):
            threads = section.get("unread_thread_notifications", {})
            main, thread = section["unread_notifications"], threads.get(root, {"notification_count": 0})
            found.add((main["notification_count"], thread["notification_count"]))
        (counts,) = found
        return counts

    own = await bob.send(room, "mine", **relation)
    assert await unread() == (1, 0)
    await alice.send(room, "more", **relation)
    assert await unread() == (1, 1)
    # What is redacted has been said in the thread, and the redaction itself nowhere.
    (await bob.put(room_path(room, "redact", own, "t"), {})).ok()
    assert await unread() == (1, 1)
    await bob.send(room, "mine")
    assert await unread() == (0, 1)
    # Nor does state tell where its sender has read.
    await alice.send(room, "and more")
    await bob.set_state(room, "m.room.member", {"membership": "join", "displayname": "B"}, bob.user_id)
    assert await unread() == (1, 1)
    (await bob.post(room_path(room, "receipt", "m.read", in_thread))).ok()
    assert await unread() == (1, 1)


async def test_threads_have_counts_of_their_own(alice: Client, bob: Client) -> None:
    room = await alice.create_room(invite=[bob.user_id])
    await bob.join(room)
    root = await alice.send(room, "root")
    for number in range(2):
        relation: dict[str, Any] = {"m.relates_to": {"rel_type": "m.thread", "event_id": root}}
        last = await alice.send(room, f"in thread {number}", **relation)
    by_thread = {"room": {"timeline": {"unread_thread_notifications": True}}}
    section = joined(await bob.sync(filter=by_thread), room)
    assert section["unread_notifications"]["notification_count"] == 1
    assert section["unread_thread_notifications"][root]["notification_count"] == 2
    assert joined(await bob.sync(), room)["unread_notifications"]["notification_count"] == 3
    (await bob.post(room_path(room, "receipt", "m.read", last), {"thread_id": root})).ok()
    section = joined(await bob.sync(filter=by_thread), room)
    assert section["unread_notifications"]["notification_count"] == 1
    assert "unread_thread_notifications" not in section


async def test_what_is_redacted_is_not_unread(alice: Client, bob: Client) -> None:
    room = await alice.create_room(invite=[bob.user_id])
    await bob.join(room)
    root = await alice.send(room, "root")
    relation: dict[str, Any] = {"m.relates_to": {"rel_type": "m.thread", "event_id": root}}
    mention: dict[str, Any] = {"m.mentions": {"user_ids": [bob.user_id]}}
    in_thread = await alice.send(room, "in thread", **relation, **mention)
    in_main = await alice.send(room, f"hello {bob.user_id}", **mention)
    by_thread = {"room": {"timeline": {"unread_thread_notifications": True}}}
    since = (await bob.sync(filter=by_thread))["next_batch"]
    for event_id, expected in (
        (in_thread, {"notification_count": 2, "highlight_count": 1}),
        (in_main, {"notification_count": 1, "highlight_count": 0}),
    ):
        (await alice.put(room_path(room, "redact", event_id, event_id), {})).ok()
        answer = await bob.sync(since, filter=by_thread)
        for section in (joined(answer, room), joined(await bob.sync(filter=by_thread), room)):
            assert section["unread_notifications"] == expected
            assert "unread_thread_notifications" not in section
        since = answer["next_batch"]


async def test_redactions_reach_the_timeline(alice: Client) -> None:
    room = await alice.create_room()
    event_id = await alice.send(room, "secret")
    since = (await alice.sync())["next_batch"]
    path = room_path(room, "redact", event_id, "r1")
    redaction = (await alice.put(path, {"reason": "test"})).ok()["event_id"]
    event = joined(await alice.sync(since), room)["timeline"]["events"][0]
    assert event["type"] == "m.room.redaction"
    assert event["content"]["redacts"] == event["redacts"] == event_id
    shown = joined(await alice.sync(), room)["timeline"]["events"]
    (redacted,) = (e for e in shown if e["event_id"] == event_id)
    assert redacted["content"] == {}
    assert redacted["unsigned"]["redacted_because"]["event_id"] == redaction


async def test_bad_tokens_are_refused(alice: Client) -> None:
    for token in ("x1", "s", "s1_2", "s99999999999999999999999", "s-"):
        answer = await alice.get("/_matrix/client/v3/sync", since=token)
        answer.error(400, "M_INVALID_PARAM")


async def test_history_before_the_join_is_hidden_where_it_should_be(alice: Client, bob: Client) -> None:
    room = await alice.create_room(
        preset="public_chat",
        initial_state=[
            {
                "type": "m.room.history_visibility",
                "state_key": "",
                "content": {"history_visibility": "joined"},
            }
        ],
    )
    await alice.send(room, "secret")
    await bob.join(room)
    await alice.send(room, "for bob")
    section = joined(await bob.sync(), room)
    assert "secret" not in bodies(section)
    assert "for bob" in bodies(section)


async def test_many_waiting_clients_get_every_message_in_order(server: TestServer, alice: Client) -> None:
    """P3: every acknowledged event arrives once, in one order, at each of several clients that keep their tokens."""
    room = await alice.create_room(preset="public_chat")
    readers = [await server.user(f"reader{n}") for n in range(8)]
    for reader in readers:
        await reader.join(room)
    total = 40
    # However slow the machine is, and however many come at once.
    whole = {"room": {"timeline": {"limit": total}}}

    async def read(reader: Client) -> list[str]:
        answer = await reader.sync(filter={"room": {"timeline": {"limit": 0}}})
        started.append(reader.user_id)
        seen: list[str] = []
        while len(seen) < total:
            answer = await reader.sync(answer["next_batch"], timeout=30_000, filter=whole)
            section = answer.get("rooms", {}).get("join", {}).get(room)
            if section is not None:
                assert not section["timeline"]["limited"]
                seen += (b for b in bodies(section) if b.startswith("m-"))
        return seen

    async def write(writer: int) -> None:
        while len(started) < len(readers):
            await asyncio_turn()
        for number in range(total // 4):
            await alice.send(room, f"m-{writer}-{number}", txn_id=f"{writer}.{number}")

    started: list[str] = []
    work = [Deferred.fromCoroutine(read(reader)) for reader in readers]
    writing = [Deferred.fromCoroutine(write(writer)) for writer in range(4)]
    await gatherResults(writing, consumeErrors=True)
    results = await gatherResults(work, consumeErrors=True)
    assert all(seen == results[0] for seen in results)
    assert len(set(results[0])) == total


async def asyncio_turn() -> None:
    await Deferred.fromFuture(asyncio.ensure_future(asyncio.sleep(0)))


async def test_a_ban_after_leaving_shows_nothing_of_the_time_between(alice: Client, bob: Client) -> None:
    room = await alice.create_room(invite=[bob.user_id], name="before")
    await bob.join(room)
    await bob.leave(room)
    since = (await bob.sync())["next_batch"]
    await alice.set_state(room, "m.room.name", {"name": "secret"})
    await alice.send(room, "secret")
    (await alice.post(room_path(room, "ban"), {"user_id": bob.user_id})).ok()
    whole = {"room": {"include_leave": True, "timeline": {"limit": 50}}}
    for answer in (
        await bob.sync(since),
        await bob.sync(filter=whole),
        await bob.sync(since, full_state="true"),
    ):
        section = answer["rooms"]["leave"][room]
        assert section["timeline"]["events"][-1]["content"]["membership"] == "ban"
        assert "secret" not in str(section)


async def test_a_client_that_goes_away_is_waited_for_no_longer(server: TestServer, alice: Client) -> None:
    await alice.create_room()
    since = (await alice.sync())["next_batch"]
    waiters = server.server.services.syncing.waiters
    waiting = Deferred.fromCoroutine(alice.sync(since, timeout=60_000))
    while len(waiters) == 0:
        await asyncio_turn()
    waiting.addErrback(lambda _: None)
    waiting.cancel()
    while len(waiters) > 0:
        await asyncio_turn()
