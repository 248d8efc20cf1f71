"""How commands end that cannot do what they should."""

EXIT_CONFIGURATION = 2
"""Something outside the program is wrong: the command line, the configuration, the database."""
