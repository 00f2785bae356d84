"""Every setting of the node, its default and its meaning.

``conf/node.toml`` is the commented reference of the same; a test keeps the two equal. Unknown keys are refused,
and so is a listener beyond loopback without an allow-list.
"""

import grp
import ipaddress
import os
import re
import stat
import tomllib
from collections.abc import Collection
from datetime import datetime, time, timedelta
from pathlib import Path
from typing import Annotated, Literal, get_args
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from analytics.reasons import SOURCE_LANGUAGE, load_language
from node.errors import SettingsError
from node.placeholders import stands_for_nobody

Port = Annotated[int, Field(ge=1, le=65535)]
DEFAULT_CONFIG = Path("node.toml")
"""Read from the current folder when ``--config`` is not given and the file is there."""


def is_loopback(host: str) -> bool:
    """Whether a listener on this host can be reached from this machine only."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _meet(host: str, other: str) -> bool:
    """Whether two listeners on one port would meet: on the same address, or one of them on all."""
    names = {"localhost": "127.0.0.1"}
    return names.get(host, host) == names.get(other, other) or _is_everywhere(host) or _is_everywhere(other)


def _is_everywhere(host: str) -> bool:
    try:
        return not host or ipaddress.ip_address(host).is_unspecified
    except ValueError:
        return False


TEST_SYSTEM = "TEST SYSTEM, not for patients"
"""Stands on all that a test system shows or sends."""


class Section(BaseModel):
    """A table of the settings file; unknown keys are refused, values never change after start."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _what_it_says(cls, value: object, info: ValidationInfo) -> object:
        """Neither is ``true`` the number 1 (``images_days = true`` removed after a day), nor ``~`` somebody's home."""
        annotation = cls.model_fields[str(info.field_name)].annotation
        wanted = (annotation, *get_args(annotation))
        if isinstance(value, bool) and bool not in wanted:
            raise ValueError(f"{str(value).lower()} is neither a number nor a text")
        if isinstance(value, str) and value.startswith("~") and Path in wanted:
            raise ValueError(f"{value!r}: ~ stands for no folder here; write the path from the root on")
        return value


