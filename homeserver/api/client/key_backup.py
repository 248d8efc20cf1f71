"""Client-server API, `key_backup.yaml`: backups of room keys."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Annotated, Final

import msgspec

from homeserver.core.errors import InvalidParam
from homeserver.core.identifiers import RoomID, parse_room_id
from homeserver.core.json import MAX_SAFE_INTEGER, JsonObject, encode
from homeserver.core.key_backups import KeyBackup as Backup
from homeserver.core.key_backups import KeyMetadata, RoomKey
from homeserver.core.requester import Requester
from homeserver.http.endpoints import Auth, Limit, endpoint
from homeserver.http.response import JSON_HEADERS, RawJson, Response
from homeserver.services.key_backups import KeyBackups

LATEST: Final = "/_matrix/client/v3/room_keys/version"
ONE: Final = "/_matrix/client/v3/room_keys/version/{version}"
KEYS: Final = "/_matrix/client/v3/room_keys/keys"
OF_ROOM: Final = "/_matrix/client/v3/room_keys/keys/{room_id}"
OF_SESSION: Final = "/_matrix/client/v3/room_keys/keys/{room_id}/{session_id}"

Count = Annotated[int, msgspec.Meta(ge=0, le=MAX_SAFE_INTEGER)]


class CreateBody(msgspec.Struct):
    """How the keys are encrypted."""

    algorithm: str
    auth_data: JsonObject


class CreateResponse(msgspec.Struct):
    """The version of the new backup."""

    version: str


class UpdateBody(msgspec.Struct):
    """How the keys are encrypted; neither `algorithm` nor `version` can be changed."""

    algorithm: str
    auth_data: JsonObject
    version: str | None = None


class BackupResponse(msgspec.Struct):
    """A backup. `etag` changes whenever its keys do."""

    algorithm: str
    auth_data: msgspec.Raw
    count: int
    etag: str
    version: str


class VersionQuery(msgspec.Struct):
    """Which backup."""

    version: str


class KeyBackupData(msgspec.Struct):
    """The key of a session, encrypted."""

    first_message_index: Count
    forwarded_count: Count
    is_verified: bool
    session_data: JsonObject


class RoomKeyBackup(msgspec.Struct):
    """The keys of a room, by session ID."""

    sessions: dict[str, KeyBackupData]


class RoomKeysBody(msgspec.Struct):
    """Keys of several rooms, by room ID."""

    rooms: dict[str, RoomKeyBackup]


class UpdateResponse(msgspec.Struct):
    """What the backup has now."""

    etag: str
    count: int


class KeyBackup(msgspec.Struct, frozen=True):
    """The endpoints of key backups."""

    key_backups: KeyBackups

    # Versions

    @endpoint("POST", LATEST, auth=Auth.USER, limit=Limit.UPDATES)
    async def post_room_keys_version(self, requester: Requester, body: CreateBody) -> CreateResponse:
        """Make a backup."""
        return CreateResponse(await self.key_backups.create(requester, body.algorithm, body.auth_data))

    @endpoint("GET", LATEST, auth=Auth.USER, limit=Limit.UPDATES)
    async def get_room_keys_version_current(self, requester: Requester) -> BackupResponse:
        """The latest backup."""
        return _told(await self.key_backups.latest(requester))

    @endpoint("GET", ONE, auth=Auth.USER, limit=Limit.UPDATES)
    async def get_room_keys_version(self, requester: Requester, version: str) -> BackupResponse:
        """The backup of that version."""
        return _told(await self.key_backups.find(requester, version))

    @endpoint("PUT", ONE, auth=Auth.USER, limit=Limit.UPDATES)
    async def put_room_keys_version(self, requester: Requester, version: str, body: UpdateBody) -> JsonObject:
        """Replace the backup's `auth_data`, as when it is signed by one more device."""
        if body.version not in (None, version):
            raise InvalidParam("Version does not match")
        await self.key_backups.set_auth_data(requester, version, body.algorithm, body.auth_data)
        return {}

    @endpoint("DELETE", ONE, auth=Auth.USER, limit=Limit.UPDATES)
    async def delete_room_keys_version(self, requester: Requester, version: str) -> JsonObject:
        """Remove the backup with all its keys."""
        await self.key_backups.remove(requester, version)
        return {}

    # Storing keys

    @endpoint("PUT", OF_SESSION, auth=Auth.USER, limit=Limit.UPDATES)
    async def put_room_key_by_session_id(
        self, requester: Requester, room_id: RoomID, session_id: str, query: VersionQuery, body: KeyBackupData
    ) -> UpdateResponse:
        """Store one key."""
        keys = [_key(room_id, session_id, body)]
        return _changed(await self.key_backups.put_keys(requester, query.version, keys))

    @endpoint("PUT", OF_ROOM, auth=Auth.USER, limit=Limit.UPDATES)
    async def put_room_keys_by_room_id(
        self, requester: Requester, room_id: RoomID, query: VersionQuery, body: RoomKeyBackup
    ) -> UpdateResponse:
        """Store keys of a room."""
        keys = [_key(room_id, session_id, data) for session_id, data in body.sessions.items()]
        return _changed(await self.key_backups.put_keys(requester, query.version, keys))

    @endpoint("PUT", KEYS, auth=Auth.USER, limit=Limit.UPDATES)
    async def put_room_keys(
        self, requester: Requester, query: VersionQuery, body: RoomKeysBody
    ) -> UpdateResponse:
        """Store keys of several rooms."""
        keys = [
            _key(parse_room_id(room_id), session_id, data)
            for room_id, room in body.rooms.items()
            for session_id, data in room.sessions.items()
        ]
        return _changed(await self.key_backups.put_keys(requester, query.version, keys))

    # Getting keys

    @endpoint("GET", OF_SESSION, auth=Auth.USER, limit=Limit.UPDATES)
    async def get_room_key_by_session_id(
        self, requester: Requester, room_id: RoomID, session_id: str, query: VersionQuery
    ) -> RawJson:
        """One key."""
        return RawJson(_json(await self.key_backups.key(requester, query.version, room_id, session_id)))

    @endpoint("GET", OF_ROOM, auth=Auth.USER, limit=Limit.UPDATES)
    async def get_room_keys_by_room_id(
        self, requester: Requester, room_id: RoomID, query: VersionQuery
    ) -> Response:
        """The keys of a room."""
        pages = await self.key_backups.keys(requester, query.version, room_id)
        return Response(200, JSON_HEADERS, _room_json(pages))

    @endpoint("GET", KEYS, auth=Auth.USER, limit=Limit.SEARCH)
    async def get_room_keys(self, requester: Requester, query: VersionQuery) -> Response:
        """All keys, however many: they are sent as they are read."""
        pages = await self.key_backups.keys(requester, query.version, None)
        return Response(200, JSON_HEADERS, _rooms_json(pages))

    # Deleting keys

    @endpoint("DELETE", OF_SESSION, auth=Auth.USER, limit=Limit.UPDATES)
    async def delete_room_key_by_session_id(
        self, requester: Requester, room_id: RoomID, session_id: str, query: VersionQuery
    ) -> UpdateResponse:
        """Remove one key."""
        return _changed(await self.key_backups.remove_key(requester, query.version, room_id, session_id))

    @endpoint("DELETE", OF_ROOM, auth=Auth.USER, limit=Limit.UPDATES)
    async def delete_room_keys_by_room_id(
        self, requester: Requester, room_id: RoomID, query: VersionQuery
    ) -> UpdateResponse:
        """Remove the keys of a room."""
        return _changed(await self.key_backups.remove_keys_of_room(requester, query.version, room_id))

    @endpoint("DELETE", KEYS, auth=Auth.USER, limit=Limit.UPDATES)
    async def delete_room_keys(self, requester: Requester, query: VersionQuery) -> UpdateResponse:
        """Remove all keys."""
        return _changed(await self.key_backups.remove_all_keys(requester, query.version))


