"""A row of the audit as a DICOM audit message, framed for syslog over TLS.

References
----------
DICOM PS3.15, A.5 (Audit Trail Message Format Profile) and A.6 (syslog-TLS); codes of CID 400 and CID 401 of PS3.16.
RFC 5424 (The Syslog Protocol), RFC 5425 (TLS Transport Mapping for Syslog), section 4.3: octet counting.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from xml.etree.ElementTree import Element, SubElement, tostring

PRIORITY = 10 * 8 + 5
"""Facility 10 (security), severity 5 (notice), as PS3.15 A.6 recommends."""
MESSAGE_ID = "DICOM+RFC3881"
"""MSGID of such messages (PS3.15, A.6)."""
UTF_8 = b"\xef\xbb\xbf"
"""RFC 5424, 6.4: the text of the message is UTF-8."""


@dataclass(frozen=True, kw_only=True)
class Event:
    """What kind of event an action is (CID 400), and more exactly (CID 401)."""

    code: str
    meaning: str
    action: str = "R"
    """C, R, U, D or E: create, read, update, delete, execute."""
    kind: tuple[str, str] | None = None
    outcome: str = "0"
    """0: success; 4: minor failure."""


LOGGED_IN = ("110122", "Login")
EVENTS: Mapping[str, Event] = {
    "logged in": Event(code="110114", meaning="User Authentication", action="E", kind=LOGGED_IN),
    "refused: log-in": Event(code="110114", meaning="User Authentication", action="E", kind=LOGGED_IN, outcome="4"),
    "logged out": Event(code="110114", meaning="User Authentication", action="E", kind=("110123", "Logout")),
    "audit list": Event(code="110101", meaning="Audit Log Used"),
    "erase": Event(code="110110", meaning="Patient Record", action="D"),
    "removed": Event(code="110110", meaning="Patient Record", action="D"),
    "export": Event(code="110106", meaning="Export"),
    "pool export": Event(code="110106", meaning="Export"),
    "backup": Event(code="110106", meaning="Export"),
    "restore": Event(code="110107", meaning="Import", action="C"),
    "import": Event(code="110107", meaning="Import", action="C"),
    "fetch": Event(code="110112", meaning="Query", action="E"),
    "reading show": Event(code="110103", meaning="DICOM Instances Accessed"),
    "series opened": Event(code="110103", meaning="DICOM Instances Accessed"),
    "quarantine show": Event(code="110103", meaning="DICOM Instances Accessed"),
    "settings": Event(
        code="110113", meaning="Security Alert", action="E", kind=("110131", "Software Configuration")
    ),
    **{
        f"users {what}": Event(
            code="110113", meaning="Security Alert", action="E", kind=("110137", "User Security Attributes Changed")
        )
        for what in ("add", "password", "disable")
    },
}  # fmt: skip
OTHER = Event(code="110110", meaning="Patient Record")
"""Everything else is a look at, or a decision about, what is known of patients."""


def audit_message(row: Mapping[str, str], *, site: str) -> bytes:
    """The XML of one row of ``record_audit``."""
    event = EVENTS.get(row["action"], OTHER)
    message = Element("AuditMessage")
    identification = SubElement(
        message,
        "EventIdentification",
        EventActionCode=event.action,
        EventDateTime=row["at"],
        EventOutcomeIndicator=event.outcome,
    )
    _coded(identification, "EventID", event.code, event.meaning)
    if event.kind is not None:
        _coded(identification, "EventTypeCode", *event.kind)
    # What exactly it was stands in no list of codes.
    SubElement(identification, "EventOutcomeDescription").text = row["action"]
    who = {"UserID": row["name"] or "unknown", "UserIsRequestor": "true", **_from(row)}
    SubElement(message, "ActiveParticipant", who)
    source = SubElement(message, "AuditSourceIdentification", AuditSourceID="vbq-node", AuditEnterpriseSiteID=site)
    SubElement(source, "AuditSourceTypeCode", {"csd-code": "4"})
    if row["subject"]:
        about = SubElement(
            message,
            "ParticipantObjectIdentification",
            ParticipantObjectID=row["subject"],
            ParticipantObjectTypeCode="2",
            ParticipantObjectTypeCodeRole="3",
        )
        _coded(about, "ParticipantObjectIDTypeCode", "9", "Report Number", scheme="RFC-3881")
    return bytes(tostring(message, encoding="utf-8", xml_declaration=True))


def syslog_frame(row: Mapping[str, str], *, site: str, host: str, process: int) -> bytes:
    """One message of RFC 5424 with the length in front of it (RFC 5425)."""
    header = f"<{PRIORITY}>1 {row['at']} {host} vbq-node {process} {MESSAGE_ID} - "
    content = header.encode("ascii", errors="replace") + UTF_8 + audit_message(row, site=site)
    return f"{len(content)} ".encode() + content


def _coded(parent: Element, name: str, code: str, meaning: str, *, scheme: str = "DCM") -> None:
    SubElement(parent, name, {"csd-code": code, "codeSystemName": scheme, "originalText": meaning})


def _from(row: Mapping[str, str]) -> dict[str, str]:
    """The access point: an IP address is of type 2; of the command line none is given."""
    try:
        ip_address(row["address"])
    except ValueError:
        return {}
    return {"NetworkAccessPointID": row["address"], "NetworkAccessPointTypeCode": "2"}
