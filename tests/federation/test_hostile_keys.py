"""A foreign server that lies about keys and devices, floods, or says nothing when it is asked for them."""

import time
from collections.abc import Mapping
from typing import Any

import attrs
import pytest
from twisted.internet.defer import Deferred

from homeserver.services.remote_keys import LEAST_PATIENCE_MS
from tests.api.server import Answer
from tests.api.tables import count
from tests.federation.clocks import MovableClock
from tests.federation.devices import keeps, kept, kept_master, queried, row, told
from tests.federation.harness import Servers, until
from tests.federation.peer import Endless, Heard, Peer, Reply, Silence, federation
from tests.federation.scene import Scene, set_scene
from tests.key_holders import CLAIM, QUERY, SIGNED, Device, Identity, Keys, upload

DEVICES = federation("v1", "user", "devices") + "/{user_id}"
QUERIED = federation("v1", "user", "keys", "query")
CLAIMED = federation("v1", "user", "keys", "claim")
PHONE = "PHONE"


@attrs.frozen
class Keyholders:
    """Mallory shares a room with Alice, the stranger does not; Alice has keys. The clock is the server's."""

    scene: Scene
    clock: MovableClock

    @property
    def mallory(self) -> str:
        return self.scene.mallory

    @property
    def stranger(self) -> str:
        return f"@stranger:{self.scene.peer.server_name}"

    async def query(self, *user_ids: str, patience_ms: int = 10_000) -> Any:
        """What Alice's client is told of these users' keys."""
        body = {"device_keys": {user_id: [] for user_id in user_ids}, "timeout": patience_ms}
        return (await self.scene.alice.post(QUERY, body)).ok()

    async def claim(self, devices: Mapping[str, Mapping[str, str]], patience_ms: int = 10_000) -> Any:
        body = {"one_time_keys": devices, "timeout": patience_ms}
        return (await self.scene.alice.post(CLAIM, body)).ok()

    def says(self, user_id: str, *devices: Device, **changes: object) -> None:
        """What the foreign server answers about that user's devices from now on."""
        listed = [{"device_id": each.device_id, "keys": each.keys()} for each in devices]
        body = {"user_id": user_id, "stream_id": 1, "devices": listed, **changes}
        self.scene.peer.answer("GET", federation("v1", "user", "devices", user_id), Reply(body))

    def update(self, **changes: object) -> dict[str, Any]:
        """An m.device_list_update about Mallory's telephone."""
        content = {
            "user_id": self.mallory,
            "device_id": PHONE,
            "stream_id": 2,
            "prev_id": [1],
            "keys": Device(self.mallory, PHONE).keys(),
            **changes,
        }
        return {"edu_type": "m.device_list_update", "content": content}

    async def send(self, *edus: object) -> Answer:
        answer = await self.scene.send(edus=edus)
        answer.ok()
        return answer


@pytest.fixture
async def holders(servers: Servers, peer: Peer) -> Keyholders:
    clock = MovableClock()
    scene = await set_scene(servers, peer, clock=clock)
    await upload(scene.alice, "AAAA")
    return Keyholders(scene, clock)


BAD_ANSWERS: dict[str, Any] = {
    "an error": Reply({"errcode": "M_UNKNOWN", "error": "no"}, 500),
    "forbidden": Reply({"errcode": "M_FORBIDDEN", "error": "no"}, 403),
    "no JSON": Reply(b"{"),
    "no object": Reply(b"[]"),
    "a redirect": Reply({}, 302, {"Location": "https://127.0.0.1:1/"}),
    "a broken bomb": Reply(b"\x1f\x8b" + bytes(1000), 200, {"Content-Encoding": "gzip"}),
    "duplicate keys": Reply(b'{"device_keys": {}, "device_keys": {}}'),
    "too deep": Reply(b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}"),
    "without end": lambda _: Endless(b" " * 65_536),
    "silence": Silence(),
}
"""What is no answer at all: the client is told that the server could not be asked."""

ABOUT_USERS = {"forbidden", "without end"}
"""Where the list of one user was asked for, others of that server may well be had."""


