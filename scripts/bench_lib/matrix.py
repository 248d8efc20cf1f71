"""The few operations of the client-server API that the measurements need."""

import hashlib
import hmac
import json
import random
from collections.abc import Iterator
from urllib.parse import urlencode

from bench_lib.http_client import Connection, Json, RequestError, encode_request, path_of
from bench_lib.servers import SHARED_SECRET

ROOM_VERSION = "11"
REGISTER = "/_synapse/admin/v1/register"
CLIENT = "/_matrix/client/v3"
LAZY = json.dumps({"room": {"state": {"lazy_load_members": True}}}, separators=(",", ":"))
LAZY_AND_SHORT = json.dumps(
    {"room": {"state": {"lazy_load_members": True}, "timeline": {"limit": 1}}}, separators=(",", ":")
)
_LETTERS = "etaoinshrdlu"


def texts(seed: int) -> Iterator[str]:
    """Yield endless sentences of 4 to 24 words out of 400 made-up ones; the same ones for the same seed."""
    chance = random.Random(seed)
    words = ["".join(chance.choices(_LETTERS, k=chance.randint(2, 9))) for _ in range(400)]
    while True:
        yield " ".join(chance.choices(words, k=chance.randint(4, 24)))


async def register(connection: Connection, localpart: str) -> str:
    """Make a user with the shared secret; give an access token."""
    nonce = str((await connection.call("GET", REGISTER))["nonce"])
    password = f"secret of {localpart}"
    parts = (nonce, localpart, password, "notadmin")
    mac = hmac.new(SHARED_SECRET.encode(), "\0".join(parts).encode(), hashlib.sha1).hexdigest()
    body: Json = {"nonce": nonce, "username": localpart, "password": password, "admin": False, "mac": mac}
    return str((await connection.call("POST", REGISTER, body=body))["access_token"])


async def login(connection: Connection, localpart: str) -> str:
    """Log a user of `register` in on a new device; give an access token."""
    body: Json = {
        "type": "m.login.password",
        "identifier": {"type": "m.id.user", "user": localpart},
        "password": f"secret of {localpart}",
    }
    return str((await connection.call("POST", f"{CLIENT}/login", body=body))["access_token"])


async def create_room(connection: Connection, token: str, name: str) -> str:
    """Make a room that anybody may join."""
    body: Json = {"preset": "public_chat", "name": name, "room_version": ROOM_VERSION}
    return str((await connection.call("POST", f"{CLIENT}/createRoom", token, body))["room_id"])


async def join(connection: Connection, token: str, room_id: str) -> None:
    await connection.send("POST", CLIENT + path_of("rooms", room_id, "join"), token, {})


def send_request(token: str, room_id: str, transaction: str, text: str) -> bytes:
    """Build the request that sends a text message."""
    body = json.dumps({"msgtype": "m.text", "body": text}).encode()
    target = CLIENT + path_of("rooms", room_id, "send", "m.room.message", transaction)
    return encode_request("PUT", target, token, body)


async def send_text(connection: Connection, token: str, room_id: str, transaction: str, text: str) -> None:
    """Send a text message.

    Errors: RequestError unless the server has taken it.
    """
    response = await connection.exchange(send_request(token, room_id, transaction, text))
    if response.status != 200:
        raise RequestError(f"sending a message: status {response.status}: {response.body[:300]!r}")


def sync_target(*, since: str | None = None, timeout_ms: int = 0, sync_filter: str | None = None) -> str:
    """Build the path and query of a sync, which leaves the user's presence alone."""
    query = {"timeout": str(timeout_ms), "set_presence": "offline"}
    if since is not None:
        query["since"] = since
    if sync_filter is not None:
        query["filter"] = sync_filter
    return f"{CLIENT}/sync?{urlencode(query)}"


def string_at(body: bytes, key: str) -> str | None:
    """Find a key's string in a JSON answer without decoding it (inside of texts its quotes are escaped)."""
    quoted = b'"%s":' % key.encode()
    at = body.find(quoted)
    if at < 0:
        return None
    start = body.index(b'"', at + len(quoted)) + 1
    return body[start : body.index(b'"', start)].decode()


def next_batch(body: bytes) -> str:
    """Find the token of a sync's answer."""
    token = string_at(body, "next_batch")
    if token is None:
        raise RequestError(f"a sync answered without next_batch: {body[:200]!r}")
    return token


async def sync(
    connection: Connection,
    token: str,
    *,
    since: str | None = None,
    timeout_ms: int = 0,
    sync_filter: str | None = None,
) -> bytes:
    """Sync once; give the answer's body."""
    target = sync_target(since=since, timeout_ms=timeout_ms, sync_filter=sync_filter)
    return await connection.send("GET", target, token)


async def page_back(connection: Connection, token: str, room_id: str, start: str | None, limit: int) -> bytes:
    """Read one page of a room's history, newest first; give the answer's body."""
    query = {"dir": "b", "limit": str(limit)} | ({} if start is None else {"from": start})
    return await connection.send(
        "GET", f"{CLIENT}{path_of('rooms', room_id, 'messages')}?{urlencode(query)}", token
    )
