"""What goes wrong with parties that this server calls."""

import attrs


@attrs.frozen(slots=False)
class RemoteError(Exception):
    """A party that we called did not do what was asked; `transient`: it may later.

    `party` is whom we called, as the operator knows it: a server name, or a host. `status` is the HTTP status
    of its answer, None if there was no answer that could be understood; `errcode` what its standard error
    response says, and `room_version` what that adds to M_INCOMPATIBLE_ROOM_VERSION. `is_too_large`: its answer was
    larger than is accepted. `message` is for the log and may go to this server's own users: it holds no secret.
    """

    party: str
    message: str
    transient: bool = attrs.field(kw_only=True)
    status: int | None = attrs.field(default=None, kw_only=True)
    errcode: str | None = attrs.field(default=None, kw_only=True)
    room_version: str | None = attrs.field(default=None, kw_only=True)
    is_too_large: bool = attrs.field(default=False, kw_only=True)

    @property
    def is_not_found(self) -> bool:
        """Whether the party says that there is no such thing.

        A 404 with another code, or with none, is of a server that does not know the endpoint, or of something that
        stands before it: a proxy says so while the server is away.
        """
        return self.status == 404 and self.errcode == "M_NOT_FOUND"

    def __str__(self) -> str:
        return f"{self.party}: {self.message}"
