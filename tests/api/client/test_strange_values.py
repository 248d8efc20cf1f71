"""Whatever stands in a path, a query or a body: the answer is a good one or an error, never a breakdown.

PostgreSQL, unlike SQLite, refuses text with NUL, long text in indices, and integers beyond 64 bits.
"""

import copy
import random
import re
import string
import typing
from collections.abc import Iterator, Mapping
from typing import Any, Final, cast

import msgspec
import pytest

from homeserver.app.endpoints import endpoints
from homeserver.config.sections import Resource
from homeserver.http.endpoints import Endpoint
from tests.api.client.test_every_endpoint import LASTS, LETS_GO, PATH, query_fields
from tests.api.server import PASSWORD, Answer, Client, TestServer, path_of

PARTS: Final = 3

LONG: Final = "".join(random.Random(7).choices(string.ascii_letters + string.digits, k=6_000))
"""Text that no database can compress into an index."""

STRANGE: Final[tuple[object, ...]] = (
    *(
        "\0",
        "a\0b",
        "",
        " ",
        LONG,
        "\U0010ffff",
        "%",
        "_",
        "'\"\\",
        "..",
        "@",
        "@:",
        "!",
        "$",
        "#",
        "@\0:test.example",
    ),
    *(
        0,
        -1,
        2**31,
        2**63,
        -(2**63) - 1,
        10**40,
        1.5,
        True,
        None,
        [],
        {},
        [None],
        [[]],
        {"": ""},
        ["\0"],
        [LONG],
    ),
)

THERE: Final = {
    **PATH,
    "device_id": "DEVICE",
    "type": "org.example",
    "tag": "u.x",
    "event_type": "m.room.topic",
}

ROOM_KEY: Final = {
    "first_message_index": 1,
    "forwarded_count": 1,
    "is_verified": True,
    "session_data": {"ciphertext": "x"},
}

