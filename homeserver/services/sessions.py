"""Sessions: a device with its access and refresh tokens, from login to logout.

Every way to log in ends in `open_session`, so what it refuses is refused for all of them.
"""

from collections.abc import Collection
from typing import Final

import attrs
import msgspec

from homeserver.core.errors import (
    Forbidden,
    InvalidParam,
    TooLarge,
    UnknownToken,
    UserDeactivated,
    UserLocked,
)
from homeserver.core.identifiers import DeviceID, UserID
from homeserver.core.requester import Requester
from homeserver.database.database import Database
from homeserver.database.transactions import ReadTransaction, WriteTransaction
from homeserver.runtime.clock import Clock
from homeserver.services.credentials import RefreshToken, hash_of, new_device_id, new_token
from homeserver.storage import (
    access_tokens,
    browser_sessions,
    dehydrated_devices,
    device_changes,
    device_keys,
    device_lists,
    devices,
    login_tokens,
    oauth_codes,
    oauth_device_codes,
    one_time_keys,
    refresh_tokens,
    sliding_sync,
    to_device,
    uia_sessions,
    users,
)
from homeserver.storage.refresh_tokens import Grant

ACCESS_LIFETIME_MS: Final = 3_600_000
"""How long an access token lives that can be refreshed. It can be taken back at any moment, since it is
read at each request; so a shorter life would cost more than it protects."""

MAX_DEVICE_ID_BYTES: Final = 255
MAX_DISPLAY_NAME: Final = 256
"""In characters."""


@attrs.frozen
class Session:
    """What a client gets. `expires_in_ms` is None if the access token does not expire."""

    user_id: UserID
    device_id: DeviceID
    access_token: str = attrs.field(repr=False)
    refresh_token: str | None = attrs.field(repr=False)
    expires_in_ms: int | None


@attrs.frozen
class SessionDraft:
    """A session that is to be opened for somebody; `refresh` is None if its access token does not expire.

    `oauth_client_id` is the client of the OAuth 2.0 API that it is for, None for the legacy API.
    """

    device_id: DeviceID
    display_name: str | None
    access_token: str = attrs.field(repr=False)
    refresh: RefreshToken | None
    lifetime_ms: int | None
    oauth_client_id: str | None = None

    def opened_for(self, user_id: UserID) -> Session:
        """As the client gets it."""
        refresh_token = None if self.refresh is None else self.refresh.text
        return Session(user_id, self.device_id, self.access_token, refresh_token, self.lifetime_ms)


class Sessions(msgspec.Struct, frozen=True):
    """Opens, refreshes and closes sessions."""

    database: Database
    clock: Clock
    access_lifetime_ms: int = ACCESS_LIFETIME_MS

    def draft(
        self,
        *,
        device_id: str | None,
        display_name: str | None,
        wants_refresh_token: bool,
        oauth_client_id: str | None = None,
    ) -> SessionDraft:
        """Prepare a session; without `device_id` for a new device.

        Errors: InvalidParam, TooLarge. Spec: client-server API, "Relationship between access tokens and
        devices".
        """
        if display_name is not None:
            check_display_name(display_name)
        return SessionDraft(
            device_id=check_device_id(device_id) if device_id else new_device_id(),
            display_name=display_name,
            access_token=new_token(),
            refresh=RefreshToken.new() if wants_refresh_token else None,
            lifetime_ms=self.access_lifetime_ms if wants_refresh_token else None,
            oauth_client_id=oauth_client_id,
        )

    async def refresh(self, refresh_token: str) -> Session:
        """A new pair of tokens for an old one; the old pair is good until the new one has been used.

        Errors: UnknownToken, with `soft_logout` as long as the login is still there; UserLocked.
        Spec: client-server API, "Refreshing access tokens".
        """
        spent = RefreshToken.parse(refresh_token)
        return await self.database.write(
            exchange,
            spent,
            new_token(),
            RefreshToken.new(spent.family),
            now_ts=self.clock.now_ts(),
            lifetime_ms=self.access_lifetime_ms,
        )

    async def close(self, requester: Requester) -> None:
        """Log out: the token that was used is good no more, and its device is deleted."""
        if requester.device_id is not None:
            await self.database.write(end_sessions, requester.user_id, [requester.device_id])

    async def close_all(self, user_id: UserID) -> None:
        """Log out on all devices, and delete them; and in all browsers."""
        await self.database.write(end_everything, user_id)


