#!/usr/bin/env python3
"""Follows a user's rooms by the server's event stream and prints each event once, as a line of JSON.

It goes on where it stopped, whatever breaks: the token of the last answer that was printed is kept in a file, and given
to the server when the stream is opened anew. See docs/streaming.md. Needs Python 3.11 and nothing else:

    MATRIX_TOKEN=... scripts/stream_example.py http://127.0.0.1:8008 --state follow.state
"""

import argparse
import http.client
import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

STREAM = "/_matrix/client/unstable/io.homeserver.streaming_sync/events"
SILENCE_S = 60
"""The server says something every 25 seconds; after this long the connection is given up."""


class Refused(Exception):  # noqa: N818 - it says what has happened
    """The server does not let this client go on: connecting anew is of no use."""


class Client:
    """Talks to one server with one access token."""

    def __init__(self, base_url: str, token: str) -> None:
        self._url = urlsplit(base_url)
        self._headers = {"Authorization": f"Bearer {token}"}

    def get(self, path: str, **headers: str) -> http.client.HTTPResponse:
        """A response that is read piece by piece. Errors: Refused; OSError, HTTPException for what may pass."""
        kind = http.client.HTTPSConnection if self._url.scheme == "https" else http.client.HTTPConnection
        connection = kind(self._url.hostname or "", self._url.port, timeout=SILENCE_S)
        connection.request("GET", self._url.path.rstrip("/") + path, headers={**self._headers, **headers})
        response = connection.getresponse()
        if response.status == 429 or response.status >= 500:
            raise http.client.HTTPException(f"{response.status}: {response.read(1000)!r}")
        if response.status != 200:
            raise Refused(f"{response.status}: {response.read(1000).decode(errors='replace')}")
        return response

    def stream(self, since: str | None) -> Iterator[tuple[str, Any]]:
        """Tokens, and the answers that they came with; None for a token alone. Ends when the stream does."""
        headers = {"Last-Event-ID": since} if since else {}
        last_id, kind, data = since or "", "", []
        for raw in self.get(STREAM, **headers):
            name, _, value = raw.decode().rstrip("\n").partition(": ")
            if name == "id":
                last_id = value
            elif name == "event":
                kind = value
            elif name == "data":
                data.append(value)
            elif not name:  # an empty line ends an event
                answer = json.loads("\n".join(data)) if data else None
                if kind == "error" and answer["errcode"] in ("M_UNKNOWN_TOKEN", "M_USER_LOCKED"):
                    raise Refused(answer["error"])
                if kind != "error":
                    yield last_id, answer
                kind, data = "", []

    def gap(self, room_id: str, prev_batch: str, since: str) -> list[Any]:
        """The events of a room between two tokens, oldest first: what did not fit into an answer."""
        found: list[Any] = []
        start: str | None = prev_batch
        while start is not None:
            query = urlencode({"dir": "b", "from": start, "to": since, "limit": 100})
            path = f"/_matrix/client/v3/rooms/{quote(room_id, safe='')}/messages?{query}"
            page = json.load(self.get(path))
            found += page["chunk"]
            start = page.get("end")
        return found[::-1]


def events_of(client: Client, since: str | None, answer: Any) -> Iterator[Any]:
    """The events of all rooms, those of each room in their order."""
    for room_id, room in answer.get("rooms", {}).get("join", {}).items():
        timeline = room["timeline"]
        if since and timeline.get("limited") and "prev_batch" in timeline:
            yield from (
                {**event, "room_id": room_id} for event in client.gap(room_id, timeline["prev_batch"], since)
            )
        yield from ({**event, "room_id": room_id} for event in timeline["events"])


def follow(client: Client, state: Path) -> None:
    """Print events for ever. Errors: Refused."""
    since = state.read_text() if state.exists() else None
    while True:
        try:
            for token, answer in client.stream(since):
                for event in events_of(client, since, answer or {}):
                    print(json.dumps(event), flush=True)
                # Only now: what breaks before is asked for again.
                new = state.with_suffix(".new")
                new.write_text(token)
                new.replace(state)
                since = token
        except (OSError, http.client.HTTPException, ValueError) as error:
            print(f"the stream broke: {error!r}", file=sys.stderr, flush=True)
        time.sleep(1)


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("server", help="where the server is, such as https://matrix.example.org")
    parser.add_argument(
        "--state", type=Path, required=True, help="the file that remembers how far it has come"
    )
    arguments = parser.parse_args()
    try:
        follow(Client(arguments.server, os.environ["MATRIX_TOKEN"]), arguments.state)
    except Refused as error:
        print(f"the server refuses: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 0


if __name__ == "__main__":
    sys.exit(main())
