"""Client-server API, `presence.yaml`."""

from typing import Any

import pytest
from twisted.internet.defer import Deferred

from tests.api.server import Client, path_of


def status_path(user_id: str) -> str:
    return path_of("presence", user_id, "status")


def presence_in(answer: Any, user_id: str) -> Any:
    (event,) = (each for each in answer["presence"]["events"] if each["sender"] == user_id)
    assert event["type"] == "m.presence"
    return event["content"]


async def test_presence_is_set_seen_and_told(alice: Client, bob: Client) -> None:
    room = await alice.create_room(preset="public_chat")
    await bob.join(room)
    assert (await bob.get(status_path(alice.user_id))).ok()["presence"] == "offline"
    since = (await bob.sync())["next_batch"]
    there = {"presence": "unavailable", "status_msg": "I am thère."}
    waiting = Deferred.fromCoroutine(bob.sync(since, timeout=30_000))
    assert (await alice.put(status_path(alice.user_id), there)).ok() == {}
    answer = await waiting
    told = presence_in(answer, alice.user_id)
    assert told.pop("displayname") == "alice"
    for seen in (
        told,
        (await bob.get(status_path(alice.user_id))).ok(),
        (await alice.get(status_path(alice.user_id))).ok(),
    ):
        assert 0 <= seen.pop("last_active_ago") < 60_000
        assert seen == there
    (await alice.put(status_path(alice.user_id), {"presence": "online"})).ok()
    told = presence_in(await bob.sync(answer["next_batch"]), alice.user_id)
    assert (told["presence"], told["currently_active"], told.get("status_msg")) == ("online", True, None)
    # As some clients say it, against the letter of the specification.
    gone = {"presence": "offline", "status_msg": None}
    (await alice.request("PUT", status_path(alice.user_id), gone, check=False)).ok()
    assert (await bob.get(status_path(alice.user_id))).ok()["presence"] == "offline"


async def test_who_syncs_is_there_unless_asked_not_to_tell(alice: Client, bob: Client) -> None:
    room = await alice.create_room(preset="public_chat")
    await bob.join(room)
    seen = []
    for state in ("offline", "unavailable", "online"):
        await alice.sync(set_presence=state)
        seen.append((await bob.get(status_path(alice.user_id))).ok()["presence"])
    assert seen == ["offline", "unavailable", "online"]


async def test_only_ones_own_is_set(alice: Client, bob: Client, guest: Client) -> None:
    path = status_path(alice.user_id)
    (await bob.put(path, {"presence": "online"})).error(403, "M_FORBIDDEN")
    (await guest.put(status_path(guest.user_id), {"presence": "online"})).error(
        403, "M_GUEST_ACCESS_FORBIDDEN"
    )
    assert (await alice.get(path)).ok()["presence"] == "offline"


async def test_strangers_are_not_shown(alice: Client, bob: Client) -> None:
    (await bob.put(status_path(bob.user_id), {"presence": "online"})).ok()
    told = [
        (await alice.get(status_path(stranger))).error(403, "M_FORBIDDEN")
        for stranger in (bob.user_id, "@nobody:test.example", "@somebody:elsewhere.example")
    ]
    assert all(each == told[0] for each in told)
    (await alice.get(status_path("alice"))).error(400, "M_INVALID_PARAM")


@pytest.mark.parametrize(
    ("body", "errcode"),
    [
        ({}, "M_BAD_JSON"),
        ({"presence": "asleep"}, "M_BAD_JSON"),
        ({"presence": "online", "status_msg": 5}, "M_BAD_JSON"),
        ({"presence": "online", "status_msg": "x" * 1001}, "M_INVALID_PARAM"),
        (b"", "M_BAD_JSON"),
        (b"online", "M_NOT_JSON"),
    ],
)
async def test_what_is_malformed(alice: Client, body: object, errcode: str) -> None:
    (await alice.put(status_path(alice.user_id), body)).error(400, errcode)
    assert (await alice.get(status_path(alice.user_id))).ok()["presence"] == "offline"
