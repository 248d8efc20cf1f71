"""Where durable EDUs come from: what must arrive, such as to-device messages and changes of device lists."""

from collections.abc import Collection, Sequence
from typing import Protocol

from homeserver.core.identifiers import ServerName
from homeserver.database.kinds import Kind
from homeserver.database.transactions import ReadTransaction, WriteTransaction
from homeserver.services.federation_outbox.edus import DurableEdu


class EduSource(Protocol):
    """A queue per destination, in the database. All methods are called in transactions, and may be called twice."""

    @property
    def kind(self) -> Kind:
        """The kind of published rows that tells of new EDUs."""
        ...

    def concerned(self, tx: ReadTransaction, *, after: int, upto: int) -> Collection[ServerName]:
        """The destinations of which something was published with `after < position <= upto`."""
        ...

    def waiting(self, tx: ReadTransaction, server_name: ServerName, *, most: int) -> Sequence[DurableEdu]:
        """The first `most` that the destination has not been sent, oldest first."""
        ...

    def delivered(self, tx: WriteTransaction, server_name: ServerName, numbers: Collection[int]) -> None:
        """The destination has these, or will not ever take them: they are not to be given again."""
        ...