BODIES: Final[dict[str, Any]] = {
    "set_account_data": {"a": ["b"]},
    "ban": {"user_id": "@bob:test.example", "reason": "x"},
    "create_room": {
        "name": "a",
        "topic": "b",
        "room_alias_name": None,
        "preset": "public_chat",
        "visibility": "private",
        "room_version": "12",
        "invite": ["@bob:test.example"],
        "is_direct": False,
        "creation_content": {"type": "m.space", "additional_creators": ["@bob:test.example"]},
        "initial_state": [{"type": "m.room.x", "state_key": "", "content": {"a": "b"}}],
        "power_level_content_override": {"users": {"@bob:test.example": 50}, "ban": 50},
    },
    "add_3pid": {"client_secret": "x", "sid": "x", "auth": {"type": "m.login.password", "session": "x"}},
    "delete_3pid_from_account": {"medium": "email", "address": "a@b.c", "id_server": "x"},
    "update_device": {"display_name": "x"},
    "delete_devices": {
        "devices": ["x"],
        "auth": {"type": "m.login.password", "session": "x", "password": "y"},
    },
    "login": {
        "type": "m.login.password",
        "identifier": {"type": "m.id.user", "user": "alice"},
        "password": PASSWORD,
        "device_id": "LOGGED_IN",
        "initial_device_display_name": "x",
        "refresh_token": False,
    },
    "invite_user": {"user_id": "@bob:test.example", "reason": "x"},
    "join_room_by_id": {
        "reason": "x",
        "third_party_signed": {"sender": "@a:b", "mxid": "@c:d", "token": "t"},
    },
    "kick": {"user_id": "@bob:test.example", "reason": "x"},
    "leave_room": {"reason": "x"},
    "set_room_visibility_on_directory": {"visibility": "private"},
    "query_public_rooms": {
        "limit": 5,
        "since": "x",
        "filter": {"generic_search_term": "x", "room_types": [None, "m.space"]},
        "third_party_instance_id": "x",
    },
    "generate_login_token": {"auth": {"type": "m.login.password", "session": "x"}},
    "refresh": {"refresh_token": "x"},
    "register": {
        "username": "strange",
        "password": "x",
        "device_id": "x",
        "initial_device_display_name": "x",
        "inhibit_login": False,
        "guest_access_token": "x",
        "auth": {"type": "m.login.dummy", "session": "x"},
    },
    "change_password": {
        "new_password": "x",
        "auth": {"type": "m.login.password", "session": "x", "password": "y"},
    },
    "set_room_alias": {"room_id": "!room:test.example"},
    "define_filter": {
        "event_fields": ["type"],
        "event_format": "client",
        "room": {"rooms": ["!x"], "timeline": {"limit": 5, "types": ["a"], "not_senders": ["@a:b"]}},
    },
    "post_room_keys_version": {"algorithm": "x", "auth_data": {"public_key": "x"}},
    "put_room_keys_version": {"algorithm": "x", "auth_data": {"public_key": "x"}, "version": "1"},
    "put_room_key_by_session_id": ROOM_KEY,
    "put_room_keys_by_room_id": {"sessions": {"x": ROOM_KEY}},
    "put_room_keys": {"rooms": {"!x": {"sessions": {"x": ROOM_KEY}}}},
    "upload_keys": {
        "device_keys": {"user_id": "@a:b", "device_id": "x", "algorithms": ["x"], "keys": {"ed25519:x": "x"}},
        "one_time_keys": {"signed_curve25519:x": {"key": "x", "signatures": {"@a:b": {"ed25519:x": "x"}}}},
        "fallback_keys": {"curve25519:x": "x"},
    },
    "query_keys": {"device_keys": {"@alice:test.example": ["x"]}, "timeout": 1},
    "claim_keys": {"one_time_keys": {"@alice:test.example": {"x": "signed_curve25519"}}, "timeout": 1},
    "upload_cross_signing_keys": {
        "master_key": {"user_id": "@alice:test.example", "usage": ["master"], "keys": {"ed25519:x": "x"}}
    },
    "upload_cross_signing_signatures": {"@alice:test.example": {"x": {"signatures": {"@a:b": {"x": "y"}}}}},
    "put_dehydrated_device": {
        "device_id": "x",
        "device_data": {"algorithm": "x"},
        "device_keys": {"user_id": "@a:b", "device_id": "x", "algorithms": ["x"], "keys": {"ed25519:x": "x"}},
    },
    "set_presence": {"presence": "online", "status_msg": "x"},
    "set_profile_field": {"displayname": "x"},
    "set_read_marker": {"m.read": "$event", "m.fully_read": "$event"},
    "post_receipt": {"thread_id": "main"},
    "redact_event": {"reason": "x"},
    "set_room_state_with_key": {"topic": "x", "m.topic": {"m.text": [{"body": "x"}]}},
    "send_message": {
        "body": "x",
        "m.relates_to": {"rel_type": "m.thread", "event_id": "$x", "m.in_reply_to": {"event_id": "$y"}},
        "m.mentions": {"user_ids": ["@bob:test.example"], "room": True},
    },
    "set_room_tag": {"order": 0.5},
    "set_typing": {"typing": True, "timeout": 1},
    "sliding_sync": {
        "pos": "s1_1_1",
        "lists": {
            "a": {
                "timeline_limit": 1,
                "required_state": {"include": [{"type": "x", "state_key": "y"}]},
                "filters": {"spaces": ["!x"]},
            }
        },
    },
    "unstable_sliding_sync": {"conn_id": "c", "lists": {"a": {"required_state": [["x", "*"]]}}},
    "subscribe_to_thread": {"automatic": "$x"},
}
"""Good bodies by endpoint, to put strange values into."""


def strangely(value: Any) -> Iterator[Any]:
    """The value with each strange value in place of each thing in it, and strange keys."""
    if isinstance(value, dict):
        yield from ({**value, key: "x"} for key in ("\0", LONG))
    for key in value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        for other in STRANGE:
            changed = copy.copy(value)
            changed[key] = other
            yield changed
        for inner in strangely(value[key]):
            changed = copy.copy(value)
            changed[key] = inner
            yield changed


async def ask(client: Client, method: str, path: str, **options: Any) -> Answer:
    answer = await client.request(method, path, check=False, **options)
    # A server that a strange name leads to cannot be asked: that is no fault of this one.
    is_elsewhere = answer.status == 502 and "could not be" in answer.json["error"]
    assert answer.status < 500 or is_elsewhere, (method, path[:300], str(options)[:500], answer.json)
    return answer


async def there(client: Client) -> dict[str, str]:
    """What stands for parameters of paths: all of it is there."""
    room = await client.create_room(preset="public_chat")
    event_id = await client.send(room, "hello")
    backup = {"algorithm": "m.megolm_backup.v1.curve25519-aes-sha2", "auth_data": {"public_key": "x"}}
    version = (await client.post(path_of("room_keys", "version"), backup)).ok()["version"]
    own = {"user_id": client.user_id, "device_id": client.device_id, "version": version}
    return {**THERE, **own, "room_id": room, "room": room, "event_id": event_id}


