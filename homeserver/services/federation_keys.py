"""What other servers may ask about the devices and keys of users here. Any server may ask, of no other users.

Spec: server-server API, "Device Management" and "End-to-End Encryption".
"""

from collections.abc import Collection, Mapping
from itertools import islice
from typing import Final

import msgspec

from homeserver.core import splice
from homeserver.core.errors import InvalidParam, NotFound, TooLarge
from homeserver.core.identifiers import DeviceID, ServerName, UserID, parse_user_id, server_of
from homeserver.core.json import encode
from homeserver.database.database import Database
from homeserver.database.transactions import ReadTransaction
from homeserver.storage import shown_devices

MOST_USERS: Final = 5_000
"""In one question."""

MOST_BYTES: Final = 32 * 1024 * 1024
"""Of one answer."""

BATCH: Final = 200
"""Users who are looked up in one transaction."""


class FederationKeys(msgspec.Struct, frozen=True):
    """Answers the questions of other servers."""

    database: Database
    server_name: ServerName

    async def devices_of(self, user_id: UserID) -> bytes:
        """All devices of a user that have keys, as the JSON of the response; names of devices are not told.

        The `stream_id` is that of the same snapshot. Errors: NotFound if there is no such user here.
        """
        if server_of(user_id) != self.server_name:
            raise NotFound("There is no such user on this server")
        answer = await self.database.read(read_list, user_id)
        if answer is None:
            raise NotFound("There is no such user on this server")
        return answer

    async def query(self, wanted: Mapping[str, Collection[str]]) -> bytes:
        """The keys of these devices, of all devices for an empty collection, as the JSON of the response.

        Users who are not of this server, or do not exist, are left out. Errors: TooLarge.
        """
        if len(wanted) > MOST_USERS:
            raise TooLarge(f"one may ask about {MOST_USERS} users at once")
        users = {user_id: wanted[user_id] for user_id in wanted if self._is_ours(user_id)}
        devices: dict[UserID, bytes] = {}
        keys: dict[str, dict[UserID, bytes]] = {"master": {}, "self_signing": {}}
        remaining, size = iter(users), 0
        while some := [UserID(user_id) for user_id in islice(remaining, BATCH)]:
            found, of_users = await self.database.read(read_keys, some)
            for user_id, by_device in found.items():
                asked = set(wanted[user_id])
                chosen = {
                    device_id: data
                    for device_id, data in by_device.items()
                    if not asked or device_id in asked
                }
                devices[user_id] = splice.keyed(chosen)
                size += len(devices[user_id])
            for user_id, by_usage in of_users.items():
                for usage, data in by_usage.items():
                    keys[usage][user_id] = data
                    size += len(data)
            if size > MOST_BYTES:
                raise TooLarge("The answer would be too large")
        return splice.object_of(
            {
                "device_keys": splice.keyed(devices),
                "master_keys": splice.keyed(keys["master"]),
                "self_signing_keys": splice.keyed(keys["self_signing"]),
            }
        )

    def _is_ours(self, text: str) -> bool:
        try:
            return server_of(parse_user_id(text)) == self.server_name
        except InvalidParam:
            return False


def read_list(tx: ReadTransaction, user_id: UserID) -> bytes | None:
    """The answer about one user, None if there is no such one."""
    if not shown_devices.existing(tx, [user_id]):
        return None
    devices = [
        splice.object_of({"device_id": encode(device_id), "keys": keys})
        for device_id, keys in shown_devices.of_users(tx, [user_id]).get(user_id, {}).items()
    ]
    user_keys = shown_devices.user_keys(tx, [user_id]).get(user_id, {})
    return splice.object_of(
        {
            "devices": splice.array(devices),
            **{f"{usage}_key": keys for usage, keys in user_keys.items()},
            "stream_id": b"%d" % shown_devices.stream_id(tx, user_id),
            "user_id": encode(user_id),
        }
    )


def read_keys(
    tx: ReadTransaction, user_ids: list[UserID]
) -> tuple[dict[UserID, dict[DeviceID, bytes]], dict[UserID, dict[str, bytes]]]:
    """The devices of those of the users that there are, none for who has none; and their cross-signing keys."""
    devices = shown_devices.of_users(tx, user_ids)
    existing = shown_devices.existing(tx, user_ids)
    return (
        {user_id: devices.get(user_id, {}) for user_id in sorted(existing)},
        shown_devices.user_keys(tx, existing),
    )
