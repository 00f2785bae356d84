"""Each recipient's own mail: what the policy lets it hold, and what is attached to it."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from email.message import EmailMessage

from sqlite_utils import Database

from analytics.records import Tier
from node.nightly.attachments import operations_csv
from node.nightly.mail import Attachment, report_mail
from node.nightly.paper import report_pdf
from node.nightly.report import Content, Rendered, render
from node.nightly.sections.section import Audience, Owner
from node.settings import MailPolicy, Settings


def mails_for_recipients(
    settings: Settings,
    content: Content,
    rendered: Rendered,
    numbers: Mapping[str, str],
    *,
    report_id: str,
    now: datetime,
) -> dict[str, EmailMessage]:
    """The mail of every recipient, by its policy; drawing a PDF takes its time, so outside of any transaction.

    Parameters
    ----------
    content, rendered
        The report as it is stored: for all tiers, with study ids only.
    numbers
        The hospital's number of each episode (:func:`patient_numbers`).
    """
    made: dict[MailPolicy, _Mailed] = {}
    mails: dict[str, EmailMessage] = {}
    for recipient in settings.mail.recipients:
        policy = settings.mail.policies.get(recipient, MailPolicy())
        if not policy.quiet_nights and content.quiet(_audience(policy, numbers)):
            continue
        if policy not in made:
            made[policy] = _mailed(content, rendered, policy, numbers)
        mailed = made[policy]
        mails[recipient] = report_mail(
            mailed.rendered, settings, recipient=recipient, report_id=report_id, now=now, attached=mailed.attached
        )
    return mails


def patient_numbers(db: Database, settings: Settings) -> dict[str, str]:
    """The hospital's number of each linked episode, as it was sent; empty where no recipient gets them."""
    if not any(one.patient_numbers for one in settings.mail.policies.values()):
        return {}
    return dict(
        db.execute(
            "SELECT l.episode, i.patient_id FROM derived_link AS l JOIN derived_identifier AS i "
            "ON i.person = l.person AND i.person = i.authority || '|' || i.patient_id"
        ).fetchall()
    )


def operation_owners(db: Database) -> dict[str, Owner]:
    """Whose each episode is, where its booking names somebody."""
    rows = db.execute(
        "SELECT l.episode, o.surgeon_number, o.surgeon, o.service FROM derived_link AS l "
        "JOIN derived_operation AS o ON o.person = l.person AND o.booking = l.booking "
        "WHERE coalesce(o.surgeon_number, o.surgeon, o.service) IS NOT NULL"
    ).fetchall()
    return {
        episode: Owner(surgeon_number=number or "", surgeon=surgeon or "", service=service or "")
        for episode, number, surgeon, service in rows
    }


def _audience(policy: MailPolicy, numbers: Mapping[str, str]) -> Audience:
    tiers = frozenset(Tier(name) for name in policy.tiers)
    return Audience(
        tiers=None if tiers == frozenset(Tier) else tiers,
        numbers=numbers if policy.patient_numbers else {},
        statistics=policy.statistics,
        surgeons=frozenset(one.casefold() for one in policy.surgeons),
        services=frozenset(one.casefold() for one in policy.services),
    )


@dataclass(frozen=True, kw_only=True)
class _Mailed:
    rendered: Rendered
    attached: tuple[Attachment, ...]


def _mailed(content: Content, rendered: Rendered, policy: MailPolicy, numbers: Mapping[str, str]) -> _Mailed:
    own = replace(content, audience=_audience(policy, numbers))
    mine = rendered if own == content else render(own)
    name = f"vbq-{content.night}"
    attached = []
    if "csv" in policy.attach:
        attached.append(Attachment(name=f"{name}.csv", kind=("text", "csv"), content=operations_csv(own)))
    if "pdf" in policy.attach:
        content_pdf = report_pdf(own, mine)
        attached.append(Attachment(name=f"{name}.pdf", kind=("application", "pdf"), content=content_pdf))
    return _Mailed(rendered=mine, attached=tuple(attached))