def body_for(endpoint: Endpoint) -> object:
    return None if endpoint.arguments.body is None else {}


def required(endpoint: Endpoint, values: Mapping[str, str]) -> dict[str, str]:
    """What the query cannot do without, as far as it is there."""
    return {
        field.encode_name: values[field.encode_name]
        for field in query_fields(endpoint)
        if field.required and field.encode_name in values
    }


def filled(template: str, values: Mapping[str, str]) -> str:
    return re.sub(r"\{(\w+)\}", lambda match: values.get(match[1], "x"), template)


def some_endpoints(server: TestServer, part: int) -> list[Endpoint]:
    """A part of all endpoints: together they take longer than one test should."""
    return list(endpoints(server.server.config, server.server.services, list(Resource)))[part::PARTS]


async def test_all_bodies_are_of_endpoints(server: TestServer) -> None:
    made = endpoints(server.server.config, server.server.services, list(Resource))
    assert {endpoint.function.__name__ for endpoint in made} >= BODIES.keys()


@pytest.mark.parametrize("part", range(PARTS))
async def test_in_bodies(server: TestServer, alice: Client, bob: Client, part: int) -> None:
    for endpoint in some_endpoints(server, part):
        body = BODIES.get(endpoint.function.__name__)
        if body is None:
            continue
        values = await there(alice)
        for number, strange in enumerate(strangely(body)):
            path = filled(endpoint.spec.path, {**values, "txn_id": str(number)})
            await ask(alice, endpoint.spec.method, path, body=strange, query=required(endpoint, values))
    # What has been taken in can be given out.
    for client in (alice, bob):
        for sync_filter in ({}, {"room": {"timeline": {"limit": 1000}, "include_leave": True}}):
            answer = await client.sync(filter=sync_filter)
        (await client.get(f"/_matrix/client/v3/profile/{client.user_id}")).ok()
    for room in answer.get("rooms", {}).get("join", {}):
        await client.messages_in(room)


@pytest.mark.parametrize("part", range(PARTS))
async def test_in_paths(server: TestServer, alice: Client, part: int) -> None:
    texts = [
        "",
        "%00",
        "a%00b",
        LONG,
        "x" * 255,
        "%F0%9F%92%9C" * 64,
        ".",
        "..",
        "%2e%2e%2f",
        "%25",
        "+",
        "'",
        "%ff",
    ]
    texts += [
        f"{sigil}{text}" for sigil in "@!$" for text in ("", ":", ":x", "x:test.example", LONG, "%00:x")
    ]
    texts += [f"%23{text}" for text in ("", ":", "x:test.example", f"{LONG}:x", "%C3%BC:x", "%00:x")]
    for endpoint in some_endpoints(server, part):
        if endpoint.function.__name__ in LETS_GO:
            continue
        values = await there(alice)
        for name in re.findall(r"\{(\w+)\}", endpoint.spec.path):
            for text in texts:
                path = filled(endpoint.spec.path, {**values, name: text})
                query = {"timeout": "0", **required(endpoint, values)}
                await ask(alice, endpoint.spec.method, path, body=body_for(endpoint), query=query)


async def test_in_queries(server: TestServer, alice: Client) -> None:
    values = await there(alice)
    texts = [str(each) for each in STRANGE if isinstance(each, str | int)] + [
        "s1",
        "s-1",
        f"s{2**63}",
        "{}",
        "[]",
        '{"',
    ]
    for endpoint in endpoints(server.server.config, server.server.services, list(Resource)):
        hint = typing.get_type_hints(endpoint.function).get("query")
        if hint is None or endpoint.function.__name__ in LASTS:
            continue
        path = filled(endpoint.spec.path, values)
        fields = msgspec.structs.fields(cast("type[msgspec.Struct]", hint))
        good = {"timeout": "0", **{field.encode_name: "1" for field in fields if field.required}}
        good |= required(endpoint, values)
        for field in fields:
            for text in texts:
                if field.encode_name == "timeout" and text.isdigit():
                    continue  # it would be waited for
                query = {**good, field.encode_name: text}
                await ask(alice, endpoint.spec.method, path, body=body_for(endpoint), query=query)
