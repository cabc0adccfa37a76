"""What a model file claims: the stated epsilon against the events of its own ledger."""

from __future__ import annotations

import re
import time
from dataclasses import replace

import pytest
from outcome import value_of

from raysynth.dp.accounting.accountant import Spent, least_epsilon, total_epsilon
from raysynth.dp.accounting.calibration import PrivacyBudget
from raysynth.dp.accounting.ledger import (
    Event,
    Ledger,
    approximate,
    exponential,
    gaussian,
    laplace,
    not_covered,
    subsampled_gaussian,
)
from raysynth.dp.accounting.privacy_spent import MOST_EVENTS, PrivacySpent
from raysynth.errors import ModelFileError, ParameterError

EVENTS = (
    laplace("rows", 0.1, composition="basic"),
    gaussian("margins", 6.0),
    exponential("edges", 0.05, steps=20),
    approximate("categories", 0.01, 1e-7),
    subsampled_gaussian("gradients", 1.1, sampling_rate=0.02, steps=200),
)


def claim(events: tuple[Event, ...], delta: float = 1e-5) -> PrivacySpent:
    return PrivacySpent.of(Ledger(events), PrivacyBudget(3.0, delta))


@pytest.mark.parametrize("events", [EVENTS, EVENTS[:2], EVENTS[4:], ()])
def test_an_honest_file_passes_and_the_figure_is_the_accountants(events: tuple[Event, ...]) -> None:
    spent = claim(events)
    assert spent.check_claim() is spent
    assert least_epsilon(events, 1e-5, 60.0) == pytest.approx(total_epsilon(events, 1e-5), rel=1e-9)


@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
def test_a_file_that_states_less_than_its_events_cost_is_refused(share: float) -> None:
    spent = claim(EVENTS)
    less = replace(spent, total=replace(spent.total, epsilon=share * spent.epsilon))
    with pytest.raises(ModelFileError, match="cost at least"):
        less.check_claim()


def test_a_smaller_delta_at_the_same_epsilon_is_refused() -> None:
    spent = claim(EVENTS)
    with pytest.raises(ModelFileError, match="cost at least"):
        replace(spent, total=replace(spent.total, delta=1e-9)).check_claim()


def test_what_voids_the_guarantee_cannot_be_left_out() -> None:
    spent = claim((*EVENTS, not_covered("selection")))
    assert spent.check_claim() is spent
    with pytest.raises(ModelFileError, match="claims a guarantee"):
        replace(spent, total=replace(spent.total, guarantee=True)).check_claim()
    with pytest.raises(ModelFileError, match="leaves out"):
        replace(spent, total=replace(spent.total, not_covered=())).check_claim()
    seeded = claim((replace(EVENTS[1], guarantee=False),))
    with pytest.raises(ModelFileError, match="claims a guarantee"):
        replace(seeded, total=replace(seeded.total, guarantee=True)).check_claim()


@pytest.mark.parametrize(
    "total", [Spent(float("nan"), 1e-5), Spent(-1.0, 1e-5), Spent(1.0, 0.0), Spent(1.0, 1.0), Spent(1.0, float("nan"))]
)
def test_figures_that_are_none_are_refused(total: Spent) -> None:
    with pytest.raises(ModelFileError, match="states epsilon"):
        replace(claim(EVENTS[1:2]), total=total).check_claim()


def test_a_long_ledger_is_refused_and_a_costly_one_takes_bounded_time() -> None:
    """Where the time is over, what was composed until then is a lower bound: never above the total."""
    with pytest.raises(ModelFileError, match="at most 10,000"):
        claim(EVENTS[1:2] * 10_001).check_claim()
    many = tuple(subsampled_gaussian("gradients", 1 + i / 100, sampling_rate=0.02, steps=10) for i in range(40))
    short = least_epsilon(many, 1e-5, 0.0)
    assert 0 < short < least_epsilon(many[:3], 1e-5, 60.0)
    with pytest.raises(ParameterError, match="out of every range"):
        begun = time.monotonic()
        least_epsilon((subsampled_gaussian("bomb", 1e-3, sampling_rate=1e-12, steps=1),), 1e-5, 2.0)
    assert time.monotonic() - begun < 20  # of the two seconds allowed; without the limit it does not end


@pytest.mark.parametrize("delta", [0.0, 1.0, -1e-9, float("nan")])
def test_a_delta_that_is_no_chance_is_refused(delta: float) -> None:
    """Nor is an epsilon below zero or none."""
    honest = claim(EVENTS[:2])
    with pytest.raises(ModelFileError, match="states epsilon .* and delta"):
        replace(honest, total=Spent(9.0, delta)).check_claim()
    for epsilon in (-1e-9, float("nan")):
        with pytest.raises(ModelFileError, match="states epsilon"):
            replace(honest, total=Spent(epsilon, 1e-5)).check_claim()


def test_nothing_costs_nothing_and_only_so_many_events_are_read() -> None:
    free = PrivacySpent.of(Ledger(()), PrivacyBudget(3.0, 1e-5))
    assert free.epsilon == 0.0 and free.check_claim() is free
    many = Ledger([gaussian("x", 1e4)] * MOST_EVENTS)
    assert PrivacySpent.of(many, PrivacyBudget(3.0, 1e-5)).check_claim()
    many.append(gaussian("x", 1e4))
    with pytest.raises(ModelFileError, match="at most"):
        PrivacySpent.of(many, PrivacyBudget(3.0, 1e-5)).check_claim()


def test_the_cost_is_told_with_its_releases_and_for_whom() -> None:
    events = (
        laplace("rows", 0.1, composition="basic"),
        gaussian("margins", 6.25),
        exponential("edges", 0.05, steps=20),
    )
    spent = claim(events)
    assert str(spent) == f"{spent.total}, in 3 releases"
    units = tuple(replace(e, unit=u) for e, u in zip(events, ("row", "visit", "patient"), strict=True))
    joint = replace(claim(units), joint=Spent(2.5, 1e-5))
    assert str(joint) == (
        f"{spent.total}, in 3 releases, for one patient and visit more or less; with all models learned from the same "
        "kept rows: epsilon = 2.5, delta = 1e-05"
    )
    page = value_of(claim((*events, not_covered("a look"))).with_note("another")._repr_html_)
    cells = re.findall(r"<td[^>]*>(.*?)</td>", page)
    assert [c for c in cells if c in ("margins", "gaussian", "6.25", "20", "edges")] == [
        "margins", "gaussian", "6.25", "edges", "20"]  # fmt: skip
    assert "Not covered: a look" in page and "Not covered: another" in page


def test_versions_may_round_a_little() -> None:
    spent = claim((gaussian("margins", 6.0),))
    for share, is_fine in ((0.9985, True), (0.9975, False)):
        stated = replace(spent, total=replace(spent.total, epsilon=share * spent.epsilon))
        if is_fine:
            assert value_of(stated.check_claim) is stated
        else:
            with pytest.raises(ModelFileError, match="cost at least"):
                stated.check_claim()
