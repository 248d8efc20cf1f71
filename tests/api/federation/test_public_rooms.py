"""Server-server API, `public_rooms.yaml`."""

from tests.api.federation.asking import Asking


async def test_the_directory(asking: Asking) -> None:
    alice = await asking.server.user("alice")
    for number in range(3):
        await alice.create_room(visibility="public", preset="public_chat", name=f"Room {number}")
    await alice.create_room(preset="public_chat", name="not listed")
    answer = (await asking.get("publicRooms")).ok()
    assert sorted(room["name"] for room in answer["chunk"]) == ["Room 0", "Room 1", "Room 2"]
    assert answer["total_room_count_estimate"] == 3
    first = (await asking.get("publicRooms", limit=2)).ok()
    assert len(first["chunk"]) == 2
    second = (await asking.get("publicRooms", limit=2, since=first["next_batch"])).ok()
    listed = [room["room_id"] for room in first["chunk"] + second["chunk"]]
    assert sorted(listed) == sorted(room["room_id"] for room in answer["chunk"])
    assert (await asking.get("publicRooms", limit=0)).ok()["chunk"] == answer["chunk"]


async def test_a_search(asking: Asking) -> None:
    alice = await asking.server.user("alice")
    await alice.create_room(visibility="public", name="Beer")
    space = await alice.create_room(visibility="public", name="Wine", creation_content={"type": "m.space"})
    found = (await asking.post("publicRooms", body={"filter": {"generic_search_term": "wine"}})).ok()
    assert [room["room_id"] for room in found["chunk"]] == [space]
    found = (await asking.post("publicRooms", body={"filter": {"room_types": [None]}, "limit": 5})).ok()
    assert [room["name"] for room in found["chunk"]] == ["Beer"]
    assert len((await asking.post("publicRooms", body={})).ok()["chunk"]) == 2


async def test_networks(asking: Asking) -> None:
    alice = await asking.server.user("alice")
    await alice.create_room(visibility="public")
    assert (await asking.get("publicRooms", third_party_instance_id="irc")).ok()["chunk"] == []
    answer = await asking.get("publicRooms", third_party_instance_id="irc", include_all_networks="true")
    answer.error(400, "M_INVALID_PARAM")
    assert len((await asking.get("publicRooms", include_all_networks="true")).ok()["chunk"]) == 1


async def test_what_cannot_be_asked(asking: Asking) -> None:
    (await asking.get("publicRooms", limit="all")).error(400, "M_INVALID_PARAM")
    (await asking.get("publicRooms", limit=-1)).error(400, "M_INVALID_PARAM")
    (await asking.get("publicRooms", since="never")).error(400, "M_INVALID_PARAM")
    (await asking.post("publicRooms", body={"filter": []})).error(400, "M_BAD_JSON")
