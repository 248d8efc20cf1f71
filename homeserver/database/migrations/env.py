"""Run by alembic: applies the migrations on the connection that `homeserver.database.migrate` has opened."""

from alembic import context

from homeserver.database.tables import metadata

connection = context.config.attributes["connection"]
context.configure(
    connection=connection, target_metadata=metadata, render_as_batch=connection.dialect.name == "sqlite"
)
with context.begin_transaction():
    context.run_migrations()
