"""The privacy dossier: what a data-protection officer decides by, recipient by recipient, with its baselines.

Two editions. The private one names records by row number and has exact figures: it is to be treated like the real
table. The releasable one has no record, and rounded figures; where the fit had a privacy budget it says that no
guarantee covers them, since they were computed from the real rows without noise.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, get_args

from raysynth.attacks.direct import TITLES, Comparison
from raysynth.attacks.recipients import RISKS, RecipientRisks, recipient_risks, risk_of
from raysynth.attacks.results import AttackResult, AttackResults
from raysynth.comparison.pairing import check_of_one_table, pair_tables
from raysynth.dp.accounting.odometer import record_use
from raysynth.dp.accounting.privacy_spent import PrivacySpent
from raysynth.errors import ParameterError, listed
from raysynth.evaluation.attacks import attack_section
from raysynth.evaluation.decision import spent_words
from raysynth.evaluation.page import page_heading
from raysynth.evaluation.plain import plain
from raysynth.evaluation.provenance import ledger_section, units_in_words
from raysynth.evaluation.section import Section, section_body
from raysynth.files.storage import check_replaced, write_atomically

if TYPE_CHECKING:
    from raysynth.methods.base import Synthesizer

Edition = Literal["private", "releasable"]
STEP, FEWEST = 0.05, 10  # a releasable edition rounds shares to the one, and numbers of persons to the other
COLUMNS = {
    "singling_out": "Singling out",
    "linkability": "Linkage",
    "inference": "Inference",
    "direct": "Copies and rare values",
}
BY_TABLE = (
    "look at each table by itself, persons together, with run_privacy_attacks (raysynth attack REAL/TABLE "
    "SYNTHETIC/TABLE --holdout HOLDOUT/TABLE --entity KEY)"
)
TRUST = (
    "Trusted: whoever holds the real table and ran the fit, with the machines that it ran on. Not trusted: every "
    "recipient, alone or together, whatever else they know and can compute."
)


@dataclass(frozen=True)
class Cell:
    """What one recipient learns in one way: level 'good', 'fair', 'bad' or 'none' (not measured), and words."""

    level: str
    words: str
    figure: str = ""


@dataclass(frozen=True)
class Dossier:
    """What was found, and of what; `write` makes a page of it.

    Args:
        risks: of each recipient.
        method: of the model.
        digest: SHA-256 of the model file's content.
        spent: the model's ledger; None: fitted without a budget.
        looked_at: rows of each table that were looked at.
        notes: what the reader must know of this run.
        compared: columns that attacks compare.
        others: columns that are made anew for each row.
        source: name or path of the real table; private, as is `command`, the command line that makes it again.
    """

    risks: tuple[RecipientRisks, ...]
    method: str
    digest: str
    spent: PrivacySpent | None
    looked_at: Mapping[str, int]
    notes: tuple[str, ...]
    compared: tuple[str, ...]
    others: tuple[str, ...]
    source: str = ""
    command: str = field(default="", repr=False)

    @property
    def guarantee(self) -> bool:
        """Whether differential privacy holds."""
        return self.spent is not None and self.spent.guarantee

    def cells(self, of: RecipientRisks, edition: Edition = "private") -> dict[str, Cell]:
        """The cells of a recipient, `of`, by way (`COLUMNS`), as `edition` ('private' or 'releasable') words them."""
        found = {risk: _attacked(of.of_risk(risk), edition) for risk in RISKS}
        return found | {"direct": _compared(of.comparisons, edition)}

    def level(self, of: RecipientRisks) -> str:
        """The worst level of the cells of a recipient, `of`."""
        levels = {c.level for c in self.cells(of).values()}
        return next((x for x in ("bad", "fair", "good") if x in levels), "none")

    def residual(self, of: RecipientRisks) -> str:
        """What risk is left with a recipient, `of`, in words."""
        level, bound = self.level(of), "" if self.spent is None else most_often_right(self.spent)
        if level == "bad":
            rest = (
                f"The guarantee still bounds it: {bound}. Take a smaller epsilon if that is too much."
                if self.guarantee
                else "Do not hand it over as it is: take a budget (epsilon), a method that does not show it, or more "
                "rows to learn from."
            )
            return f"An attack, or the direct comparison, surely finds more here than chance does. {rest}"
        looked = "Some finds are to be looked at by hand first (see the annex). " if level == "fair" else ""
        if self.spent is not None and self.guarantee:
            return (
                f"{looked}No attack that was tried is sure to gain much, and what was not tried the guarantee bounds: "
                f"at best {_right(self.spent):.1%} of guesses about one {units_in_words(self.spent)} are right."
            )
        return (
            f"{looked}No attack that was tried is sure to gain much, and nothing bounds one that was not tried: hand "
            "it over to recipients who are bound by contract, and not to the public."
        )

    def write(self, path: str | os.PathLike[str], edition: Edition = "private") -> None:
        """Write one HTML file to `path`: two pages when printed, and an annex.

        Args:
            path: where to.
            edition: 'private', or 'releasable', which names no record and rounds.

        Raises:
            StorageError: the file cannot be written. ParameterError: no such edition.
        """
        check_replaced(path, b"<")
        write_atomically(path, self.render(edition).encode(), private=edition == "private")

    def render(self, edition: Edition = "private") -> str:
        """The page as HTML text, for `edition` 'private' or 'releasable'."""
        private = _checked(edition) == "private"
        rows = ", ".join(f"{n:,} {label}" for label, n in self.looked_at.items() if label != "drawn")
        head = page_heading(
            "Privacy dossier",
            table=self.source if private else "not named in a releasable edition",
            method=self.method,
            guarantee=spent_words(self.spent),
            rows=f"{rows} looked at" if private else "not told in a releasable edition",
            more=[("Model", self.digest[:16]), ("Edition", edition)],
            command=self.command if private else "",
        )
        return section_body(
            "raysynth.evaluation",
            "dossier.html.j2",
            heading=head,
            d=self,
            edition=edition,
            private=private,
            columns=COLUMNS,
            titles=TITLES,
            trust=TRUST,
            unit="" if self.spent is None else units_in_words(self.spent),
            bound="" if self.spent is None else most_often_right(self.spent),
            uncovered=self.uncovered(edition),
            ledger=ledger_section(self.spent).body,
            annexes=[self._annex(of) for of in self.risks] if private else [],
            rounded=rounded,
            about=about,
            risk_of=risk_of,
        )

    def uncovered(self, edition: Edition = "private") -> list[str]:
        """What neither guarantee nor figures cover, in words; with notes of the run in the private `edition`."""
        found = [] if self.spent is None else [f"By the ledger: {x}" for x in self.spent.total.not_covered]
        if self.guarantee:
            found += [
                "Harm that follows from what is true of people in general: it is the same whether or not a person's "
                "rows were learned from.",
                "A person with more rows than the unit of the guarantee holds, and groups of persons: for k units "
                "epsilon is k times as large.",
                "Other releases from the same table: their epsilons add up (see its odometer). Further rows from this "
                "model cost nothing more.",
                "What the schema declares: it counts as public.",
            ]
        found += [
            "Attackers who know the method and fit models of their own, or know more of a person than was assumed.",
            "What stays with the holder: checkpoints, kept rows, histories of the training, private reports and the "
            "private edition of this dossier.",
        ]
        if self.others:
            found.append(f"Columns that are made anew are compared value by value only: {listed(self.others)}.")
        skipped = list(dict.fromkeys(title for r in self.risks for title in r.not_run))
        if skipped:
            found.append(f"Not run, since this model or table does not allow it: {listed(skipped)}.")
        return [*found, *(self.notes if edition == "private" else ())]

    def summary(self, edition: Edition = "private") -> str:
        """One line for each recipient and way, as text, in the words of `edition`."""
        lines = ["Privacy dossier"]
        for of in self.risks:
            lines.append(f"  {of.recipient.title}")
            lines += [
                f"    {COLUMNS[k]:<24} {c.words}  {c.figure}".rstrip() for k, c in self.cells(of, edition).items()
            ]
        guarantee = "none" if self.spent is None else str(self.spent)
        notes = [f"  Note: {n}" for n in self.notes] if edition == "private" else []
        return "\n".join([*lines, f"  Guarantee: {guarantee}", *notes])

    def to_dict(self, edition: Edition = "private") -> dict[str, Any]:
        """Plain JSON values of one `edition`."""
        private = _checked(edition) == "private"
        recipients = {}
        for of in self.risks:
            cells = {k: {"level": c.level, "words": c.words} for k, c in self.cells(of, edition).items()}
            exact = {
                "attacks": [r.record() for r in of.attacks.values()],
                "direct": [_record(c) for c in of.comparisons],
            }
            recipients[of.recipient.key] = {"cells": cells, "residual": self.residual(of), **(exact if private else {})}
        return plain(
            {
                "edition": edition,
                "method": self.method,
                "model_sha256": self.digest,
                "privacy": None if self.spent is None else self.spent.to_dict(),
                "recipients": recipients,
                "not_covered": self.uncovered(edition),
                **({"rows": dict(self.looked_at)} if private else {}),
            }
        )

    def _annex(self, of: RecipientRisks) -> Section:
        """A recipient's attacks with their curves, as every page shows them."""
        families = {r.family: [n for n, x in of.attacks.items() if x.family == r.family] for r in of.attacks.values()}
        return attack_section(AttackResults(dict(of.attacks), families))


