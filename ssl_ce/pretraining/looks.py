"""What is looked at now and then while a method trains: features, held-out images, grids of fills."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from ssl_ce.methods.base import Batch, Method
from ssl_ce.pretraining.collapse import collapse_warning, feature_spread
from ssl_ce.pretraining.held_out import HeldOut
from ssl_ce.pretraining.hooks import Hooks
from ssl_ce.pretraining.players import Players
from ssl_ce.pretraining.recipe import LogConfig

Add = Callable[[int, Mapping[str, float]], None]

# Images of a batch whose features are compared.
_FEW = 64


class Looks:
    """Looks at the whole networks in evaluation mode, on rank 0, while the other processes wait.

    Parameters
    ----------
    settings
        How often.
    add
        Takes a step and its numbers, to log them.
    run
        The run directory, for pictures.
    """

    def __init__(
        self,
        method: Method,
        players: Players,
        settings: LogConfig,
        hooks: Hooks,
        held_out: HeldOut | None,
        add: Add,
        run: Path,
    ) -> None:
        self.method, self.players, self.settings, self.hooks = method, players, settings, hooks
        self.held_out, self.add, self.run = held_out, add, run
        self._warned = False

    def before_the_first(self) -> None:
        """What is looked at before the first step."""
        if self.settings.held_out_every and self.held_out is not None:
            self._on_main(lambda: self._look_at_held_out(0))

    def after(self, step: int, batch: Batch, last: bool) -> None:
        """What is due after `step`, whose batch was `batch`; everything after the last."""

        def due(every: int) -> bool:
            return every > 0 and (step % every == 0 or last)

        online = due(self.settings.online_every)
        if online or due(self.settings.held_out_every):
            self._on_main(lambda: self._look_at_features(step, batch, online))
        if due(self.settings.held_out_every) and self.held_out is not None:
            self._on_main(lambda: self._look_at_held_out(step))
        if due(self.settings.samples_every) and "fill" in self.method.capabilities:
            self._on_main(lambda: self._draw(step, batch))

    def _on_main(self, look: Callable[[], None]) -> None:
        self.players.gather()

        def evaluate() -> None:
            with self.players.evaluating():
                look()

        self.players.processes.on_main(evaluate)

    def _look_at_features(self, step: int, batch: Batch, online: bool) -> None:
        numbers = dict(self.hooks.online(self.method)) if online and self.hooks.online is not None else {}
        if len(batch.images) > 1:  # one image differs from no other
            numbers["feature_spread"] = feature_spread(self.method.encoder, batch.images[:_FEW])
            message = collapse_warning(numbers["feature_spread"], step)
            if message and not self._warned:
                self._warned = True
                self.hooks.warn(message)
        if numbers:
            self.add(step, numbers)

    def _look_at_held_out(self, step: int) -> None:
        if self.held_out is not None:
            self.add(step, self.held_out.numbers(self.method))

    def _draw(self, step: int, batch: Batch) -> None:
        if self.hooks.draw is None:
            return
        few = Batch(batch.images[:8], batch.indices[:8], batch.seed, batch.epoch)
        holes = self.method.prepare(few)["holes"]
        filled = self.method.fill(few.images, holes)
        self.hooks.draw(self.run / "samples" / f"step-{step:07d}.png", few.images.cpu(), holes.cpu(), filled.cpu())