@pytest.mark.parametrize("which", BAD_ANSWERS)
async def test_a_server_that_cannot_be_asked_is_a_failure(holders: Keyholders, which: str) -> None:
    """Beside it all others have their keys, and nobody waits longer than the client said."""
    said = BAD_ANSWERS[which]
    # Where nothing will come, the client waits as short as it may.
    patience_ms = LEAST_PATIENCE_MS if isinstance(said, Silence) else 2_000
    for method, template in (("GET", DEVICES), ("POST", QUERIED), ("POST", CLAIMED)):
        holders.scene.peer.answer(method, template, said)
    peer_name, alice = holders.scene.peer.server_name, holders.scene.alice
    for user_id in (holders.mallory, holders.stranger):
        started = time.monotonic()
        answer = await holders.query(user_id, alice.user_id, patience_ms=patience_ms)
        assert time.monotonic() - started < 15
        is_left_out = user_id == holders.mallory and which in ABOUT_USERS
        assert {*answer["failures"]} == (set() if is_left_out else {peer_name})
        assert {*answer["device_keys"]} == {alice.user_id}
    wanted = {holders.mallory: {PHONE: SIGNED}, alice.user_id: {alice.device_id: SIGNED}}
    answer = await holders.claim(wanted, patience_ms=patience_ms)
    assert {*answer["failures"]} == {peer_name}
    assert {*answer["one_time_keys"]} == {alice.user_id}


NOT_ABOUT_USERS: dict[str, Reply] = {
    "of a proxy": Reply(b"404 page not found", 404, {"Content-Type": "text/plain"}),
    "of an endpoint": Reply({"errcode": "M_UNRECOGNIZED", "error": "no such endpoint"}, 404),
}


@pytest.mark.parametrize("which", NOT_ABOUT_USERS)
async def test_a_404_that_says_nothing_of_the_user_is_a_failure(holders: Keyholders, which: str) -> None:
    """The user's devices are not forgotten, and asked for until they come."""
    server, mallory = holders.scene.server, holders.mallory
    holders.says(mallory, Device(mallory, PHONE))
    assert await queried(server, mallory) == {PHONE}
    holders.scene.peer.answer("GET", DEVICES, NOT_ABOUT_USERS[which])
    await holders.send(holders.update(stream_id=9, prev_id=[8]))
    answer = await holders.query(mallory)
    assert ({*answer["failures"]}, answer["device_keys"]) == ({holders.scene.peer.server_name}, {})
    before = await told(server, mallory)
    holders.says(mallory, Device(mallory, PHONE), Device(mallory, "TABLET"), stream_id=9)
    holders.clock.advance(hours=1)
    await keeps(server, mallory, PHONE, "TABLET")
    assert await told(server, mallory) > before


async def test_a_user_who_is_not_there_is_no_failure(holders: Keyholders) -> None:
    """`POST /keys/query`: "no failure is recorded. Instead, the corresponding user or device is missing"."""
    server, mallory = holders.scene.server, holders.mallory
    holders.says(mallory, Device(mallory, PHONE))
    assert await queried(server, mallory) == {PHONE}
    gone = Reply({"errcode": "M_NOT_FOUND", "error": "no such user"}, 404)
    holders.scene.peer.answer("GET", DEVICES, gone)
    await holders.send(holders.update(stream_id=9, prev_id=[8]))
    answer = await holders.query(mallory)
    assert (answer["failures"], answer["device_keys"]) == ({}, {})
    assert await row(server, mallory) is None


WRONG_SHAPES: dict[str, Any] = {
    "nothing": {},
    "numbers": {"device_keys": 5, "master_keys": 5, "self_signing_keys": 5, "one_time_keys": 5},
    "arrays": {"device_keys": [], "master_keys": [], "self_signing_keys": [], "one_time_keys": []},
    "null": {"device_keys": None, "one_time_keys": None, "devices": None, "failures": None},
    "another user": {"user_id": "@eve:elsewhere.example", "devices": [], "stream_id": 1},
}


