"""Client-server API, `users.yaml`: the user directory."""

from typing import Annotated

import msgspec

from homeserver.core.identifiers import UserID
from homeserver.core.requester import Requester
from homeserver.http.endpoints import Auth, Limit, endpoint
from homeserver.services.user_directory import Person, UserDirectory


class SearchUserDirectoryBody(msgspec.Struct):
    """Who is looked for."""

    search_term: str
    limit: Annotated[int, msgspec.Meta(ge=1)] = 10


class User(msgspec.Struct, omit_defaults=True):
    """A user who has been found."""

    user_id: UserID
    display_name: str | None = None
    avatar_url: str | None = None

    @classmethod
    def of(cls, person: Person) -> "User":
        """As clients are told."""
        avatar_url = person.profile.avatar_url
        # In rooms, others may call anything an avatar.
        is_content = avatar_url is not None and avatar_url.startswith("mxc://")
        return cls(person.user_id, person.profile.display_name, avatar_url if is_content else None)


class SearchUserDirectoryResponse(msgspec.Struct):
    """Who has been found, the nearest first."""

    results: list[User]
    limited: bool


class Users(msgspec.Struct, frozen=True):
    """The user directory."""

    directory: UserDirectory

    @endpoint("POST", "/_matrix/client/v3/user_directory/search", auth=Auth.USER, limit=Limit.SEARCH)
    async def search_user_directory(
        self, requester: Requester, body: SearchUserDirectoryBody
    ) -> SearchUserDirectoryResponse:
        """Users with that name."""
        people = await self.directory.search(requester, body.search_term, limit=body.limit)
        return SearchUserDirectoryResponse([User.of(each) for each in people.found], people.is_limited)
