"""This server's own keys. Spec: server-server API, "Publishing Keys"."""

from collections.abc import Mapping
from typing import Final

import attrs

from homeserver.core.identifiers import ServerName
from homeserver.core.json import JsonObject
from homeserver.core.server_keys import VerifyKey, publish
from homeserver.core.signing import SigningKey, sign_json
from homeserver.runtime.clock import Clock

HOUR_MS: Final = 3_600_000

LIFETIME_MS: Final = 24 * HOUR_MS
"""How long others may take the key for current without asking again: should it be stolen, for so long at most."""


@attrs.define
class OwnKeys:
    """The key that this server signs with, and those that it used to; `old` is by their identifiers."""

    server_name: ServerName
    key: SigningKey
    old: Mapping[str, VerifyKey]
    clock: Clock
    _response: JsonObject | None = None
    _made_ts: int = 0

    def response(self) -> JsonObject:
        """What this server publishes, signed; for some hours the same."""
        now_ts = self.clock.now_ts()
        if self._response is None or not 0 <= now_ts - self._made_ts < HOUR_MS:
            self._made_ts = now_ts
            self._response = publish(
                self.server_name, self.key, self.old, valid_until_ts=now_ts + LIFETIME_MS
            )
        return self._response

    def verify_key(self, key_id: str) -> VerifyKey | None:
        """A key of this server, or None if it never had that one."""
        if key_id == self.key.key_id:
            return VerifyKey(self.key.verify_key, self.clock.now_ts() + LIFETIME_MS)
        return self.old.get(key_id)

    def witness(self, document: JsonObject) -> JsonObject:
        """What another server has published, with this server's signature added."""
        return sign_json(document, self.server_name, self.key)
