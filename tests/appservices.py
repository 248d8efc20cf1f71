"""Application services of the tests."""

import json
import re
from collections.abc import Mapping
from pathlib import Path

from homeserver.core.appservices import Appservice, Namespace
from homeserver.core.identifiers import UserID
from homeserver.services.credentials import hash_of
from tests.api.server import Client, TestServer


def namespace(pattern: str, *, is_exclusive: bool = True) -> Namespace:
    """Names that the pattern matches."""
    return Namespace(re.compile(pattern), is_exclusive)


def appservice(
    id: str = "irc",
    *,
    sender: UserID = UserID("@ircbot:test"),  # noqa: B008 - a string
    users: tuple[Namespace, ...] = (namespace("@irc_.*"),),
    aliases: tuple[Namespace, ...] = (namespace("#irc_.*"),),
) -> Appservice:
    """A bridge to IRC, as the server knows it."""
    return Appservice(id=id, sender=sender, token_hash=hash_of(f"{id}-token"), users=users, aliases=aliases)


def registration(id: str = "irc", **more: object) -> dict[str, object]:
    """What is in the registration of a bridge to IRC; its token is `<id>-token`."""
    return {
        "id": id,
        "url": None,
        "as_token": f"{id}-token",
        "hs_token": f"{id}-hs-token",
        "sender_localpart": f"{id}bot",
        "namespaces": {
            "users": [{"regex": f"@{id}_.*", "exclusive": True}],
            "aliases": [{"regex": f"#{id}_.*", "exclusive": True}],
            "rooms": [],
        },
        **more,
    }


def registration_file(folder: Path, content: Mapping[str, object]) -> Path:
    """A file with that registration: JSON is YAML, too."""
    path = folder / f"{content['id']}.yaml"
    path.write_text(json.dumps(content))
    return path


def ghost(server: TestServer, id: str = "irc", **acts_as: str) -> Client:
    """The application service, acting as its sender, or as `user_id` on `device_id`."""
    return Client(
        server.base_url,
        server.specification,
        server.pool,
        user_id=acts_as.get("user_id", ""),
        device_id=acts_as.get("device_id", ""),
        access_token=f"{id}-token",
        acts_as=acts_as,
    )
