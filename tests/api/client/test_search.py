"""Client-server API, `search.yaml`."""

from typing import Any

import pytest
from sqlalchemy import delete
from twisted.internet.defer import Deferred, gatherResults

from homeserver.core.search_cursors import SearchCursor
from homeserver.database.statements import statement
from homeserver.database.tables.search import search_progress, search_texts
from homeserver.database.transactions import WriteTransaction
from homeserver.services import search as search_service
from homeserver.services import search_index
from tests.api.server import Client, TestServer, path_of, room_path

SEARCH = path_of("search")


async def search(
    server: TestServer, client: Client, term: str, next_batch: str | None = None, **criteria: Any
) -> Any:
    """The value of `room_events`, when everything that was sent has been indexed."""
    await server.server.services.search_index.work()
    body = {"search_categories": {"room_events": {"search_term": term, **criteria}}}
    query = {} if next_batch is None else {"next_batch": next_batch}
    return (await client.post(SEARCH, body, **query)).ok()["search_categories"]["room_events"]


def texts(found: Any) -> list[str]:
    return [
        str(content.get("body") or content.get("name") or content.get("topic"))
        for content in (each["result"]["content"] for each in found["results"])
    ]


async def room_of_two(alice: Client, bob: Client, **options: Any) -> str:
    room = await alice.create_room(preset="public_chat", **options)
    await bob.join(room)
    return room


async def test_messages_names_and_topics_are_found(server: TestServer, alice: Client) -> None:
    room = await alice.create_room(name="Cake club", topic="All about cake")
    event = await alice.send(room, "Who has CAKE, or a café?")
    await alice.send(room, "nothing of it")
    found = await search(server, alice, "cake", order_by="recent")
    assert texts(found) == ["Who has CAKE, or a café?", "All about cake", "Cake club"]
    assert (found["count"], found["highlights"]) == (3, ["cake"])
    assert "next_batch" not in found
    first = found["results"][0]["result"]
    assert (first["event_id"], first["room_id"]) == (event, room)
    for keys, expected in (
        (["content.body"], ["Who has CAKE, or a café?"]),
        (["content.name", "content.topic"], ["All about cake", "Cake club"]),
    ):
        assert texts(await search(server, alice, "Cake", keys=keys, order_by="recent")) == expected
    assert texts(await search(server, alice, "Cafe\N{COMBINING ACUTE ACCENT}? who!")) == [
        "Who has CAKE, or a café?"
    ]
    for nothing in ("cake tea", "cak", "?!", "", '" OR terms:"cake', "'"):
        assert (await search(server, alice, nothing))["results"] == []


@pytest.mark.parametrize(
    ("text", "query"),
    [
        ("今日は東京でラーメンを食べた", "東京"),
        ("ภาษาไทยไม่มีช่องว่าง", "ไทย"),
        ("Привет, МИР", "мир"),
        ("नमस्ते दुनिया", "नमस्ते"),
        ("straße", "STRASSE"),
        ("version 2.0-rc1", "2.0"),
    ],
)
async def test_all_scripts(server: TestServer, alice: Client, text: str, query: str) -> None:
    room = await alice.create_room()
    await alice.send(room, text)
    assert texts(await search(server, alice, query)) == [text]


async def test_ranking(server: TestServer, alice: Client) -> None:
    room = await alice.create_room()
    await alice.send(room, "tea")
    await alice.send(room, "there is tea somewhere in a longer text")
    await alice.send(room, "tea, and tea again")
    found = await search(server, alice, "tea")
    ranks = [each["rank"] for each in found["results"]]
    assert ranks == sorted(ranks, reverse=True)
    assert texts(found)[-1].startswith("there is")


def edit_of(event_id: str, text: str) -> dict[str, Any]:
    return {
        "msgtype": "m.text",
        "body": f"* {text}",
        "m.new_content": {"msgtype": "m.text", "body": text},
        "m.relates_to": {"rel_type": "m.replace", "event_id": event_id},
    }


async def edit(client: Client, room: str, event_id: str, text: str) -> str:
    return await client.send_event(room, "m.room.message", edit_of(event_id, text))


async def test_a_message_is_found_by_its_latest_text(server: TestServer, alice: Client, bob: Client) -> None:
    room = await room_of_two(alice, bob)
    event_id = await alice.send(room, "first draft")

    async def found(client: Client, term: str) -> list[str]:
        results = (await search(server, client, term))["results"]
        return [each["result"]["event_id"] for each in results]

    assert await found(bob, "draft") == [event_id]
    await edit(alice, room, event_id, "second version of the draft")
    # Others edit nothing.
    await edit(bob, room, event_id, "forged draft")
    assert await found(bob, "first") == []
    assert await found(bob, "forged") == []
    assert await found(bob, "version") == [event_id]
    assert await found(bob, "draft") == [event_id]
    last = await edit(alice, room, event_id, "third")
    assert await found(bob, "draft") == []
    result = (await search(server, bob, "third"))["results"][0]["result"]
    assert result["event_id"] == event_id
    assert result["unsigned"]["m.relations"]["m.replace"]["event_id"] == last
    (await alice.put(room_path(room, "redact", last, "r1"), {})).ok()
    assert await found(bob, "third") == []
    assert await found(bob, "version") == [event_id]
    (await alice.put(room_path(room, "redact", event_id, "r2"), {})).ok()
    assert await found(bob, "version") == []
    assert await found(bob, "first") == []