def _told(backup: Backup) -> BackupResponse:
    return BackupResponse(
        backup.algorithm,
        msgspec.Raw(backup.auth_data),
        backup.key_count,
        str(backup.etag),
        str(backup.version),
    )


def _changed(backup: Backup) -> UpdateResponse:
    return UpdateResponse(str(backup.etag), backup.key_count)


def _key(room_id: RoomID, session_id: str, data: KeyBackupData) -> RoomKey:
    metadata = KeyMetadata(data.first_message_index, data.forwarded_count, data.is_verified)
    return RoomKey(room_id, session_id, metadata, encode(data.session_data))


def _json(key: RoomKey) -> bytes:
    return b'{"first_message_index":%d,"forwarded_count":%d,"is_verified":%b,"session_data":%b}' % (
        key.metadata.first_message_index,
        key.metadata.forwarded_count,
        b"true" if key.metadata.is_verified else b"false",
        key.session_data,
    )


def _member(key: RoomKey) -> bytes:
    return b"%b:%b" % (encode(key.session_id), _json(key))


async def _room_json(pages: AsyncGenerator[list[RoomKey], None]) -> AsyncGenerator[bytes, None]:
    """A `RoomKeyBackup` in parts."""
    before = b'{"sessions":{'
    async with aclosing(pages):
        async for page in pages:
            yield before + b",".join(_member(key) for key in page)
            before = b","
    yield (b"" if before == b"," else before) + b"}}"


async def _rooms_json(pages: AsyncGenerator[list[RoomKey], None]) -> AsyncGenerator[bytes, None]:
    """A `RoomKeysBody` in parts; the keys of a room follow each other."""
    room_id: RoomID | None = None
    before = b'{"rooms":{'
    async with aclosing(pages):
        async for page in pages:
            parts = []
            for key in page:
                if key.room_id == room_id:
                    parts.append(b",")
                else:
                    parts.append(b'%b%b:{"sessions":{' % (before, encode(key.room_id)))
                    room_id, before = key.room_id, b"}},"
                parts.append(_member(key))
            yield b"".join(parts)
    yield before + b"}}" if room_id is None else b"}}}}"
