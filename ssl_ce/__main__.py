"""`python -m ssl_ce` is `ce`."""

from ssl_ce.cli import run

run()
