"""Errors of the OAuth 2.0 API: a family of their own, as OAuth has its own codes and its own form of them."""


class OAuthError(Exception):
    """A request of OAuth is refused.

    `code` is registered with OAuth, such as `invalid_grant`; `description` is for the client's developer, in ASCII
    without quotes. Spec: RFC 6749, sections 4.1.2.1 and 5.2; RFC 7591, section 3.2.2; RFC 8628, section 3.5.
    """

    def __init__(self, code: str, description: str, *, status: int = 400) -> None:
        super().__init__(code, description)
        self.code = code
        self.description = description
        self.status = status


def invalid_request(description: str) -> OAuthError:
    """A parameter is missing, is there twice, or cannot be."""
    return OAuthError("invalid_request", description)


def invalid_grant(description: str) -> OAuthError:
    """What the client wants tokens for is not known, used up, expired, or another client's."""
    return OAuthError("invalid_grant", description)


def invalid_scope(description: str) -> OAuthError:
    """The scope is not one that can be granted."""
    return OAuthError("invalid_scope", description)
