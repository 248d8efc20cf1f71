import pytest
from twisted.internet.defer import Deferred, DeferredList

from homeserver.core.endpoint_errors import WeakPassword
from homeserver.core.errors import Exclusive, Forbidden, InvalidUsername, MissingParam, UserInUse
from homeserver.core.json import JsonObject
from homeserver.services.registration import (
    REPEATABLE_MS,
    Registered,
    RegistrationRequest,
    Registrations,
)
from homeserver.services.uia import Challenge
from homeserver.storage import profiles, registration_tokens
from tests.services.accounts.conftest import Asking, Stack
from tests.services.accounts.test_uia import deleting

HERE = "192.0.2.1"
DUMMY: JsonObject = {"type": "m.login.dummy"}


def wanting(username: str | None = "bob", **more: object) -> RegistrationRequest:
    fields: dict[str, object] = {"username": username, "password": "password", "auth": DUMMY, **more}
    return RegistrationRequest(**fields)  # type: ignore[arg-type]  # what the test wants to be taken


async def registered(registrations: Registrations, request: RegistrationRequest) -> Registered:
    outcome = await registrations.register(request, address=HERE)
    assert isinstance(outcome, Registered), outcome
    return outcome


async def challenged(registrations: Registrations, request: RegistrationRequest) -> Challenge:
    outcome = await registrations.register(request, address=HERE)
    assert isinstance(outcome, Challenge), outcome
    return outcome


def going_on(asked: Challenge, **more: object) -> RegistrationRequest:
    auth: JsonObject = {**DUMMY, "session": asked.session}
    return RegistrationRequest(auth=auth, **more)  # type: ignore[arg-type]  # what the test wants to be taken


async def test_an_account_is_made_and_logged_in(stack: Stack) -> None:
    done = await registered(
        stack.registrations(), wanting("Bob", device_id="D", initial_device_display_name="Phone")
    )
    assert done.user_id == "@bob:test"
    assert done.session is not None
    assert done.session.device_id == "D"
    who = await stack.authentication.authenticate(done.session.access_token, Asking())
    assert (who.user_id, who.is_guest, who.is_admin) == ("@bob:test", False, False)
    assert await stack.database.read(profiles.of, done.user_id) == {"displayname": "bob"}
    (device,) = await stack.devices.of_user(done.user_id)
    assert device.display_name == "Phone"
    await stack.login("bob")


async def test_a_login_can_be_left_out(stack: Stack) -> None:
    done = await registered(stack.registrations(), wanting(inhibit_login=True))
    assert done == Registered(done.user_id, None)
    assert await stack.devices.of_user(done.user_id) == []


async def test_names_are_made_up_for_who_wants_none(stack: Stack) -> None:
    done = [await registered(stack.registrations(), wanting(None)) for _ in range(3)]
    assert len({each.user_id for each in done}) == 3
    # A repetition of the same request without a session is another account; see below for those with one.


async def test_refresh_tokens_are_for_who_wants_them(stack: Stack) -> None:
    done = await registered(stack.registrations(), wanting(refresh_token=True))
    assert done.session is not None
    assert done.session.refresh_token is not None
    assert done.session.expires_in_ms is not None


async def test_what_is_wrong_is_said_before_the_stages(stack: Stack) -> None:
    registrations = stack.registrations()
    await registered(registrations, wanting("bob"))
    for name, error in (("BOB", UserInUse), ("b:b", InvalidUsername), ("irc_x", Exclusive)):
        for auth in (None, DUMMY):
            with pytest.raises(error):
                await registrations.register(wanting(name, auth=auth), address=HERE)
        with pytest.raises(error):
            await registrations.check_available(name)
    with pytest.raises(WeakPassword):
        await registrations.register(wanting("carol", password="", auth=None), address=HERE)
    await registrations.check_available("carol")
    assert (await challenged(registrations, wanting("carol", auth=None))).flows == (("m.login.dummy",),)


async def test_an_account_needs_a_password(stack: Stack) -> None:
    registrations = stack.registrations()
    with pytest.raises(MissingParam):
        await registrations.register(wanting(password=None), address=HERE)
    asked = await challenged(registrations, RegistrationRequest())
    with pytest.raises(MissingParam):
        await registrations.register(going_on(asked, username="bob"), address=HERE)
    # Nothing is lost by that.
    done = await registered(registrations, going_on(asked, username="bob", password="password"))
    assert done.user_id == "@bob:test"


