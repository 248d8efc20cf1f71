"""Client-server API, `third_party_lookup.yaml`: other networks, of which there are none without bridges."""

from tests.api.server import Client, path_of


async def test_there_are_no_networks(alice: Client) -> None:
    assert (await alice.get(path_of("thirdparty", "protocols"))).ok() == {}
    for what in ("protocol", "location", "user"):
        answer = await alice.get(path_of("thirdparty", what, "irc"), channel="#matrix")
        assert "irc" in answer.error(404, "M_NOT_FOUND")["error"]


async def test_nobody_is_in_another_network(alice: Client) -> None:
    for what, name, value in (("location", "alias", "#a:test.example"), ("user", "userid", alice.user_id)):
        path = path_of("thirdparty", what)
        assert (await alice.get(path, **{name: value})).ok() == []
        (await alice.get(path, **{name: "irc"})).error(400, "M_INVALID_PARAM")
        (await alice.get(path)).error(400, "M_MISSING_PARAM")
