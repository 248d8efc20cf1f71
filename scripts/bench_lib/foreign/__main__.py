"""The process: commands come as lines of JSON on stdin, and each is answered by a line on stdout."""

import asyncio
import hashlib
import json
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from bench_lib.foreign.rooms import BigRoom, Guest, Identity, signed_join
from bench_lib.foreign.web import Heard, Line, listen
from bench_lib.http_client import path_of
from homeserver.core.hashes import encode_base64
from homeserver.core.identifiers import ServerName
from homeserver.core.json import canonical
from homeserver.core.signing import SigningKey, sign_json

FEDERATION = "/_matrix/federation"
DAY_MS = 24 * 3600 * 1000
PATIENCE_S = 120.0


class Foreign:
    """All the foreign servers, by the ports that are a part of their names."""

    def __init__(self, authority: Path) -> None:
        self._authority = authority
        self.identities: dict[int, Identity] = {}
        self._room: BigRoom | None = None
        self._guest: Guest | None = None
        self._prepared: list[list[bytes]] = []
        self._marker = b"\0"
        self._marked: set[int] = set()
        self._awaited = 0
        self._all_there = asyncio.Event()
        self._transactions = 0

    async def open(self, count: int, certificate: Path, private_key: Path) -> None:
        for _ in range(count):
            port = await listen(certificate, private_key, self.respond)
            name = f"localhost:{port}"
            seed = hashlib.sha256(name.encode()).digest()
            self.identities[port] = Identity(name, SigningKey.generate("bench", seed=seed))

    async def respond(self, heard: Heard) -> tuple[int, bytes]:
        parts = [unquote(part) for part in urlsplit(heard.target).path.split("/")[2:]]
        match heard.method, parts:
            case "GET", ["key", "v2", "server", *_]:
                return 200, self._keys(self.identities[heard.port])
            case "PUT", ["federation", "v1", "send", _]:
                self._take(heard)
                return 200, b'{"pdus":{}}'
            case "GET", ["federation", "v1", "make_join", room_id, user_id] if self._is_mine(room_id):
                assert self._room is not None
                return 200, self._room.make_join(user_id)
            case "PUT", ["federation", "v2", "send_join", room_id, _] if self._is_mine(room_id):
                assert self._room is not None
                omit_members = "omit_members=true" in heard.target
                return 200, self._room.send_join(heard.body, omit_members=omit_members)
            case "GET", ["federation", "v1", "state_ids", room_id] if self._is_mine(room_id):
                assert self._room is not None
                return 200, self._room.state_ids
            case "GET", ["federation", "v1", "state", room_id] if self._is_mine(room_id):
                assert self._room is not None
                return 200, self._room.state
            case "POST", ["federation", "v1", "get_missing_events", _] if self._guest is not None:
                return 200, self._guest.missing_events(json.loads(heard.body))
            case "GET", ["federation", "v1", "state_ids", _] if self._guest is not None:
                return 200, self._guest.state_ids()
            case "GET", ["federation", "v1", "event", event_id] if self._guest is not None:
                if event_id in self._guest.said:
                    return 200, self._guest.event(event_id)
            case "GET", ["federation", "v1", "version"]:
                return 200, b'{"server":{"name":"foreign","version":"1"}}'
        return 404, b'{"errcode":"M_UNRECOGNIZED","error":"not known here"}'

    def _is_mine(self, room_id: str) -> bool:
        return self._room is not None and self._room.room_id == room_id

    @staticmethod
    def _keys(identity: Identity) -> bytes:
        document = {
            "server_name": identity.server_name,
            "verify_keys": {identity.key.key_id: {"key": encode_base64(identity.key.verify_key)}},
            "old_verify_keys": {},
            "valid_until_ts": int(time.time() * 1000) + DAY_MS,
        }
        return canonical(sign_json(document, identity.server_name, identity.key))

    def _take(self, heard: Heard) -> None:
        self._transactions += 1
        if self._marker in heard.body:
            self._marked.add(heard.port)
            if len(self._marked) >= self._awaited:
                self._all_there.set()

    # The commands.

    async def join(self, room_id: str, server_name: str, servers: int) -> dict[str, object]:
        """The first `servers` join a room of the measured server, one user each."""
        for identity in list(self.identities.values())[:servers]:
            line = self._line(server_name)
            user_id = identity.user("guest")
            target = f"{FEDERATION}/v1{path_of('make_join', room_id, user_id)}?ver=11"
            made = await self._call(line, identity, server_name, "GET", target)
            pdu, event_id = signed_join(identity, made)
            target = f"{FEDERATION}/v2{path_of('send_join', room_id, event_id)}"
            answer = await self._call(line, identity, server_name, "PUT", target, pdu)
            self._guest = Guest.from_join(identity, "guest", pdu, answer)
            line.close()
        return {}

    async def prepare(self, batch: int, batches: int) -> dict[str, object]:
        """Build transactions of messages by the guest that joined last."""
        guest = self._guest
        assert guest is not None
        made = [
            [guest.say(f"message {time.time_ns()} of a batch") for _ in range(batch)] for _ in range(batches)
        ]
        self._prepared = [[data for _, data in pdus] for pdus in made]
        return {"last": made[-1][-1][0]}

    async def send(self, server_name: str) -> dict[str, object]:
        """Send what was prepared, one transaction after the other."""
        guest = self._guest
        assert guest is not None
        line = self._line(server_name)
        for pdus in self._prepared:
            body = {
                "origin": guest.identity.server_name,
                "origin_server_ts": int(time.time() * 1000),
                "pdus": [json.loads(pdu) for pdu in pdus],
            }
            target = f"{FEDERATION}/v1/send/{time.time_ns()}"
            answer = await self._call(line, guest.identity, server_name, "PUT", target, body)
            refused = [result for result in answer["pdus"].values() if "error" in result]
            if refused:
                raise OSError(f"{len(refused)} of {len(pdus)} events were refused: {refused[0]}")
        line.close()
        return {}

    async def expect(self, marker: str, servers: int) -> dict[str, object]:
        """From now on look out for a text in what is sent to the servers."""
        self._marker, self._awaited = marker.encode(), servers
        self._marked.clear()
        self._all_there.clear()
        return {}

    async def arrived(self) -> dict[str, object]:
        """Wait until as many servers as were expected have got the text."""
        try:
            async with asyncio.timeout(PATIENCE_S):
                await self._all_there.wait()
        except TimeoutError:
            raise OSError(f"{len(self._marked)} of {self._awaited} servers have got the message") from None
        return {"transactions": self._transactions}

    async def room(self, members: int, servers: int, version: str) -> dict[str, object]:
        """Make a large room."""
        self._room = BigRoom(list(self.identities.values())[:servers], members, version)
        return {"room_id": self._room.room_id, "via": self._room.room_id.partition(":")[2]}

    def _line(self, server_name: str) -> Line:
        return Line(int(server_name.partition(":")[2]), self._authority)

    async def _call(
        self, line: Line, identity: Identity, server_name: str, method: str, target: str, body: Any = None
    ) -> Any:
        """One signed request. Errors: OSError unless it is answered with 200."""
        signed: Any = {
            "method": method,
            "uri": target,
            "origin": identity.server_name,
            "destination": ServerName(server_name),
        }
        if body is not None:
            signed["content"] = body
        signature: Any = sign_json(signed, identity.server_name, identity.key)["signatures"]
        sig = signature[identity.server_name][identity.key.key_id]
        data = b"" if body is None else canonical(body)
        head = (
            f"{method} {target} HTTP/1.1\r\nHost: {server_name}\r\n"
            f'Authorization: X-Matrix origin="{identity.server_name}",destination="{server_name}",'
            f'key="{identity.key.key_id}",sig="{sig}"\r\n'
        )
        if body is not None:
            head += f"Content-Type: application/json\r\nContent-Length: {len(data)}\r\n"
        response = await line.exchange(head.encode() + b"\r\n" + data)
        if response.status != 200:
            said = response.body[:500].decode(errors="replace")
            raise OSError(f"{method} {target[:120]}: status {response.status}: {said}")
        return json.loads(response.body)


async def main(count: str, certificate: str, private_key: str, authority: str) -> None:
    """Serve until stdin ends."""
    foreign = Foreign(Path(authority))
    await foreign.open(int(count), Path(certificate), Path(private_key))
    commands: dict[str, Callable[..., Awaitable[dict[str, object]]]] = {
        command.__name__: command
        for command in (
            foreign.join,
            foreign.prepare,
            foreign.send,
            foreign.expect,
            foreign.arrived,
            foreign.room,
        )
    }
    _say({"names": [identity.server_name for identity in foreign.identities.values()]})
    while line := await asyncio.to_thread(sys.stdin.readline):
        command = json.loads(line)
        try:
            _say(await commands[command.pop("do")](**command))
        except (OSError, KeyError, ValueError) as error:
            _say({"failed": f"{type(error).__name__}: {error}"})


def _say(answer: dict[str, Any]) -> None:
    print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
