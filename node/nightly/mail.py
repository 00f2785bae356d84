"""The mail of a report as bytes. The same report gives the same bytes for the same recipient.

The structure is mixed(alternative(plain, related(html, png …)), csv, pdf), the last two by the recipient's policy.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from email.message import EmailMessage

from node.nightly.report import Rendered
from node.outgoing.mail import SEVEN_BIT, new_mail
from node.settings import Settings


@dataclass(frozen=True, kw_only=True)
class Attachment:
    """A file of a mail; ``kind`` is its main and sub type."""

    name: str
    kind: tuple[str, str]
    content: bytes


def report_mail(
    rendered: Rendered,
    settings: Settings,
    *,
    recipient: str,
    report_id: str,
    now: datetime,
    attached: Sequence[Attachment] = (),
) -> EmailMessage:
    """The report for one recipient: plain text, HTML with the figures inside, and attachments."""
    mail = new_mail(
        settings, recipient=recipient, report_id=report_id, subject=rendered.subject, text=rendered.text, now=now
    )
    mail.add_alternative(rendered.mail_html, subtype="html", cte=SEVEN_BIT)
    html = mail.get_payload(1)
    for figure in rendered.figures:
        html.add_related(  # type: ignore[union-attr]  # the payload of a multipart is a message
            figure.png,
            maintype="image",
            subtype="png",
            cid=f"<{figure.content_id}>",
            filename=f"{figure.name}.png",
            disposition="inline",
        )
    mail.make_mixed()
    for one in attached:
        coded = {"charset": "utf-8"} if one.kind[0] == "text" else None
        mail.add_attachment(one.content, maintype=one.kind[0], subtype=one.kind[1], filename=one.name, params=coded)
    _fix_boundaries(mail)
    return mail


def _fix_boundaries(mail: EmailMessage) -> None:
    """Name the boundaries after the mail; the library's are random."""
    parts = [part for part in mail.walk() if part.is_multipart()]
    for number, part in enumerate(parts):
        name = hashlib.sha256(f"{mail['Message-ID']}/{number}".encode()).hexdigest()[:32]
        part.set_boundary(f"=_{name}")
