"""Where the OAuth 2.0 API is; clients find it by the server's metadata."""

from typing import Final

AUTHORIZE: Final = "/_matrix/oauth2/authorize"
TOKEN: Final = "/_matrix/oauth2/token"  # noqa: S105 - a path
REVOKE: Final = "/_matrix/oauth2/revoke"
REGISTER: Final = "/_matrix/oauth2/register"
DEVICE: Final = "/_matrix/oauth2/device"
LINK: Final = "/_matrix/oauth2/link"
"""People type this one."""

ACCOUNT: Final = "/_matrix/account"
ACCOUNT_EMAIL: Final = "/_matrix/account/email"

LOG_IN: Final = "/_matrix/oauth2/login/{then}"
LOG_OUT: Final = "/_matrix/oauth2/logout/{then}"
SIGN_UP: Final = "/_matrix/oauth2/signup"
SIGN_UP_EMAIL: Final = "/_matrix/oauth2/signup/email"

PAGES: Final = {"authorize": AUTHORIZE, "link": LINK, "account": ACCOUNT}
"""Pages that need a login, by what `then` stands for: nobody is sent anywhere else after it."""
