"""Passwords: hashed and checked off the reactor, a few at a time, and guessed only so often."""

import unicodedata
from typing import Final

import argon2
import attrs
import msgspec
from argon2.exceptions import VerifyMismatchError

from homeserver.core.endpoint_errors import WeakPassword
from homeserver.core.identifiers import UserID
from homeserver.database.database import Database
from homeserver.database.transactions import ReadTransaction, WriteTransaction
from homeserver.runtime.worker_pool import WorkerPool
from homeserver.services.attempts import Attempts, Guessing
from homeserver.services.user_names import UserNames, folded
from homeserver.storage import users

MAX_PASSWORD_BYTES: Final = 1024
MAX_COUNTED_NAME: Final = 255
"""Characters of a name that nobody can have, as far as attempts are counted by it."""

ARGON2: Final = argon2.PasswordHasher(time_cost=2, memory_cost=19_456, parallelism=1)
"""Argon2id as OWASP recommends it for servers: 19 MiB and about 25 ms of one processor per password."""


@attrs.frozen
class CheckedPassword:
    """A password was right. `better_hash` is a new hash of it, if the stored one is of an outdated kind."""

    user_id: UserID
    password_hash: str = attrs.field(repr=False)
    better_hash: str | None = attrs.field(repr=False)


class Passwords(msgspec.Struct, frozen=True):
    """Hashes and checks passwords."""

    database: Database
    names: UserNames
    pool: WorkerPool
    attempts: Attempts
    hasher: argon2.PasswordHasher = ARGON2

    async def hash(self, password: str) -> str:
        """What is stored in place of a new password. Errors: WeakPassword; LimitExceeded."""
        check_acceptable(password)
        return await self.pool.run(self.hasher.hash, _normal(password))

    async def check(
        self, name: str, password: str, *, address: str, guessing: Guessing = Guessing.ACCOUNT
    ) -> CheckedPassword | None:
        """Whether `password` opens the account that `name`, a user ID or localpart, means; None if not.

        An account that is not there, or has no password, takes the same work and counts the same. `guessing`
        is what the guess counts for, beside `address`. Errors: LimitExceeded.
        """
        claimed = self.names.claimed(name)
        counted = name[:MAX_COUNTED_NAME] if claimed is None else folded(claimed)
        # The address first: one that is over its limit does not use up the guesses at an account.
        budgets = ((Guessing.ADDRESS, address), (guessing, counted))
        for kind, whom in budgets:
            await self.attempts.take(kind, whom)
        is_failure = False
        try:
            checked = await self._compare(claimed, password)
            is_failure = checked is None
        finally:
            # What was right does not count, nor what was not looked at because the server was too busy.
            if not is_failure:
                for kind, whom in budgets:
                    await self.attempts.give_back(kind, whom)
        return checked

    async def _compare(self, claimed: UserID | None, password: str) -> CheckedPassword | None:
        found = None
        if claimed is not None:
            found = await self.database.read(users.password_hash, claimed, folded(claimed))
        user_id, stored = (None, None) if found is None else found
        is_right, better_hash = await self.pool.run(verify, self.hasher, stored, password)
        if not is_right or user_id is None or stored is None:
            return None
        return CheckedPassword(user_id, stored, better_hash)


def check_acceptable(password: str) -> None:
    """Check a new password before anything else is done. Errors: WeakPassword."""
    if not password:
        raise WeakPassword("The password is empty")
    if _is_too_long(password):
        raise WeakPassword(f"The password is longer than {MAX_PASSWORD_BYTES} bytes")


def verify(hasher: argon2.PasswordHasher, stored: str | None, password: str) -> tuple[bool, str | None]:
    """Whether the password is the one of the hash `stored`, and a better hash if that is outdated.

    Without `stored` the answer is no, after the same work. To be called in a worker's thread.
    """
    if _is_too_long(password):  # no account can have it, and everybody knows
        return False, None
    text = _normal(password)
    if stored is None:
        hasher.hash(text)
        return False, None
    try:
        hasher.verify(stored, text)
    except VerifyMismatchError:
        return False, None
    return True, hasher.hash(text) if hasher.check_needs_rehash(stored) else None


def confirm(tx: WriteTransaction, checked: CheckedPassword) -> bool:
    """Whether the password is still the one that was checked; stores the better hash.

    To be called in the transaction that rests on the check.
    """
    found = users.password_hash(tx, checked.user_id, checked.user_id)
    if found != (checked.user_id, checked.password_hash):
        return False
    if checked.better_hash is not None:
        users.replace_password_hash(tx, checked.user_id, checked.password_hash, checked.better_hash)
    return True


def has_password(tx: ReadTransaction, user_id: UserID) -> bool:
    """Whether the account can be opened by a password."""
    found = users.password_hash(tx, user_id, user_id)
    return found is not None and found[1] is not None


def _normal(password: str) -> bytes:
    """The same password typed on different systems gives the same bytes; nothing is cut off.

    NIST SP 800-63B recommends Unicode's form NFKC or NFKD.
    """
    return unicodedata.normalize("NFKC", password).encode(errors="surrogatepass")


def _is_too_long(password: str) -> bool:
    # The length in characters first, as it costs nothing.
    return len(password) > MAX_PASSWORD_BYTES or (
        len(password.encode(errors="surrogatepass")) > MAX_PASSWORD_BYTES
    )