@pytest.mark.parametrize("which", WRONG_SHAPES)
async def test_answers_of_wrong_shapes_give_no_keys(holders: Keyholders, which: str) -> None:
    for method, template in (("GET", DEVICES), ("POST", QUERIED), ("POST", CLAIMED)):
        holders.scene.peer.answer(method, template, Reply(WRONG_SHAPES[which]))
    for user_id in (holders.mallory, holders.stranger):
        answer = await holders.query(user_id)
        assert not answer["device_keys"].get(user_id)
        assert not answer["master_keys"]
        assert answer["failures"] == {}
    assert (await holders.claim({holders.mallory: {PHONE: SIGNED}}))["one_time_keys"] == {}


BAD_LISTS: dict[str, Any] = {
    "too many devices": {"devices": [{"device_id": f"D{number}", "keys": {}} for number in range(2_001)]},
    "no devices": {"devices": None},
    "no stream ID": {"stream_id": "1"},
    "forbidden": Reply({"errcode": "M_FORBIDDEN", "error": "no"}, 403),
    "too large": lambda _: Endless(b" " * 65_536),
}


@pytest.mark.parametrize("which", BAD_LISTS)
async def test_one_bad_list_harms_no_other_user_of_its_server(holders: Keyholders, which: str) -> None:
    """The user is left out, and the server is no failure: it could be reached."""
    mallory, stranger, peer = holders.mallory, holders.stranger, holders.scene.peer
    friend = f"@friend:{peer.server_name}"
    room = holders.scene.room
    joining = room.make("m.room.member", {"membership": "join"}, friend, sender=friend)
    (await holders.scene.send([joining])).ok()
    room.accept(joining)
    said = BAD_LISTS[which]
    if isinstance(said, dict):
        holders.says(mallory, **said)
    else:
        peer.answer("GET", federation("v1", "user", "devices", mallory), said)
    holders.says(friend, Device(friend, PHONE))
    keys = {stranger: {PHONE: Device(stranger, PHONE).keys()}}
    peer.answer("POST", QUERIED, Reply({"device_keys": keys}))
    answer = await holders.query(mallory, friend, stranger)
    assert answer["failures"] == {}
    assert answer["device_keys"] == {friend: {PHONE: Device(friend, PHONE).keys()}, **keys}
    known = await row(holders.scene.server, mallory)
    assert known is not None
    assert known.failures == 1, "it is asked for again"
    assert await kept(holders.scene.server, friend) == {PHONE}


async def test_a_server_that_gives_no_list_is_asked_for_its_other_users(holders: Keyholders) -> None:
    stranger, peer = holders.stranger, holders.scene.peer
    peer.answer("GET", DEVICES, Reply({"errcode": "M_UNKNOWN", "error": "no"}, 500))
    keys = {stranger: {PHONE: Device(stranger, PHONE).keys()}}
    peer.answer("POST", QUERIED, Reply({"device_keys": keys}))
    answer = await holders.query(holders.mallory, stranger)
    assert ({*answer["failures"]}, answer["device_keys"]) == ({peer.server_name}, keys)


async def test_a_server_is_believed_about_its_own_users_alone(holders: Keyholders) -> None:
    """Not about ours, not about those of others, and not about devices that nobody asked for."""
    alice, stranger = holders.scene.alice, holders.stranger
    elsewhere = "@eve:elsewhere.example"
    fake = {user_id: Device(user_id, "FAKE") for user_id in (alice.user_id, elsewhere, stranger)}
    holders.scene.peer.answer(
        "POST",
        QUERIED,
        Reply(
            {
                "device_keys": {user_id: {"FAKE": device.keys()} for user_id, device in fake.items()},
                "master_keys": {user_id: Identity(user_id).key("master") for user_id in fake},
            }
        ),
    )
    holders.scene.peer.answer(
        "POST",
        CLAIMED,
        Reply(
            {
                "one_time_keys": {
                    user_id: {"FAKE": device.one_time_keys("AAAA")} for user_id, device in fake.items()
                }
            }
        ),
    )
    answer = await holders.query(stranger, alice.user_id, elsewhere, patience_ms=2000)
    assert {*answer["device_keys"][alice.user_id]} == {alice.device_id}
    assert {*answer["device_keys"]} == {alice.user_id, stranger}
    assert {*answer["master_keys"]} == {stranger}
    body = {"device_keys": {stranger: ["OTHER"]}}
    answer = (await alice.post(QUERY, body)).ok()
    assert answer["device_keys"] == {stranger: {}}
    wanted = {stranger: {"OTHER": SIGNED}, alice.user_id: {"FAKE": SIGNED}}
    assert (await holders.claim(wanted))["one_time_keys"] == {}
    wanted = {stranger: {"FAKE": SIGNED}}
    assert {*(await holders.claim(wanted))["one_time_keys"]} == {stranger}


