import numpy as np
import torch

from ssl_ce.randomness import fold, integers, normal, sample_keys, sample_order, uniform
from ssl_ce.seeds import derive_seed

MASK = (1 << 64) - 1


def splitmix_finalizer(z: int) -> int:
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
    return z ^ (z >> 31)


def test_uniform_numbers_are_splitmix64_of_the_key():
    key = 123456789
    expected = [(splitmix_finalizer((key + i * 0x9E3779B97F4A7C15) & MASK) >> 40) * 2.0**-24 for i in range(1, 6)]
    assert uniform(torch.tensor([key]), 5).tolist() == [expected]


def test_a_key_depends_on_seed_epoch_index_and_purpose_and_on_nothing_else():
    indices = torch.tensor([5, 900, 3])
    keys = sample_keys(1, 2, indices, "hole")
    assert torch.equal(keys[1:2], sample_keys(1, 2, torch.tensor([900]), "hole"))
    others = [
        sample_keys(2, 2, indices, "hole"),
        sample_keys(1, 3, indices, "hole"),
        sample_keys(1, 2, indices, "crop"),
    ]
    assert all(not (keys == other).any() for other in others)


def test_a_million_keys_do_not_collide():
    assert len(torch.unique(sample_keys(0, 0, torch.arange(1_000_000), "hole"))) == 1_000_000


def test_large_seeds_are_taken():
    assert sample_keys(2**63 + 5, 0, torch.arange(2), "hole").shape == (2,)


def test_numbers_have_the_moments_of_their_distributions():
    keys = sample_keys(0, 0, torch.arange(2000), "moments")
    flat = uniform(keys, 50)
    assert abs(flat.mean() - 0.5) < 0.005
    assert abs(flat.std() - 12**-0.5) < 0.005
    bell = normal(keys, 50)
    assert abs(bell.mean()) < 0.01
    assert abs(bell.std() - 1) < 0.01
    counts = integers(keys, 3, 8, 50).flatten().bincount(minlength=8)
    assert counts[:3].sum() == 0
    assert (np.abs(counts[3:].numpy() / 20_000 - 1) < 0.05).all()


def test_folded_keys_are_uncorrelated():
    keys = sample_keys(0, 0, torch.arange(5000), "x")
    a, b = uniform(fold(keys, "a"), 1)[:, 0], uniform(fold(keys, "b"), 1)[:, 0]
    assert abs(np.corrcoef(a, b)[0, 1]) < 0.05


def test_the_order_of_an_epoch_is_a_permutation_that_changes_with_the_epoch():
    first, second = sample_order(0, 0, 1000), sample_order(0, 1, 1000)
    assert sorted(first.tolist()) == list(range(1000))
    assert not torch.equal(first, second)
    assert torch.equal(first, sample_order(0, 0, 1000))


def test_derived_seeds_are_non_negative_and_differ_by_purpose():
    assert derive_seed(0, "a") != derive_seed(0, "b")
    assert all(derive_seed(seed, "a") >= 0 for seed in range(50))


def test_a_derived_seed_is_the_key_that_folds_the_seed_with_its_purpose():
    for seed in (0, 1, 42, 2**40, 2**63 - 1):
        for purpose in ("bootstrap", "held out", "größer"):
            assert derive_seed(seed, purpose) == int(fold(torch.tensor([seed]), purpose)) & (MASK >> 1)
    assert derive_seed(0, "bootstrap") == 5365316230576695592
