"""What clients ask about the keys of users and their devices. Spec: client-server API, `POST /keys/query`."""

from collections.abc import Collection, Iterable, Mapping
from typing import Final

import attrs
import msgspec

from homeserver.core import splice
from homeserver.core.errors import InvalidParam, TooLarge
from homeserver.core.identifiers import DeviceID, ServerName, UserID, parse_user_id, server_of
from homeserver.core.identity_keys import DeviceKeys, Usage
from homeserver.core.json import encode
from homeserver.core.key_signatures import (
    name_of,
    signatures_on,
    verify_key_of_user,
    with_signatures,
)
from homeserver.database.database import Database
from homeserver.database.transactions import ReadTransaction
from homeserver.services.remote_keys import RemoteKeys
from homeserver.storage import cross_signing, device_keys, shown_devices

MOST_USERS: Final = 10_000
"""In one question."""

MOST_BYTES: Final = 64 * 1024 * 1024
"""Of one answer."""

AT_ONCE: Final = 500
"""Users who are looked up in one transaction."""

_USAGES: Final[tuple[Usage, ...]] = ("master", "self_signing", "user_signing")


@attrs.define(slots=True)
class _Answer:
    """The parts of the answer, as JSON."""

    devices: dict[UserID, bytes] = attrs.field(factory=dict)
    user_keys: dict[Usage, dict[UserID, bytes]] = attrs.field(
        factory=lambda: {usage: {} for usage in _USAGES}
    )
    size: int = 0

    def add(self, user_id: UserID, devices: Iterable[DeviceKeys], keys: Mapping[Usage, bytes]) -> None:
        """Add a user. Errors: TooLarge."""
        shown = splice.keyed({device.device_id: _with_name(device) for device in devices})
        self.devices[user_id] = shown
        for usage, key in keys.items():
            self.user_keys[usage][user_id] = key
        self.size += len(shown) + sum(map(len, keys.values()))
        if self.size > MOST_BYTES:
            raise TooLarge("the answer would be too large: ask about fewer users at once")


class KeyQueries(msgspec.Struct, frozen=True, eq=False):
    """Answers for users of this server and others."""

    database: Database
    server_name: ServerName
    remote_keys: RemoteKeys

    async def query(
        self, reader: UserID, wanted: Mapping[str, Collection[str]], *, patience_ms: int
    ) -> bytes:
        """The keys of these devices, of all devices for an empty collection: the JSON of the response.

        Users who do not exist are left out. Errors: TooLarge.
        """
        if len(wanted) > MOST_USERS:
            raise TooLarge(f"one may ask about {MOST_USERS} users at once")
        users = {user_id: wanted[user_id] for user_id in map(_parsed, wanted) if user_id is not None}
        here = [user_id for user_id in users if server_of(user_id) == self.server_name]
        elsewhere = {
            user_id: [DeviceID(each) for each in users[user_id]]
            for user_id in users
            if server_of(user_id) != self.server_name
        }
        answer = _Answer()
        for start in range(0, len(here), AT_ONCE):
            some = here[start : start + AT_ONCE]
            devices, keys = await self.database.read(read_keys, reader, some)
            for user_id, of_user in devices.items():
                chosen = set(users[user_id])
                listed = [each for each in of_user if not chosen or each.device_id in chosen]
                answer.add(user_id, listed, keys.get(user_id, {}))
        failures: Mapping[ServerName, object] = {}
        if elsewhere:
            found = await self.remote_keys.query(elsewhere, patience_ms=patience_ms)
            failures = found.failures
            masters = {user_id: of_user.user_keys for user_id, of_user in found.users.items()}
            signed = await self.database.read(_with_signatures_of, reader, masters)
            for user_id, of in found.users.items():
                answer.add(user_id, of.devices.values(), signed[user_id])
        return splice.object_of(
            {
                "device_keys": splice.keyed(answer.devices),
                **{f"{usage}_keys": splice.keyed(answer.user_keys[usage]) for usage in _USAGES},
                "failures": encode(dict(failures)),  # type: ignore[arg-type]  # dicts are invariant
            }
        )


def read_keys(
    tx: ReadTransaction, reader: UserID, user_ids: Collection[UserID]
) -> tuple[dict[UserID, list[DeviceKeys]], dict[UserID, dict[Usage, bytes]]]:
    """The devices of those of the users here that exist, and the cross-signing keys, as `reader` may see them."""
    devices = device_keys.of_users(tx, user_ids)
    existing = shown_devices.existing(tx, user_ids)
    keys = cross_signing.of_users(tx, existing)
    for user_id, of_user in keys.items():
        if user_id != reader:
            of_user.pop("user_signing", None)
    shown = _with_signatures_of(tx, reader, keys)
    return {user_id: devices.get(user_id, []) for user_id in user_ids if user_id in existing}, shown


def _with_signatures_of(
    tx: ReadTransaction, reader: UserID, keys: Mapping[UserID, Mapping[Usage, bytes]]
) -> dict[UserID, dict[Usage, bytes]]:
    """The keys, with what `reader` has signed of the master keys of others, which nobody else sees."""
    shown: dict[UserID, dict[Usage, bytes]] = {user_id: {**of_user} for user_id, of_user in keys.items()}
    others = [user_id for user_id, of_user in shown.items() if user_id != reader and "master" in of_user]
    if not others:
        return shown
    signed = cross_signing.signatures_by(tx, reader, others)
    for (user_id, public_key), signatures in signed.items():
        master = shown[user_id]["master"]
        if name_of(verify_key_of_user(master)) == public_key:
            shown[user_id]["master"] = with_signatures(
                master, {user_id: signatures_on(master, user_id), reader: signatures}
            )
    return shown


def _with_name(device: DeviceKeys) -> bytes:
    if device.display_name is None:
        return device.keys
    return b'%b,"unsigned":{"device_display_name":%b}}' % (device.keys[:-1], encode(device.display_name))


def _parsed(text: str) -> UserID | None:
    """None for what is no user ID, and so nobody's."""
    try:
        return parse_user_id(text)
    except InvalidParam:
        return None
