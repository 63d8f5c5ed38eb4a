"""What every hand-crafted descriptor promises. A new one is tested by adding its reference to
`REFERENCES`."""

from __future__ import annotations

import pytest
import torch

from ssl_ce.descriptors import load_descriptor
from ssl_ce.descriptors.base import Descriptor
from ssl_ce.errors import UserError
from ssl_ce.holes import draw
from ssl_ce.randomness import sample_keys

REFERENCES = (
    "pixels",
    "pixels?side=5&color=false",
    "color-histogram",
    "color-histogram?bins=3",
    "hog",
    "hog?cell=4&block=3",
    "gist?side=32",
    "gist?side=32&color=true",
)
HEIGHT, WIDTH, COUNT = 36, 45, 4


@pytest.fixture(params=REFERENCES)
def descriptor(request: pytest.FixtureRequest) -> Descriptor:
    return load_descriptor(request.param)


@pytest.fixture
def images() -> torch.Tensor:
    generator = torch.Generator().manual_seed(5)
    return torch.randint(0, 256, (COUNT, 3, HEIGHT, WIDTH), generator=generator, dtype=torch.uint8)


@pytest.fixture(params=("center", "random-block", "random-region"))
def holes(request: pytest.FixtureRequest) -> torch.Tensor:
    return draw(request.param, sample_keys(1, 0, torch.arange(COUNT), "test"), HEIGHT, WIDTH)


def test_vectors_are_finite_float32_of_the_promised_length(descriptor: Descriptor, images: torch.Tensor) -> None:
    vectors = descriptor.describe(images)
    assert isinstance(descriptor, Descriptor)
    assert vectors.dtype == torch.float32
    assert vectors.shape == (COUNT, descriptor.dim(HEIGHT, WIDTH))
    assert bool(vectors.isfinite().all())
    assert len(descriptor.describe(images[:0])) == 0


def test_changing_pixels_under_a_hole_changes_not_one_bit(
    descriptor: Descriptor, images: torch.Tensor, holes: torch.Tensor
) -> None:
    vectors = descriptor.describe(images, holes)
    assert bool(vectors.isfinite().all())
    for under in (0, 255):
        assert torch.equal(descriptor.describe(images.masked_fill(holes, under), holes), vectors)


def test_the_context_is_described(descriptor: Descriptor, images: torch.Tensor, holes: torch.Tensor) -> None:
    changed = torch.where(holes, images, images.flip(0))
    different = (descriptor.describe(changed, holes) - descriptor.describe(images, holes)).abs().amax(1)
    assert bool((different > 1e-3).all())


def test_holes_without_a_missing_pixel_are_no_holes(descriptor: Descriptor, images: torch.Tensor) -> None:
    nothing = torch.zeros(1, 1, HEIGHT, WIDTH, dtype=torch.bool)
    torch.testing.assert_close(descriptor.describe(images, nothing), descriptor.describe(images), rtol=1e-5, atol=1e-6)


def test_an_image_of_one_colour_or_without_any_context_gives_finite_vectors(descriptor: Descriptor) -> None:
    flat = torch.full((1, 3, HEIGHT, WIDTH), 77, dtype=torch.uint8)
    everything = torch.ones(1, 1, HEIGHT, WIDTH, dtype=torch.bool)
    assert bool(descriptor.describe(flat).isfinite().all())
    assert bool(descriptor.describe(flat, everything).isfinite().all())


def test_its_name_makes_it_again(descriptor: Descriptor) -> None:
    again = load_descriptor(descriptor.name)
    assert (again.name, again.identity) == (descriptor.name, descriptor.identity)


def test_describing_leaves_its_state_as_it_was(descriptor: Descriptor, images: torch.Tensor) -> None:
    before = descriptor.state_hash()
    descriptor.describe(images)
    assert descriptor.state_hash() == before


def test_every_option_counts_in_the_identity() -> None:
    identities = [load_descriptor(reference).identity for reference in (*REFERENCES, "gist", "hog?orientations=8")]
    assert len(set(identities)) == len(identities)


@pytest.mark.parametrize(
    "reference",
    [
        "pixels?side=0",
        "pixels?color=7",
        "color-histogram?bins=a",
        "hog?cell=2.5",
        "hog?block=0",
        "gist?side=30",
    ],
)
def test_an_option_that_makes_no_sense_is_refused_in_one_line(reference: str) -> None:
    with pytest.raises(UserError, match="takes") as error:
        load_descriptor(reference)
    assert "\n" not in str(error.value)