def check_device_id(device_id: str) -> DeviceID:
    """A device ID that a client has chosen. Errors: InvalidParam."""
    if len(device_id.encode(errors="surrogatepass")) > MAX_DEVICE_ID_BYTES:
        raise InvalidParam(f"a device ID has at most {MAX_DEVICE_ID_BYTES} bytes")
    if not device_id.isprintable():
        raise InvalidParam("a device ID has no control characters")
    return DeviceID(device_id)


def check_display_name(display_name: str) -> None:
    """Check the name that a client gives its device. Errors: TooLarge, InvalidParam."""
    if len(display_name) > MAX_DISPLAY_NAME:
        raise TooLarge(f"the name of a device has at most {MAX_DISPLAY_NAME} characters", status=400)
    if "\0" in display_name:
        raise InvalidParam("the name of a device has no NUL")


def open_session(tx: WriteTransaction, user_id: UserID, draft: SessionDraft, *, now_ts: int) -> Session:
    """Log the user in; what the device had of tokens before is void.

    Errors: Forbidden if there is no such user; UserDeactivated; UserLocked.
    """
    check_may_log_in(tx, user_id)
    # "If the client sets the `device_id`, the server will invalidate any access and refresh tokens previously
    # assigned to that device."
    access_tokens.remove_of_devices(tx, user_id, [draft.device_id])
    refresh_tokens.remove_of_devices(tx, user_id, [draft.device_id])
    if devices.add(tx, user_id, draft.device_id, display_name=draft.display_name, now_ts=now_ts):
        device_added(tx, user_id, draft.device_id)
    _add_tokens(tx, user_id, draft, now_ts=now_ts, replaces_hash=None)
    return draft.opened_for(user_id)


def device_added(tx: WriteTransaction, user_id: UserID, device_id: DeviceID) -> None:
    """There is a new device, without any keys, whatever one of the same ID had before."""
    device_changes.put(tx, user_id, [device_id])
    one_time_keys.tell(tx, user_id, device_id)


def check_may_log_in(tx: ReadTransaction, user_id: UserID) -> None:
    """The one gate of all kinds of login. Errors: Forbidden, UserDeactivated, UserLocked."""
    user = users.find(tx, user_id)
    if user is None:
        raise Forbidden("There is no such account")
    if user.is_deactivated:
        raise UserDeactivated
    # "When an account is locked, servers MUST return a 401 Unauthorized error response [...] on all but the
    # following Client-Server APIs" (those to log out).
    if user.is_locked:
        raise UserLocked


def exchange(
    tx: WriteTransaction,
    spent: RefreshToken,
    access_token: str,
    successor: RefreshToken,
    *,
    now_ts: int,
    lifetime_ms: int,
) -> Session:
    """Give `access_token` and `successor` for `spent`, which may be repeated until one of them has been used.

    Errors: UnknownToken, UserLocked.
    """
    grant = refresh_tokens.grant_of(tx, spent.token_hash)
    if grant is None or grant.is_deactivated:
        # If the login is still there, the token has been used before, and so has its successor. Who has lost
        # that one may keep the device and log in again; who has been logged out may not.
        raise UnknownToken(
            "The refresh token is not known, or has been used",
            soft_logout=grant is None and refresh_tokens.login_of(tx, spent.family_hash) is not None,
        )
    if grant.oauth_client_id is not None:
        # "After logging in, clients MUST only use the API that was used to obtain their current access token."
        raise UnknownToken("The refresh token is one of the OAuth 2.0 API")
    if grant.is_locked:
        raise UserLocked
    return succeed(tx, grant, spent, access_token, successor, now_ts=now_ts, lifetime_ms=lifetime_ms)


def succeed(
    tx: WriteTransaction,
    grant: Grant,
    spent: RefreshToken,
    access_token: str,
    successor: RefreshToken,
    *,
    now_ts: int,
    lifetime_ms: int,
) -> Session:
    """As `exchange`, for a refresh token that is good for it."""
    if grant.replaces_hash is not None:
        settle_refresh(tx, grant.user_id, grant.device_id, grant.replaces_hash, spent.token_hash)
    draft = SessionDraft(grant.device_id, None, access_token, successor, lifetime_ms, grant.oauth_client_id)
    _add_tokens(tx, grant.user_id, draft, now_ts=now_ts, replaces_hash=spent.token_hash)
    return draft.opened_for(grant.user_id)