async def test_who_does_not_see_an_edit_finds_what_he_sees(
    server: TestServer, alice: Client, bob: Client
) -> None:
    room = await room_of_two(alice, bob)
    await alice.set_state(room, "m.room.history_visibility", {"history_visibility": "joined"})
    event_id = await alice.send(room, "plain words")
    await bob.leave(room)
    await edit(alice, room, event_id, "secret words")
    assert [each["result"]["event_id"] for each in (await search(server, bob, "words"))["results"]] == [
        event_id
    ]
    assert (await search(server, bob, "secret"))["results"] == []
    assert (await search(server, bob, "plain"))["count"] >= 1
    assert (await search(server, alice, "plain"))["results"] == []


async def test_an_old_text_that_fits_best_is_found_among_many(
    server: TestServer, alice: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search_service, "MOST_MATCHES", 5)
    room = await alice.create_room()
    await alice.send(room, "tea")
    for number in range(10):
        await alice.send(room, f"a long text in which tea is only one of many words {number}")
    assert texts(await search(server, alice, "tea"))[0] == "tea"


async def test_pages_and_groups(server: TestServer, alice: Client, bob: Client) -> None:
    rooms = [await room_of_two(alice, bob) for _ in range(2)]
    for number in range(6):
        await (alice, bob)[number % 2].send(rooms[number // 3], f"word {number}")
    criteria: dict[str, Any] = {
        "order_by": "recent",
        "filter": {"limit": 4},
        "groupings": {"group_by": [{"key": "room_id"}, {"key": "sender"}]},
    }
    found = await search(server, alice, "word", **criteria)
    assert texts(found) == ["word 5", "word 4", "word 3", "word 2"]
    assert found["count"] == 6
    ids = [each["result"]["event_id"] for each in found["results"]]
    by_room = found["groups"]["room_id"]
    assert {room: by_room[room]["results"] for room in by_room} == {rooms[1]: ids[:3], rooms[0]: ids[3:]}
    assert by_room[rooms[1]]["order"] < by_room[rooms[0]]["order"]
    assert set(found["groups"]["sender"]) == {alice.user_id, bob.user_id}
    await alice.send(rooms[0], "word 6")
    rest = await search(server, alice, "word", found["next_batch"], **criteria)
    assert texts(rest) == ["word 1", "word 0"]
    assert "next_batch" not in rest
    of_bob = found["groups"]["sender"][bob.user_id]["next_batch"]
    assert texts(await search(server, alice, "word", of_bob, **criteria)) == ["word 1"]
    body = {"search_categories": {"room_events": {"search_term": "word"}}}
    for token in ("nonsense", "!", SearchCursor(-1, 0).to_token(), SearchCursor(1, 0, "sender").to_token()):
        (await alice.post(SEARCH, body, next_batch=token)).error(400, "M_INVALID_PARAM")


async def test_filters(server: TestServer, alice: Client, bob: Client) -> None:
    rooms = [await room_of_two(alice, bob) for _ in range(2)]
    await alice.send(rooms[0], "word here")
    await bob.send(rooms[1], "word there")
    for only, expected in (
        ({"rooms": [rooms[0]]}, ["word here"]),
        ({"not_rooms": [rooms[0]]}, ["word there"]),
        ({"senders": [bob.user_id]}, ["word there"]),
        ({"not_types": ["m.room.message"]}, []),
    ):
        assert texts(await search(server, alice, "word", filter=only)) == expected


async def test_context_profiles_and_state(server: TestServer, alice: Client, bob: Client) -> None:
    room = await room_of_two(alice, bob)
    for text in ("one", "two", "the word", "three", "four"):
        await bob.send(room, text)
    context = {"before_limit": 2, "after_limit": 1, "include_profile": True}
    found = await search(server, alice, "word", event_context=context, include_state=True)
    around = found["results"][0]["context"]
    assert [each["content"]["body"] for each in around["events_before"]] == ["two", "one"]
    assert [each["content"]["body"] for each in around["events_after"]] == ["three"]
    assert around["profile_info"] == {bob.user_id: {"displayname": "bob"}}
    older = (await alice.get(room_path(room, "messages"), dir="b", limit=1, **{"from": around["start"]})).ok()
    assert older["chunk"][0]["type"] == "m.room.member"
    newer = (await alice.get(room_path(room, "messages"), dir="f", **{"from": around["end"]})).ok()
    assert newer["chunk"][0]["content"]["body"] == "four"
    kinds = {(each["type"], each["state_key"]) for each in found["state"][room]}
    assert {("m.room.create", ""), ("m.room.member", bob.user_id)} <= kinds
    default = await search(server, alice, "word", event_context={})
    assert "profile_info" not in default["results"][0]["context"]


async def test_what_is_redacted_or_an_edit_is_not_found(server: TestServer, alice: Client) -> None:
    room = await alice.create_room()
    event = await alice.send(room, "a secret")
    relation: dict[str, Any] = {
        "m.relates_to": {"rel_type": "m.replace", "event_id": event},
        "m.new_content": {"msgtype": "m.text", "body": "secret"},
    }
    await alice.send(room, "* secret", **relation)
    found = await search(server, alice, "secret")
    assert texts(found) == ["a secret"]
    assert "m.replace" in found["results"][0]["result"]["unsigned"]["m.relations"]
    (await alice.put(room_path(room, "redact", event, "t"), {})).ok()
    # At once, before the index has been told of it:
    body = {"search_categories": {"room_events": {"search_term": "secret"}}}
    answer = (await alice.post(SEARCH, body)).ok()
    assert answer["search_categories"]["room_events"]["results"] == []
    # And soon it is not in the index either.
    assert (await search(server, alice, "secret"))["count"] == 0


async def test_nobody_finds_what_they_may_not_see(server: TestServer, alice: Client, bob: Client) -> None:
    room = await alice.create_room(
        preset="public_chat",
        initial_state=[
            {
                "type": "m.room.history_visibility",
                "content": {"history_visibility": "joined"},
                "state_key": "",
            }
        ],
    )
    await alice.send(room, "word before")
    await bob.join(room)
    await alice.send(room, "word during")
    await bob.leave(room)
    await alice.send(room, "word after")
    found = await search(server, bob, "word")
    assert (texts(found), found["count"]) == (["word during"], 1)
    assert len(texts(await search(server, alice, "word"))) == 3
    (await bob.post(room_path(room, "forget"))).ok()
    assert await search(server, bob, "word") == {"count": 0, "highlights": ["word"], "results": []}
    carol = await server.user("carol")
    await alice.invite(room, carol.user_id)
    assert (await search(server, carol, "word"))["results"] == []


async def test_ignored_users_are_not_found(server: TestServer, alice: Client, bob: Client) -> None:
    """Client-server API, "Ignoring users"."""
    room = await room_of_two(alice, bob)
    await alice.send(room, "cake of mine")
    await bob.send(room, "cake of another")
    assert len(texts(await search(server, alice, "cake"))) == 2
    ignored = path_of("user", alice.user_id, "account_data", "m.ignored_user_list")
    (await alice.put(ignored, {"ignored_users": {bob.user_id: {}}})).ok()
    assert texts(await search(server, alice, "cake")) == ["cake of mine"]
    assert len(texts(await search(server, bob, "cake"))) == 2


async def test_encrypted_rooms_are_left_out(server: TestServer, alice: Client) -> None:
    room = await alice.create_room()
    await alice.send(room, "word")
    await alice.set_state(room, "m.room.encryption", {"algorithm": "m.megolm.v1.aes-sha2"})
    assert (await search(server, alice, "word"))["results"] == []


def never_indexed(tx: WriteTransaction) -> None:
    """As it is when a release that can search comes to a database that is in use."""
    for table in (search_progress, search_texts):
        tx.execute(statement(delete(table)))


async def test_what_was_there_before_is_indexed_in_steps_and_once(
    server: TestServer, alice: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    room = await alice.create_room()
    sent = [f"word {number}" for number in range(10)]
    for text in sent:
        await alice.send(room, text)
    monkeypatch.setattr(search_index, "AT_ONCE", 3)
    await server.server.database.write(never_indexed)
    index = server.server.services.search_index
    await gatherResults([Deferred.fromCoroutine(index.work()) for _ in range(3)])
    found = await search(server, alice, "word", order_by="recent", filter={"limit": 50})
    assert texts(found) == sent[::-1]


async def test_requests_that_make_no_sense(alice: Client, guest: Client) -> None:
    assert (await alice.post(SEARCH, {"search_categories": {}})).ok() == {"search_categories": {}}
    (await guest.post(SEARCH, {"search_categories": {}})).error(403, "M_GUEST_ACCESS_FORBIDDEN")
    for criteria in (
        {},
        {"search_term": 1},
        {"search_term": "x", "order_by": "age"},
        {"search_term": "x", "keys": ["content.secret"]},
        {"search_term": "x", "event_context": {"before_limit": -1}},
        {"search_term": "x", "groupings": {"group_by": [{"key": "type"}]}},
    ):
        body = {"search_categories": {"room_events": criteria}}
        (await alice.request("POST", SEARCH, body, check=False)).error(400, "M_BAD_JSON")
    (await alice.request("POST", SEARCH, {}, check=False)).error(400, "M_BAD_JSON")
