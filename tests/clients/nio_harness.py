"""Devices with end-to-end encryption that are built on matrix-nio."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar, cast

import attrs
import nio
from nio.exceptions import EncryptionError
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

from tests.api.server import PASSWORD

T = TypeVar("T")

REACTOR = cast("IReactorTime", reactor)

PATIENCE_S = 60

ENCRYPTION = {
    "type": "m.room.encryption",
    "state_key": "",
    "content": {"algorithm": "m.megolm.v1.aes-sha2"},
}


def on_the_loop(work: Awaitable[T]) -> Deferred[T]:
    """Await asyncio's way inside a test that runs Twisted's way: both are one loop."""
    return Deferred.fromFuture(asyncio.ensure_future(work))


async def done(work: Awaitable[Any], kind: type[T]) -> T:
    """The answer of a call, which must be of the good kind."""
    answer = await on_the_loop(work)
    assert isinstance(answer, kind), answer
    return answer


@attrs.define(eq=False)
class Device:
    """A device: what it has read, by event, and what it has got and could not decrypt yet."""

    client: nio.AsyncClient
    read: dict[str, str] = attrs.field(factory=dict)
    undecryptable: dict[str, nio.MegolmEvent] = attrs.field(factory=dict)
    verifications: list[str] = attrs.field(factory=list)

    @classmethod
    async def of(cls, url: str, folder: Path, name: str, *, is_new: bool) -> "Device":
        """A device of a user, who is registered if that is a new one."""
        config = nio.AsyncClientConfig(
            encryption_enabled=True,
            store_sync_tokens=False,
            max_timeouts=1,
            max_limit_exceeded=1,
            backoff_factor=0.01,
            request_timeout=15,
        )
        client = nio.AsyncClient(url, name, store_path=str(folder), config=config)
        device = cls(client)
        if is_new:
            await done(client.register(name, PASSWORD), nio.RegisterResponse)
        else:
            await done(client.login(PASSWORD), nio.LoginResponse)
        await device.step()
        return device

    @property
    def key(self) -> tuple[str, str]:
        """Whose device it is, and which one."""
        return self.client.user_id, self.client.device_id

    async def step(self) -> None:
        """Sync once, and do what is to be done with it."""
        client = self.client
        answer = await done(client.sync(timeout=0), nio.SyncResponse)
        for event in answer.to_device_events:
            await self._verify(event)
        for room_id, room in answer.rooms.join.items():
            if room.timeline.limited and room.timeline.prev_batch:
                await self._catch_up(room_id, room.timeline.prev_batch)
            self._take(room.timeline.events)
        await on_the_loop(client.send_to_device_messages())
        if client.should_upload_keys:
            await done(client.keys_upload(), nio.KeysUploadResponse)
        if client.should_query_keys:
            await done(client.keys_query(), nio.KeysQueryResponse)
        if client.should_claim_keys:
            await done(client.keys_claim(client.get_users_for_key_claiming()), nio.KeysClaimResponse)
        for event in [*self.undecryptable.values()]:
            try:
                self._take([client.decrypt_event(event)])
            except EncryptionError:
                continue

    async def say(self, room_id: str, text: str, *, txn_id: str | None = None) -> str:
        """Send a message, encrypted for the devices that are known; its ID."""
        content = {"msgtype": "m.text", "body": text}
        sending = self.client.room_send(
            room_id, "m.room.message", content, tx_id=txn_id, ignore_unverified_devices=True
        )
        event_id: str = (await done(sending, nio.RoomSendResponse)).event_id
        return event_id

    def knows(self, other: "Device") -> bool:
        """Whether it has the keys of another device."""
        user_id, device_id = other.key
        return any(each.id == device_id for each in self.client.device_store.active_user_devices(user_id))

    def _take(self, events: Sequence[Any]) -> None:
        for event in events:
            if isinstance(event, nio.MegolmEvent):
                self.undecryptable[event.event_id] = event
            elif isinstance(event, nio.RoomMessageText):
                assert event.decrypted, event.body
                self.read[event.event_id] = event.body
                self.undecryptable.pop(event.event_id, None)

    async def _catch_up(self, room_id: str, start: str) -> None:
        """Read what a sync has left out, back to what is known."""
        token: str | None = start
        while token:
            page = await done(self.client.room_messages(room_id, token, limit=100), nio.RoomMessagesResponse)
            known = self.read.keys() | self.undecryptable.keys()
            self._take(page.chunk)
            if any(event.event_id in known for event in page.chunk):
                return
            token = page.end

    async def _verify(self, event: Any) -> None:
        """Take part in a verification; whatever emoji there are, they are confirmed."""
        client = self.client
        if isinstance(event, nio.KeyVerificationStart):
            await done(client.accept_key_verification(event.transaction_id), nio.ToDeviceResponse)
        elif isinstance(event, nio.KeyVerificationKey):
            sas = client.key_verifications[event.transaction_id]
            # Its own key goes out first.
            await on_the_loop(client.send_to_device_messages())
            self.verifications.append(" ".join(emoji for emoji, _ in sas.get_emoji()))
            await done(client.confirm_short_auth_string(event.transaction_id), nio.ToDeviceResponse)


async def all_step(
    devices: Sequence[Device], condition: Callable[[], bool], *, what: str | Callable[[], str]
) -> None:
    """Have all devices sync in turns until it is so; `what` is said if it never is."""
    deadline = REACTOR.seconds() + PATIENCE_S
    while not condition():
        for device in devices:
            await device.step()
        assert REACTOR.seconds() < deadline, what if isinstance(what, str) else what()
        await deferLater(REACTOR, 0.01)


async def encrypted_room(creator: Device, *others: Device) -> str:
    """A room of the creator with the others; further devices of them are among these."""
    users = {each.client.user_id: each for each in others if each.client.user_id != creator.client.user_id}
    made = await done(
        creator.client.room_create(is_direct=True, invite=[*users], initial_state=[ENCRYPTION]),
        nio.RoomCreateResponse,
    )
    room_id: str = made.room_id
    for each in users.values():
        await _accept(each, room_id)
    everybody = {creator.client.user_id, *users}

    def are_there() -> bool:
        return all(
            room_id in device.client.rooms
            and {*device.client.rooms[room_id].users} == everybody
            and device.client.rooms[room_id].encrypted
            and all(device is other or device.knows(other) for other in (creator, *others))
            for device in (creator, *others)
        )

    await all_step([creator, *others], are_there, what="all know each other's devices")
    return room_id


async def _accept(device: Device, room_id: str) -> None:
    await all_step([device], lambda: room_id in device.client.invited_rooms, what="the invitation")
    await done(device.client.join(room_id), nio.JoinResponse)


async def close(*devices: Device) -> None:
    for device in devices:
        await on_the_loop(device.client.close())
