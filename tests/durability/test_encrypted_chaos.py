"""An encrypted conversation across two servers, of which the link is cut and which are killed at random moments.

When all is well again every device has read every message. HOMESERVER_TEST_ROUNDS=20 for more than one round,
HOMESERVER_TEST_SEED=N for the moments of that seed.
"""

import contextlib
import os
import random
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import attrs
import pytest
from aiohttp import ClientError

from tests.clients.nio_harness import Device, all_step, close, encrypted_room
from tests.databases import Databases
from tests.durability.conftest import POSTGRES
from tests.federation.certificates import Authority
from tests.federation.harness import free_port
from tests.links import Link
from tests.openapi import Specification
from tests.processes import ServerProcess, write_config

ROUNDS = int(os.environ.get("HOMESERVER_TEST_ROUNDS", "1"))
SEED = int(os.environ.get("HOMESERVER_TEST_SEED", time.time_ns() % 1_000_000))

STEPS = 25

# What a client is told while its server is away, or is being killed.
TROUBLES = (ClientError, TimeoutError, AssertionError)


@attrs.define(eq=False)
class Place:
    """A server, the way to it for the other one, and its users' devices."""

    process: ServerProcess
    link: Link
    devices: list[Device] = attrs.field(factory=list)

    async def start(self) -> None:
        """Start it, if it does not run; its devices find it."""
        if not self.process.is_running:
            await self.process.start()
            for device in self.devices:
                device.client.homeserver = self.process.url


@pytest.fixture
async def places(
    databases: Databases, tmp_path: Path, specification: Specification | None
) -> AsyncIterator[list[Place]]:
    """Two servers that know each other by their links alone; where there is PostgreSQL, one of them is on it."""
    authority = Authority.make(tmp_path)
    made = []
    lent = contextlib.ExitStack()
    try:
        for number in range(2):
            folder = tmp_path / f"place{number}"
            folder.mkdir()
            port = free_port()
            link = Link("127.0.0.1", port)
            link.mend()
            certificate, private_key = authority.certify(folder)
            if number == 1 and POSTGRES in os.environ:
                url = lent.enter_context(databases.postgresql(for_processes=True))
            else:
                url = databases.sqlite(folder)
            config = write_config(
                folder,
                url,
                server_name=f"localhost:{link.own_port}",
                listeners=[
                    {"bind": "127.0.0.1", "port": 0, "tls": False},
                    {"bind": "127.0.0.1", "port": port, "tls": True},
                ],
                tls={"certificate": str(certificate), "private_key": str(private_key)},
                federation={"allow_private_addresses": True, "trusted_ca_file": str(authority.file)},
            )
            made.append(Place(ServerProcess(config, specification), link))
        for place in made:
            await place.start()
        yield made
    finally:
        for place in made:
            await close(*place.devices)
            await place.link.cut()
            await place.process.close()
        lent.close()


@attrs.define(eq=False)
class Conversation:
    """What has been said, by whom, and what has been wanted to be said and is not known to have been."""

    places: list[Place]
    room_id: str
    chance: random.Random
    said: dict[str, str] = attrs.field(factory=dict)
    unsaid: list[tuple[Device, str]] = attrs.field(factory=list)

    async def step(self) -> None:
        """Something happens."""
        place = self.chance.choice(self.places)
        device = self.chance.choice(place.devices)
        acts: list[tuple[int, Callable[[Place, Device], Any]]] = [
            (5, self._say),
            (4, self._sync),
            (2, self._cut),
            (2, self._mend),
            (1, self._kill),
            (2, self._start),
        ]
        (act,) = self.chance.choices([each for _, each in acts], [weight for weight, _ in acts])
        await act(place, device)

    async def _say(self, _: Place, device: Device) -> None:
        self.unsaid.append((device, f"message {len(self.said) + len(self.unsaid)}"))
        await self.say_all()

    async def say_all(self) -> None:
        """Try to say what has not been said; each device in its order."""
        silent: set[int] = set()
        for device, text in [*self.unsaid]:
            if id(device) in silent:
                continue
            try:
                # The same name of the request, so that what was said and not answered is said once.
                event_id = await device.say(self.room_id, text, txn_id=text.replace(" ", ""))
            except TROUBLES:
                silent.add(id(device))
                continue
            self.said[event_id] = text
            self.unsaid.remove((device, text))

    async def _sync(self, _: Place, device: Device) -> None:
        try:
            await device.step()
        except TROUBLES:
            return

    async def _cut(self, place: Place, _: Device) -> None:
        await place.link.cut()

    async def _mend(self, place: Place, _: Device) -> None:
        place.link.mend()

    async def _kill(self, place: Place, _: Device) -> None:
        if place.process.is_running:
            await place.process.kill()

    async def _start(self, place: Place, _: Device) -> None:
        await place.start()


@pytest.mark.parametrize("round_", range(ROUNDS))
async def test_nothing_stays_undecryptable(places: list[Place], tmp_path: Path, round_: int) -> None:
    seed = SEED + round_
    print(f"seed {seed}")
    one, other = places
    one.devices.append(await Device.of(one.process.url, tmp_path, "alice", is_new=True))
    one.devices.append(await Device.of(one.process.url, tmp_path, "alice", is_new=False))
    other.devices.append(await Device.of(other.process.url, tmp_path, "bob", is_new=True))
    devices = [device for place in places for device in place.devices]
    talk = Conversation(places, await encrypted_room(devices[0], *devices[1:]), random.Random(seed))
    # A device that nobody can claim a key of gets none of what is said meanwhile: all have met before it begins.
    for device in devices:
        talk.said[await device.say(talk.room_id, "hello")] = "hello"
    await all_step(
        devices,
        lambda: all(talk.said.keys() <= device.read.keys() for device in devices),
        what="all have met",
    )
    for _ in range(STEPS):
        await talk.step()
    for place in places:
        place.link.mend()
        await place.start()
    await talk.say_all()

    def stand() -> str:
        """What each device lacks, for when it goes wrong."""
        return ", ".join(
            f"{device.key}: {len(talk.said.keys() - device.read.keys())} of {len(talk.said)} not read, "
            f"{len(device.undecryptable)} undecryptable"
            for device in devices
        )

    await all_step(
        devices,
        lambda: not talk.unsaid and all(talk.said.keys() <= device.read.keys() for device in devices),
        what=stand,
    )
    undecryptable = sum(len(device.undecryptable) for device in devices)
    print(f"messages: {len(talk.said)}, undecryptable: {undecryptable}")
    assert undecryptable == 0
    assert all(device.read[event_id] == text for device in devices for event_id, text in talk.said.items())
