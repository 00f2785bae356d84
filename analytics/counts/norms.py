"""What is usual of a sender's blood counts, and which counts are so far from it that a unit may have slipped.

A count is compared on the logarithmic scale, on which slips are shifts: ln lymphocytes and ln PLR against median and
MAD of the sender's patients, within bounds from the literature, and against the patient's own other counts. Very ill
patients are as far away, so a second measurement of the same count settles it (leukocytes × percent, or leukocytes that
say so themselves). The norm depends on the set of all counts of the sender, never on their order.

References
----------
Fest J et al. Reference values for white blood-cell-based inflammatory markers in the Rotterdam Study. Sci Rep
2018;8:10566: PLR 120 (95 % of people 61 to 239). Lymphocytes of adults: 1.0 to 3.5 × 10⁹/L (Oxford Handbook of Clinical
Medicine).
A unit error of 19 of 324 patients, lymphocytes to a tenth: beyond 5 robust SD are 19 of the 19 and none of the others.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import exp, log
from statistics import median
from typing import Literal

from analytics.counts.plausibility import DIFFERENTIAL, MAX_PERCENT_SUM, USUAL_LEUKOCYTES_10E9_PER_L, Quantities
from analytics.reasons import Reason

Quantity = Literal["lymphocytes", "plr"]

LIMIT_SD = 5.0
"""Robust standard deviations from the median."""
MAD_TO_SD = 1.4826
"""Of normally distributed values."""
LEAST_PERSONS = 30
"""Patients from which on a sender's counts are their own norm; before, that of the literature holds."""
WHOLE_PERSONS = 20
"""Patients from which on a sender's median tells that all its counts are off."""
WHOLE_FACTOR = 3.0
"""Of no hospital's patients is the median so many times that of others; units differ tenfold at least, lymphocytes and
monocytes, where a laboratory has them in each other's row, three to four times."""
OWN_FACTOR = 6.0
"""A patient's counts of some weeks differ by less, but for an illness that a second measurement shows."""
OWN_DAYS = timedelta(days=90)
"""How far apart counts of a patient may be taken to be compared."""
AGREES_FACTOR = 1.5
"""Counts of two senders that are nearer than this confirm each other."""
EXTREME_LEUKOCYTES_10E9_PER_L = 40.0
"""Leukaemia or a leukaemoid reaction: lymphocytes may be anything."""
LEAST_BETWEEN = 5
"""Counts of others between two of a patient, from which on they tell that it was not the sender,"""
MOST_ODD_BETWEEN = 0.2
"""and the share of them that may be as odd: one of several analysers that is wrong makes more."""
LEAST_NLR_OF_ONE_FORM = 0.75
"""Where cells are told once (percentages alone), nothing in the message would tell of exchanged ones: they are doubted
from here on. Of healthy people 0.7 % are below, by the median and the limits of Fest."""
MOST_REVERSED = 0.02
"""Share of a sender's patients who may have such ratios: 0.3 % of people have. One of several analysers that exchanges
its rows makes more."""
FEW_REVERSED = 2
"""Patients who may have them whatever the share is: of 60, two have by chance at one sender of seventy, three at one of
a thousand."""
REVERSED_NLR = 0.75
"""Fewer than 2.5 % of people over 45 have an NLR below 0.83 (Fest); exchanged, most have one below this."""
NLR_LIMIT_SD = 3.0
"""Below the median of the sender, from here on one patient's cells look exchanged where either may be the other."""
MOST_NEUTROPHILS_10E9_PER_L, LEAST_NEUTROPHILS_10E9_PER_L = 20.0, 1.5
"""Lymphocytes outside are not somebody's neutrophils, also not after an operation: leukaemia has more, chemotherapy
leaves fewer."""
PERSON_WEIGHT = 4.7
"""Most that one patient says, in ln odds, for or against exchanged cells: a single one may be ill."""
EXCHANGED_WEIGHT = 9.2
"""Ln odds of 10,000 to 1 from patients in a row: a sender of thousands reaches them by chance in no year."""
SLIPPED_LEUKOCYTES_FACTOR = 5.0
"""Leukocytes this many times off into the same direction, with usual percentages, have slipped with their cells."""
USUAL_LYMPHOCYTES_PERCENT = (10.0, 50.0)
LEAST_OF_THREE_PERCENT = 90.0
"""Neutrophils, lymphocytes and monocytes; eosinophils and basophils are the rest, of most people less than 8 %."""
MOST_MONOCYTES_PERCENT = 18.0
"""More may be the lymphocytes, in the wrong row."""
LEUKOCYTES_FACTOR = 3.0
"""Leukocytes nearer to the usual than this have no power of ten amiss."""
USUAL_PLATELETS_10E9_PER_L = 240.0
PLATELETS_FACTOR = 5.4
"""Platelets of those who are operated are within this factor of the usual (44 to 1,300 × 10⁹/L): from 1,500 on they are
reduced first, below 50 some are given. A slip leaves it."""


