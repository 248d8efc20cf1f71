from typing import Any

import attrs
import pytest

from homeserver.core.errors import InvalidParam, InvalidUsername, MatrixError, Unknown, UserInUse
from homeserver.services.shared_secret_registration import (
    NONCE_LIFETIME_MS,
    SharedSecretRegistrations,
    SharedSecretRequest,
)
from homeserver.storage import profiles
from tests.services.accounts.conftest import SECRET, Stack


def wanting(nonce: str, username: str = "bob", **more: object) -> SharedSecretRequest:
    fields: dict[str, object] = {
        "nonce": nonce,
        "username": username,
        "password": "pizza",
        "is_admin": False,
        "user_type": None,
        "display_name": None,
        "inhibit_login": False,
        "mac": "",
        **more,
    }
    request = SharedSecretRequest(**fields)  # type: ignore[arg-type]  # what the test wants to be taken
    return attrs.evolve(request, mac=request.expected_mac(SECRET))


@pytest.fixture
def registrations(stack: Stack) -> SharedSecretRegistrations:
    return stack.shared_secret()


def test_the_mac_is_that_of_the_protocol() -> None:
    # Made with: printf 'thisisanonce\0pepper_roni\0pizza\0admin' | openssl sha1 -hmac shared_secret
    request = attrs.evolve(wanting("thisisanonce", "pepper_roni"), is_admin=True)
    assert request.expected_mac("shared_secret") == "48715842ad67d5dc9a9ee938a3bda4fcfae8d7c7"
    assert (
        attrs.evolve(request, user_type="bot").expected_mac("shared_secret")
        == "2ab701ea6618f3a4ffffc98f2116ea6ff5157182"
    )


async def test_an_account_is_made(stack: Stack, registrations: SharedSecretRegistrations) -> None:
    done = await registrations.register(
        wanting(await registrations.new_nonce(), "Bob", is_admin=True, user_type="bot", display_name="Bobby")
    )
    account = await stack.accounts.find(done.user_id)
    assert account is not None
    assert (account.user_id, account.is_admin, account.user_type) == ("@bob:test", True, "bot")
    assert await stack.database.read(profiles.of, done.user_id) == {"displayname": "Bobby"}
    assert done.session is not None
    assert await stack.is_known(done.session.access_token)
    await stack.login("bob", "pizza")


async def test_a_login_can_be_left_out(registrations: SharedSecretRegistrations) -> None:
    done = await registrations.register(wanting(await registrations.new_nonce(), inhibit_login=True))
    assert done.session is None


async def test_a_nonce_is_good_once_and_briefly(
    stack: Stack, registrations: SharedSecretRegistrations
) -> None:
    used, wrong, old = [await registrations.new_nonce() for _ in range(3)]
    await registrations.register(wanting(used))
    with pytest.raises(Unknown) as caught:
        await registrations.register(attrs.evolve(wanting(wrong, "carol"), mac="0" * 40))
    assert caught.value.status == 403
    stack.clock.advance(NONCE_LIFETIME_MS)
    for nonce in (used, wrong, old, "", "made up"):
        with pytest.raises(Unknown) as caught:
            await registrations.register(wanting(nonce, "carol"))
        assert caught.value.status is None


async def test_the_mac_covers_what_matters(registrations: SharedSecretRegistrations) -> None:
    for change in (
        {"is_admin": True},
        {"user_type": "bot"},
        {"username": "eve"},
        {"password": "p"},
        {"mac": ""},
        {"mac": "é"},
    ):
        request = wanting(await registrations.new_nonce())
        with pytest.raises(Unknown):
            await registrations.register(attrs.evolve(request, **change))


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"username": "us,er"}, InvalidUsername),
        ({"username": "a\0b"}, InvalidParam),
        ({"password": "a\0b"}, InvalidParam),
        ({"user_type": "king"}, InvalidParam),
        ({"username": "alice"}, UserInUse),
    ],
)
async def test_what_is_refused(
    stack: Stack,
    registrations: SharedSecretRegistrations,
    change: dict[str, Any],
    error: type[MatrixError],
) -> None:
    await stack.accounts.create("alice", "password")
    with pytest.raises(error):
        await registrations.register(wanting(await registrations.new_nonce(), **change))


async def test_without_a_secret_nobody_registers(stack: Stack) -> None:
    registrations = stack.shared_secret(None)
    with pytest.raises(Unknown):
        await registrations.new_nonce()
    with pytest.raises(Unknown):
        await registrations.register(wanting("x"))
