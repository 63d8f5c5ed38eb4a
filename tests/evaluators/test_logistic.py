from __future__ import annotations

import time
import warnings

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from ssl_ce.evaluators.logistic import Problem, fit_path, fit_paths

COSTS = np.array([1e-4, 1e-2, 1.0, 30.0])


def problem(n: int, d: int, classes: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(n, d)) * np.linspace(0.5, 2.0, d)
    labels = (features[:, :classes] + rng.gumbel(size=(n, classes))).argmax(axis=1)
    return features, labels


def reference(cost: float) -> LogisticRegression:
    return LogisticRegression(C=cost, solver="newton-cg", tol=1e-8, max_iter=10_000)


@pytest.mark.parametrize(("n", "d", "classes"), [(300, 20, 4), (60, 150, 5)])
def test_it_equals_scikit_learn_at_every_cost(n: int, d: int, classes: int) -> None:
    features, labels = problem(n, d, classes)
    path = fit_path(features, labels, COSTS, classes=classes, tolerance=1e-9)
    assert path.converged.all()
    for step, cost in enumerate(COSTS):
        model = reference(cost).fit(features, labels)
        np.testing.assert_allclose(path.weights[step], model.coef_, atol=1e-4)
        np.testing.assert_allclose(path.intercepts[step], model.intercept_ - model.intercept_.mean(), atol=1e-4)
        np.testing.assert_allclose(
            np.exp(path.log_probabilities(features, step)), model.predict_proba(features), atol=1e-5
        )


def test_two_classes_are_scikit_learns_binary_objective_at_twice_the_cost() -> None:
    features, labels = problem(80, 10, 2)
    path = fit_path(features, labels, COSTS, classes=2, tolerance=1e-9)
    for step, cost in enumerate(COSTS):
        model = reference(2 * cost).fit(features, labels)
        np.testing.assert_allclose(
            np.exp(path.log_probabilities(features, step)), model.predict_proba(features), atol=1e-5
        )


@pytest.mark.parametrize(("n", "d"), [(200, 12), (40, 90)])
def test_standardizing_equals_a_standard_scaler_before_scikit_learn(n: int, d: int) -> None:
    features, labels = problem(n, d, 3)
    features = features * np.geomspace(1e-3, 1e3, d) + 5.0
    features[:, 4] = 7.0
    path = fit_path(features, labels, COSTS, classes=3, tolerance=1e-9, standardize=True)
    unseen = features[::2] + 0.1
    for step, cost in enumerate(COSTS):
        model = make_pipeline(StandardScaler(), reference(cost)).fit(features, labels)
        expected = model.predict_proba(unseen)
        np.testing.assert_allclose(np.exp(path.log_probabilities(unseen, step)), expected, atol=1e-5)
        scores = unseen @ path.weights[step].T + path.intercepts[step]
        found = torch.softmax(torch.from_numpy(scores), dim=1).numpy()
        np.testing.assert_allclose(found, expected, atol=1e-5)


def test_log_losses_are_summed_over_samples() -> None:
    features, labels = problem(100, 8, 3)
    path = fit_path(features, labels, COSTS, classes=3)
    losses = path.log_losses(features, labels)
    for step in range(len(COSTS)):
        logs = path.log_probabilities(features, step)
        assert losses[step] == pytest.approx(-sum(logs[row, label] for row, label in enumerate(labels)))


def test_problems_of_different_sizes_fitted_together_are_fitted_as_each_alone() -> None:
    made = [problem(n, d, 3, seed) for seed, (n, d) in enumerate([(50, 8), (40, 8), (20, 30), (45, 30)])]
    together = list(fit_paths([Problem(x, y, COSTS) for x, y in made], classes=3, tolerance=1e-8))
    assert len(together) == 4
    for (features, labels), path in zip(made, together, strict=True):
        alone = fit_path(features, labels, COSTS, classes=3, tolerance=1e-8)
        np.testing.assert_array_equal(path.iterations, alone.iterations)
        np.testing.assert_allclose(path.weights, alone.weights, atol=1e-6)


def test_each_problem_may_have_costs_of_its_own() -> None:
    features, labels = problem(60, 8, 3)
    costs = [np.array([0.01]), np.array([10.0])]
    paths = fit_paths([Problem(features, labels, cost) for cost in costs], classes=3, tolerance=1e-9)
    for path, cost in zip(paths, costs, strict=True):
        np.testing.assert_allclose(path.weights[0], reference(cost[0]).fit(features, labels).coef_, atol=1e-4)


def test_the_gradient_at_the_solution_is_within_the_tolerance() -> None:
    features, labels = problem(120, 15, 4)
    path = fit_path(features, labels, COSTS, classes=4, tolerance=1e-7)
    for step, cost in enumerate(COSTS):
        weights = torch.from_numpy(path.weights[step]).requires_grad_()
        intercepts = torch.from_numpy(path.intercepts[step]).requires_grad_()
        scores = torch.from_numpy(features) @ weights.T + intercepts
        loss = torch.nn.functional.cross_entropy(scores, torch.from_numpy(labels))
        (loss + weights.square().sum() / (2 * len(labels) * cost)).backward()
        assert weights.grad is not None
        assert intercepts.grad is not None
        assert weights.grad.norm() < 1.01e-7
        assert intercepts.grad.norm() < 1.01e-7


def test_what_did_not_converge_says_so() -> None:
    features, labels = problem(120, 15, 4)
    path = fit_path(features, labels, COSTS, classes=4, tolerance=1e-12, max_iterations=2)
    assert not path.converged.any()
    assert (path.iterations == 2).all()


def test_separable_classes_and_huge_costs_end() -> None:
    features = np.eye(12)
    labels = np.arange(12) % 3
    path = fit_path(features, labels, 10.0 ** np.linspace(-6, 5, 45), classes=3)
    assert path.converged.all()
    assert (path.log_probabilities(features).argmax(axis=1) == labels).all()


def test_features_that_say_nothing_give_the_class_shares() -> None:
    labels = np.array([0, 0, 0, 1])
    path = fit_path(np.zeros((4, 6)), labels, COSTS, classes=2, tolerance=1e-9, standardize=True)
    np.testing.assert_allclose(np.exp(path.log_probabilities(np.ones((1, 6)))), [[0.75, 0.25]], atol=1e-6)


def test_the_number_of_threads_is_left_as_it_was() -> None:
    before = torch.get_num_threads()
    fit_path(*problem(30, 5, 3), COSTS, classes=3)
    assert torch.get_num_threads() == before


@pytest.mark.slow
def test_a_path_takes_at_most_a_fifth_of_scikit_learns_time() -> None:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(5000, 128)) @ (rng.normal(size=(128, 128)) * np.geomspace(1, 0.01, 128))
    features = StandardScaler().fit_transform(features)
    labels = (features @ rng.normal(size=(128, 10)) * 0.15 + rng.gumbel(size=(5000, 10))).argmax(axis=1)
    costs = 10.0 ** np.linspace(-6, 5, 45)
    start = time.perf_counter()
    fit_path(features, labels, costs, classes=10, tolerance=1e-4)
    ours = time.perf_counter() - start
    start = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for cost in costs:
            LogisticRegression(C=cost, tol=1e-4, max_iter=1000).fit(features, labels)
    assert ours < (time.perf_counter() - start) / 5
