"""What was authorised, or begun, ends with the password that it was begun with, with all sessions, and with a lock."""

import pytest

from tests.api.client.mail_harness import password_of
from tests.api.client.test_uia_fallback import check_done, page_of
from tests.api.server import PASSWORD, Client, TestServer, path_of

CHANGE, CLOSE = path_of("account", "password"), path_of("account", "deactivate")
REGISTER = path_of("register")


async def proved(server: TestServer, path: str, body: dict[str, object]) -> dict[str, object]:
    """The request of somebody who knows Alice's password and has no access token, authorised on the page, not done."""
    nobody = server.anonymous()
    session = (await nobody.post(path, body)).json["session"]
    stage = "m.login.password"
    check_done(await nobody.submit(page_of(stage), session=session, user="alice", password=PASSWORD))
    return {**body, "auth": {"session": session}}


@pytest.mark.parametrize(
    ("path", "body"), [(CHANGE, {"new_password": "the thief's"}), (CLOSE, {"erase": True})]
)
async def test_a_new_password_ends_what_the_old_one_has_authorised(
    server: TestServer, alice: Client, path: str, body: dict[str, object]
) -> None:
    stolen = await proved(server, path, body)
    (await alice.post(CHANGE, {"new_password": "the owner's", "auth": password_of(alice)})).ok()
    (await server.anonymous().post(path, stolen)).error(401, "M_FORBIDDEN")
    (await alice.get(path_of("account", "whoami"))).ok()
    login = {"type": "m.login.password", "user": "alice", "password": "the owner's"}
    (await server.anonymous().post(path_of("login"), login)).ok()


@pytest.mark.parametrize(("path", "body"), [(CHANGE, {"new_password": "another"}), (CLOSE, {})])
async def test_a_lock_ends_what_was_authorised(
    server: TestServer, alice: Client, path: str, body: dict[str, object]
) -> None:
    """ "Account locking": what the user cannot do is not done by who has no access token, either."""
    begun = await proved(server, path, body)
    admin = await server.user("admin", admin=True)
    lock = f"/_matrix/client/v1/admin/lock/{alice.user_id}"
    (await admin.put(lock, {"locked": True})).ok()
    (await server.anonymous().post(path, begun)).error(401, "M_FORBIDDEN")
    again = {**body, "auth": password_of(alice)}
    (await server.anonymous().post(path, again)).error(401, "M_USER_LOCKED")
    (await admin.put(lock, {"locked": False})).ok()
    (await alice.get(path_of("account", "whoami"))).ok()


async def test_a_session_that_was_proved_goes_on(server: TestServer, alice: Client) -> None:
    """It is Alice's then, and still the request's of who has no access token."""
    begun = await proved(server, CHANGE, {"new_password": "another"})
    (await alice.post(CHANGE, begun)).error(403, "M_FORBIDDEN")
    (await server.anonymous().post(CHANGE, {**begun, "new_password": "x"})).error(403, "M_FORBIDDEN")
    (await server.anonymous().post(CHANGE, begun)).ok()
    (await server.anonymous().post(CHANGE, begun)).error(401, "M_FORBIDDEN")


async def registered(server: TestServer) -> tuple[Client, dict[str, object]]:
    """A new user, and what registers them once more, for who has not heard that it was done."""
    nobody, body = server.anonymous(), {"username": "dora", "password": PASSWORD}
    session = (await nobody.post(REGISTER, body)).json["session"]
    dummy = {"type": "m.login.dummy", "session": session}
    made = (await nobody.post(REGISTER, {**body, "auth": dummy})).ok()
    user = server.anonymous()
    user.user_id, user.access_token = made["user_id"], made["access_token"]
    return user, {"auth": {"session": session}}


async def test_a_registration_is_not_repeated_after_all_sessions_have_ended(server: TestServer) -> None:
    user, again = await registered(server)
    (await user.post(path_of("logout", "all"))).ok()
    (await server.anonymous().post(REGISTER, again)).error(401, "M_FORBIDDEN")


async def test_a_registration_is_not_repeated_after_the_password_has_changed(server: TestServer) -> None:
    user, again = await registered(server)
    (await user.post(CHANGE, {"new_password": "another", "auth": password_of(user)})).ok()
    (await server.anonymous().post(REGISTER, again)).error(401, "M_FORBIDDEN")


async def test_a_login_token_ends_with_all_sessions(server: TestServer, alice: Client) -> None:
    asked = await alice.post("/_matrix/client/v1/login/get_token", {"auth": password_of(alice)})
    token = {"type": "m.login.token", "token": asked.ok()["login_token"]}
    (await alice.post(path_of("logout", "all"))).ok()
    (await server.anonymous().post(path_of("login"), token)).error(403, "M_FORBIDDEN")
