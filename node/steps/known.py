"""What was known about a person by the day of an operation: covariates, diagnoses, drugs.

What was said undated counts from when it was said: nothing sent after the operation describes the patient before it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from functools import cached_property
from zoneinfo import ZoneInfo

from analytics.episodes.cohort import OUTCOME_COLUMNS
from analytics.episodes.eligibility import body_mass_index, in_drug_window, plausible_bmi
from analytics.reasons import Reason
from node.hl7.catalogue import Eligibility
from node.hl7.extracts import PatientExtract
from node.steps.person import Said, cancelled_visits

OUTCOME_DAYS = 365
"""Days before or after the operation within which a bone density describes the patient who was operated on."""


@dataclass(frozen=True, kw_only=True)
class Known:
    """Everything said about one person, asked for a day; without a day, for now."""

    said: Sequence[Said]
    zone: ZoneInfo
    eligibility: Eligibility

    @cached_property
    def _cancelled_visits(self) -> set[str]:
        return cancelled_visits(self.said)

    def _by(self, moment: datetime | None, day: date | None) -> bool:
        """Whether something observed (or, undated, sent) then was known by the end of that day."""
        return moment is None or day is None or moment.astimezone(self.zone).date() <= day

    def covariates(self, day: date | None) -> dict[str, float | int | None]:
        """Smoking, diabetes, hypertension, calcium (1, 0 or unknown) and BMI in kg/m²; of each the newest."""
        latest: dict[str, tuple[datetime | None, float]] = {}
        for one in self.said:
            if not isinstance(one.extract, PatientExtract):
                continue
            for seen in one.extract.observations:
                moment = seen.observed_at or one.sent_at
                if not self._by(moment, day):
                    continue
                known = latest.get(seen.name)
                if known is None or known[0] is None or (moment is not None and moment >= known[0]):
                    latest[seen.name] = (moment, seen.value)
        value = {name: seen for name, (_, seen) in latest.items()}
        coded = self._codes(day)
        binary = {
            name: int(value[name]) if name in value else (1 if any(has(code) for code in coded) else None)
            for name, has in (
                ("smoking", lambda code: False),
                ("diabetes", self.eligibility.is_diabetes),
                ("hypertension", self.eligibility.is_hypertension),
                ("calcium", lambda code: False),
            )
        }
        computed = body_mass_index(height_cm=value.get("height_cm"), weight_kg=value.get("weight_kg"))
        return {**binary, "bmi": plausible_bmi(value["bmi"]) if "bmi" in value else computed}

    def outcomes(self, surgery: date | None) -> dict[str, float | int | None]:
        """What cut-offs can be judged against: bone density near the operation, and whether the event came after it.

        Of T-score, bone density and Hounsfield units the day nearest to the operation holds, within
        :data:`OUTCOME_DAYS` of it on either side, and on that day the lowest site, as the WHO defines osteoporosis.
        The event is 1 once it was reported on or after the operation, 0 when it was denied there and not reported.
        """
        seen: dict[str, list[tuple[int, float]]] = {name: [] for name in OUTCOME_COLUMNS}
        for one in self.said:
            for found in one.extract.observations if isinstance(one.extract, PatientExtract) else ():
                moment = found.observed_at or one.sent_at
                if found.name in seen and moment is not None and surgery is not None:
                    seen[found.name].append(((moment.astimezone(self.zone).date() - surgery).days, found.value))
        events = [value for days, value in seen.pop("event") if days >= 0]
        nearest = {
            name: min(((abs(days), value) for days, value in values if abs(days) <= OUTCOME_DAYS), default=None)
            for name, values in seen.items()
        }
        values = {name: one[1] if one else None for name, one in nearest.items()}
        return {**values, "event": int(max(events)) if events else None}

    def _codes(self, day: date | None) -> list[str]:
        """Codes of all diagnoses known by that day, the newest last."""
        known = [
            (diagnosis.recorded_at or one.sent_at, one.order, diagnosis.code)
            for one in self.said
            if isinstance(one.extract, PatientExtract) and one.extract.visit not in self._cancelled_visits
            for diagnosis in one.extract.diagnoses
            if self._by(diagnosis.recorded_at or one.sent_at, day)
        ]
        return [
            code for moment, _, code in sorted(known, key=lambda k: (k[0].timestamp() if k[0] else 0.0, k[1], k[2]))
        ]

    def diagnosis(self, day: date | None) -> str | None:
        """The paper's diagnosis group of the newest diagnosis that has one."""
        groups = [group for code in self._codes(day) if (group := self.eligibility.diagnosis_group(code))]
        return groups[-1] if groups else None

    def excluding_diagnoses(self, day: date) -> list[Reason]:
        """The exclusion criteria that diagnoses meet."""
        criteria = {met for code in self._codes(day) if (met := self.eligibility.exclusion(code))}
        return [Reason("excluding-diagnosis", {"criterion": one}) for one in sorted(criteria)]

    def excluding_drugs(self, day: date) -> list[Reason]:
        """The exclusion criterion of drugs, if one was taken in the months before that day."""
        for one in self.said:
            for taken in one.extract.medications if isinstance(one.extract, PatientExtract) else ():
                start, end = (
                    moment and moment.astimezone(self.zone).date()
                    for moment in (taken.started_at or one.sent_at, taken.ended_at)
                )
                if start and in_drug_window(start, end, day):
                    return [Reason("excluding-drug", {"criterion": self.eligibility.drugs.reason})]
        return []