async def test_what_was_said_need_not_be_repeated(stack: Stack) -> None:
    registrations = stack.registrations()
    asked = await challenged(
        registrations, wanting(device_id="D", initial_device_display_name="Phone", auth=None)
    )
    done = await registered(registrations, going_on(asked))
    assert done.user_id == "@bob:test"
    assert done.session is not None
    assert done.session.device_id == "D"
    assert (await stack.devices.of_user(done.user_id))[0].display_name == "Phone"
    await stack.login("bob")


async def test_what_is_said_last_counts(stack: Stack) -> None:
    registrations = stack.registrations()
    asked = await challenged(registrations, wanting("bob", device_id="D", auth=None))
    done = await registered(registrations, going_on(asked, username="carol", password="another"))
    assert done.user_id == "@carol:test"
    assert done.session is not None
    assert done.session.device_id == "D"
    await stack.login("carol", "another")
    with pytest.raises(Forbidden):
        await stack.login("carol")


async def test_the_flows_may_be_asked_for_first(stack: Stack) -> None:
    registrations = stack.registrations()
    asked = await challenged(registrations, RegistrationRequest())
    done = await registered(registrations, going_on(asked, username="bob", password="password"))
    assert done.user_id == "@bob:test"


@pytest.mark.parametrize("name", ["bob", None])
async def test_a_repeated_registration_is_the_same_account(stack: Stack, name: str | None) -> None:
    registrations = stack.registrations()
    asked = await challenged(registrations, wanting(name, auth=None))
    first = await registered(registrations, going_on(asked))
    second = await registered(registrations, going_on(asked, username=name, password="password"))
    assert first.user_id == second.user_id
    assert first.session is not None
    assert second.session is not None
    assert first.session.device_id != second.session.device_id
    assert await stack.is_known(first.session.access_token)
    assert await stack.is_known(second.session.access_token)
    # It is a login without a password, so not for long.
    stack.clock.advance(REPEATABLE_MS)
    await challenged(registrations, going_on(asked))


async def test_many_registrations_at_once_make_one_account(stack: Stack) -> None:
    registrations = stack.registrations()
    asked = await challenged(registrations, wanting(None, auth=None))
    asking = [Deferred.fromCoroutine(registered(registrations, going_on(asked))) for _ in range(5)]
    results = await DeferredList(asking, fireOnOneErrback=True)
    assert len({done.user_id for _, done in results}) == 1
    both = [Deferred.fromCoroutine(registered(registrations, wanting("carol"))) for _ in range(5)]
    results = await DeferredList(both, consumeErrors=True)
    assert sum(success for success, _ in results) == 1


async def test_a_session_of_something_else_registers_nobody(stack: Stack) -> None:
    other = await stack.uia.require(deleting(None, flows=(("m.login.dummy",),)), None)
    assert isinstance(other, Challenge)
    with pytest.raises(Forbidden):
        await stack.registrations().register(going_on(other, username="b", password="p"), address=HERE)


async def test_registration_may_be_closed(stack: Stack) -> None:
    registrations = stack.registrations(enabled=False)
    with pytest.raises(Forbidden):
        await registrations.register(wanting(), address=HERE)
    with pytest.raises(Forbidden):
        await registrations.register_guest(None)
    with pytest.raises(Forbidden):
        await registrations.check_available("bob")
    with pytest.raises(Forbidden):
        await registrations.is_token_valid("x")


async def test_a_registration_token_may_be_needed(stack: Stack) -> None:
    registrations = stack.registrations(requires_token=True)
    await stack.database.write(registration_tokens.add, "once", uses_allowed=1, expires_ts=None)
    asked = await challenged(registrations, wanting(auth=None))
    assert asked.flows == (("m.login.registration_token",),)
    token: JsonObject = {"type": "m.login.registration_token", "session": asked.session}
    assert (await challenged(registrations, wanting(auth=DUMMY))).error is not None
    wrong = await challenged(registrations, wanting(auth={**token, "token": "wrong"}))
    assert wrong.error is not None
    assert wrong.error.errcode == "M_FORBIDDEN"
    assert await registrations.is_token_valid("once")
    done = await registered(registrations, wanting(auth={**token, "token": "once"}))
    assert done.user_id == "@bob:test"
    assert not await registrations.is_token_valid("once")
    again = wanting("carol", auth={"type": "m.login.registration_token", "token": "once"})
    assert (await challenged(registrations, again)).error is not None
    # The answer that was lost can be asked for again, although the token is used up.
    assert (await registered(registrations, going_on(asked))).user_id == "@bob:test"


