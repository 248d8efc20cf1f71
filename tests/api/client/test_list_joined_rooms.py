"""Client-server API, `list_joined_rooms.yaml`."""

from tests.api.server import Client, TestServer, path_of, room_path


async def test_only_rooms_that_one_is_joined_to_are_listed(alice: Client, bob: Client) -> None:
    joined = await alice.create_room(invite=[bob.user_id])
    left = await alice.create_room(invite=[bob.user_id])
    banned = await alice.create_room(invite=[bob.user_id])
    await alice.create_room(invite=[bob.user_id])
    for room in (joined, left, banned):
        await bob.join(room)
    await bob.leave(left)
    (await alice.post(room_path(banned, "ban"), {"user_id": bob.user_id})).ok()
    assert (await bob.get(path_of("joined_rooms"))).ok() == {"joined_rooms": [joined]}


async def test_it_needs_a_token(server: TestServer) -> None:
    (await server.anonymous().get(path_of("joined_rooms"))).error(401, "M_MISSING_TOKEN")
