"""Client-server API, `read_markers.yaml`."""

import pytest

from tests.api.server import Client, TestServer, path_of, room_path


async def test_all_markers_at_once(server: TestServer, alice: Client) -> None:
    room = await alice.create_room()
    first, second, third = [await alice.send(room, text) for text in ("1", "2", "3")]
    phone = await server.device(alice)
    since = (await phone.sync())["next_batch"]
    markers = {"m.fully_read": first, "m.read": second, "m.read.private": third}
    path = room_path(room, "read_markers")
    assert (await alice.post(path, markers)).ok() == {}
    fully_read = path_of("user", alice.user_id, "rooms", room, "account_data", "m.fully_read")
    assert (await alice.get(fully_read)).ok() == {"event_id": first}
    section = (await phone.sync(since))["rooms"]["join"][room]
    assert section["account_data"]["events"] == [{"type": "m.fully_read", "content": {"event_id": first}}]
    (event,) = section["ephemeral"]["events"]
    assert {event_id: list(kinds) for event_id, kinds in event["content"].items()} == {
        second: ["m.read"],
        third: ["m.read.private"],
    }
    # The marker goes on, and never back.
    for event_id in (third, second):
        (await alice.post(path, {"m.fully_read": event_id})).ok()
    assert (await alice.get(fully_read)).ok() == {"event_id": third}


async def test_no_marker_at_all(alice: Client) -> None:
    path = room_path(await alice.create_room(), "read_markers")
    assert (await alice.post(path, {})).ok() == {}
    assert (await alice.request("POST", path)).ok() == {}


@pytest.mark.parametrize(
    ("body", "status", "errcode"),
    [
        ({"m.fully_read": 5}, 400, "M_BAD_JSON"),
        ([], 400, "M_BAD_JSON"),
        (b"{", 400, "M_NOT_JSON"),
        ({"m.read": "no-event-id"}, 400, "M_INVALID_PARAM"),
        ({"m.read": "$\0"}, 400, "M_INVALID_PARAM"),
        ({"m.fully_read": "{event}", "m.read": "$unknown"}, 404, "M_NOT_FOUND"),
    ],
)
async def test_what_is_refused_moves_nothing(
    alice: Client, bob: Client, body: object, status: int, errcode: str
) -> None:
    room = await alice.create_room()
    event_id = await alice.send(room, "hello")
    if isinstance(body, dict) and body.get("m.fully_read") == "{event}":
        body = {**body, "m.fully_read": event_id}
    (await alice.post(room_path(room, "read_markers"), body)).error(status, errcode)
    path = path_of("user", alice.user_id, "rooms", room, "account_data", "m.fully_read")
    (await alice.get(path)).error(404, "M_NOT_FOUND")
    (await bob.post(room_path(room, "read_markers"), {"m.read": event_id})).error(403, "M_FORBIDDEN")
