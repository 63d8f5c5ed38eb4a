"""`python -m ssl_ce` is `ce`."""

from ssl_ce.cli import main

main()
