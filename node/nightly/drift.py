"""The frozen model of the site: what new patients are compared with, and the words of an alarm.

Frozen is the model of the night that proposed the threshold version in force, or else the first one that could be
fitted. It is read back from its own record, so later corrections of the cohort do not move it.
"""

from dataclasses import dataclass

from sqlite_utils import Database

from analytics.drift import CUSUM_LIMIT, Z_LIMIT, Drift
from node.thresholds import in_force


@dataclass(frozen=True, kw_only=True)
class Frozen:
    """The fit that is held fixed, and the snapshot it was made from."""

    fit_id: str
    text: str


def read_frozen(db: Database) -> Frozen | None:
    """The frozen fit as it stands now; ``None`` before the first fit."""
    version = in_force(db)
    row = db.execute(
        "SELECT fit_id, snapshot FROM record_fit WHERE status = 'fitted' ORDER BY night <> ?, night LIMIT 1",
        [version.night if version else ""],
    ).fetchone()
    return None if row is None else Frozen(fit_id=row[0], text=row[1])


def explain_drift(drift: Drift, frozen: Frozen) -> str:
    """The state of the comparison in one sentence, alarm or not."""
    return (
        f"the last {drift.window} of {drift.n_new} patients since fit {frozen.fit_id} have "
        f"VBQ {_signed(drift.mean_residual, 3)} from what it predicts (z {_signed(drift.z, 1)}, "
        f"alarm beyond {Z_LIMIT:g}; CUSUM up {drift.cusum_up:.1f}, down {drift.cusum_down:.1f}, "
        f"alarm beyond {CUSUM_LIMIT:g})"
    )


def what_to_look_at(drift: Drift) -> tuple[str, ...]:
    """Where to look when it is an alarm: since when, at which scanner, at what else."""
    scanners = "; ".join(
        f"{one.name or 'scanner unknown'} {_signed(one.mean_residual, 3)} (n = {one.n})" for one in drift.strata
    )
    begin = f"MRI of {drift.since}" if drift.since else "an undated MRI"
    return (
        f"since when: the deviation has been building up since the {begin}",
        f"which scanner: mean deviation by scanner: {scanners}",
        "protocol and coil: `protocol` in the view series (TR, TE, field strength) before and after that day",
        "readers: have some of these series read again by another reader",
        "patients: if they really are others than before, adopt new cut-offs; that freezes a new model as well",
    )


def _signed(value: float, decimals: int) -> str:
    return f"{value:+.{decimals}f}".replace("-", "−")
