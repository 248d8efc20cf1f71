"""Client-server API, `filter.yaml`."""

from tests.api.server import Client, path_of


async def test_a_filter_is_kept_and_used(alice: Client) -> None:
    path = path_of("user", alice.user_id, "filter")
    uploaded = {"room": {"timeline": {"limit": 1, "types": ["m.room.message"]}}, "event_format": "client"}
    filter_id = (await alice.post(path, uploaded)).ok()["filter_id"]
    assert not filter_id.startswith("{")
    assert (await alice.get(f"{path}/{filter_id}")).ok() == uploaded
    # The same filter again, as clients upload it at every start, is the same filter.
    assert (await alice.post(path, uploaded)).ok() == {"filter_id": filter_id}
    room = await alice.create_room()
    await alice.send(room, "one")
    await alice.send(room, "two")
    await alice.set_state(room, "m.room.topic", {"topic": "three"})
    timeline = (await alice.sync(filter=filter_id))["rooms"]["join"][room]["timeline"]
    assert [event["content"]["body"] for event in timeline["events"]] == ["two"]
    assert timeline["limited"]


async def test_filters_of_all_shapes(alice: Client) -> None:
    path = path_of("user", alice.user_id, "filter")
    for uploaded in (
        {},
        {"room": {"include_leave": True, "rooms": [], "state": {"lazy_load_members": True}}},
        {"event_fields": ["type", r"content.m\.relates_to"], "presence": {"not_types": ["*"]}},
        {"account_data": {"types": ["org.example.ünï*"], "limit": 5}},
        {"org.example.unknown": {"kept": True}},
    ):
        filter_id = (await alice.post(path, uploaded)).ok()["filter_id"]
        assert (await alice.get(f"{path}/{filter_id}")).ok() == uploaded
        await alice.sync(filter=filter_id)


async def test_what_is_refused(alice: Client, bob: Client, guest: Client) -> None:
    path = path_of("user", alice.user_id, "filter")
    refused = await alice.post(path, {"room": {"timeline": {"limit": "ten"}}})
    assert "$.room.timeline.limit" in refused.error(400, "M_BAD_JSON")["error"]
    (await alice.post(path, [])).error(400, "M_BAD_JSON")
    (await alice.post(path, b"{")).error(400, "M_NOT_JSON")
    (await alice.get(f"{path}/unknown")).error(404, "M_NOT_FOUND")
    filter_id = (await alice.post(path, {"presence": {"types": []}})).ok()["filter_id"]
    for answer in (await bob.post(path, {}), await bob.get(f"{path}/{filter_id}")):
        answer.error(403, "M_FORBIDDEN")
    # Nor can it be had under one's own name.
    (await bob.get(path_of("user", bob.user_id, "filter", filter_id))).error(404, "M_NOT_FOUND")
    for answer in (await guest.post(path, {}), await guest.get(f"{path}/{filter_id}")):
        answer.error(403, "M_GUEST_ACCESS_FORBIDDEN")
