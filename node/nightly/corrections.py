"""What could be adopted: how far this site's scanners lie apart, and how far VBQ varies from day to day.

Offsets are given above one reference, the scanner with most patients of the cohort (without a model by scanner: the one
of most patients examined on two): from patients examined on both, and from the paper's model with a level for each
scanner.
"""

from collections import Counter

from sqlite_utils import Database

from analytics.methods.rows import Refusal
from analytics.paper.rescans import DayToDay, PairedOffset, rescans
from analytics.paper.strata import OTHERS, UNKNOWN, by_scanner
from analytics.reasons import Reason
from node.analysis.rescans import pairs
from node.errors import InputError
from node.nightly.cohort import cohort_frame, read_snapshot
from node.people.corrections import NOISE, Measured
from node.settings import Settings


def measured(db: Database, settings: Settings) -> tuple[list[Measured], list[Reason]]:
    """All that could be adopted as of now, and why there is no more."""
    found = rescans(pairs(db, settings))
    model = by_scanner(cohort_frame(read_snapshot(db).text))
    refused = [one.reason for one in [model] if isinstance(one, Refusal)]
    reference = _reference(found.offsets) if isinstance(model, Refusal) else model.reference
    measured = [_above(one, reference) for one in found.offsets if reference in (one.scanner, one.reference)]
    if not isinstance(model, Refusal):
        by_name = {one.name: one.n for one in model.strata}
        measured += [
            Measured(
                scanner=one.term, reference=model.reference, source="model", n=by_name[one.term] + by_name[reference],
                value=one.b, ci_low=one.ci_low, ci_high=one.ci_high,
            )
            for one in model.offsets
            if one.term not in (OTHERS, UNKNOWN)
        ]  # fmt: skip
    measured.sort(key=lambda one: (one.scanner, one.source != "rescans"))
    noise = found.day_to_day
    if isinstance(noise, DayToDay):
        measured.append(
            Measured(source="rescans", n=noise.n, value=noise.sd, ci_low=noise.sd_ci_low, ci_high=noise.sd_ci_high)
        )
    else:
        refused.append(noise)
    return measured, refused


def choose(found: list[Measured], what: str, source: str | None = None) -> Measured:
    """The one that is meant; an offset of patients examined on both goes before that of the model.

    Parameters
    ----------
    what
        The scanner, or :data:`node.people.corrections.NOISE`.

    Raises
    ------
    InputError
        There is none.
    """
    scanner = "" if what == NOISE else what
    for one in found:
        if one.scanner == scanner and source in (None, one.source):
            return one
    known = list(dict.fromkeys(one.scanner or NOISE for one in found))
    raise InputError(f"nothing is measured of {what}; measured: {', '.join(known) or 'nothing'}")


def _reference(offsets: tuple[PairedOffset, ...]) -> str:
    patients: Counter[str] = Counter()
    for one in offsets:
        patients.update({one.scanner: one.n, one.reference: one.n})
    return max(sorted(patients), key=lambda name: patients[name], default="")


def _above(one: PairedOffset, reference: str) -> Measured:
    if one.reference == reference:
        return Measured(
            scanner=one.scanner, reference=reference, source="rescans", n=one.n, value=one.offset, ci_low=one.ci_low,
            ci_high=one.ci_high,
        )  # fmt: skip
    return Measured(
        scanner=one.reference, reference=reference, source="rescans", n=one.n, value=-one.offset,
        ci_low=-one.ci_high, ci_high=-one.ci_low,
    )  # fmt: skip