@dataclass(frozen=True, kw_only=True)
class Centre:
    """Median and robust standard deviation of the natural logarithm of a quantity."""

    median: float
    sd: float

    def distance(self, value: float) -> float:
        """How many standard deviations a value is from the median; negative below it."""
        return (log(value) - self.median) / self.sd


PRIOR: Mapping[Quantity, Centre] = {
    "lymphocytes": Centre(median=log(1.8), sd=0.33),
    "plr": Centre(median=log(130.0), sd=0.36),
}
"""Of adults in hospital: between the references above and what surgical cohorts report."""
USUAL_NLR = Centre(median=log(2.0), sd=0.45)
"""Rotterdam Study: 1.76, 95 % of people 0.83 to 3.92; patients before an operation have a little more."""
SHIFT = 0.35
"""How far, in ln, a sender's median may be from the prior: laboratories and patients differ by less than half."""
LEAST_SD = 0.28
"""Fewer or more alike patients have a smaller one; a larger one than the prior's may be that of slipped counts."""


@dataclass(frozen=True, kw_only=True)
class Norm:
    """What is usual of a sender's counts."""

    persons: int
    centres: Mapping[Quantity, Centre]
    off: tuple[Quantity, ...] = ()
    """Quantities whose median shows that all of the sender's counts have another unit."""
    exchanged: tuple[tuple[datetime, datetime], ...] = ()
    """First and last time of collection of spells in which neutrophils and lymphocytes look exchanged."""
    ln_nlr: float = USUAL_NLR.median
    """Median of ln NLR."""
    suspected_since: datetime | None = None
    """Time of the first of the newest counts that may begin such a spell: the sender's next ones tell."""
    few_reversed: bool = False
    """No more patients than in health have ratios that look exchanged."""


NO_COUNTS = Norm(persons=0, centres=PRIOR)
UNLIKE = ("sender-off", "sender-exchanged", "count-unlike-sender", "count-unlike-patient", "count-exchanged")
"""Codes of the reasons why a count is held for what is usual."""


@dataclass(frozen=True, kw_only=True)
class Judged:
    """The numbers of one count that are compared; only counts that nothing else holds are."""

    specimen: str
    sender: str
    taken_at: datetime | None
    lymphocytes: float | None
    """In 10⁹/L."""
    platelets: float | None
    plr: float | None
    nlr: float | None = None
    confirmed: bool
    """A second measurement confirms the lymphocytes."""
    platelets_confirmed: bool = False
    """The plateletcrit confirms the platelets."""
    forms_agree: bool = False
    """Neutrophils and lymphocytes are counted and in percent, both say the same, and nobody counted them by hand."""

    def value(self, quantity: Quantity) -> float | None:
        """A quantity above 0."""
        value = self.lymphocytes if quantity == "lymphocytes" else self.plr
        return value if value else None


