"""Does one subject beat another? Exact sign-flip tests over draws, adjusted by Holm's method."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from ssl_ce.errors import UserError, unknown
from ssl_ce.records.record import Record
from ssl_ce.records.statistics import holm, sign_flip_test
from ssl_ce.report.layout import arrange


@dataclass(frozen=True)
class Comparison:
    """One subject against another, in one metric of one table.

    Attributes
    ----------
    table
        Key of the table (`layout.table_key`) that both records stand in.
    subject, baseline
        Their references.
    metric
        What is compared.
    difference
        Mean of subject - baseline, in the metric's own unit.
    p, p_adjusted
        Two-sided, before and after Holm's adjustment over the comparisons made together.
    test
        The test, in words: "exact sign-flip test over 10 draws".
    """

    table: str
    subject: str
    baseline: str
    metric: str
    difference: float
    p: float
    p_adjusted: float
    test: str


def compare_draws(records: Iterable[Record], subject: str, baselines: Sequence[str], metric: str) -> list[Comparison]:
    """`subject` against each of `baselines` by the exact sign-flip test over their draws.

    Only records that hold the outcome `<metric>_draws` (one number a draw, draw i the same for all subjects)
    take part; in each table of them that has the subject, p is adjusted over the baselines by Holm's method.

    Raises
    ------
    UserError
        If no record of the subject holds such draws, a baseline has none in the same table, their numbers
        differ, or there are several of one subject (pass the records of one seed).
    """
    outcome = f"{metric}_draws"
    with_draws = [record for record in records if outcome in (record.outcomes or {})]
    comparisons: list[Comparison] = []
    for table in arrange(with_draws):
        draws = {record.subject.name: np.array((record.outcomes or {})[outcome]) for record in table.records}
        if subject not in draws:
            continue
        if len(draws) < len(table.records):
            raise UserError(f"{table.heading} holds a subject more than once: compare records of one seed.")
        differences = [_paired(draws, subject, baseline) for baseline in baselines]
        p_values = [sign_flip_test(difference) for difference in differences]
        for baseline, difference, p, adjusted in zip(baselines, differences, p_values, holm(p_values), strict=True):
            test = f"exact sign-flip test over {difference.size} draws"
            mean = float(difference.mean())
            comparisons.append(Comparison(table.key, subject, baseline, metric, mean, p, adjusted, test))
    if not comparisons and baselines:
        raise UserError(f"No record of '{subject}' holds several draws of {metric}, so there is nothing to test.")
    return comparisons


def _paired(
    draws: dict[str, np.ndarray[tuple[int], np.dtype[np.float64]]], subject: str, baseline: str
) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    if baseline not in draws:
        raise unknown("subject with draws", baseline, draws)
    if draws[baseline].shape != draws[subject].shape:
        raise UserError(
            f"'{subject}' has {draws[subject].size} draws and '{baseline}' {draws[baseline].size}: "
            "only equal numbers can be paired."
        )
    return draws[subject] - draws[baseline]
