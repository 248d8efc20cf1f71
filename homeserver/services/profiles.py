"""Profiles: those of this server's users are kept here, others are asked for. Spec: client-server API, "Profiles"."""

from typing import Final, Protocol

import msgspec

from homeserver.core.errors import (
    Forbidden,
    GuestAccessForbidden,
    MissingParam,
    NotFound,
    UserSuspended,
)
from homeserver.core.identifiers import ServerName, UserID, server_of
from homeserver.core.json import JsonObject, JsonValue, decode, encode
from homeserver.core.profiles import (
    AVATAR_URL,
    DISPLAY_NAME,
    NameAndAvatar,
    check_key,
    check_size,
    check_value,
)
from homeserver.core.requester import Requester
from homeserver.database.database import Database
from homeserver.database.transactions import ReadTransaction, WriteTransaction
from homeserver.services import user_directory_entries
from homeserver.services.presence import Presence
from homeserver.storage import profiles, users

PROPAGATED: Final = frozenset({DISPLAY_NAME, AVATAR_URL})
"""Fields that membership and presence events repeat."""


class MemberProfiles(Protocol):
    """Repeats profiles in the rooms of their users."""

    async def update_member_events(
        self, user_id: UserID, display_name: str | None, avatar_url: str | None
    ) -> None:
        """Bring the user's membership events in joined rooms to this name and avatar."""
        ...


class OtherProfiles(Protocol):
    """Asks other servers."""

    async def profile_of(self, user_id: UserID) -> JsonObject:
        """The whole profile of a user of another server."""
        ...


class Profiles(msgspec.Struct, frozen=True):
    """Keeps profiles, and tells rooms and watchers of new names and avatars."""

    database: Database
    members: MemberProfiles
    presence: Presence
    server_name: ServerName
    others: OtherProfiles

    async def profile_of(self, user_id: UserID) -> JsonObject:
        """The whole profile of a user.

        Errors: NotFound if there is no such user, or the account is closed; of users of other servers also
        Forbidden, or Unknown (502), if their server does not tell.
        """
        if server_of(user_id) != self.server_name:
            return await self.others.profile_of(user_id)
        return await self.database.read(profile_of, user_id)

    async def field_of(self, user_id: UserID, key: str) -> JsonValue:
        """One field's value, which may be `None`.

        Errors: as of `profile_of`, and NotFound if there is no such field; InvalidParam, KeyTooLarge if no
        field can have that name.
        """
        check_key(key)
        if server_of(user_id) != self.server_name:
            profile = await self.others.profile_of(user_id)
            if key not in profile:
                raise NotFound("The profile has no such field")
            return profile[key]
        return await self.database.read(field_of, user_id, key)

    async def set_field(self, requester: Requester, user_id: UserID, key: str, body: JsonObject) -> None:
        """Set one field to the value that `body` has under its name.

        An empty display name or avatar counts as none: clients have always taken theirs away like that.
        Errors: Forbidden for another user; GuestAccessForbidden, UserSuspended; MissingParam, BadJson,
        InvalidParam, KeyTooLarge, ProfileTooLarge.
        """
        _check_may_change(requester, user_id, key)
        if key not in body:
            raise MissingParam(f"the body lacks {key}")
        value = body[key]
        check_value(key, value)
        if key in PROPAGATED and value == "":
            await self.delete_field(requester, user_id, key)
            return
        now = await self.database.write(set_field, user_id, key, value)
        await self._propagate(user_id, key, now)

    async def delete_field(self, requester: Requester, user_id: UserID, key: str) -> None:
        """Remove one field that may be there.

        Errors: Forbidden for another user; GuestAccessForbidden, UserSuspended; InvalidParam, KeyTooLarge.
        """
        _check_may_change(requester, user_id, key)
        now = await self.database.write(delete_field, user_id, key)
        await self._propagate(user_id, key, now)

    async def _propagate(self, user_id: UserID, key: str, now: NameAndAvatar) -> None:
        """Tell rooms and watchers; also of a value that is not new, as the last attempt may have failed."""
        if key in PROPAGATED:
            await self.members.update_member_events(user_id, now.display_name, now.avatar_url)
            await self.presence.profile_changed(user_id)


def profile_of(tx: ReadTransaction, user_id: UserID) -> JsonObject:
    """The whole profile. Errors: NotFound."""
    _check_exists(tx, user_id)
    return profiles.of(tx, user_id)


def field_of(tx: ReadTransaction, user_id: UserID, key: str) -> JsonValue:
    """One field's value. Errors: NotFound."""
    _check_exists(tx, user_id)
    value = profiles.field_of(tx, user_id, key)
    if value is None:
        raise NotFound("The profile has no such field")
    return decode(value)


def set_field(tx: WriteTransaction, user_id: UserID, key: str, value: JsonValue) -> NameAndAvatar:
    """Set a field; the name and avatar from now on. Errors: UserSuspended, ProfileTooLarge."""
    _check_not_suspended(tx, user_id)
    fields = {**profiles.lock(tx, user_id), key: encode(value)}
    check_size({name: len(data) for name, data in fields.items()})
    profiles.put(tx, user_id, key, value)
    user_directory_entries.refresh(tx, [user_id])
    return _name_and_avatar(fields)


def delete_field(tx: WriteTransaction, user_id: UserID, key: str) -> NameAndAvatar:
    """Remove a field, if it is there; the name and avatar from now on. Errors: UserSuspended."""
    _check_not_suspended(tx, user_id)
    fields = profiles.lock(tx, user_id)
    fields.pop(key, None)
    profiles.delete_field(tx, user_id, key)
    user_directory_entries.refresh(tx, [user_id])
    return _name_and_avatar(fields)


def _name_and_avatar(fields: dict[str, bytes]) -> NameAndAvatar:
    return NameAndAvatar.of({key: decode(fields[key]) for key in PROPAGATED & fields.keys()})


def _check_may_change(requester: Requester, user_id: UserID, key: str) -> None:
    if user_id != requester.user_id:
        raise Forbidden("The profile of another user is not yours to change")
    check_key(key)
    # "Guest users may only modify their display name; other profile fields may not be changed."
    if requester.is_guest and key != DISPLAY_NAME:
        raise GuestAccessForbidden("Guests may only change their display name")


def _check_exists(tx: ReadTransaction, user_id: UserID) -> None:
    user = users.find(tx, user_id)
    if user is None or user.is_deactivated:
        raise NotFound("Profile not found")


def _check_not_suspended(tx: ReadTransaction, user_id: UserID) -> None:
    # Client-server API, "Account suspension": no changes to the profile.
    user = users.find(tx, user_id)
    if user is not None and user.is_suspended:
        raise UserSuspended