def norm_of(counts: Iterable[tuple[str, float | None, float | None]]) -> Norm:
    """The norm of a sender.

    Parameters
    ----------
    counts
        Person, lymphocytes (10⁹/L) and PLR of every count of the sender; each person counts once, with the median.
    """
    values: dict[Quantity, dict[str, list[float]]] = {"lymphocytes": {}, "plr": {}}
    for person, lymphocytes, plr in counts:
        if lymphocytes:
            values["lymphocytes"].setdefault(person, []).append(log(lymphocytes))
        if plr:
            values["plr"].setdefault(person, []).append(log(plr))
    centres: dict[Quantity, Centre] = {}
    off: list[Quantity] = []
    for quantity, by_person in values.items():
        typical = [median(one) for one in by_person.values()]
        prior = PRIOR[quantity]
        centres[quantity] = _centre(typical, prior) if len(typical) >= LEAST_PERSONS else prior
        if len(typical) >= WHOLE_PERSONS and abs(median(typical) - prior.median) > log(WHOLE_FACTOR):
            off.append(quantity)
    persons = max(len(by_person) for by_person in values.values())
    return Norm(persons=persons, centres=centres, off=tuple(off))


def _centre(values: Sequence[float], prior: Centre) -> Centre:
    middle = median(values)
    sd = MAD_TO_SD * median(abs(one - middle) for one in values)
    return Centre(
        median=min(max(middle, prior.median - SHIFT), prior.median + SHIFT),
        sd=min(max(sd, LEAST_SD), prior.sd),
    )


def unlike_sender(count: Judged, norm: Norm) -> Reason | None:
    """Why a count may not be right by what is usual of its sender; without numbers of the norm, which still change."""
    for quantity in norm.off:
        if count.value(quantity) is not None:
            return Reason("sender-off", {"what": quantity})
    if count.nlr and _in_spell(count, norm):
        return Reason("sender-exchanged", {"what": "nlr", "way": "below"})
    if count.nlr and _perhaps_exchanged(count, norm) and not _told_by_others(count, norm):
        return Reason("count-unlike-sender", {"what": "nlr", "value": count.nlr, "way": "below"})
    for quantity, centre in norm.centres.items():
        value = count.value(quantity)
        if value is None:
            continue
        distance = centre.distance(value)
        if abs(distance) > LIMIT_SD and not _explained(count, quantity, norm):
            way = "below" if distance < 0 else "above"
            return Reason("count-unlike-sender", {"what": quantity, "value": value, "way": way})
    apart = log(count.platelets / USUAL_PLATELETS_10E9_PER_L) if count.platelets else 0.0
    if abs(apart) > log(PLATELETS_FACTOR) and not count.platelets_confirmed:
        way = "below" if apart < 0 else "above"
        return Reason("count-unlike-sender", {"what": "platelets", "value": count.platelets, "way": way})
    return None


def _perhaps_exchanged(count: Judged, norm: Norm) -> bool:
    """Whether the NLR is so low that neutrophils and lymphocytes may be exchanged, and both are usual if they are.

    Count and percentage may be exchanged alike, so that no second measurement tells.
    """
    limit = norm.ln_nlr - NLR_LIMIT_SD * USUAL_NLR.sd
    if not count.forms_agree:
        limit = max(limit, log(LEAST_NLR_OF_ONE_FORM))
    return bool(count.nlr) and log(count.nlr or 1.0) <= limit and _may_be_neutrophils(count.lymphocytes)


def _may_be_neutrophils(lymphocytes: float | None) -> bool:
    return lymphocytes is not None and LEAST_NEUTROPHILS_10E9_PER_L <= lymphocytes <= MOST_NEUTROPHILS_10E9_PER_L


def _told_by_others(count: Judged, norm: Norm) -> bool:
    """Whether the sender's other patients tell that a ratio is so and the cells are not exchanged.

    An analyser's own differential, in both forms, has its rows exchanged for all patients or for none.
    """
    return count.forms_agree and norm.persons >= LEAST_PERSONS and norm.few_reversed