async def test_keys_that_are_not_signed_by_their_device_are_shown_to_nobody(holders: Keyholders) -> None:
    good, bad = Device(holders.mallory, "GOOD"), Device(holders.mallory, "BAD")
    listed = [
        {"device_id": "GOOD", "keys": good.keys()},
        {"device_id": "BAD", "keys": {**bad.keys(), "signatures": {}}},
        {"device_id": "STOLEN", "keys": Device(holders.scene.alice.user_id, "STOLEN").keys()},
    ]
    identity = Identity(holders.mallory)
    holders.says(
        holders.mallory,
        devices=listed,
        master_key=identity.key("master"),
        self_signing_key=Identity(holders.mallory, "second").key("self_signing"),
    )
    answer = await holders.query(holders.mallory)
    assert answer["device_keys"] == {holders.mallory: {"GOOD": good.keys()}}
    assert answer["master_keys"] == {holders.mallory: identity.key("master")}
    assert answer["self_signing_keys"] == {}
    assert await kept(holders.scene.server, holders.mallory) == {"GOOD"}


def bad_updates(holders: Keyholders) -> list[dict[str, Any]]:
    alice, mallory = holders.scene.alice.user_id, holders.mallory
    second = Identity(mallory, "second")

    def new_keys(**content: object) -> dict[str, Any]:
        return {"edu_type": "m.signing_key_update", "content": {"user_id": mallory, **content}}

    return [
        # Not the server's to say.
        holders.update(user_id=alice, device_id="FAKE", keys=Device(alice, "FAKE").keys()),
        holders.update(user_id="@eve:elsewhere.example", keys=None),
        holders.update(user_id=5),
        holders.update(user_id="mallory"),
        new_keys(user_id=alice, master_key=Identity(alice).key("master")),
        # Not well formed, or not signed.
        holders.update(device_id=None),
        holders.update(device_id="x" * 256),
        holders.update(device_id="\0"),
        holders.update(stream_id="2"),
        holders.update(stream_id=2**60),
        holders.update(stream_id=None),
        holders.update(prev_id="1"),
        holders.update(prev_id=[1] * 1000),
        holders.update(keys=5),
        holders.update(keys={**Device(mallory, PHONE).keys(), "signatures": {}}),
        holders.update(keys=Device(mallory, "OTHER").keys()),
        # A gap, the past, and without any past.
        holders.update(stream_id=1000, prev_id=[999]),
        holders.update(stream_id=-5, prev_id=[]),
        holders.update(stream_id=2, prev_id=[]),
        new_keys(),
        new_keys(master_key=5),
        new_keys(master_key=second.key("master")),
        new_keys(self_signing_key=second.key("self_signing")),
        new_keys(master_key=second.key("self_signing"), self_signing_key=second.key("master")),
        {"edu_type": "m.device_list_update", "content": None},
        {"edu_type": "m.device_list_update"},
        {"edu_type": "m.signing_key_update", "content": []},
    ]


