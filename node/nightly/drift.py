"""The frozen model of the site: what new patients and scanners are compared with, and the words of an alarm.

Frozen is the model of the night that proposed the newest threshold version which a person adopted (or the first one
ever), or else the first model that could be fitted. A version that the rule adopted freezes nothing: the very shift
that is looked for moves the cohort's cut-offs, and a rule that followed it would hide it. The model is read back from
its own record, so later corrections of the cohort do not move it.
"""

from dataclasses import dataclass

from sqlite_utils import Database

from analytics.night.drift import EVIDENCE_LIMIT, Drift, Step, Trend
from analytics.night.shift import Shift
from node.people.thresholds import night_accepted


@dataclass(frozen=True, kw_only=True)
class Frozen:
    """The fit that is held fixed, and the snapshot it was made from."""

    fit_id: str
    text: str


def read_frozen(db: Database) -> Frozen | None:
    """The frozen fit as it stands now; ``None`` before the first fit."""
    row = db.execute(
        "SELECT fit_id, snapshot FROM record_fit WHERE status = 'fitted' ORDER BY night <> ?, night LIMIT 1",
        [night_accepted(db) or ""],
    ).fetchone()
    return None if row is None else Frozen(fit_id=row[0], text=row[1])


def explain_drift(drift: Drift, frozen: Frozen) -> str:
    """The state of the comparison in one sentence, alarm or not."""
    return (
        f"the last {drift.window} of {drift.n_new} patients since fit {frozen.fit_id} have "
        f"VBQ {_signed(drift.mean_residual, 3)} from what it predicts (z {_signed(drift.z, 1)}, "
        f"CUSUM up {drift.cusum_up:.1f}, down {drift.cusum_down:.1f}); evidence for a step or trend beyond a season "
        f"{_evidence(drift.evidence)}, alarm beyond {EVIDENCE_LIMIT:g}"
    )


def explain_season(drift: Drift) -> str:
    """What would be an alarm, but for what a season may explain."""
    return (
        f"{_step(drift.step_with_season)}, as far as a season may explain: no alarm while it may. It is one when it "
        "outlasts the season; compare with the same months of another year, then look at scanner and protocol"
    )


def _evidence(value: float) -> str:
    return f"{value:.0f}" if value < 1e6 else "more than a million"


def what_to_look_at(drift: Drift) -> tuple[str, ...]:
    """Where to look when it is an alarm: since when, at which scanner, at what else."""
    scanners = "; ".join(
        f"{one.name or 'scanner unknown'} {_signed(one.mean_residual, 3)} (n = {one.n})" for one in drift.strata
    )
    return (
        f"what it looks like most: {_step(drift.step)}",
        *((f"more than like that step: {_trend(drift.trend)}",) if drift.trend else ()),
        f"which scanner: mean deviation of the last {drift.window} by scanner: {scanners}",
        "protocol and coil: `protocol` in the view series (TR, TE, field strength) before and after that day",
        "readers: have some of these series read again by another reader",
        "patients: if they really are others than before, adopt new cut-offs; that freezes a new model as well",
    )


def _step(step: Step) -> str:
    begin = f"the MRI of {step.since}" if step.since else "an undated MRI"
    where = "at all scanners" if step.scanner is None else f"at {step.scanner or 'an unknown scanner'} only"
    size = f"VBQ {_signed(step.size, 3)} (95 % CI {_signed(step.ci_low, 3)} to {_signed(step.ci_high, 3)})"
    return f"{size} since {begin} (n = {step.n}), {where}"


def _trend(trend: Trend) -> str:
    ends = f"{_signed(trend.ci_low, 3)} to {_signed(trend.ci_high, 3)}"
    return f"a trend of VBQ {_signed(trend.per_month, 3)} a month since {trend.since} (95 % CI {ends})"


def explain_shift(shift: Shift) -> str:
    """One difference between the newest and the frozen patients in one sentence."""
    sizes = f"({shift.n_now} newest against {shift.n_before} frozen patients"
    if shift.kind == "new scanner":
        return f"new scanner {shift.name}: {shift.now:.0%} of the newest patients, none of the frozen ones"
    p = f"p {shift.p:.1g}" if shift.p else "p < 1e-300"
    if shift.kind == "mean":
        return f"{shift.name} has a mean of {shift.now:.4g} after {shift.before:.4g} {sizes}, {p})"
    what = f"scanner {shift.name}" if shift.kind == "scanner share" else f"{shift.name} = 1"
    return f"{what}: {shift.now:.0%} after {shift.before:.0%} {sizes}, {p})"


def _signed(value: float, decimals: int) -> str:
    return f"{value:+.{decimals}f}".replace("-", "−")