def waits(count: Judged, norm: Norm) -> bool:
    """Whether the sender's next counts have to tell first that its neutrophils and lymphocytes are not exchanged.

    A sender whose rows are exchanged from one day on is found out by a few patients; the first of them has a ratio
    that some people have. A patient or two with a usual one end the suspicion. Of a sender of few patients nobody
    knows when the next count comes, so nothing waits for it.
    """
    if count.taken_at is None or norm.suspected_since is None or norm.persons < LEAST_PERSONS:
        return False
    reversed_nlr = count.nlr is not None and count.nlr < 1 and _may_be_neutrophils(count.lymphocytes)
    return reversed_nlr and count.taken_at >= norm.suspected_since


def are_few_reversed(counts: Iterable[tuple[str, Judged]], norm: Norm) -> bool:
    """Whether no more of a sender's patients than in health have a ratio that looks exchanged, but for its spells.

    Parameters
    ----------
    counts
        Person and count, of all counts of the sender.
    norm
        Its norm, with the spells.
    """
    odd = {person for person, one in counts if _perhaps_exchanged(one, norm) and not _in_spell(one, norm)}
    return len(odd) <= max(FEW_REVERSED, MOST_REVERSED * norm.persons)


def _in_spell(count: Judged, norm: Norm) -> bool:
    return count.taken_at is not None and any(first <= count.taken_at <= last for first, last in norm.exchanged)


def _explained(count: Judged, quantity: Quantity, norm: Norm) -> bool:
    """Whether confirmed cells explain the distance: of a PLR those of the two that are far off."""
    if quantity == "lymphocytes":
        return count.confirmed
    if not count.lymphocytes or not count.platelets:
        return False
    far = abs(norm.centres["lymphocytes"].distance(count.lymphocytes)) > LIMIT_SD / 2
    if count.platelets_confirmed:
        return count.confirmed or not far
    if not count.confirmed:
        return False
    return far and abs(log(count.platelets / USUAL_PLATELETS_10E9_PER_L)) <= log(PLATELETS_FACTOR)


def said_by(count: Judged, doubt: Reason, other: Judged, norm: Norm) -> bool:
    """Whether another count of the patient says what is doubted of this one by what is usual of the sender.

    A slip of one result or of its row does not happen twice alike. What all counts of the sender share is no such
    thing, so the counts of others have to be asked as well (:func:`usual_between`).
    """
    if doubt.code != "count-unlike-sender" or other.specimen == count.specimen or not _near(count, other):
        return False
    same_lymphocytes = _agree(count.lymphocytes, other.lymphocytes)
    what = doubt.values["what"]
    if what == "nlr":
        return same_lymphocytes and other.nlr is not None and other.nlr < 1
    if what == "lymphocytes":
        return same_lymphocytes
    # It is the platelets that are far off, not the lymphocytes.
    usual = count.lymphocytes and abs(norm.centres["lymphocytes"].distance(count.lymphocytes)) <= LIMIT_SD / 2
    return bool(usual) and _agree(count.platelets, other.platelets)


def usual_between(doubt: Reason, others: Sequence[Judged], norm: Norm) -> bool:
    """Whether the sender's counts of other patients between two of one patient are hardly ever as odd."""
    odd = sum(_is_odd(one, doubt, norm) for one in others)
    return len(others) >= LEAST_BETWEEN and odd <= MOST_ODD_BETWEEN * len(others)


def _is_odd(count: Judged, doubt: Reason, norm: Norm) -> bool:
    what = doubt.values["what"]
    if what == "nlr":
        return _perhaps_exchanged(count, norm)
    quantity: Quantity = "lymphocytes" if what == "lymphocytes" else "plr"
    value = count.value(quantity)
    return value is not None and abs(norm.centres[quantity].distance(value)) > LIMIT_SD


def _agree(one: float | None, other: float | None) -> bool:
    return bool(one and other) and abs(log((one or 1.0) / (other or 1.0))) <= log(AGREES_FACTOR)


