"""Logging in on a device without a browser: it shows a code, which its user types in elsewhere.

Spec: client-server API, "Device authorisation flow"; RFC 8628.
"""

import secrets
from typing import Final, Literal, TypeAlias

import attrs
import msgspec

from homeserver.core.errors import MatrixError, Unknown
from homeserver.core.identifiers import UserID
from homeserver.core.oauth_errors import OAuthError, invalid_grant
from homeserver.core.oauth_requests import Scope
from homeserver.database.database import Database
from homeserver.database.transactions import WriteTransaction
from homeserver.runtime.clock import Clock
from homeserver.services.credentials import hash_of, new_token
from homeserver.services.oauth_clients import USED_MS, OAuthClient, OAuthClients
from homeserver.services.oauth_grants import Granted, OAuthGrants, not_let_in
from homeserver.services.sessions import SessionDraft, check_may_log_in, open_session
from homeserver.storage import oauth_clients, oauth_device_codes
from homeserver.storage.oauth_device_codes import DeviceCode

LIFETIME_MS: Final = 900_000
INTERVAL_MS: Final = 5_000
SLOWER_MS: Final = 5_000
"""How much longer a client has to wait that asks too often: "the interval MUST be increased by 5 seconds"."""

LETTERS: Final = "BCDFGHJKLMNPQRSTVWXZ"
"""Of user codes: no vowels, so no words, and no digits, so none that look like letters. RFC 8628, section 6.1."""

USER_CODE_LENGTH: Final = 8
ATTEMPTS: Final = 10

Verdict: TypeAlias = Literal["authorization_pending", "slow_down", "access_denied", "expired_token"]


@attrs.frozen
class DeviceAuthorization:
    """What the device is told. `user_code` is as people read it."""

    device_code: str = attrs.field(repr=False)
    user_code: str
    expires_in_ms: int
    interval_ms: int


class WaitingDevice(msgspec.Struct, frozen=True):
    """A device that waits for its user. `user_code` is as people read it."""

    user_code: str
    client: OAuthClient


class OAuthDevices(msgspec.Struct, frozen=True):
    """Lets devices in that show a code."""

    database: Database
    clock: Clock
    clients: OAuthClients
    grants: OAuthGrants

    async def begin(self, client: OAuthClient, scope: Scope) -> DeviceAuthorization:
        """Give a device its codes."""
        for _ in range(ATTEMPTS):
            device_code, user_code, now_ts = new_token(), _new_user_code(), self.clock.now_ts()
            code = DeviceCode(
                user_code=user_code,
                client_id=client.client_id,
                device_id=scope.device_id,
                scope=scope.text,
                expires_ts=now_ts + LIFETIME_MS,
                interval_ms=INTERVAL_MS,
            )
            if await self.database.write(begin, hash_of(device_code), code, now_ts=now_ts):
                return DeviceAuthorization(device_code, _readable(user_code), LIFETIME_MS, INTERVAL_MS)
        raise Unknown("All codes are in use: try again later", status=503)

    async def look(self, typed: str) -> WaitingDevice | None:
        """The device that shows the code which somebody has typed; None if none does."""
        user_code = _as_stored(typed)
        code = await self.database.read(
            oauth_device_codes.of_user_code, user_code, now_ts=self.clock.now_ts()
        )
        client = None if code is None else await self.clients.find(code.client_id)
        return None if client is None else WaitingDevice(_readable(user_code), client)

    async def decide(self, user_id: UserID, typed: str, *, is_denied: bool) -> bool:
        """Let the device in, or not; False if it does not wait any more.

        Errors: UserDeactivated, UserLocked, Forbidden.
        """
        return await self.database.write(
            decide, user_id, _as_stored(typed), is_denied=is_denied, now_ts=self.clock.now_ts()
        )

    async def poll(self, client: OAuthClient, device_code: str) -> Granted:
        """Tokens, once the user has let the device in. Errors: OAuthError, most often `authorization_pending`."""
        code_hash = hash_of(device_code)
        code = await self.database.read(oauth_device_codes.find, code_hash)
        if code is None or code.client_id != client.client_id:
            raise invalid_grant("the device code is not known, or has been used")
        now_ts = self.clock.now_ts()
        if code.expires_ts <= now_ts:
            raise _refused("expired_token")
        if code.user_id is None:
            # A power cut may take back when the client has asked.
            verdict = await self.database.write_soon(note_poll, code_hash, now_ts=now_ts)
            if verdict is not None:
                raise _refused(verdict)
        try:
            outcome = await self.database.write(take, code_hash, self.grants.draft(client), now_ts=now_ts)
        except MatrixError as error:
            raise not_let_in(error) from error
        if outcome is None:
            raise invalid_grant("the device code has been used")
        if not isinstance(outcome, Granted):
            raise _refused(outcome)
        return outcome


