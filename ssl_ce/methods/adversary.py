"""The adversarial loss: what the discriminator sees, and both players' losses.

Source: Pathak et al. 2016, equation (2); Shen ("conditional") and Nariman et al. ("completed image" or "missing
area") tried other views of the same fill.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import PositiveFloat
from torch import Tensor, nn

from ssl_ce.methods.masking import central, to_canvas
from ssl_ce.networks.dcgan import Discriminator
from ssl_ce.settings import Settings, Width


class AdversarialConfig(Settings):
    """The adversarial loss.

    Attributes
    ----------
    weight
        λ_adv.
    width
        Factor on the discriminator's channels.
    sees
        "output": all that the decoder predicts, as in the paper. "hole": the same with everything known set to 0.
        "completed": the image with its hole filled.
    condition
        "none": the generator alone knows the context, as in the paper. "context": the discriminator is given the
        mean-filled image beside what it judges, as a conditional GAN (Mirza and Osindero, 2014).
    """

    weight: PositiveFloat = 0.001
    width: Width = 1.0
    sees: Literal["hole", "output", "completed"] = "output"
    condition: Literal["none", "context"] = "none"


class Adversary:
    """Both players' losses for one way of looking.

    Parameters
    ----------
    config
        What the discriminator sees.
    size, output_size
        Sides of the image and of what the decoder predicts, in pixels.
    """

    def __init__(self, config: AdversarialConfig, size: int, output_size: int) -> None:
        self.config = config
        self.output_size = output_size
        # The context and the completed image are as large as the image; a centre network's output is not.
        self.canvas = size if config.sees == "completed" or config.condition == "context" else output_size

    def build(self) -> nn.Module:
        """The discriminator. Its weights follow torch's generator."""
        inputs = 6 if self.config.condition == "context" else 3
        return Discriminator(self.canvas, self.config.width, inputs=inputs)

    def discriminator_loss(
        self, discriminator: nn.Module, outputs: dict[str, Tensor]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """−log D(x) − log(1 − D(F(x))): equation (2), which D maximises. Logs log D(x) and log D(F(x))."""
        truth = outputs["images"]
        real = discriminator(self.view(truth, outputs)).float()
        filled = discriminator(self.view(outputs["predicted"].detach(), outputs)).float()
        logs = {
            "log_d_real": F.logsigmoid(real).mean().detach(),
            "log_d_filled": F.logsigmoid(filled).mean().detach(),
        }
        return F.softplus(-real).mean() + F.softplus(filled).mean(), logs

    def generator_loss(self, discriminator: nn.Module, outputs: dict[str, Tensor]) -> Tensor:
        """−log D(F(x)), the non-saturating loss, instead of log(1 − D(F(x)))."""
        return F.softplus(-discriminator(self.view(outputs["predicted"], outputs)).float()).mean()

    def view(self, values: Tensor, outputs: dict[str, Tensor]) -> Tensor:
        """What the discriminator is given of `values`, the true images or what was predicted.

        (n, 3, size, size) or (n, 3, output size, output size) in [-1, 1] -> (n, 3 or 6, canvas, canvas).
        """
        values = to_canvas(central(values, self.output_size), self.canvas)
        holes = central(outputs["holes"], self.canvas)
        if self.config.sees == "hole":
            values = torch.where(holes, values, 0.0)
        elif self.config.sees == "completed":
            values = torch.where(holes, values, outputs["images"])
        if self.config.condition == "context":
            values = torch.cat([values, outputs["context"]], dim=1)
        return values