async def test_no_update_makes_anything_known_that_is_not_so(holders: Keyholders) -> None:
    """Whatever is odd leads to the whole list being asked for again, or to nothing."""
    server, mallory, alice = holders.scene.server, holders.mallory, holders.scene.alice
    identity = Identity(mallory)
    keys = {"master_key": identity.key("master"), "self_signing_key": identity.key("self_signing")}
    holders.says(mallory, Device(mallory, PHONE), **keys)
    assert await queried(server, mallory) == {PHONE}

    async def is_settled() -> bool:
        # Nobody waits here for the next second, in which the server would do that by itself.
        await server.running.server.services.following.lists.work()
        return await kept(server, mallory) == {PHONE}

    for edu in bad_updates(holders):
        await holders.send(edu)
        await until(is_settled, what=f"that nothing comes of {edu}")
        assert await kept_master(server, mallory) is not None
        shown = await holders.query(mallory, alice.user_id)
        assert {*shown["device_keys"][mallory]} == {PHONE}
        assert shown["master_keys"] == {mallory: identity.key("master")}
        assert {*shown["device_keys"][alice.user_id]} == {alice.device_id}
    # And what is good is taken, without a question.
    asked = len(holders.scene.peer.heard_at("/user/devices/"))
    known = await row(server, mallory)
    assert known is not None
    assert known.stream_id is not None
    tablet = Device(mallory, "TABLET")
    number = known.stream_id + 1
    await holders.send(
        holders.update(device_id="TABLET", keys=tablet.keys(), stream_id=number, prev_id=[known.stream_id])
    )
    assert await kept(server, mallory) == {PHONE, "TABLET"}
    assert len(holders.scene.peer.heard_at("/user/devices/")) == asked


async def test_an_update_that_names_no_other_is_never_a_repetition(holders: Keyholders) -> None:
    """Conduit, and what came of it, always say the same, of a device that there is not: it means "ask me"."""
    server, mallory = holders.scene.server, holders.mallory
    update = holders.update(device_id="placeholder", stream_id=1, prev_id=[], keys=None)
    devices = [Device(mallory, PHONE)]
    holders.says(mallory, *devices, stream_id=1)
    assert await queried(server, mallory) == {PHONE}
    for name in ("TABLET", "LAPTOP"):
        devices.append(Device(mallory, name))
        holders.says(mallory, *devices, stream_id=1)
        before = await told(server, mallory)
        await holders.send(update)
        assert await told(server, mallory) > before
        assert await queried(server, mallory) == {each.device_id for each in devices}


async def test_users_with_whom_nobody_shares_a_room_leave_no_trace(holders: Keyholders) -> None:
    """A server may have as many users as it says."""
    server, peer_name = holders.scene.server, holders.scene.peer.server_name
    tables = ("remote_device_lists", "device_lists")
    before = [await server.running.server.database.read(count, table) for table in tables]
    for first in range(0, 300, 100):
        users = [f"@invented{number}:{peer_name}" for number in range(first, first + 100)]
        await holders.send(
            *(
                holders.update(user_id=user_id, keys=Device(user_id, PHONE).keys(), stream_id=1, prev_id=[])
                for user_id in users[:50]
            ),
            *(
                {
                    "edu_type": "m.signing_key_update",
                    "content": {"user_id": user_id, "master_key": Identity(user_id).key("master")},
                }
                for user_id in users[50:]
            ),
        )
    assert [await server.running.server.database.read(count, table) for table in tables] == before
    assert not holders.scene.peer.heard_at("invented")


async def test_a_server_that_contradicts_itself_is_not_asked_without_end(holders: Keyholders) -> None:
    """Each update is doubtful, and each list out of date: a server so busy is asked at its own pace."""
    server, mallory = holders.scene.server, holders.mallory
    holders.says(mallory, Device(mallory, PHONE))
    assert await queried(server, mallory) == {PHONE}
    for number in range(1, 60):
        await holders.send(holders.update(stream_id=number * 1000, prev_id=[number * 1000 - 1]))
    await holders.scene.deliver("after")

    async def is_settled() -> bool:
        return await kept(server, mallory) == {PHONE}

    await until(is_settled, what="that the list is known again")
    # One question at a time, and no more of them than updates.
    assert len(holders.scene.peer.heard_at("/user/devices/")) <= 61


