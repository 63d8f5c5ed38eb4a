"""Run `ce` from a clone without installing it: `python cli.py quickstart`."""

from ssl_ce.cli import run

if __name__ == "__main__":
    run()
