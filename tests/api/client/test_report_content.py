"""Client-server API, `report_content.yaml`."""

from pathlib import Path

import msgspec
import pytest

from homeserver.config.sections import Bucket, RateLimits
from homeserver.storage.reports import Report
from tests.api.server import SERVER_NAME, Answer, Client, TestServer, path_of, room_path, running_server
from tests.openapi import Specification


async def report_event(client: Client, room: str, event: str, **body: object) -> Answer:
    return await client.post(room_path(room, "report", event), body)


async def report_room(client: Client, room: str, **body: object) -> Answer:
    return await client.post(room_path(room, "report"), body)


async def report_user(client: Client, user_id: str, **body: object) -> Answer:
    return await client.post(path_of("users", user_id, "report"), body)


async def reported(server: TestServer) -> list[Report]:
    """All reports, the oldest first, without their times."""
    found = await server.server.services.reports.newest(most=100)
    assert all(abs(report.received_ts - server.clock.now_ts()) < 60_000 for report in found)
    return [msgspec.structs.replace(report, received_ts=0) for report in reversed(found)]


def as_dict(report: Report) -> dict[str, object]:
    return {name: value for name, value in msgspec.structs.asdict(report).items() if value not in (None, 0)}


async def test_what_is_reported_is_kept(server: TestServer, alice: Client, bob: Client) -> None:
    room = await alice.create_room(preset="public_chat")
    await bob.join(room)
    event = await alice.send(room, "rude")
    assert (await report_event(bob, room, event, reason="rude", score=-100)).ok() == {}
    assert (await report_event(bob, room, event)).ok() == {}
    assert (await report_room(bob, room, reason="loud")).ok() == {}
    assert (await report_user(bob, alice.user_id, reason="")).ok() == {}
    by: dict[str, object] = {"reporter": bob.user_id}
    assert [as_dict(report) for report in await reported(server)] == [
        {**by, "room_id": room, "event_id": event, "user_id": alice.user_id, "reason": "rude"},
        {**by, "room_id": room, "event_id": event, "user_id": alice.user_id, "reason": ""},
        {**by, "room_id": room, "reason": "loud"},
        {**by, "user_id": alice.user_id, "reason": ""},
    ]


async def test_events_are_reported_by_those_in_their_room(
    server: TestServer, alice: Client, bob: Client
) -> None:
    """Since 1.8: "The caller must be joined to the room"."""
    room, other = await alice.create_room(preset="public_chat"), await bob.create_room()
    event = await alice.send(room, "hello")
    for where in (room, other, "!nowhere"):
        (await report_event(bob, where, event, reason="x")).error(404, "M_NOT_FOUND")
    await alice.set_state(room, "m.room.history_visibility", {"history_visibility": "joined"})
    unseen = await alice.send(room, "before bob")
    await bob.join(room)
    (await report_event(bob, room, unseen, reason="x")).error(404, "M_NOT_FOUND")
    (await report_event(bob, room, "$nothing", reason="x")).error(404, "M_NOT_FOUND")
    (await report_event(bob, room, event, reason="x")).ok()
    await bob.leave(room)
    (await report_event(bob, room, event, reason="x")).error(404, "M_NOT_FOUND")
    assert len(await reported(server)) == 1


async def test_rooms_and_users_are_reported_by_everybody(
    server: TestServer, alice: Client, bob: Client, guest: Client
) -> None:
    """Since 1.13: "servers MUST NOT restrict room reports based on whether or not the reporting user is joined"."""
    room = await alice.create_room()
    (await report_room(bob, room, reason="x")).ok()
    (await report_room(bob, "!nowhere", reason="x")).error(404, "M_NOT_FOUND")
    (await report_user(bob, f"@nobody:{SERVER_NAME}", reason="x")).error(404, "M_NOT_FOUND")
    (await report_user(bob, "@nobody:example.org", reason="x")).error(404, "M_NOT_FOUND")
    (await report_user(bob, "nobody", reason="x")).error(400, "M_INVALID_PARAM")
    (await report_room(guest, room, reason="x")).error(403, "M_GUEST_ACCESS_FORBIDDEN")
    assert [report.room_id for report in await reported(server)] == [room]


async def test_reasons(server: TestServer, alice: Client) -> None:
    room = await alice.create_room()
    event = await alice.send(room, "x")
    (await report_room(alice, room)).error(400, "M_BAD_JSON")
    (await report_user(alice, alice.user_id)).error(400, "M_BAD_JSON")
    for reason in (1, ["x"]):
        (await report_event(alice, room, event, reason=reason)).error(400, "M_BAD_JSON")
        (await report_room(alice, room, reason=reason)).error(400, "M_BAD_JSON")
    (await report_room(alice, room, reason="\u00e9" * 5_001)).error(413, "M_TOO_LARGE")
    assert await reported(server) == []
    (await report_room(alice, room, reason="\u00e9" * 5_000)).ok()


async def test_reports_have_a_limit(
    database_url: str, tmp_path: Path, specification: Specification | None
) -> None:
    limits = RateLimits(reports=Bucket(per_second=0.001, burst=2))
    async with running_server(database_url, tmp_path, specification, rate_limits=limits) as server:
        alice = await server.user("alice")
        for _ in range(2):
            (await report_room(alice, "!nowhere", reason="x")).error(404, "M_NOT_FOUND")
        (await report_user(alice, alice.user_id, reason="x")).error(429, "M_LIMIT_EXCEEDED")


@pytest.mark.parametrize("kind", ["room", "user"])
async def test_what_is_gone_stays_reported(server: TestServer, alice: Client, bob: Client, kind: str) -> None:
    room = await alice.create_room(preset="public_chat")
    await bob.join(room)
    if kind == "room":
        await alice.leave(room)
        (await report_room(bob, room, reason="x")).ok()
    else:
        (await report_user(bob, alice.user_id, reason="x")).ok()
        auth = {"type": "m.login.password", "user": alice.user_id, "password": "a password of the tests"}
        first = await alice.post(path_of("account", "deactivate"))
        (
            await alice.post(
                path_of("account", "deactivate"), {"auth": {**auth, "session": first.json["session"]}}
            )
        ).ok()
    assert len(await reported(server)) == 1
