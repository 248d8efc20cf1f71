"""`python -m homeserver`."""

from homeserver.cli.main import main

if __name__ == "__main__":
    main()
