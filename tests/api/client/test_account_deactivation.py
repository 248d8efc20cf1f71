"""Client-server API, `account_deactivation.yaml`."""

from tests.api.server import PASSWORD, Client, TestServer, path_of

DEACTIVATE = "/_matrix/client/v3/account/deactivate"


def proof(password: str = PASSWORD) -> dict[str, object]:
    return {"type": "m.login.password", "user": "alice", "password": password}


async def test_an_account_is_closed_for_good(server: TestServer, alice: Client, bob: Client) -> None:
    room = await bob.create_room(preset="public_chat")
    await alice.join(room)
    assert (await alice.post(DEACTIVATE)).status == 401
    (await alice.post(DEACTIVATE, {"auth": proof("wrong")})).error(401, "M_FORBIDDEN")
    (await alice.get(path_of("account", "whoami"))).ok()
    answer = (await alice.post(DEACTIVATE, {"auth": proof()})).ok()
    assert answer == {"id_server_unbind_result": "success"}
    (await alice.get(path_of("account", "whoami"))).error(401, "M_UNKNOWN_TOKEN")
    login = {"type": "m.login.password", "user": "alice", "password": PASSWORD}
    (await server.anonymous().post(path_of("login"), login)).error(403, "M_FORBIDDEN")
    again = {"username": "alice", "password": PASSWORD, "auth": {"type": "m.login.dummy"}}
    (await server.anonymous().post(path_of("register"), again)).error(400, "M_USER_IN_USE")
    joined = (await bob.get(path_of("rooms", room, "joined_members"))).ok()["joined"]
    assert list(joined) == [bob.user_id]


async def test_who_has_no_session_may_know_the_password(server: TestServer, alice: Client) -> None:
    (await server.anonymous().post(DEACTIVATE, {"auth": proof(), "erase": True})).ok()
    (await alice.get(path_of("account", "whoami"))).error(401, "M_UNKNOWN_TOKEN")
    profile = await server.anonymous().get(path_of("profile", alice.user_id))
    profile.error(404, "M_NOT_FOUND")
