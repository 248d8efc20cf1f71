"""Cross-signing keys of users here, and what they have signed of the master keys of others."""

from collections.abc import Collection

from sqlalchemy import bindparam, delete, select

from homeserver.core.identifiers import UserID
from homeserver.core.identity_keys import Usage
from homeserver.core.topics import user_topic
from homeserver.database.kinds import Kind
from homeserver.database.statements import in_list, statement, upsert
from homeserver.database.tables.encryption import cross_signing_keys, user_signatures
from homeserver.database.transactions import ReadTransaction, WriteTransaction

_k = cross_signing_keys.c
_s = user_signatures.c
OF_USERS = statement(select(_k.user_id, _k.usage, _k["keys"]).where(in_list(_k.user_id, "user_ids")))
PUT = upsert(cross_signing_keys, key=["user_id", "usage"])
REMOVE = statement(
    delete(cross_signing_keys).where(_k.user_id == bindparam("user_id"), in_list(_k.usage, "usages"))
)
SIGNATURES = statement(
    select(_s.user_id, _s.public_key, _s.key_id, _s.signature).where(
        _s.signer_user_id == bindparam("signer"), in_list(_s.user_id, "user_ids")
    )
)
SIGNED_BETWEEN = statement(
    select(_s.user_id)
    .where(
        _s.signer_user_id == bindparam("signer"),
        _s.position > bindparam("after"),
        _s.position <= bindparam("upto"),
    )
    .distinct()
)
SIGN = upsert(user_signatures, key=["signer_user_id", "user_id", "public_key", "key_id"])
FORGET_SIGNATURES = statement(delete(user_signatures).where(_s.signer_user_id == bindparam("signer")))


def of_users(tx: ReadTransaction, user_ids: Collection[UserID]) -> dict[UserID, dict[Usage, bytes]]:
    """All cross-signing keys of these users by their usage, as canonical JSON."""
    found: dict[UserID, dict[Usage, bytes]] = {}
    for user_id, usage, keys in tx.all(OF_USERS, user_ids=sorted(user_ids)):
        found.setdefault(user_id, {})[usage] = keys
    return found


def put(tx: WriteTransaction, user_id: UserID, usage: Usage, keys: bytes) -> None:
    """Set a cross-signing key, canonical JSON."""
    tx.execute(PUT, user_id=user_id, usage=usage, keys=keys)


def remove(tx: WriteTransaction, user_id: UserID, usages: Collection[Usage]) -> None:
    """Remove the keys of these usages."""
    tx.execute(REMOVE, user_id=user_id, usages=sorted(usages))


def signatures_by(
    tx: ReadTransaction, signer: UserID, user_ids: Collection[UserID]
) -> dict[tuple[UserID, str], dict[str, str]]:
    """What the user has signed of these users' master keys: by whose key it is and what that is called."""
    found: dict[tuple[UserID, str], dict[str, str]] = {}
    for user_id, public_key, key_id, signature in tx.all(
        SIGNATURES, signer=signer, user_ids=sorted(user_ids)
    ):
        found.setdefault((user_id, public_key), {})[key_id] = signature
    return found


def signed_between(tx: ReadTransaction, signer: UserID, *, after: int, upto: int) -> set[UserID]:
    """Whose master keys the user has signed at `after < position <= upto`."""
    return {row[0] for row in tx.all(SIGNED_BETWEEN, signer=signer, after=after, upto=upto)}


def sign(
    tx: WriteTransaction, signer: UserID, user_id: UserID, public_key: str, *, key_id: str, signature: str
) -> None:
    """The user has signed another's master key; the user's devices are told, and nobody else."""
    tx.publish(
        SIGN,
        kind=Kind.DEVICE_LISTS,
        to=[user_topic(signer)],
        signer_user_id=signer,
        user_id=user_id,
        public_key=public_key,
        key_id=key_id,
        signature=signature,
    )


def forget_signatures(tx: WriteTransaction, signer: UserID) -> None:
    """Remove all that the user has signed of others' keys."""
    tx.execute(FORGET_SIGNATURES, signer=signer)
