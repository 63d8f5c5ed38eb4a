from __future__ import annotations

import numpy as np
import pytest

from ssl_ce.data.splitting import split_by_seed


def named(labels: list[int]) -> tuple[list[str], np.ndarray]:
    return [f"{label}/{index}.png" for index, label in enumerate(labels)], np.array(labels)


def test_every_image_is_in_exactly_one_split() -> None:
    names, labels = named([0] * 13 + [1] * 29 + [2] * 8)
    train, test = split_by_seed(names, labels, 10, seed=4)
    assert sorted([*train, *test]) == list(range(50))
    assert len(test) == 10
    assert (np.diff(train) > 0).all()
    assert (np.diff(test) > 0).all()


def test_classes_keep_their_shares_to_one_image() -> None:
    names, labels = named([0] * 13 + [1] * 29 + [2] * 8)
    _, test = split_by_seed(names, labels, 10, seed=0)
    counts = np.bincount(labels[test], minlength=3)
    assert np.abs(counts - np.array([13, 29, 8]) * 10 / 50).max() < 1


def test_the_split_is_a_function_of_the_seed() -> None:
    names, labels = named([0] * 100)
    first, again, other = (split_by_seed(names, labels, 20, seed)[1].tolist() for seed in (0, 0, 1))
    assert first == again
    assert first != other


def test_a_new_image_moves_few_others() -> None:
    names, labels = named([0] * 100)
    before = {names[i] for i in split_by_seed(names, labels, 20, 0)[1]}
    names, labels = ["0/a-new-one.png", *names], np.zeros(101, dtype=np.int64)
    after = {names[i] for i in split_by_seed(names, labels, 20, 0)[1]}
    assert len(before - after) <= 1


@pytest.mark.parametrize("counts", [[1, 1, 1], [2, 1, 30]])
def test_each_class_keeps_an_image_for_train(counts: list[int]) -> None:
    names, labels = named([label for label, count in enumerate(counts) for _ in range(count)])
    train, _ = split_by_seed(names, labels, round(0.9 * len(names)), seed=0)
    assert set(labels[train]) == set(range(len(counts)))