def privacy_dossier(
    model: Synthesizer | str | os.PathLike[str],
    real_data: Any,
    synthetic_data: Any,
    holdout_data: Any,
    *,
    n_targets: int = 1_000,
    n_experiments: int = 5,
    entity: str | None = None,
    seed: int | None = None,
    odometer: str | os.PathLike[str] | None = None,
) -> Dossier:
    """Play every recipient of a synthetic table or its model, and gather what a data-protection officer decides by.

    Args:
        model: the fitted synthesizer, or its file.
        real_data: the rows that it was fitted to.
        synthetic_data: the rows that are to be published.
        holdout_data: real rows of the same population that it has not seen: every baseline needs them.
        n_targets: of each attack.
        n_experiments: rounds that these targets are dealt out to.
        entity: the column that says whose each row is; None: as for `run_privacy_attacks`, of sequences their key.
        seed: of every random choice; None: 0.
        odometer: private folder that counts what is released of this table; the dossier is listed there, without a
            guarantee.

    Raises:
        DataError: the tables cannot be compared, are too small, or are not those of the model.
        ParameterError: no holdout, or a model of an array or of several tables.
    """
    from raysynth.attacks.run import check_counts
    from raysynth.methods.registry import load_synthetic_model

    check_counts(n_experiments, n_targets)
    if holdout_data is None:
        raise ParameterError(
            "a dossier needs holdout rows, real rows that the model has not seen: every baseline is theirs"
        )
    fitted: Any = load_synthetic_model(model) if isinstance(model, str | os.PathLike) else model
    check_of_one_table(fitted, BY_TABLE)
    key = getattr(fitted, "sequence_key", None)
    if not hasattr(fitted, "schema_") or (fitted.learns_sequences and key is None):
        raise ParameterError(
            "a dossier is made of a fitted model of one table; an array names nobody: fit a table with a sequence_key"
        )
    record_use(odometer, "a privacy dossier: exact attacks and comparisons")
    tables = pair_tables(real_data, synthetic_data, holdout_data, schema=fitted.schema_, entity=entity or key)
    content = fitted._content()
    played = recipient_risks(tables, fitted, content, n_targets=n_targets, n_experiments=n_experiments, seed=seed or 0)
    totals = {"real": tables.real_statistics.n_rows, "synthetic": tables.synthetic_statistics.n_rows}
    return Dossier(
        risks=played.risks,
        method=fitted.method,
        digest=content.digest(),
        spent=fitted.privacy_spent_,
        looked_at=played.looked_at,
        notes=(*played.notes, *_sampled(played.looked_at, totals)),
        compared=tuple(tables.compared),
        others=tuple(n for n in tables.kinds if n not in tables.compared),
        source=str(real_data) if isinstance(real_data, str | os.PathLike) else "",
    )


