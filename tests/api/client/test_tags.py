"""Client-server API, `tags.yaml`."""

from tests.api.server import Client, TestServer, path_of


def tags_path(user_id: str, room: str, *tag: str) -> str:
    return path_of("user", user_id, "rooms", room, "tags", *tag)


async def test_tags_are_set_listed_and_deleted(server: TestServer, alice: Client) -> None:
    room = await alice.create_room()
    phone = await server.device(alice)
    since = (await phone.sync())["next_batch"]
    path = tags_path(alice.user_id, room)
    assert (await alice.get(path)).ok() == {"tags": {}}
    favourite = tags_path(alice.user_id, room, "m.favourite")
    assert (await alice.put(favourite, {"order": 0.25})).ok() == {}
    (await alice.put(tags_path(alice.user_id, room, "u.My / Würk"), {})).ok()
    tags = {"m.favourite": {"order": 0.25}, "u.My / Würk": {}}
    assert (await phone.get(path)).ok() == {"tags": tags}
    answer = await phone.sync(since)
    (told,) = answer["rooms"]["join"][room]["account_data"]["events"]
    assert told == {"type": "m.tag", "content": {"tags": tags}}
    (await alice.put(favourite, {"order": 1, "org.example.more": "kept"})).ok()
    assert (await alice.get(path)).ok()["tags"]["m.favourite"] == {"order": 1, "org.example.more": "kept"}
    for _ in range(2):  # the second time there is nothing to delete
        assert (await alice.delete(favourite)).ok() == {}
    content = (await alice.get(path_of("user", alice.user_id, "rooms", room, "account_data", "m.tag"))).ok()
    assert content == {"tags": {"u.My / Würk": {}}}
    answer = await phone.sync(answer["next_batch"])
    (told,) = answer["rooms"]["join"][room]["account_data"]["events"]
    assert told["content"] == content


async def test_what_is_refused(alice: Client, bob: Client) -> None:
    room = await alice.create_room(preset="public_chat")
    await bob.join(room)
    work = tags_path(alice.user_id, room, "u.Work")
    for order, errcode in (("first", "M_BAD_JSON"), (True, "M_BAD_JSON"), (2, "M_INVALID_PARAM")):
        (await alice.put(work, {"order": order})).error(400, errcode)
    (await alice.put(tags_path(alice.user_id, room, "u." + "x" * 254), {})).error(400, "M_INVALID_PARAM")
    (await alice.put(work, {"large": "x" * 65_536})).error(413, "M_TOO_LARGE")
    (await alice.put(tags_path(alice.user_id, "no-room", "u.Work"))).error(400, "M_INVALID_PARAM")
    path = tags_path(alice.user_id, room)
    for answer in (await bob.get(path), await bob.put(work, {}), await bob.delete(work)):
        answer.error(403, "M_FORBIDDEN")
    assert (await alice.get(path)).ok() == {"tags": {}}