class Site(Section):
    """Who and where this node is."""

    name: Annotated[str, Field(min_length=1)] = "site"
    time_zone: str = "UTC"
    language: str = SOURCE_LANGUAGE
    """Of the reasons' words: a shipped language, or a TOML file of one."""
    protocol: Annotated[str, Field(max_length=64)] = ""
    """The study protocol or ethics vote under which this node runs: printed on all that leaves about a patient."""

    test_system: bool = False

    @property
    def banner(self) -> str:
        """What stands on every page, mail and object of a test system; empty elsewhere."""
        return TEST_SYSTEM if self.test_system else ""

    @field_validator("name", "protocol")
    @classmethod
    def _printable(cls, value: str) -> str:
        text = value.strip()
        if not text.isprintable() or "\\" in text:
            raise ValueError("a line of printable characters without a backslash is needed")
        return text

    @field_validator("language")
    @classmethod
    def _known_language(cls, value: str) -> str:
        try:
            load_language(value)
        except (OSError, ValueError, AttributeError, TypeError) as error:
            raise ValueError(
                f"unknown language {value!r}; use 'en', 'de', or the path of a file like analytics/reasons.de.toml"
            ) from error
        return value

    @field_validator("time_zone")
    @classmethod
    def _known_zone(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (ZoneInfoNotFoundError, ValueError, OSError) as error:  # OSError: a folder of zones
            raise ValueError(f"unknown time zone {value!r}; use an IANA name such as 'Europe/Vienna'") from error
        return value

    @property
    def zone(self) -> ZoneInfo:
        """The site's time zone; dates without an offset are read in it."""
        return ZoneInfo(self.time_zone)


class Storage(Section):
    """Where the data live."""

    folder: Path = Path("data")
    snapshot_every_s: Annotated[int, Field(ge=1)] = 60
    keep_free_mb: Annotated[int, Field(ge=0)] = 500
    research_group: str = ""

    @field_validator("research_group")
    @classmethod
    def _known_group(cls, value: str) -> str:
        try:
            if value:
                grp.getgrnam(value)
        except KeyError as error:
            raise ValueError(f"there is no group {value!r} on this machine") from error
        return value


class Backup(Section):
    """Where the node is backed up to, and for whom."""

    folder: Path | None = None
    encrypt_to: Annotated[str, Field(pattern=r"^(age1[02-9ac-hj-np-z]{58})?$")] = ""
    keep: Annotated[int, Field(ge=1)] = 14
    alert_after_hours: Annotated[int, Field(ge=1)] = 36


RetentionDays = Annotated[int, Field(ge=1, le=36_500)]


class Retention(Section):
    """After how many days what is done with is removed, and what stays of a person of the cohort who is erased."""

    images_days: RetentionDays | None = None
    messages_days: RetentionDays | None = None
    reports_days: RetentionDays | None = None
    erased_from_fits: Literal["erased", "kept"] = "erased"


def _known_networks(value: tuple[str, ...]) -> tuple[str, ...]:
    for entry in value:
        ipaddress.ip_network(entry, strict=False)
    return value


Networks = Annotated[tuple[str, ...], AfterValidator(_known_networks)]
"""Addresses and networks."""


class Listener(Section):
    """A network listener. Beyond loopback it needs an allow-list of addresses or networks."""

    host: str = "127.0.0.1"
    port: Port
    allow: Networks = ()

    @model_validator(mode="after")
    def _closed_beyond_loopback(self) -> "Listener":
        for host in self._hosts():
            if not self._networks_allowed() and not is_loopback(host):
                raise ValueError(
                    f"host {host!r} is reachable from other machines but 'allow' is empty; "
                    'list the addresses or networks that may connect, for example allow = ["10.1.2.0/24"]'
                )
        return self

    def _hosts(self) -> tuple[str, ...]:
        return (self.host,)

    def _networks_allowed(self) -> tuple[str, ...]:
        return self.allow

    def allows(self, address: str) -> bool:
        """Whether a peer at this address may connect; an empty list means loopback only."""
        networks = self._networks_allowed()
        return _is_in(address, networks) if networks else is_loopback(_plain(address))


def _plain(address: str) -> str:
    """An address without its zone; one of IPv4 that came through an IPv6 socket as what it is."""
    peer = ipaddress.ip_address(address.split("%", maxsplit=1)[0])
    mapped = peer.ipv4_mapped if isinstance(peer, ipaddress.IPv6Address) else None
    return str(mapped or peer)


def _is_in(address: str, networks: tuple[str, ...]) -> bool:
    peer = ipaddress.ip_address(_plain(address))
    return any(peer in ipaddress.ip_network(entry, strict=False) for entry in networks)


CREDENTIAL = "credential:"
"""Stands before the name of a secret that systemd hands to a unit (``LoadCredential``)."""


def _kept_secret(path: Path) -> Path:
    """A file with a secret in it; one that is missing is found out where it is used."""
    if str(path).startswith(CREDENTIAL):
        name = str(path).removeprefix(CREDENTIAL)
        if not re.fullmatch(r"[\w.-]+", name):
            raise ValueError(f"{str(path)!r} names no credential; write {CREDENTIAL}NAME")
        # Outside of the unit it is a file that is not there.
        path = Path(os.environ["CREDENTIALS_DIRECTORY"], name) if "CREDENTIALS_DIRECTORY" in os.environ else path
    try:
        mode = path.stat().st_mode
    except OSError:
        return path
    if mode & stat.S_IRWXO:
        raise ValueError(f"{path} holds a secret and every user of this machine may read it: chmod o= {path}")
    return path


SecretFile = Annotated[Path, AfterValidator(_kept_secret)]
"""A file that nobody but its owner and its group may read."""
AeTitle = Annotated[str, Field(min_length=1, max_length=16)]


class ClientTls(Section):
    """TLS for a connection that this node opens: whose certificates it trusts, and its own where one is asked for."""

    ca: Path
    certificate: Path | None = None
    key: SecretFile | None = None

    @model_validator(mode="after")
    def _pair(self) -> "ClientTls":
        if (self.certificate is None) != (self.key is None):
            raise ValueError("give certificate and key, or neither")
        return self


class RemoteAe(Section):
    """Where another application entity listens, and what it is called."""

    ae_title: AeTitle
    host: str
    port: Port
    tls: ClientTls | None = None


class QueryAe(RemoteAe):
    """Where a PACS answers queries, and how images are fetched from it."""

    retrieve: Literal["move", "get"] = "move"
    images_per_minute: Annotated[int, Field(ge=1)] = 1200
    hours: Annotated[str, Field(pattern=r"^([01]\d|2[0-3]):[0-5]\d-([01]\d|2[0-3]):[0-5]\d$")] | None = None

    @model_validator(mode="after")
    def _some_hours(self) -> "QueryAe":
        if self.hours is not None and self.hours[:5] == self.hours[6:]:
            raise ValueError('hours = "20:00-06:00": from when to when, and not both the same')
        return self

    def opens(self, at: datetime) -> datetime:
        """When images may be fetched from then on: that moment itself within ``hours``.

        Parameters
        ----------
        at
            Aware, in the site's time zone.
        """
        if self.hours is None:
            return at
        first, last = time.fromisoformat(self.hours[:5]), time.fromisoformat(self.hours[6:])
        moment = at.time()
        within = first <= moment < last if first < last else moment >= first or moment < last
        if within:
            return at
        day = at.date() + timedelta(days=int(moment >= first))
        return datetime.combine(day, first, tzinfo=at.tzinfo)


ResultObject = Literal["sr", "sc", "seg", "gsps"]


class ResultsAe(RemoteAe):
    """Where a PACS takes results, which of them, and how it is made sure that it keeps them."""

    objects: Annotated[tuple[ResultObject, ...], Field(min_length=1)] = ("sr", "sc")
    confirm: Literal["commitment", "query", "none"] = "commitment"
    rejection_notes: bool = False

    @model_validator(mode="after")
    def _withdrawable(self) -> "ResultsAe":
        if not self.rejection_notes and {"seg", "gsps"} & set(self.objects):
            raise ValueError(
                "seg and gsps cannot say that they no longer hold: they need rejection_notes = true, and a PACS that "
                "knows such notes (IHE IOCM)"
            )
        return self


class DicomPeer(Section):
    """A DICOM system this node receives from, queries or sends to: one that may send, can be asked, or is sent to.

    Who may send is known by the AE titles it calls itself and the addresses it comes from.
    """

    ae_titles: tuple[str, ...] = ()
    addresses: Networks = ()
    max_associations: Annotated[int, Field(ge=1)] | None = None
    query: QueryAe | None = None
    corrects: Literal["own", "any", "nothing"] = "own"
    forward: RemoteAe | None = None
    commitment: RemoteAe | None = None
    results: ResultsAe | None = None

    @model_validator(mode="after")
    def _of_use(self) -> "DicomPeer":
        if bool(self.ae_titles) != bool(self.addresses):
            raise ValueError("one that sends needs both ae_titles and addresses")
        if not (self.ae_titles or self.query or self.forward or self.results):
            raise ValueError(
                "it neither sends (ae_titles and addresses) nor is asked (query) nor sent to (forward, results)"
            )
        if self.results and self.results.confirm == "query" and not self.query:
            raise ValueError('results: confirm = "query" needs a `query` address')
        if self.commitment and not self.ae_titles:
            raise ValueError("commitment is for one that sends: it needs ae_titles and addresses")
        return self

    @property
    def own_ae_titles(self) -> frozenset[str]:
        """All that it calls itself, when it sends and when it answers."""
        return frozenset({*self.ae_titles, *(one.ae_title for one in (self.query, self.forward, self.results) if one)})


class ServerTls(Section):
    """A listener over TLS, beside the plain port (which may stay on loopback)."""

    host: str = "127.0.0.1"
    port: Port
    certificate: Path
    key: SecretFile
    client_ca: Path | None = None


class DicomTls(ServerTls):
    """DICOM over TLS."""

    port: Port = 2762


class Hl7Tls(ServerTls):
    """MLLP over TLS."""

    port: Port = 2576


Accept = Literal["mr", "study", "all"]


class Dicom(Listener):
    """The DICOM receiver."""

    port: Port = 11112
    ae_title: AeTitle = "VBQNODE"
    accept: Accept = "all"
    processes: Annotated[int, Field(ge=1, le=64)] = 2
    max_associations: Annotated[int, Field(ge=1)] = 20
    quiet_s: Annotated[float, Field(ge=0)] = 120.0
    check_called_ae: bool = False
    peers: dict[str, DicomPeer] = {}
    tls: DicomTls | None = None

    @model_validator(mode="after")
    def _one_list(self) -> "Dicom":
        if self.allow and self.senders:
            raise ValueError("give 'allow' (any AE title from there) or 'peers' with AE titles and addresses, not both")
        return self

    @property
    def senders(self) -> tuple[DicomPeer, ...]:
        """The peers that may send."""
        return tuple(peer for peer in self.peers.values() if peer.ae_titles)

    def _hosts(self) -> tuple[str, ...]:
        return (self.host, self.tls.host) if self.tls else (self.host,)

    def _networks_allowed(self) -> tuple[str, ...]:
        return self.allow or tuple(entry for peer in self.peers.values() for entry in peer.addresses)

    def refusal(self, *, address: str, calling_ae: str) -> str | None:
        """Why one who calls itself so and comes from there may not send, or ``None``: it may."""
        if not self.allows(address):
            return "its address is not in dicom.allow or dicom.peers"
        named = [peer for peer in self.senders if calling_ae in peer.ae_titles]
        if self.senders and not named:
            return "its AE title is not in dicom.peers"
        if self.senders and not any(_is_in(address, peer.addresses) for peer in named):
            return "its AE title is that of a peer at another address"
        return None

    def peer_name(self, *, address: str, calling_ae: str) -> str | None:
        """Which of the peers it is; ``None`` where it is none of them."""
        for name, peer in self.peers.items():
            if calling_ae in peer.ae_titles and _is_in(address, peer.addresses):
                return name
        return None


def _known_codec(value: str) -> str:
    try:
        framed = "MSH|".encode(value)
    except LookupError as error:
        raise ValueError(f"unknown character set {value!r}; use a Python codec name such as 'gb18030'") from error
    if framed != b"MSH|":
        raise ValueError(f"character set {value!r} does not contain ASCII, in which HL7 headers are written")
    return value


Codec = Annotated[str, AfterValidator(_known_codec)]
"""A Python codec name."""


SegmentField = Annotated[str, Field(pattern=r"^[A-Z][A-Z0-9]{2}-[1-9][0-9]{0,2}$")]
"""A field of a segment, like ZU1-5."""


class Sender(Section):
    """What holds for the messages of one sender only."""

    charset: Codec | None = None
    decimal_comma: bool = False
    default_unit: str | None = None
    statuses: dict[str, Literal["F", "C", "P", "X"]] = {}
    authority: str | None = None
    surgeon: SegmentField | None = None
    service: SegmentField | None = None


ResultPart = Literal["levels", "ratios", "counts", "tier"]
ResultName = Literal[
    "report", "vbq", "vbq_low", "vbq_high", "vbq_median", "vbq_l1", "vbq_l2", "vbq_l3", "vbq_l4", "nlr", "plr",
    "neutrophils", "lymphocytes", "platelets", "tier", "threshold_version",
]  # fmt: skip
"""What a result says, each under a code of its own."""


def _coded(value: dict[ResultName, str]) -> dict[ResultName, str]:
    for name, code in value.items():
        parts = code.split("^")
        if len(parts) != 3 or not all(one.strip() and one.isprintable() for one in parts) or set(code) & set("|~\\&"):
            raise ValueError(f'{name}: {code!r} is no code; write it as "CODE^Name^SYSTEM"')
    return value


class Hl7Receiver(Section):
    """An HL7 v2 system that results are sent to (MLLP)."""

    host: str
    port: Port
    tls: ClientTls | None = None
    application: str = ""
    facility: str = ""
    charset: Literal["UNICODE UTF-8", "ASCII", "8859/1", "8859/2", "8859/5", "8859/7", "8859/15", "GB 18030-2000"] = (
        "UNICODE UTF-8"
    )
    """MSH-18 (table 0211)."""
    acknowledgement: Literal["original", "enhanced"] = "original"
    timeout_s: Annotated[float, Field(gt=0)] = 30.0
    tell: tuple[ResultPart, ...] = ("levels", "ratios", "tier")
    accession: Literal["placer", "filler", "none"] = "placer"
    authority: str = ""
    codes: Annotated[dict[ResultName, str], AfterValidator(_coded)] = {}


class Hl7(Listener):
    """The HL7 v2 listener (MLLP)."""

    port: Port = 2575
    max_frame_bytes: Annotated[int, Field(ge=1024)] = 16 * 1024 * 1024
    idle_timeout_s: Annotated[float, Field(gt=0)] = 600.0
    max_connections: Annotated[int, Field(ge=1)] = 500
    default_charset: Codec = "latin-1"
    tls: Hl7Tls | None = None
    senders: dict[str, Sender] = {}
    receivers: dict[str, Hl7Receiver] = {}

    @field_validator("senders")
    @classmethod
    def _named(cls, value: dict[str, Sender]) -> dict[str, Sender]:
        for name in value:
            if name.count("|") != 1:
                raise ValueError(f'{name!r} is no sender; write it as "APPLICATION|FACILITY" (MSH-3 and MSH-4)')
        return value

    def _hosts(self) -> tuple[str, ...]:
        return (self.host, self.tls.host) if self.tls else (self.host,)

    @property
    def charsets(self) -> dict[str, str]:
        """The character sets of the senders that do not say theirs, or say a wrong one."""
        return {name: sender.charset for name, sender in self.senders.items() if sender.charset}


class FhirReceiver(Section):
    """Where results go as FHIR R4: files in a folder, or transactions posted to a server."""

    folder: Path | None = None
    url: str | None = None
    token_file: SecretFile | None = None
    ca: Path | None = None
    timeout_s: Annotated[float, Field(gt=0)] = 30.0
    tell: tuple[ResultPart, ...] = ("levels", "ratios", "tier")
    patient_system: str = ""

    @model_validator(mode="after")
    def _one_place(self) -> "FhirReceiver":
        if (self.folder is None) == (self.url is None):
            raise ValueError("give folder (a file for each result) or url (the base of a FHIR server)")
        if self.folder is not None and not self.folder.is_absolute():
            raise ValueError(f"folder {str(self.folder)!r} is to be given from the root on")
        if self.url is None:
            return self
        place = urlsplit(self.url)
        if place.scheme not in ("http", "https") or not place.hostname or place.username or place.query:
            raise ValueError(f"url {self.url!r} is none; write it as https://HOST/BASE, without a user or a query")
        if place.scheme == "http" and not is_loopback(place.hostname):
            raise ValueError(f"url {self.url!r}: results of patients go over a network with https only")
        return self


class Fhir(Section):
    """Who gets results as FHIR."""

    receivers: dict[str, FhirReceiver] = {}


class Metrics(Listener):
    """Prometheus metrics over HTTP."""

    port: Port = 9112


class WebTls(Section):
    """HTTPS on the port of the pages."""

    certificate: Path
    key: SecretFile


class WebProxy(Section):
    """A reverse proxy that says in a header who it is; nobody else is believed, and nobody logs in by a password."""

    addresses: Annotated[Networks, Field(min_length=1)]
    header: Annotated[str, Field(pattern=r"^[A-Za-z0-9-]+$")] = "X-Remote-User"

    def vouches_from(self, address: str) -> bool:
        """Whether this is the address of the proxy."""
        return _is_in(address, self.addresses)


class Web(Listener):
    """The pages: worklist, reading room, the surgeon's list."""

    port: Port = 9180
    url: Annotated[str, Field(pattern="^(https?://[^ ?#]+)?$")] = ""
    idle_minutes: Annotated[int, Field(ge=1)] = 30
    session_hours: Annotated[int, Field(ge=1)] = 10
    tls: WebTls | None = None
    proxy: WebProxy | None = None

    @model_validator(mode="after")
    def _encrypted_beyond_loopback(self) -> "Web":
        if not is_loopback(self.host) and not (self.tls or self.proxy):
            raise ValueError(
                f"host {self.host!r} is reachable from other machines: give web.tls (certificate and key), or "
                "web.proxy (the addresses of a reverse proxy that does TLS)"
            )
        return self


class Syslog(Section):
    """A syslog server over TLS."""

    host: str
    port: Port = 6514
    tls: ClientTls


class Audit(Section):
    """Where the audit goes beside the database."""

    syslog: Syslog | None = None


class Identity(Section):
    """How the patient numbers of the PACS and of the laboratory are brought together."""

    default_authority: str = "LOCAL"
    authorities: dict[str, str] = {}
    placeholders: tuple[str, ...] = ()

    @field_validator("authorities")
    @classmethod
    def _one_name_each(cls, value: dict[str, str]) -> dict[str, str]:
        """A name that is translated is the site's own for nobody: who was meant by it would depend on the sender."""
        for sent, name in value.items():
            if value.get(name, name) != name:
                raise ValueError(
                    f"{sent!r} is to be {name!r}, and {name!r} is to be {value[name]!r}: write the site's own name for "
                    "each, which is translated no further"
                )
        return value

    def is_placeholder(self, number: str) -> bool:
        """Whether a patient number stands for nobody, by what is known of all systems or by the site's own list."""
        return stands_for_nobody(number, self.placeholders)

    def authority(self, sent: str | None) -> str:
        """The site's name of an assigning authority as sent; the default one where none was sent."""
        name = (sent or "").strip()
        return self.authorities.get(name, name) or self.default_authority


class Measurement(Section):
    """Which form of the score enters the model, and how exact it is (standard error of measurement, VBQ units)."""

    form: Literal["mean", "median"] = "mean"
    vbq_sem: Annotated[float, Field(ge=0)] = 0.075


class Readers(Section):
    """How many people read a series, and who settles readings that differ (VBQ units)."""

    number: Literal[1, 2] = 1
    of: Literal["doubtful", "all"] = "doubtful"
    blinded: bool = True
    max_difference: Annotated[float, Field(gt=0)] = 0.2
    settled_by: Literal["third", "any"] = "third"


class Thresholds(Section):
    """How the site's cut-offs come about."""

    method: Literal["quantile", "institutional", "youden"] = "quantile"
    quantile: Annotated[float, Field(gt=0, lt=1)] = 0.75
    vbq: float | None = None
    nlr: float | None = None
    plr: float | None = None
    outcome: Literal["t_score", "bmd_g_per_cm2", "hu", "event", "vbq"] | None = None
    outcome_cut: float | None = None
    minimum_cohort: Annotated[int, Field(ge=20)] = 80
    minimum_per_scanner: Annotated[int, Field(ge=20)] = 80
    adopt: Literal["first", "rule", "manual"] = "first"
    ratios: Literal["any", "both"] = "any"

    @model_validator(mode="after")
    def _complete(self) -> "Thresholds":
        given = [name for name in ("vbq", "nlr", "plr") if getattr(self, name) is not None]
        if self.method == "institutional" and len(given) < 3:
            raise ValueError("method 'institutional' needs all of vbq, nlr and plr")
        if self.method != "institutional" and given:
            raise ValueError(f'{", ".join(given)}: used only with method = "institutional"')
        if self.method == "youden" and self.outcome is None:
            raise ValueError("method 'youden' needs an outcome to choose the cuts against")
        if (self.outcome in ("t_score", "bmd_g_per_cm2", "hu")) != (self.outcome_cut is not None):
            raise ValueError("outcome_cut is needed for t_score, bmd_g_per_cm2 and hu, and only for these")
        return self


class Nightly(Section):
    """When the night's work runs, in the site's time zone."""

    at: time = time(4, 10)
    remind_after_days: Annotated[int, Field(ge=1)] = 3
    analysis: bool = True


class MailPolicy(Section):
    """What the mail of one recipient holds."""

    attach: tuple[Literal["csv", "pdf"], ...] = ()
    tiers: Annotated[tuple[Literal["flagged", "intermediate", "lower"], ...], Field(min_length=1)] = (
        "flagged",
        "intermediate",
        "lower",
    )
    quiet_nights: bool = True
    patient_numbers: bool = False
    statistics: bool = False
    surgeons: tuple[str, ...] = ()
    services: tuple[str, ...] = ()


class Mail(Section):
    """The mail server and who gets the report. With no recipients nothing is sent."""

    host: str = "127.0.0.1"
    port: Port = 25
    security: Literal["none", "starttls", "tls"] = "none"
    user: str = ""
    password_file: SecretFile | None = None
    sender: str = "vbq-node@localhost"
    recipients: tuple[str, ...] = ()
    policies: dict[str, MailPolicy] = {}
    administrator: str = ""
    timeout_s: Annotated[float, Field(gt=0)] = 30.0

    @model_validator(mode="after")
    def _of_recipients(self) -> "Mail":
        for name in self.policies:
            if name not in self.recipients:
                raise ValueError(f"policies: {name!r} is not one of the recipients")
        return self


class Logging(Section):
    """What is logged; never patient data."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["text", "json"] = "text"


class Settings(Section):
    """All settings of a node."""

    site: Site = Site()
    storage: Storage = Storage()
    backup: Backup = Backup()
    retention: Retention = Retention()
    dicom: Dicom = Dicom()
    hl7: Hl7 = Hl7()
    fhir: Fhir = Fhir()
    metrics: Metrics = Metrics()
    audit: Audit = Audit()
    web: Web = Web()
    identity: Identity = Identity()
    measurement: Measurement = Measurement()
    readers: Readers = Readers()
    thresholds: Thresholds = Thresholds()
    nightly: Nightly = Nightly()
    mail: Mail = Mail()
    logging: Logging = Logging()

    @model_validator(mode="after")
    def _results_name_their_protocol(self) -> "Settings":
        senders = [f"dicom.peers.{name}.results" for name, peer in self.dicom.peers.items() if peer.results]
        senders += [f"hl7.receivers.{name}" for name in self.hl7.receivers]
        senders += [f"fhir.receivers.{name}" for name in self.fhir.receivers]
        if senders and not self.site.protocol:
            raise ValueError(
                f"{', '.join(senders)}: results of single patients leave only with the study protocol or ethics vote "
                "printed on them; name it as site.protocol"
            )
        return self

    @model_validator(mode="after")
    def _a_port_each(self) -> "Settings":
        listeners = {
            "dicom": self.dicom, "dicom.tls": self.dicom.tls, "hl7": self.hl7, "hl7.tls": self.hl7.tls,
            "metrics": self.metrics, "web": self.web,
        }  # fmt: skip
        taken = [(name, one.host, one.port) for name, one in listeners.items() if one is not None]
        for number, (name, host, port) in enumerate(taken):
            for other, its_host, its_port in taken[:number]:
                if port == its_port and _meet(host, its_host):
                    raise ValueError(f"{other} and {name} are to listen on the same port, {port}; give one another")
        return self

    def identity_of(self, sender: str) -> Identity:
        """How the patient numbers of an HL7 sender (``APPLICATION|FACILITY``) are read."""
        rules = self.hl7.senders.get(sender, Sender())
        return (
            self.identity.model_copy(update={"default_authority": rules.authority})
            if rules.authority
            else self.identity
        )


def load_settings(path: Path | None = None, *, only: Collection[str] | None = None) -> Settings:
    """Read a settings file.

    Parameters
    ----------
    path
        The TOML file; without it ``node.toml`` of the current folder if there is one, else the defaults.
        A relative ``storage.folder`` or ``backup.folder`` is relative to the file.
    only
        Tables of the file that are read; the others are left as their defaults, whatever stands in them.

    Raises
    ------
    SettingsError
        The file cannot be read, is not TOML, or holds an unknown or impossible setting. Every wrong setting is
        named in the one message.
    """
    chosen = path or (DEFAULT_CONFIG if DEFAULT_CONFIG.is_file() else None)
    if chosen is None:
        return Settings()
    try:
        found = tomllib.loads(chosen.read_text(encoding="utf-8-sig"))  # Windows' editors begin with a mark
        settings = Settings.model_validate(
            {name: table for name, table in found.items() if only is None or name in only}
        )
    except OSError as error:
        raise SettingsError(f"settings file {chosen}: {error.strerror or error}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"settings file {chosen} is not TOML: {error}") from error
    except ValidationError as error:
        raise SettingsError(f"settings file {chosen}: {_explain(error)}") from error
    beside = chosen.resolve().parent
    storage = settings.storage.model_copy(update={"folder": beside / settings.storage.folder})
    backup = settings.backup
    if backup.folder is not None:
        backup = backup.model_copy(update={"folder": beside / backup.folder})
    for name, receiver in settings.fhir.receivers.items():
        if receiver.folder and receiver.folder.resolve().is_relative_to(storage.folder.resolve()):
            raise SettingsError(
                f"settings file {chosen}: fhir.receivers.{name}.folder lies in the data folder, where no "
                "erasure finds it; name one beside it"
            )
    return settings.model_copy(update={"storage": storage, "backup": backup})


def _explain(error: ValidationError) -> str:
    parts = []
    for item in error.errors():
        name = ".".join(str(part) for part in item["loc"])
        if item["type"] == "extra_forbidden":
            parts.append(f"{name} is not a setting (conf/node.toml lists them all)")
        else:
            said = item["msg"].removeprefix("Value error, ")
            parts.append(f"{name}: {said}" if name else said)
    return "; ".join(parts)