def most_often_right(spent: PrivacySpent) -> str:
    """What epsilon and delta mean to an attacker who is to tell, with even odds, whether one unit was learned from.

    At best (e^epsilon + delta) / (e^epsilon + 1) of its guesses are right (Kairouz et al. 2015, theorem 2.1).
    """
    return (
        f"whoever is to tell whether one {units_in_words(spent)} was learned from, with even odds before, is right "
        f"{_right(spent):.1%} of the time at best, where guessing gives 50 %"
    )


def _right(spent: PrivacySpent) -> float:
    odds = math.exp(min(spent.epsilon, 50.0))
    return min((odds + spent.delta) / (odds + 1), 1.0)


def rounded(value: float) -> str:
    """A share as a releasable edition shows it."""
    return "–" if math.isnan(value) else f"about {round(value / STEP) * STEP:.2f}"


def about(count: int) -> str:
    """A number of persons as a releasable edition shows it."""
    if count == 0:
        return "none"
    return f"fewer than {FEWEST}" if count < FEWEST else f"about {round(count / FEWEST) * FEWEST:,}"


def _attacked(results: Sequence[AttackResult], edition: Edition) -> Cell:
    """The cell of some attacks: that of the surest, and of these the largest gain."""
    measured = [r for r in results if not math.isnan(r.gain.value)]
    if not measured:
        return Cell("none", "not measured")
    worst = max(measured, key=_how_grave)
    level = "good" if not worst.found else "bad" if worst.is_shown and not worst.is_minor else "fair"
    shown = (
        (f"{worst.success.value:.3f}", f"{worst.baseline.value:.3f}")
        if edition == "private"
        else (rounded(worst.success.value), rounded(worst.baseline.value))
    )
    return Cell(level, worst.in_words, f"{worst.title}: {shown[0]}, baseline {shown[1]}")


