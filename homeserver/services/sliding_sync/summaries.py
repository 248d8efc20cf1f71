"""What a client shows of a room in a list: its name and avatar, or who is in it, and how many they are."""

from collections.abc import Sequence

from homeserver.core.event import StateKey
from homeserver.core.json import JsonObject, decode_object, encode
from homeserver.services.client_events import content_of
from homeserver.services.sliding_sync.context import Context, Wanted
from homeserver.services.sliding_sync.required import SUMMARISED, States
from homeserver.services.sync.heroes import heroes_of
from homeserver.storage import state

_NAME: StateKey = ("m.room.name", "")
_AVATAR: StateKey = ("m.room.avatar", "")


def summary(ctx: Context, wanted: Wanted, states: States) -> dict[str, bytes]:
    """What has changed of it for the client. Spec: MSC4186, `RoomResult`."""
    body: dict[str, bytes] = {}
    is_new = states.old == 0
    name = avatar = None
    # Who is in a room by now is not for those to know who have left it.
    is_member = wanted.room.membership == "join"
    asks_heroes = is_member and (states.members_changed or states.has_changed(_NAME))
    if asks_heroes or states.has_changed(_NAME) or states.has_changed(_AVATAR):
        name, avatar = _texts(ctx, states.new)
    if states.has_changed(_NAME) and (name is not None or (ctx.is_stable and not is_new)):
        body["name"] = encode(name)
    if states.has_changed(_AVATAR) and (avatar is not None or not is_new):
        body["avatar"] = encode(avatar)
    if asks_heroes and name is None:
        body["heroes"] = encode([*_heroes(ctx, wanted, states.new)])
    if states.members_changed and is_member:
        body["joined_count"] = b"%d" % wanted.room.joined_members
        body["invited_count"] = b"%d" % wanted.room.invited_members
    return body


def _texts(ctx: Context, root: int) -> tuple[str | None, str | None]:
    """The name and the avatar's address, `None` where there is none, or an empty one."""
    nids = ctx.lookups.state(root, SUMMARISED)
    stored = ctx.lookups.events(nids.values())
    contents = {key: decode_object(content_of(stored[nid])) for key, nid in nids.items()}
    return _text(contents.get(_NAME, {}), "name"), _text(contents.get(_AVATAR, {}), "url")


def _heroes(ctx: Context, wanted: Wanted, root: int) -> Sequence[JsonObject]:
    user_ids = heroes_of(ctx.tx, wanted.room.room_nid, ctx.asking.user_id)
    if not user_ids:
        return []
    nids = state.members(ctx.tx, root, user_ids)
    stored = ctx.lookups.events(nids.values())
    found: list[JsonObject] = []
    for user_id in user_ids:
        hero: JsonObject = {"user_id": user_id}
        if user_id in nids:
            content = decode_object(content_of(stored[nids[user_id]]))
            for key in ("displayname", "avatar_url"):
                text = _text(content, key)
                if text is not None:
                    hero[key] = text
        found.append(hero)
    return found


def _text(content: JsonObject, key: str) -> str | None:
    value = content.get(key)
    return value if isinstance(value, str) and value else None