def unlike_patient(count: Judged, others: Sequence[Judged]) -> Reason | None:
    """Why a count may not be right by the patient's own other counts.

    Of two that are far apart the one further from what is usual of people is meant.
    """
    near = [one for one in others if one.specimen != count.specimen and _near(count, one)]
    if _exchanged(count, near):
        return Reason("count-exchanged")
    for what, usual in (("lymphocytes", exp(PRIOR["lymphocytes"].median)), ("platelets", USUAL_PLATELETS_10E9_PER_L)):
        value = getattr(count, what)
        known = [getattr(one, what) for one in near if getattr(one, what)]
        confirmed = count.confirmed if what == "lymphocytes" else count.platelets_confirmed
        if not value or not known or confirmed:
            continue
        own = median(map(log, known))
        far = abs(log(value) - own) > log(OWN_FACTOR)
        if far and abs(log(value) - log(usual)) > abs(own - log(usual)):
            way = "below" if log(value) < own else "above"
            return Reason("count-unlike-patient", {"what": what, "value": value, "way": way})
    return None


def usual_nlr(counts: Iterable[tuple[str, float | None]]) -> float:
    """Median of ln NLR of a sender's patients, from person and NLR of every count; each person counts once."""
    by_person: dict[str, list[float]] = {}
    for person, nlr in counts:
        if nlr:
            by_person.setdefault(person, []).append(log(nlr))
    if len(by_person) < LEAST_PERSONS:
        return USUAL_NLR.median
    middle = median(median(one) for one in by_person.values())
    return min(max(middle, USUAL_NLR.median - SHIFT), USUAL_NLR.median + SHIFT)


def exchanged_spells(
    counts: Iterable[tuple[str, datetime | None, float | None]], ln_nlr: float = USUAL_NLR.median
) -> tuple[tuple[tuple[datetime, datetime], ...], datetime | None]:
    """Spells in which a sender has neutrophils and lymphocytes in each other's place.

    Count and percentage may be exchanged alike, so that nothing in a message tells, and one patient may have such
    ratios: not several patients in a row. Exchanged cells mirror ln NLR at 0, so each patient is so many times likelier
    with them than without; what patients in a row say is added up until it is sure.

    Parameters
    ----------
    counts
        Person, time of collection and NLR of every count of the sender.
    ln_nlr
        What is usual of the sender, by :func:`usual_nlr`.

    Returns
    -------
    tuple
        First and last time of each spell; and since when the newest counts may be of one, of which nobody knows yet.
    """
    spells: list[tuple[datetime, datetime]] = []
    first: datetime | None = None
    last = first
    total = highest = 0.0
    before = ""
    for taken_at, person, nlr in sorted((at, who, ratio) for who, at, ratio in counts if at and ratio):
        weight = -2 * log(nlr) * ln_nlr / USUAL_NLR.sd**2
        total += 0.0 if person == before else min(max(weight, -PERSON_WEIGHT), PERSON_WEIGHT)
        before = person
        if total <= 0:
            first, total, highest = None, 0.0, 0.0
            continue
        first = first or taken_at
        highest = max(highest, total)
        # Exchanged or not, somebody's NLR may be near 1: such counts are of the spell until a right one ends it.
        if total > highest - PERSON_WEIGHT:
            last = taken_at
        if highest < EXCHANGED_WEIGHT or last is None:
            continue
        spell = (first, last)
        spells = [*spells[:-1], spell] if spells and spells[-1][0] == first else [*spells, spell]
        # What is sure is not made unsure by many right ones after it, nor does it reach into them.
        total = min(total, EXCHANGED_WEIGHT)
        highest = min(highest, EXCHANGED_WEIGHT)
    return tuple(spells), first