def _how_grave(result: AttackResult) -> tuple[bool, bool, float, float]:
    """Orders attacks: sure gains, those that are not minor, and large ones last."""
    sure = result.gain.value if result.found else -_p_value(result)
    return result.found, result.found and not result.is_minor, sure, result.gain.value


def _p_value(result: AttackResult) -> float:
    return 1.0 if result.verdict is None or math.isnan(result.verdict.p_value) else result.verdict.p_value


def _compared(comparisons: Sequence[Comparison], edition: Edition) -> Cell:
    """The cell of the direct comparisons."""
    surely = [c for c in comparisons if c.surely]
    look = [f for c in comparisons for f in c.to_look_at]
    worst = min(surely or comparisons, key=lambda c: c.p_value, default=None)
    if worst is None:
        return Cell("none", "not measured")
    counts = ((worst.most.members, worst.n_members), (worst.most.others, worst.n_others))
    told = [f"{n:,} ({n / max(total, 1):.1%})" if edition == "private" else about(n) for n, total in counts]
    figure = f"{TITLES[worst.key]}: {told[0]} of the fit, {told[1]} of others"
    if surely:
        return Cell("bad", "found", figure)
    if look:
        n = sum(f.members for f in look)
        return Cell("fair", "to look at", f"{n if edition == 'private' else about(n)} persons, see the annex")
    return Cell("good", "no more than chance", figure)


def _record(comparison: Comparison) -> dict[str, Any]:
    verdict = comparison.verdict
    return {
        "comparison": comparison.key,
        "persons": [comparison.n_members, comparison.n_others],
        "p_value": None if verdict is None else verdict.p_value,
        "found": comparison.surely,
        "columns": [
            {"column": f.column, "members": f.members, "others": f.others, "rows": f.rows, "to_look_at": f.to_look_at}
            for f in comparison.found
        ],
    }


def _sampled(looked_at: Mapping[str, int], totals: Mapping[str, int]) -> list[str]:
    return [
        f"{looked_at[label]:,} of the {total:,} {label} rows were looked at, drawn at random"
        for label, total in totals.items()
        if looked_at[label] < total
    ]


def _checked(edition: str) -> str:
    if edition not in get_args(Edition):
        raise ParameterError(f"edition must be 'private' or 'releasable'; found {edition!r}")
    return edition
