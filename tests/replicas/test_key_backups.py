"""Two devices at two processes fill one backup at the same time."""

from typing import Any

from tests.api.server import Answer, path_of
from tests.replicas.conftest import Person
from tests.replicas.test_replicas import together

ROOM = "!room:test.example"
VERSION = path_of("room_keys", "version")
KEYS = path_of("room_keys", "keys", ROOM)
ROUNDS = 15


def key(index: int) -> dict[str, Any]:
    data = {"ephemeral": "e", "ciphertext": f"index {index}", "mac": "m"}
    return {
        "first_message_index": index,
        "forwarded_count": 0,
        "is_verified": False,
        "session_data": data,
    }


async def create(alice: Person) -> str:
    body = {
        "algorithm": "m.megolm_backup.v1.curve25519-aes-sha2",
        "auth_data": {"public_key": "abc"},
    }
    version: str = (await alice.a.post(VERSION, body)).ok()["version"]
    return version


async def test_the_better_keys_are_kept_and_counted(alice: Person) -> None:
    version = await create(alice)
    uploads = []
    for number in range(ROUNDS):
        for client, index, own in ((alice.a, number, "a"), (alice.b, ROUNDS - number, "b")):
            sessions = {f"shared{session}": key(index) for session in range(5)}
            sessions[f"{own}{number}"] = key(7)
            uploads.append(client.put(KEYS, {"sessions": sessions}, version=version))
    answers = [answer.ok() for answer in await together(*uploads)]
    # Every upload has added something, so each has its own place in one order.
    assert sorted(answer["count"] for answer in answers) == list(range(6, 6 + len(uploads)))
    assert len({answer["etag"] for answer in answers}) == len(uploads)
    last = max(answers, key=lambda answer: int(answer["count"]))
    for client in (alice.a, alice.b):
        now = (await client.get(VERSION)).ok()
        assert (now["count"], now["etag"]) == (last["count"], last["etag"])
        kept = (await client.get(KEYS, version=version)).ok()["sessions"]
        assert len(kept) == now["count"]
        assert all(kept[f"shared{session}"] == key(0) for session in range(5))


async def test_keys_that_come_as_they_are_deleted(alice: Person) -> None:
    """The count is that of the keys, whatever comes first."""
    version = await create(alice)
    work: list[Any] = []
    for number in range(ROUNDS):
        sessions = {f"s{number}": key(1), f"t{number}": key(1)}
        work.append(alice.a.put(KEYS, {"sessions": sessions}, version=version))
        work.append(alice.b.delete(f"{KEYS}/s{number}", version=version))
        if number % 5 == 0:
            work.append(alice.b.delete(path_of("room_keys", "keys"), version=version))
            work.append(alice.a.delete(KEYS, version=version))
    for answer in await together(*work):
        answer.ok()
    kept = (await alice.b.get(KEYS, version=version)).ok()["sessions"]
    assert (await alice.a.get(VERSION)).ok()["count"] == len(kept)


async def test_a_new_backup_takes_no_keys_of_the_old_one(alice: Person) -> None:
    version = await create(alice)

    async def put(number: int) -> Answer:
        client = alice.a if number % 2 else alice.b
        return await client.put(KEYS, {"sessions": {f"s{number}": key(1)}}, version=version)

    async def replace() -> Answer:
        (await alice.a.delete(f"{VERSION}/{version}")).ok()
        body = {"algorithm": "m.megolm_backup.v1.curve25519-aes-sha2", "auth_data": {"public_key": "new"}}
        return await alice.b.post(VERSION, body)

    answers = await together(replace(), *(put(number) for number in range(20)))
    made = answers.pop(0).ok()["version"]
    assert made != version
    for answer in answers:
        if answer.status != 200:
            answer.error(404, "M_NOT_FOUND")
    now = (await alice.a.get(VERSION)).ok()
    assert (now["version"], now["count"]) == (made, 0)
    assert (await alice.b.get(KEYS, version=made)).ok() == {"sessions": {}}
