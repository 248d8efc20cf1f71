"""Server-server API, `query.yaml`."""

from tests.api.federation.asking import Asking
from tests.api.server import path_of
from tests.room_stories import Story


async def test_an_alias_leads_to_its_room(asking: Asking) -> None:
    alice = await asking.server.user("alice")
    room_id = await alice.create_room(room_alias_name="pub", preset="public_chat")
    alias = f"#pub:{asking.server.server_name}"
    found = (await asking.get("query", "directory", room_alias=alias)).ok()
    assert found == {"room_id": room_id, "servers": [asking.server.server_name]}
    story = Story(asking.database, asking.owner, room_id)  # type: ignore[arg-type]  # what the test wants to be taken
    await story.member(asking.user("bob"), "join")
    found = (await asking.get("query", "directory", room_alias=alias)).ok()
    assert found["servers"] == [asking.server.server_name, asking.peer_name]


async def test_aliases_that_lead_nowhere(asking: Asking) -> None:
    for alias in (f"#none:{asking.server.server_name}", "#pub:elsewhere.example"):
        (await asking.get("query", "directory", room_alias=alias)).error(404, "M_NOT_FOUND")
    (await asking.get("query", "directory", room_alias="pub")).error(400, "M_INVALID_PARAM")
    (await asking.get("query", "directory")).error(400, "M_MISSING_PARAM")


async def test_a_profile(asking: Asking) -> None:
    alice = await asking.server.user("alice")
    (await alice.put(path_of("profile", alice.user_id, "displayname"), {"displayname": "Alice"})).ok()
    (await alice.put(path_of("profile", alice.user_id, "org.example"), {"org.example": [1]})).ok()
    whole = (await asking.get("query", "profile", user_id=alice.user_id)).ok()
    assert whole == {"displayname": "Alice", "org.example": [1]}
    name = (await asking.get("query", "profile", user_id=alice.user_id, field="displayname")).ok()
    assert name == {"displayname": "Alice"}
    answer = await asking.get("query", "profile", user_id=alice.user_id, field="avatar_url")
    answer.error(404, "M_NOT_FOUND")


async def test_profiles_that_are_not_there(asking: Asking) -> None:
    nobody = f"@nobody:{asking.server.server_name}"
    (await asking.get("query", "profile", user_id=nobody)).error(404, "M_NOT_FOUND")
    (await asking.get("query", "profile", user_id=asking.user("bob"))).error(400, "M_INVALID_PARAM")
    (await asking.get("query", "profile", user_id="nobody")).error(400, "M_INVALID_PARAM")
    (await asking.get("query", "profile")).error(400, "M_MISSING_PARAM")
    answer = await asking.get("query", "profile", user_id=nobody, field="x" * 300)
    answer.error(400, "M_KEY_TOO_LARGE")


async def test_other_questions(asking: Asking) -> None:
    (await asking.get("query", "client_keys", user_id="@a:b")).error(404, "M_UNRECOGNIZED")
