from typing import Literal, cast

import argon2
import msgspec
import pytest
from twisted.internet import reactor
from twisted.internet.defer import Deferred, DeferredList

from homeserver.core.endpoint_errors import WeakPassword
from homeserver.core.errors import LimitExceeded
from homeserver.core.identifiers import UserID
from homeserver.runtime.worker_pool import Loop, WorkerPool
from homeserver.services.attempts import Guessing
from homeserver.services.passwords import (
    MAX_PASSWORD_BYTES,
    CheckedPassword,
    Passwords,
    check_acceptable,
    confirm,
    verify,
)
from homeserver.storage import users
from tests.api.server import LIGHT
from tests.services.accounts.conftest import Stack

HERE = "192.0.2.1"


class CountingHasher(argon2.PasswordHasher):
    """Counts what costs time."""

    work = 0

    def hash(self, password: str | bytes, *, salt: bytes | None = None) -> str:
        self.work += 1
        return super().hash(password, salt=salt)

    def verify(self, hash: str | bytes, password: str | bytes) -> Literal[True]:
        self.work += 1
        return super().verify(hash, password)


async def test_a_password_opens_its_account_only(stack: Stack, alice: UserID) -> None:
    await stack.accounts.create("bob", "another password")
    checked = await stack.passwords.check("alice", "password", address=HERE)
    assert checked is not None
    assert (checked.user_id, checked.better_hash) == (alice, None)
    for name, password in (("alice", "another password"), ("bob", "password"), ("carol", "password")):
        assert await stack.passwords.check(name, password, address=HERE) is None
    for name in ("ALICE", "@alice:test", "@Alice:test"):
        found = await stack.passwords.check(name, "password", address=HERE)
        assert found is not None
        assert found.user_id == alice
    assert await stack.passwords.check("@alice:elsewhere", "password", address=HERE) is None


async def test_nothing_of_a_password_is_cut_off(stack: Stack, alice: UserID) -> None:
    for one, other in (
        ("x" * 72 + "a", "x" * 72 + "b"),
        ("x\0a", "x\0b"),
        ("é" * 500 + "a", "é" * 500 + "b"),
    ):
        await stack.accounts.set_password(alice, one, logout_devices=False)
        assert await stack.passwords.check("alice", one, address=HERE) is not None
        assert await stack.passwords.check("alice", other, address=HERE) is None


async def test_the_same_characters_are_the_same_password(stack: Stack, alice: UserID) -> None:
    await stack.accounts.set_password(alice, "cafe\u0301 \ufb01", logout_devices=False)
    assert await stack.passwords.check("alice", "caf\u00e9 fi", address=HERE) is not None


@pytest.mark.parametrize(
    "password", ["", "x" * (MAX_PASSWORD_BYTES + 1), "é" * (MAX_PASSWORD_BYTES // 2 + 1)]
)
def test_what_is_no_password(password: str) -> None:
    with pytest.raises(WeakPassword):
        check_acceptable(password)


def test_who_is_not_there_costs_the_same_work() -> None:
    hasher = CountingHasher(time_cost=1, memory_cost=8, parallelism=1)
    stored = LIGHT.hash("password")
    assert verify(hasher, stored, "wrong") == (False, None)
    assert hasher.work == 1
    assert verify(hasher, None, "wrong") == (False, None)
    assert hasher.work == 2


async def test_an_account_without_a_password_has_none(stack: Stack) -> None:
    await stack.accounts.create("robot", None)
    for password in ("", "None", "*", "x"):
        assert await stack.passwords.check("robot", password, address=HERE) is None


async def test_failures_are_limited_for_accounts_there_or_not(stack: Stack, alice: UserID) -> None:
    async def guess(name: str, address: str) -> str:
        try:
            checked = await stack.passwords.check(name, "wrong", address=address)
        except LimitExceeded:
            return "limited"
        return "wrong" if checked is None else "right"

    for number, name in enumerate(["alice", "nobody", "not a name"]):
        answers = [await guess(name, f"198.51.{number}.{host}") for host in range(11)]
        assert answers == ["wrong"] * 10 + ["limited"], name
    # Spelling the name otherwise does not help, and the right password neither.
    with pytest.raises(LimitExceeded):
        await stack.passwords.check("@ALICE:test", "password", address=HERE)
    # Who has a session of the account is not locked out by others.
    confirmed = await stack.passwords.check(
        "alice", "password", address="203.0.113.1", guessing=Guessing.CONFIRMATION
    )
    assert confirmed is not None
    assert confirmed.user_id == alice


async def test_failures_are_limited_by_address(stack: Stack) -> None:
    for number in range(30):
        assert await stack.passwords.check(f"user{number}", "wrong", address=HERE) is None
    with pytest.raises(LimitExceeded):
        await stack.passwords.check("another", "wrong", address=HERE)
    assert await stack.passwords.check("another", "wrong", address="192.0.2.2") is None


async def test_a_limited_address_does_not_use_an_account_up(stack: Stack, alice: UserID) -> None:
    for number in range(30):
        await stack.passwords.check(f"user{number}", "wrong", address=HERE)
    for _ in range(30):
        with pytest.raises(LimitExceeded):
            await stack.passwords.check("alice", "wrong", address=HERE)
    assert await stack.passwords.check("alice", "password", address="192.0.2.2") is not None


async def test_a_busy_server_counts_nothing(stack: Stack, alice: UserID) -> None:
    idle = WorkerPool(cast("Loop", reactor), threads=1, queue_limit=0)
    busy = msgspec.structs.replace(stack.passwords, pool=idle)
    for _ in range(40):
        with pytest.raises(LimitExceeded, match="busy"):
            await busy.check("alice", "password", address=HERE)
    assert await stack.passwords.check("alice", "password", address=HERE) is not None


async def test_guesses_at_the_same_time_count_one_by_one(stack: Stack, alice: UserID) -> None:
    guesses = [
        Deferred.fromCoroutine(stack.passwords.check("alice", "wrong", address=f"198.51.100.{host}"))
        for host in range(30)
    ]
    results = await DeferredList(guesses, consumeErrors=True)
    assert sum(success for success, _ in results) == 10


async def test_an_outdated_hash_is_replaced_unless_the_password_was(
    stack: Stack, pool: WorkerPool, alice: UserID
) -> None:
    heavier = argon2.PasswordHasher(time_cost=2, memory_cost=8, parallelism=1)
    passwords = Passwords(stack.database, stack.names, pool, stack.attempts, heavier)
    checked = await passwords.check("alice", "password", address=HERE)
    assert checked is not None
    assert checked.better_hash is not None
    assert await stack.database.write(confirm, checked)
    _, stored = await stack.database.read(users.password_hash, alice, alice)  # type: ignore[misc]  # mypy cannot tell
    assert stored == checked.better_hash
    again = await passwords.check("alice", "password", address=HERE)
    assert again == CheckedPassword(alice, checked.better_hash, None)
    await stack.accounts.set_password(alice, "changed", logout_devices=False)
    assert not await stack.database.write(confirm, again)
