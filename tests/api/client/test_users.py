"""Client-server API, `users.yaml`: the user directory."""

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import delete
from twisted.internet.defer import Deferred, gatherResults

from homeserver.config.sections import UserDirectory
from homeserver.database.statements import statement
from homeserver.database.tables.user_directory import (
    directory_progress,
    directory_rooms,
    directory_scans,
    directory_users,
)
from homeserver.database.transactions import WriteTransaction
from homeserver.services import user_directory
from tests.api.server import Client, TestServer, path_of, room_path, running_server
from tests.databases import Databases
from tests.directory import settle
from tests.openapi import Specification

SEARCH = path_of("user_directory", "search")
AVATAR = "mxc://test.example/avatar"


async def look(server: TestServer, client: Client, term: str, **more: Any) -> Any:
    """What the client finds when the directory is up to date."""
    await settle(server)
    return (await client.post(SEARCH, {"search_term": term, **more})).ok()


async def found(server: TestServer, client: Client, term: str) -> list[str]:
    return [each["user_id"] for each in (await look(server, client, term))["results"]]


async def call(client: Client, name: str) -> None:
    (await client.put(path_of("profile", client.user_id, "displayname"), {"displayname": name})).ok()


async def meet(one: Client, *others: Client, **options: Any) -> str:
    """A private room with all of them."""
    room = await one.create_room(preset="private_chat", **options)
    for other in others:
        await one.invite(room, other.user_id)
        await other.join(room)
    return room


async def test_who_shares_a_room_is_found(
    server: TestServer, alice: Client, bob: Client, carol: Client
) -> None:
    await call(bob, "Robert Zoë")
    (await bob.put(path_of("profile", bob.user_id, "avatar_url"), {"avatar_url": AVATAR})).ok()
    assert await look(server, alice, "robert") == {"results": [], "limited": False}
    room = await meet(alice, bob)
    shown = {"user_id": bob.user_id, "display_name": "Robert Zoë", "avatar_url": AVATAR}
    for term in ("robert", "ROBERT zoe", "zo", "bob", "@bob:test", "bob:test.example", bob.user_id.upper()):
        assert (await look(server, alice, term))["results"] == [shown], term
    for term in ("obert", "", "?", "test.example", "@ob"):
        assert await found(server, alice, term) == [], term
    assert await found(server, carol, "robert") == []
    await bob.leave(room)
    assert await found(server, alice, "robert") == []


async def test_who_is_in_an_open_room_is_found_by_everybody(
    server: TestServer, alice: Client, bob: Client, carol: Client
) -> None:
    room = await meet(bob)
    assert await found(server, alice, "bob") == []
    for event_type, opened, closed in (
        ("m.room.join_rules", {"join_rule": "public"}, {"join_rule": "invite"}),
        (
            "m.room.history_visibility",
            {"history_visibility": "world_readable"},
            {"history_visibility": "shared"},
        ),
    ):
        await bob.set_state(room, event_type, opened)
        assert await found(server, alice, "bob") == [bob.user_id]
        await bob.set_state(room, event_type, closed)
        assert await found(server, alice, "bob") == []
    # An invitation is no membership.
    await bob.invite(room, carol.user_id)
    assert await found(server, bob, "carol") == []


async def test_changes_are_followed(server: TestServer, alice: Client, bob: Client) -> None:
    await meet(alice, bob)
    await call(bob, "Robert")
    assert await found(server, alice, "robert") == [bob.user_id]
    await call(bob, "山田太郎")
    assert await found(server, alice, "robert") == []
    assert await found(server, alice, "太郎") == [bob.user_id]
    (await bob.delete(path_of("profile", bob.user_id, "displayname"))).ok()
    assert await found(server, alice, "太郎") == []
    assert (await look(server, alice, "bob"))["results"] == [{"user_id": bob.user_id}]


async def test_names_in_rooms_stay_there(server: TestServer, alice: Client, bob: Client) -> None:
    room = await meet(alice, bob)
    content = {"membership": "join", "displayname": "Mister Secret"}
    await bob.set_state(room, "m.room.member", content, bob.user_id)
    assert await found(server, alice, "secret") == []
    assert (await look(server, alice, "bob"))["results"][0]["display_name"] == "bob"