def settle_refresh(
    tx: WriteTransaction, user_id: UserID, device_id: DeviceID, replaced_hash: bytes, kept_hash: bytes
) -> None:
    """Of the pairs that `replaced_hash` was exchanged for, one has been used, that of `kept_hash`.

    Both are refresh tokens. The pair before it, and any others that were made for it, are void: each device
    has one line of tokens.
    """
    # The row of the replaced refresh token first: of two pairs used at the same moment, one waits there.
    refresh_tokens.settle(tx, user_id, device_id, replaced_hash=replaced_hash, kept_hash=kept_hash)
    access_tokens.settle(tx, user_id, device_id, replaced_hash=replaced_hash, kept_hash=kept_hash)


def end_sessions(tx: WriteTransaction, user_id: UserID, device_ids: Collection[DeviceID]) -> None:
    """Delete these devices of the user, with all that they have."""
    # The devices first: what is stored for one of them at the same time waits for that.
    removed = devices.remove(tx, user_id, device_ids)
    access_tokens.remove_of_devices(tx, user_id, device_ids)
    refresh_tokens.remove_of_devices(tx, user_id, device_ids)
    sliding_sync.close_all_of(tx, user_id, device_ids)
    dehydrated_devices.remove_of_devices(tx, user_id, device_ids)
    to_device.remove_of_devices(tx, user_id, device_ids)
    one_time_keys.remove(tx, user_id, device_ids)
    had_keys = device_keys.remove(tx, user_id, device_ids)
    device_changes.put(tx, user_id, removed, is_deleted=True)
    if had_keys:
        device_lists.tell(tx, user_id)


def end_all_sessions(tx: WriteTransaction, user_id: UserID) -> None:
    """Delete all devices of the user, with all that they have."""
    end_sessions(tx, user_id, devices.ids_of_user(tx, user_id))


def end_other_sessions(tx: WriteTransaction, user_id: UserID, *, but: DeviceID | None) -> None:
    """As `end_all_sessions`, apart from the device `but`, and from the dehydrated one, on which nobody is logged in."""
    dehydrated = dehydrated_devices.of(tx, user_id)
    kept = {but, None if dehydrated is None else dehydrated.device_id}
    end_sessions(tx, user_id, [each for each in devices.ids_of_user(tx, user_id) if each not in kept])


def end_everything(tx: WriteTransaction, user_id: UserID) -> None:
    """As `end_all_sessions`, and `end_beginnings`."""
    end_all_sessions(tx, user_id)
    end_beginnings(tx, user_id)


def end_beginnings(tx: WriteTransaction, user_id: UserID) -> None:
    """End what could become a session, or has been authorised and not done.

    Log the user out of this server's own pages; apps that were let in there, and have no session yet, get none.
    """
    login_tokens.remove_of_user(tx, user_id)
    uia_sessions.remove_of_user(tx, user_id)
    browser_sessions.remove_of_user(tx, user_id)
    oauth_codes.remove_of_user(tx, user_id)
    oauth_device_codes.remove_of_user(tx, user_id)


def _add_tokens(
    tx: WriteTransaction, user_id: UserID, draft: SessionDraft, *, now_ts: int, replaces_hash: bytes | None
) -> None:
    refresh = draft.refresh
    access_tokens.add(
        tx,
        hash_of(draft.access_token),
        user_id=user_id,
        device_id=draft.device_id,
        now_ts=now_ts,
        expires_ts=None if draft.lifetime_ms is None else now_ts + draft.lifetime_ms,
        refresh_hash=None if refresh is None else refresh.token_hash,
        replaces_hash=replaces_hash,
        oauth_client_id=draft.oauth_client_id,
    )
    if refresh is not None:
        refresh_tokens.add(
            tx,
            refresh.token_hash,
            family_hash=refresh.family_hash,
            user_id=user_id,
            device_id=draft.device_id,
            now_ts=now_ts,
            replaces_hash=replaces_hash,
            oauth_client_id=draft.oauth_client_id,
        )