def begin(tx: WriteTransaction, code_hash: bytes, code: DeviceCode, *, now_ts: int) -> bool:
    """Keep the codes, and the client; False if another device shows the same."""
    oauth_clients.keep(tx, code.client_id, until_ts=code.expires_ts)
    return oauth_device_codes.add(tx, code_hash, code, now_ts=now_ts)


def decide(tx: WriteTransaction, user_id: UserID, user_code: str, *, is_denied: bool, now_ts: int) -> bool:
    """Note what the user has decided. Errors: UserDeactivated, UserLocked, Forbidden."""
    check_may_log_in(tx, user_id)
    code = oauth_device_codes.of_user_code(tx, user_code, now_ts=now_ts)
    if code is None:
        return False
    oauth_clients.keep(tx, code.client_id, until_ts=now_ts + USED_MS)
    return oauth_device_codes.decide(tx, user_code, user_id, is_denied=is_denied, now_ts=now_ts)


def note_poll(tx: WriteTransaction, code_hash: bytes, *, now_ts: int) -> Verdict | None:
    """The client asks while nothing is decided: whether it does so too often; None if something is decided."""
    code = oauth_device_codes.lock(tx, code_hash)
    if code is None or code.user_id is not None:
        return None
    is_early = code.polled_ts is not None and now_ts < code.polled_ts + code.interval_ms
    interval_ms = code.interval_ms + (SLOWER_MS if is_early else 0)
    oauth_device_codes.polled(tx, code_hash, now_ts=now_ts, interval_ms=interval_ms)
    return "slow_down" if is_early else "authorization_pending"


def take(
    tx: WriteTransaction, code_hash: bytes, draft: SessionDraft, *, now_ts: int
) -> Granted | Verdict | None:
    """Open the session of a device that was let in, or say why not; either uses the code up. None if it is gone.

    Errors: as `open_session`.
    """
    code = oauth_device_codes.lock(tx, code_hash)
    if code is None:
        return None
    if code.user_id is None:
        return "authorization_pending"
    oauth_device_codes.remove(tx, code_hash)
    if code.is_denied:
        return "access_denied"
    session = attrs.evolve(draft, device_id=code.device_id)
    return Granted(open_session(tx, code.user_id, session, now_ts=now_ts), code.scope)


_MEANINGS: Final[dict[Verdict, str]] = {
    "authorization_pending": "the user has not decided yet",
    "slow_down": "the client asks too often",
    "access_denied": "the user does not let the device in",
    "expired_token": "the device code has expired",
}


def _refused(verdict: Verdict) -> OAuthError:
    return OAuthError(verdict, _MEANINGS[verdict])


def _new_user_code() -> str:
    return "".join(secrets.choice(LETTERS) for _ in range(USER_CODE_LENGTH))


def _readable(user_code: str) -> str:
    """In two halves."""
    half = USER_CODE_LENGTH // 2
    return f"{user_code[:half]}-{user_code[half:]}"


def _as_stored(typed: str) -> str:
    """What was meant, with or without the hyphen and in whatever case; RFC 8628, section 6.1."""
    return "".join(letter for letter in typed[:64].upper() if letter in LETTERS)
