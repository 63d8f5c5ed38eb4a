"""A click group that answers an unknown command as everything else here answers an unknown name."""

from __future__ import annotations

from typing import ClassVar

import click

from ssl_ce.errors import unknown


class Group(click.Group):
    """Commands by name; one that is not there is answered with the closest (`UserError`).

    Attributes
    ----------
    kind
        What one of its commands is called in that answer.
    """

    kind: ClassVar[str] = "command"

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click's, but for what is said of an unknown name."""
        if not ctx.resilient_parsing and not args[0].startswith("-") and self.get_command(ctx, args[0]) is None:
            raise unknown(self.kind, args[0], self.list_commands(ctx))
        return super().resolve_command(ctx, args)
