"""Client-server API, `capabilities.yaml`."""

import attrs

from homeserver.api.client.capabilities import Capabilities
from homeserver.core.identifiers import UserID
from homeserver.core.requester import Requester

CAPABILITIES = Capabilities(
    default_room_version="12",
    change_password=True,
    threepid_changes=False,
    get_login_token=False,
    moderation=True,
)
ALICE = Requester(
    UserID("@alice:x"), None, is_guest=False, is_admin=False, appservice_id=None, token_hash=b""
)


async def test_what_users_may_do() -> None:
    answer = await CAPABILITIES.get_capabilities(ALICE)
    assert answer == {
        "capabilities": {
            "m.change_password": {"enabled": True},
            "m.room_versions": {
                "default": "12",
                "available": {str(number): "stable" for number in range(1, 13)},
            },
            "m.profile_fields": {"enabled": True},
            "m.set_displayname": {"enabled": True},
            "m.set_avatar_url": {"enabled": True},
            "m.3pid_changes": {"enabled": False},
            "m.get_login_token": {"enabled": False},
            "m.forget_forced_upon_leave": {"enabled": False},
        }
    }


async def test_moderation_is_for_administrators_where_it_exists() -> None:
    """`capabilities.yaml`: "should be omitted altogether if `suspend` and `lock` would be `false`"."""
    admin = attrs.evolve(ALICE, is_admin=True)
    moderation = {"suspend": True, "lock": True}
    answer = await CAPABILITIES.get_capabilities(admin)
    assert answer["capabilities"]["m.account_moderation"] == moderation  # type: ignore[index,call-overload]
    answer = await attrs.evolve(CAPABILITIES, moderation=False).get_capabilities(admin)
    assert "m.account_moderation" not in answer["capabilities"]  # type: ignore[operator]