async def test_a_list_that_is_never_given_does_not_hold_up_messages(holders: Keyholders) -> None:
    server, mallory = holders.scene.server, holders.mallory
    holders.says(mallory, Device(mallory, PHONE))
    assert await queried(server, mallory) == {PHONE}
    before = await told(server, mallory)
    said: list[Heard] = []

    def silence(heard: Heard) -> Silence:
        said.append(heard)
        return Silence()

    holders.scene.peer.answer("GET", DEVICES, silence)
    await holders.send(holders.update(stream_id=9, prev_id=[8]))
    # Alice's client knows at once that it must ask, and is told that nobody answers.
    assert await told(server, mallory) > before
    await holders.scene.deliver("after")

    async def is_asked() -> bool:
        return bool(said)

    await until(is_asked, what="a question")
    answer = await holders.query(mallory, patience_ms=1000)
    assert ({*answer["failures"]}, answer["device_keys"]) == ({holders.scene.peer.server_name}, {})


async def test_who_has_heard_of_a_change_is_not_given_what_was_asked_for_before(holders: Keyholders) -> None:
    """Nobody would be told again: the first list of a user that is kept is no change."""
    server, mallory, peer = holders.scene.server, holders.mallory, holders.scene.peer
    phone, tablet = Device(mallory, PHONE), Device(mallory, "TABLET")
    asked: list[Heard] = []
    gate: Deferred[None] = Deferred()

    async def say(heard: Heard) -> Reply:
        asked.append(heard)
        devices = [phone, tablet][: len(asked)]
        if devices == [phone]:
            await gate
        listed = [{"device_id": each.device_id, "keys": each.keys()} for each in devices]
        return Reply({"user_id": mallory, "stream_id": len(devices), "devices": listed})

    async def is_asked() -> bool:
        return bool(asked)

    peer.answer("GET", DEVICES, say)
    before = Deferred.fromCoroutine(holders.query(mallory))
    await until(is_asked, what="a question")
    await holders.send(holders.update(device_id="TABLET", keys=tablet.keys()))
    assert {*(await holders.query(mallory))["device_keys"][mallory]} == {PHONE, "TABLET"}
    gate.callback(None)
    assert {*(await before)["device_keys"][mallory]} == {PHONE}
    # What comes late does not take the place of what came after it.
    assert await kept(server, mallory) == {PHONE, "TABLET"}


async def test_questions_of_strangers_about_strangers(holders: Keyholders) -> None:
    """A foreign server learns nothing about users of third servers, nor who exists here."""
    server_name, alice = holders.scene.server.server_name, holders.scene.alice
    peer = holders.scene.peer
    asked: Keys = {
        alice.user_id: [],
        "@eve:elsewhere.example": [],
        f"@nobody:{server_name}": [],
        "no user": [],
    }
    answer = await peer.request("POST", server_name, QUERIED, {"device_keys": asked})
    assert {*answer.ok()["device_keys"]} == {alice.user_id}
    claimed = {alice.user_id: {alice.device_id: SIGNED}, "@eve:elsewhere.example": {"X": SIGNED}}
    first = (await peer.request("POST", server_name, CLAIMED, {"one_time_keys": claimed})).ok()
    assert {*first["one_time_keys"]} == {alice.user_id}
    again = (await peer.request("POST", server_name, CLAIMED, {"one_time_keys": claimed})).ok()
    assert again["one_time_keys"] == {}
    for user_id in ("@eve:elsewhere.example", f"@nobody:{server_name}"):
        path = federation("v1", "user", "devices", user_id)
        (await peer.request("GET", server_name, path)).error(404, "M_NOT_FOUND")


BAD_QUESTIONS: list[tuple[str, Keys]] = [
    (QUERIED, {}),
    (QUERIED, {"device_keys": []}),
    (QUERIED, {"device_keys": {"@a:b": "X"}}),
    (QUERIED, {"device_keys": {"@a:b": [5]}}),
    (CLAIMED, {}),
    (CLAIMED, {"one_time_keys": {"@a:b": []}}),
    (CLAIMED, {"one_time_keys": {"@a:b": {"X": 5}}}),
]


async def test_malformed_questions_are_refused(holders: Keyholders) -> None:
    server_name = holders.scene.server.server_name
    for path, body in BAD_QUESTIONS:
        answer = await holders.scene.peer.request("POST", server_name, path, body)
        assert answer.status == 400, (path, body, answer)
        assert answer.json["errcode"] in ("M_BAD_JSON", "M_INVALID_PARAM", "M_MISSING_PARAM")