def _exchanged(count: Judged, near: Sequence[Judged]) -> bool:
    """Whether each of neutrophils and lymphocytes is what the other one is in the patient's other counts."""
    known = [one for one in near if one.nlr and one.lymphocytes]
    if not count.nlr or not count.lymphocytes or not known or count.nlr >= REVERSED_NLR:
        return False
    neutrophils = log(count.nlr * count.lymphocytes)
    own_lymphocytes = median(log(one.lymphocytes or 1.0) for one in known)
    own_neutrophils = median(log((one.nlr or 1.0) * (one.lymphocytes or 1.0)) for one in known)
    return (
        abs(neutrophils - own_lymphocytes) < log(AGREES_FACTOR)
        and abs(log(count.lymphocytes) - own_neutrophils) < log(AGREES_FACTOR)
        and own_neutrophils - own_lymphocytes > log(AGREES_FACTOR)
    )


def _near(one: Judged, other: Judged) -> bool:
    return one.taken_at is not None and other.taken_at is not None and abs(one.taken_at - other.taken_at) <= OWN_DAYS


def confirmed_elsewhere(count: Judged, others: Sequence[Judged]) -> bool:
    """Whether another laboratory has counted nearly the same lymphocytes in this patient."""
    return any(
        one.sender != count.sender and _near(count, one) and _agree(one.lymphocytes, count.lymphocytes)
        for one in others
    )


def measured_twice(found: Quantities, lymphocytes: float | None) -> bool:
    """Whether a second measurement of the same count confirms its lymphocytes.

    Leukocytes × percent does, unless the leukocytes are themselves off into the same direction while the percentages
    are usual: then all cells have slipped together. Very many leukocytes, most of them neutrophils and lymphocytes, do.
    """
    leukocytes, percent = found.leukocytes, found.percent["lymphocytes"]
    if not leukocytes or not lymphocytes:
        return False
    if found.counted["lymphocytes"] is None and _whole_differential(found, leukocytes):
        return True
    neutrophils = found.counted["neutrophils"] or found.expected("neutrophils") or 0.0
    if leukocytes >= EXTREME_LEUKOCYTES_10E9_PER_L and not _usual(100 * lymphocytes / leukocytes):
        return (neutrophils + lymphocytes) >= 0.5 * leukocytes
    if not found.confirmed("lymphocytes"):
        return False
    apart = log(leukocytes / USUAL_LEUKOCYTES_10E9_PER_L)
    together = apart * log(lymphocytes / exp(PRIOR["lymphocytes"].median)) > 0
    slipped = together and abs(apart) > log(SLIPPED_LEUKOCYTES_FACTOR)
    return not (slipped and percent is not None and _usual(percent))


def _whole_differential(found: Quantities, leukocytes: float) -> bool:
    """Whether percentages that leave no room for a slip say that the lymphocytes are few or many, not the leukocytes.

    A percentage that has slipped leaves a gap to 100; leukocytes that have slipped have usual percentages.
    """
    neutrophils, lymphocytes, monocytes = *(found.percent[cell] for cell in DIFFERENTIAL), found.monocytes_percent
    if neutrophils is None or lymphocytes is None or monocytes is None or monocytes > MOST_MONOCYTES_PERCENT:
        return False
    together = neutrophils + lymphocytes + monocytes
    if not LEAST_OF_THREE_PERCENT <= together <= MAX_PERCENT_SUM or _usual(lymphocytes):
        return False
    if lymphocytes < USUAL_LYMPHOCYTES_PERCENT[0] and together + 9 * lymphocytes <= MAX_PERCENT_SUM:
        return False  # they may be a tenth of what they were: the gap to 100 % has room for the rest
    apart = log(leukocytes / USUAL_LEUKOCYTES_10E9_PER_L)
    many = lymphocytes > USUAL_LYMPHOCYTES_PERCENT[1]
    return abs(apart) <= log(LEUKOCYTES_FACTOR) or (many and apart > 0)


def _usual(percent: float) -> bool:
    low, high = USUAL_LYMPHOCYTES_PERCENT
    return low <= percent <= high
