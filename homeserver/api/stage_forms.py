"""The forms of stages of an authentication: from what people fill in to what an app would send."""

from collections.abc import Mapping, Sequence

from homeserver.core.identifiers import UserID
from homeserver.core.json import JsonObject, JsonValue


def auth_in(
    stage: str, form: Mapping[str, str], params: JsonObject, user_id: UserID | None = None
) -> JsonObject | None:
    """What an app would send under `auth` for a stage; None if something is missing.

    `params` are the stage's, as they were shown; `user_id` is who has to show that it is them, None if that is asked.
    """
    match stage:
        case "m.login.password":
            user = user_id or form.get("user", "").strip()
            password = form.get("password")
            if not user or not password:
                return None
            return {"identifier": identifier_of(user), "password": password}
        case "m.login.registration_token":
            token = form.get("token", "").strip()
            return {"token": token} if token else None
        case "m.login.terms":
            wanted = [f"policy-{number}" for number in range(1, len(policies_in(params)) + 1)]
            return {} if all(name in form for name in wanted) else None
        case "m.login.email.identity":
            credentials: JsonObject = {
                name: form[name] for name in ("sid", "client_secret") if form.get(name)
            }
            return {"threepid_creds": credentials} if len(credentials) == 2 else None
        case _:
            return {}


def identifier_of(user: str) -> JsonObject:
    """What somebody has typed as their name, as a user identifier: a user ID, its first part, or an e-mail address."""
    if not user.startswith("@") and "@" in user:
        return {"type": "m.id.thirdparty", "medium": "email", "address": user}
    return {"type": "m.id.user", "user": user}


def policies_in(params: JsonObject) -> Sequence[Sequence[JsonObject]]:
    """The texts of each policy, as `language`, `name` and `url`."""
    stated = params.get("policies")
    policies = stated.values() if isinstance(stated, dict) else ()
    return [_texts(policy) for policy in policies if isinstance(policy, dict)]


def _texts(policy: Mapping[str, JsonValue]) -> Sequence[JsonObject]:
    return [{"language": language, **text} for language, text in policy.items() if isinstance(text, dict)]
