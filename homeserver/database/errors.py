"""What can go wrong with the database, apart from bugs."""


class DatabaseError(Exception):
    """The database cannot be used as it is; the message names the cause and the remedy in one line."""


class StorageUnavailable(Exception):  # noqa: N818 - it is a state of affairs, not a fault of the caller
    """A transaction could not be done now (disk full, connection lost); its effect is unknown or none.

    The request is answered 503 with `Retry-After`; repeating it is safe, since transaction ids are rows.
    """


class TransactionEnded(Exception):  # noqa: N818 - it names what has happened
    """A transaction function went on after a statement had failed, so nothing can be committed. A bug."""


class Obstacle(Exception):  # noqa: N818 - the caller is told of it only if it cannot be cleared away
    """A transaction function cannot go on before something has been done that no transaction can do.

    `Database.write` has it done, and the function run again from its beginning. A subclass says what is to be done.
    """
