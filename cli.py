"""Run `ce` from a clone without installing it: `python cli.py quickstart`."""

from ssl_ce.cli import main

if __name__ == "__main__":
    main()