async def test_a_token_makes_no_more_accounts_than_it_may(stack: Stack) -> None:
    registrations = stack.registrations(requires_token=True)
    await stack.database.write(registration_tokens.add, "twice", uses_allowed=2, expires_ts=None)
    auth: JsonObject = {"type": "m.login.registration_token", "token": "twice"}
    asking = [
        Deferred.fromCoroutine(registered(registrations, wanting(f"user{number}", auth=auth)))
        for number in range(6)
    ]
    results = await DeferredList(asking, consumeErrors=True)
    assert sum(success for success, _ in results) == 2
    assert len(await stack.accounts.page()) == 2


async def test_a_refused_registration_does_not_use_its_token_up(stack: Stack) -> None:
    registrations = stack.registrations(requires_token=True)
    await stack.database.write(registration_tokens.add, "once", uses_allowed=1, expires_ts=None)
    await stack.accounts.create("bob", "password")
    auth: JsonObject = {"type": "m.login.registration_token", "token": "once"}
    with pytest.raises(UserInUse):
        await registrations.register(wanting("bob", auth=auth), address=HERE)
    with pytest.raises(MissingParam):
        await registrations.register(wanting("carol", auth=auth, password=None), address=HERE)
    assert await registrations.is_token_valid("once")


async def test_guests_have_no_password(stack: Stack) -> None:
    registrations = stack.registrations()
    done = await registrations.register_guest("Browser")
    assert done.session is not None
    who = await stack.authentication.authenticate(done.session.access_token, Asking())
    assert (who.user_id, who.is_guest) == (done.user_id, True)
    assert (await stack.devices.of_user(done.user_id))[0].display_name == "Browser"
    with pytest.raises(Forbidden):
        await stack.login(done.user_id, "")


async def test_a_guest_becomes_a_user(stack: Stack) -> None:
    registrations = stack.registrations()
    guest = await registrations.register_guest(None)
    assert guest.session is not None
    name = guest.user_id[1:].partition(":")[0]
    token = guest.session.access_token
    for wrong in (
        wanting("other", guest_access_token=token),
        wanting(None, guest_access_token=token),
        wanting(name, guest_access_token="x"),
    ):
        with pytest.raises(Forbidden):
            await registrations.register(wrong, address=HERE)
    done = await registered(registrations, wanting(name, guest_access_token=token))
    assert done.user_id == guest.user_id
    assert done.session is not None
    who = await stack.authentication.authenticate(done.session.access_token, Asking())
    assert not who.is_guest
    await stack.login(name)
    with pytest.raises(Forbidden):
        await registrations.register(wanting(name, guest_access_token=token), address=HERE)


async def test_a_full_user_cannot_be_taken_over_as_a_guest(stack: Stack) -> None:
    registrations = stack.registrations()
    done = await registered(registrations, wanting("bob"))
    assert done.session is not None
    with pytest.raises(Forbidden):
        await registrations.register(
            wanting("bob", password="other", guest_access_token=done.session.access_token), address=HERE
        )


async def test_the_database_does_not_hold_what_was_said(stack: Stack) -> None:
    registrations = stack.registrations()
    guest = await registrations.register_guest(None)
    assert guest.session is not None
    secret, token = "a very secret password", guest.session.access_token
    name = guest.user_id[1:].partition(":")[0]
    asked = await challenged(
        registrations, wanting(name, password=secret, guest_access_token=token, auth=None)
    )

    def everything(tx: object) -> str:
        tx._cursor.execute("SELECT * FROM uia_sessions")  # type: ignore[attr-defined]  # what tests alone look at
        return repr(tx._cursor.fetchall())  # type: ignore[attr-defined]  # what tests alone look at

    stored = await stack.database.read(everything)
    assert name in stored
    for each in (secret, token, asked.session):
        assert each not in stored
