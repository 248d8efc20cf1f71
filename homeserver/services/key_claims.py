"""Claiming one-time keys of devices. Spec: client-server API, `POST /keys/claim`."""

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from homeserver.core import splice
from homeserver.core.errors import InvalidParam, TooLarge
from homeserver.core.identifiers import DeviceID, ServerName, UserID, parse_user_id, server_of
from homeserver.core.json import encode
from homeserver.core.key_uploads import OneTimeKey
from homeserver.database.database import Database
from homeserver.database.transactions import WriteTransaction
from homeserver.services.remote_keys import RemoteKeys
from homeserver.storage import one_time_keys

MOST_DEVICES: Final = 10_000
"""In one claim."""

AT_ONCE: Final = 100
"""Devices in one transaction; all other writes wait for it."""

Wanted = Mapping[str, Mapping[str, str]]
"""Algorithms by device, by user."""

_Keys = dict[UserID, dict[DeviceID, dict[str, bytes]]]


class KeyClaims(msgspec.Struct, frozen=True, eq=False):
    """Hands out keys. What is handed out is gone before anybody has it, so that it is never given twice."""

    database: Database
    server_name: ServerName
    remote_keys: RemoteKeys

    async def claim(self, wanted: Wanted, *, patience_ms: int) -> bytes:
        """A key for each of the devices that has one: the JSON of the response. Errors: TooLarge."""
        here, elsewhere = self._sorted(wanted)
        found = await self._claim(here)
        failures: Mapping[ServerName, object] = {}
        if elsewhere:
            claimed = await self.remote_keys.claim(elsewhere, patience_ms=patience_ms)
            failures = claimed.failures
            for user_id, devices in claimed.users.items():
                found[user_id] = {device_id: {name: key} for device_id, (name, key) in devices.items()}
        return splice.object_of(
            {"one_time_keys": _json(found), "failures": encode(dict(failures))}  # type: ignore[arg-type]  # dicts are invariant
        )

    async def claim_for_server(self, wanted: Wanted) -> bytes:
        """As `claim`, for another server: of users here alone. Errors: TooLarge."""
        here, _ = self._sorted(wanted)
        return splice.object_of({"one_time_keys": _json(await self._claim(here))})

    async def _claim(self, wanted: Mapping[UserID, Mapping[DeviceID, str]]) -> _Keys:
        # In one order for everybody: two claims of the same devices do not wait for each other.
        listed = sorted(
            (user_id, device_id, algorithm)
            for user_id, devices in wanted.items()
            for device_id, algorithm in devices.items()
        )
        found: _Keys = {}
        for start in range(0, len(listed), AT_ONCE):
            for user_id, device_id, key in await self.database.write(claim, listed[start : start + AT_ONCE]):
                found.setdefault(user_id, {})[device_id] = {key.name: key.key}
        return found

    def _sorted(
        self, wanted: Wanted
    ) -> tuple[dict[UserID, dict[DeviceID, str]], dict[UserID, dict[DeviceID, str]]]:
        """What is asked of users here and of others; what names no possible user or device is left out."""
        if sum(map(len, wanted.values())) > MOST_DEVICES:
            raise TooLarge(f"one may claim keys of {MOST_DEVICES} devices at once")
        here: dict[UserID, dict[DeviceID, str]] = {}
        elsewhere: dict[UserID, dict[DeviceID, str]] = {}
        for text, devices in wanted.items():
            try:
                user_id = parse_user_id(text)
            except InvalidParam:
                continue
            side = here if server_of(user_id) == self.server_name else elsewhere
            side[user_id] = {
                DeviceID(device_id): algorithm
                for device_id, algorithm in devices.items()
                if "\0" not in device_id + algorithm
            }
        return here, elsewhere


def claim(
    tx: WriteTransaction, listed: Sequence[tuple[UserID, DeviceID, str]]
) -> list[tuple[UserID, DeviceID, OneTimeKey]]:
    """A key of each of these devices, of the algorithm, that has one."""
    found = []
    for user_id, device_id, algorithm in listed:
        key = one_time_keys.claim(tx, user_id, device_id, algorithm)
        if key is not None:
            found.append((user_id, device_id, key))
    return found


def _json(keys: _Keys) -> bytes:
    return splice.keyed(
        {
            user_id: splice.keyed({device_id: splice.keyed(key) for device_id, key in devices.items()})
            for user_id, devices in keys.items()
        }
    )
