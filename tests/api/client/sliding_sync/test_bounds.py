"""MSC4186, "Request Body": what is refused."""

from typing import Any

from tests.api.client.sliding_sync.harness import STABLE, UNSTABLE, Sliding, one_list
from tests.api.server import Client, TestServer

LIST: dict[str, Any] = {"timeline_limit": 1, "required_state": {}}
ELEMENTS: list[Any] = [{"type": f"t{number}"} for number in range(501)]


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"lists": {f"l{number}": LIST for number in range(101)}}, "M_INVALID_PARAM"),
    ({"room_subscriptions": {f"!r{number}": LIST for number in range(101)}}, "M_INVALID_PARAM"),
    ({"lists": {"no spaces": LIST}}, "M_INVALID_PARAM"),
    ({"lists": {"": LIST}}, "M_INVALID_PARAM"),
    ({"lists": {"a": {**LIST, "range": [2, 1]}}}, "M_INVALID_PARAM"),
    ({"lists": {"a": {**LIST, "range": [-1, 1]}}}, "M_BAD_JSON"),
    ({"lists": {"a": {**LIST, "range": [1]}}}, "M_BAD_JSON"),
    ({"lists": {"a": {"timeline_limit": 1}}}, "M_BAD_JSON"),
    ({"lists": {"a": {"required_state": {}}}}, "M_BAD_JSON"),
    ({"lists": {"a": {**LIST, "timeline_limit": -1}}}, "M_BAD_JSON"),
    ({"lists": {"a": {**LIST, "required_state": {"include": ELEMENTS}}}}, "M_INVALID_PARAM"),
    ({"lists": {"a": {**LIST, "filters": {"spaces": [f"!{n}" for n in range(101)]}}}}, "M_INVALID_PARAM"),
    ({"set_presence": "busy"}, "M_INVALID_PARAM"),
    ({"conn_id": "x" * 256}, "M_INVALID_PARAM"),
    ({"conn_id": "\0"}, "M_INVALID_PARAM"),
    ({"lists": []}, "M_BAD_JSON"),
]


async def test_the_accepted_form(alice: Client) -> None:
    for body, errcode in WRONG:
        (await alice.post(STABLE, body)).error(400, errcode)


async def test_the_unstable_form(alice: Client) -> None:
    old: dict[str, Any] = {"ranges": [[0, 1]], "timeline_limit": 1, "required_state": []}
    for wrong, errcode in (
        ({**old, "ranges": [[2, 1]]}, "M_INVALID_PARAM"),
        ({**old, "ranges": [[0, 1]] * 101}, "M_INVALID_PARAM"),
        ({**old, "ranges": [[0]]}, "M_BAD_JSON"),
        ({**old, "required_state": [["m.room.name"]]}, "M_BAD_JSON"),
    ):
        (await alice.post(UNSTABLE, {"lists": {"a": wrong}})).error(400, errcode)
    (await alice.post(UNSTABLE, {"lists": {"with spaces": old}})).ok()
    (await alice.post(UNSTABLE, {}, set_presence="busy")).error(400, "M_INVALID_PARAM")
    rooms = {f"!r{number}": {"timeline_limit": 1} for number in range(101)}
    (await alice.post(UNSTABLE, {"room_subscriptions": rooms})).ok()


async def test_guests_may_use_it_and_the_timeline_has_its_limit(server: TestServer, alice: Client) -> None:
    guest = await server.guest()
    await Sliding(guest).ask(lists=one_list())
    room = await alice.create_room()
    for number in range(105):
        await alice.send(room, f"m{number}")
    assert len((await Sliding(alice).ask(lists=one_list(limit=1000)))["rooms"][room]["timeline"]) == 100


async def test_clients_are_told_what_works(alice: Client) -> None:
    features = (await alice.get("/_matrix/client/versions")).ok()["unstable_features"]
    assert features["org.matrix.simplified_msc3575"]