async def test_accounts_that_are_closed_or_barred(server: TestServer, alice: Client) -> None:
    users = [await server.user(f"person{number}") for number in range(4)]
    await meet(alice, *users)
    assert await found(server, alice, "person") == [each.user_id for each in users]
    await server.restrict(users[0], "is_locked")
    await server.restrict(users[1], "is_suspended")
    auth = {"type": "m.login.password", "identifier": {"type": "m.id.user", "user": "person2"}}
    body = {"erase": True, "auth": auth | {"password": "a password of the tests"}}
    (await users[2].post(path_of("account", "deactivate"), body)).ok()
    assert await found(server, alice, "person") == [users[3].user_id]


async def test_the_nearest_come_first(
    server: TestServer, alice: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = {"u1": "Annabel Lee", "u2": "Lee Anna", "u3": "Anna", "u4": "Anna Lee", "anna": "Zed", "u5": "x"}
    users = {localpart: await server.user(localpart) for localpart in names}
    for localpart, name in names.items():
        await call(users[localpart], name)
    await meet(alice, *(users[each] for each in ("u1", "u2", "u3", "anna", "u5")))
    # In an open room, but in none with Alice.
    await users["u4"].create_room(preset="public_chat")
    order = ["anna", "u3", "u1", "u4", "u2"]
    expected = [users[each].user_id for each in order]
    assert await found(server, alice, "anna") == expected
    part = await look(server, alice, "anna", limit=2)
    assert ([each["user_id"] for each in part["results"]], part["limited"]) == (expected[:2], True)
    assert not (await look(server, alice, "anna", limit=5))["limited"]
    monkeypatch.setattr(user_directory, "MOST_RESULTS", 3)
    part = await look(server, alice, "anna", limit=1000)
    assert (len(part["results"]), part["limited"]) == (3, True)


async def test_questions_that_make_no_sense(alice: Client) -> None:
    for body in (
        {},
        {"search_term": 1},
        {"search_term": "x", "limit": 0},
        {"search_term": "x", "limit": "1"},
    ):
        (await alice.request("POST", SEARCH, body, check=False)).error(400, "M_BAD_JSON")
    for term in ("\0", "a\0b", '" OR terms:"a', "'", "a:* | b", "x" * 5000, "\ufdfa" * 300, "a " * 300):
        assert (await alice.post(SEARCH, {"search_term": term})).ok() == {"results": [], "limited": False}


async def test_all_users_can_be_found_where_the_configuration_says_so(
    databases: Databases, tmp_path: Path, specification: Specification | None
) -> None:
    url = databases.sqlite(tmp_path)
    section = UserDirectory(search_all_users=True)
    async with running_server(url, tmp_path, specification, user_directory=section) as server:
        alice, bob = await server.user("alice"), await server.user("bob")
        for term in ("bob", "bo", "@bo"):
            assert await found(server, alice, term) == [bob.user_id]
        await server.restrict(bob, "is_locked")
        assert await found(server, alice, "bob") == []


async def test_several_may_do_it_at_once(server: TestServer, alice: Client, bob: Client) -> None:
    await meet(alice, bob)
    index = server.server.services.user_directory_index
    await gatherResults([Deferred.fromCoroutine(index.work()) for _ in range(4)])
    assert await found(server, alice, "bob") == [bob.user_id]


def forget_everything(tx: WriteTransaction) -> None:
    for table in (directory_users, directory_rooms, directory_scans, directory_progress):
        tx.execute(statement(delete(table)))


async def test_a_directory_that_is_empty_is_filled(server: TestServer, alice: Client, bob: Client) -> None:
    """As after an upgrade from a release that had none."""
    room = await bob.create_room(preset="public_chat")
    assert await found(server, alice, "bob") == [bob.user_id]
    await server.server.database.write(forget_everything)
    assert await found(server, alice, "bob") == [bob.user_id]
    (await bob.post(room_path(room, "leave"))).ok()
    assert await found(server, alice, "bob") == []
