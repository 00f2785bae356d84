"""Each recipient's own mail: what the policy lets it hold, and what is attached to it."""

from dataclasses import dataclass, replace
from datetime import datetime

from sqlite_utils import Database

from analytics.model import Tier
from node.nightly.attachments import operations_csv, report_pdf
from node.nightly.mail import Attachment, queue, report_mail
from node.nightly.report import Content, Rendered, render
from node.settings import MailPolicy, Settings


def queue_for_recipients(
    db: Database, settings: Settings, content: Content, rendered: Rendered, *, report_id: str, now: datetime
) -> None:
    """Queue the mail of every recipient, by its policy; inside the unit of work of the report.

    Parameters
    ----------
    content, rendered
        The report as it is stored: for all tiers, with study ids only.
    """
    numbers = _patient_numbers(db) if any(one.patient_numbers for one in settings.mail.policies.values()) else {}
    made: dict[MailPolicy, _Mailed] = {}
    for recipient in settings.mail.recipients:
        policy = settings.mail.policies.get(recipient, MailPolicy())
        if content.quiet and not policy.quiet_nights:
            continue
        if policy not in made:
            made[policy] = _mailed(content, rendered, policy, numbers)
        mailed = made[policy]
        mail = report_mail(
            mailed.rendered, settings, recipient=recipient, report_id=report_id, now=now, attached=mailed.attached
        )
        queue(db, mail, recipient=recipient, report_id=report_id, now=now)


@dataclass(frozen=True, kw_only=True)
class _Mailed:
    rendered: Rendered
    attached: tuple[Attachment, ...]


def _mailed(content: Content, rendered: Rendered, policy: MailPolicy, numbers: dict[str, str]) -> _Mailed:
    tiers = frozenset(Tier(name) for name in policy.tiers)
    own = replace(
        content,
        tiers=None if tiers == frozenset(Tier) else tiers,
        numbers=numbers if policy.patient_numbers else {},
    )
    mine = rendered if own == content else render(own)
    name = f"vbq-{content.night}"
    attached = []
    if "csv" in policy.attach:
        attached.append(Attachment(name=f"{name}.csv", kind=("text", "csv"), content=operations_csv(own)))
    if "pdf" in policy.attach:
        content_pdf = report_pdf(mine, own.figures)
        attached.append(Attachment(name=f"{name}.pdf", kind=("application", "pdf"), content=content_pdf))
    return _Mailed(rendered=mine, attached=tuple(attached))


def _patient_numbers(db: Database) -> dict[str, str]:
    """The hospital's number of each linked episode, as it was sent."""
    return dict(
        db.execute(
            "SELECT l.episode, i.patient_id FROM derived_link AS l JOIN derived_identifier AS i "
            "ON i.person = l.person AND i.person = i.authority || '|' || i.patient_id"
        ).fetchall()
    )
