"""What servers keep of the devices and cross-signing keys of other servers' users."""

from sqlalchemy import bindparam, select

from homeserver.core.identifiers import DeviceID, UserID
from homeserver.database.statements import statement
from homeserver.database.tables.encryption import device_lists
from homeserver.database.transactions import ReadTransaction
from homeserver.services.remote_keys import FoundKeys, read_kept
from homeserver.storage import remote_device_lists
from homeserver.storage.remote_device_lists import RemoteList
from tests.federation.harness import FederatedServer, until

TOLD = statement(select(device_lists.c.position).where(device_lists.c.user_id == bindparam("user_id")))


async def query(
    server: FederatedServer, user_id: str, *device_ids: str, patience_ms: int = 10_000
) -> FoundKeys:
    """What a client of the server would be told, asked for or not."""
    wanted = {UserID(user_id): [DeviceID(each) for each in device_ids]}
    return await server.running.server.services.following.remote_keys.query(wanted, patience_ms=patience_ms)


async def queried(server: FederatedServer, user_id: str) -> set[str]:
    """The devices of which a client would be told; no server may fail."""
    found = await query(server, user_id)
    assert not found.failures, found.failures
    return {*found.users[UserID(user_id)].devices}


async def kept(server: FederatedServer, user_id: str) -> set[str] | None:
    """The devices of which a client would be told without anybody being asked; None: the user's server would be."""
    found, _ = await server.running.server.database.read(read_kept, {UserID(user_id): []})
    of_user = found.users.get(UserID(user_id))
    return None if of_user is None else {*of_user.devices}


async def keeps(server: FederatedServer, user_id: str, *device_ids: str) -> None:
    """Wait until the server keeps exactly these devices, and does not doubt them."""

    async def is_so() -> bool:
        return await kept(server, user_id) == {*device_ids}

    await until(is_so, what=f"{server.server_name} keeps {device_ids} of {user_id}")


async def kept_master(server: FederatedServer, user_id: str) -> bytes | None:
    """The master key that the server keeps and does not doubt."""
    found, _ = await server.running.server.database.read(read_kept, {UserID(user_id): []})
    of_user = found.users.get(UserID(user_id))
    return None if of_user is None else of_user.user_keys.get("master")


async def row(server: FederatedServer, user_id: str) -> RemoteList | None:
    """What the server knows of the user's list."""
    return await server.running.server.database.read(remote_device_lists.of, UserID(user_id))


async def has_read_all(server: FederatedServer) -> None:
    """Wait until the server's outbox has read all that was published, and so has decided who is to be told of it."""
    upto = await server.running.server.database.read(_position)

    async def is_so() -> bool:
        after = server.running.server.services.outbox.shards.position()
        return after is not None and after >= upto

    await until(is_so, what=f"that the outbox of {server.server_name} has read up to {upto}")


def _position(tx: ReadTransaction) -> int:
    return tx.stream_row().position


def _told(tx: ReadTransaction, user_id: UserID) -> int:
    return tx.value(TOLD, user_id=user_id) or 0


async def told(server: FederatedServer, user_id: str) -> int:
    """Where clients of the server were last told that the user's devices have changed; 0: never."""
    return await server.running.server.database.read(_told, UserID(user_id))
