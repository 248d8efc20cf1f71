"""Where the OAuth 2.0 API is; clients find it by the server's metadata."""

from typing import Final

AUTHORIZE: Final = "/_matrix/oauth2/authorize"
TOKEN: Final = "/_matrix/oauth2/token"  # noqa: S105 - a path
REVOKE: Final = "/_matrix/oauth2/revoke"
REGISTER: Final = "/_matrix/oauth2/register"
DEVICE: Final = "/_matrix/oauth2/device"
LINK: Final = "/_matrix/oauth2/link"
"""People type this one."""

SSO: Final = "/_matrix/oauth2/sso"

ACCOUNT: Final = "/_matrix/account"
ACCOUNT_EMAIL: Final = "/_matrix/account/email"

LOG_IN: Final = "/_matrix/oauth2/login/{then}"
LOG_OUT: Final = "/_matrix/oauth2/logout/{then}"
SIGN_UP: Final = "/_matrix/oauth2/signup/{then}"
SIGN_UP_EMAIL: Final = "/_matrix/oauth2/signup/{then}/email"

PAGES: Final = {"authorize": AUTHORIZE, "sso": SSO, "link": LINK, "account": ACCOUNT}
"""Pages that need a login, by what `then` stands for: nobody is sent anywhere else after it."""

PAGES_FOR_NEW_USERS: Final = frozenset({"authorize", "sso"})
"""Those at which somebody may come who has no account yet."""
