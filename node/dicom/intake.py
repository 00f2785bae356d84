"""What happens to the objects of C-STORE: written as they come, made durable, recorded, and only then acknowledged.

The data set is taken as the bytes that came: never parsed, never decoded. One that its sender names by something that
is no UID is kept as well and goes to quarantine: to refuse it would lose it, for it would come the same way again.
"""

import errno
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import structlog
from sqlite_utils.utils import sqlite3

from node.clock import now
from node.dicom import dimse
from node.dicom.part10 import file_header, misnamed
from node.dicom.recorder import Receipt, Recorder
from node.dicom.upper_layer import Context
from node.settings import Settings
from node.store.archive import Archive, Incoming

BYTES_PER_MB = 1_000_000
LOOK_EVERY_BYTES = BYTES_PER_MB
"""How much of an object is written before it is looked again whether there is room."""
MAX_NAME_CHARS = 256
"""Longest name of an object that is kept; a UID has 64 at most."""

log = structlog.get_logger()


@dataclass(frozen=True, kw_only=True)
class Peer:
    """The other side of an association."""

    address: str
    calling_ae: str
    called_ae: str
    name: str | None
    """As the settings call it (``dicom.peers``); ``None`` where ``dicom.allow`` says who may connect."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """A status, and in a few words why it is not Success."""

    status: int
    comment: str = ""


class Sink(Protocol):
    """Takes the data set of a message, piece by piece."""

    def write(self, piece: memoryview) -> None:
        """The next piece; never raises for what a disk or database does."""

    def finish(self) -> Answer:
        """All of it came; the answer to give. Never raises for what a disk or database does."""

    def discard(self) -> None:
        """The rest will not come: leave nothing of it."""


class Intake:
    """Begins to store objects; used by all associations of a process at once."""

    def __init__(self, settings: Settings, archive: Archive, recorder: Recorder) -> None:
        self._kept_free_bytes = settings.storage.keep_free_mb * BYTES_PER_MB
        self._archive = archive
        self._recorder = recorder

    def begin(self, request: dimse.Command, context: Context, peer: Peer) -> "StoredObjectSink":
        """Begin with the object of this C-STORE request."""
        return StoredObjectSink(self, request, context, peer)

    def open(self, identity: dict[str, str]) -> Incoming:
        """A new file in the archive.

        Raises
        ------
        OSError
            There is no room for it, or it cannot be written.
        """
        self.require_space()
        return self._archive.begin(header=file_header(**identity), transfer_syntax_uid=identity["transfer_syntax_uid"])

    def require_space(self) -> None:
        """Refuse before the disk is full: a full one would stop the database and the laboratory's messages, too.

        Raises
        ------
        OSError
            Less than ``storage.keep_free_mb`` is free.
        """
        if self._archive.free_bytes() < self._kept_free_bytes:
            raise OSError(errno.ENOSPC, "less than storage.keep_free_mb is left free")

    def record(self, incoming: Incoming, identity: dict[str, str], peer: Peer) -> None:
        """Make the file, its directory entry and its record durable.

        The last two at once: each is a wait for the disk, and the file itself is there already.

        Raises
        ------
        OSError, sqlite3.Error, TimeoutError
            It must not be acknowledged.
        """
        stored = incoming.finish()
        receipt = Receipt(
            stored=stored, received_at=now(), calling_ae=peer.calling_ae, peer_address=peer.address, **identity
        )
        self._recorder.record(receipt, meanwhile=partial(self._archive.settle, stored.sha256))


class StoredObjectSink:
    """One object of C-STORE on its way in."""

    def __init__(self, intake: Intake, request: dimse.Command, context: Context, peer: Peer) -> None:
        self._intake = intake
        self._peer = peer
        self._identity = {
            "sop_class_uid": request.text(dimse.AFFECTED_CLASS)[:MAX_NAME_CHARS],
            "sop_instance_uid": request.text(dimse.AFFECTED_INSTANCE)[:MAX_NAME_CHARS],
            "transfer_syntax_uid": context.transfer_syntax,
        }
        self._incoming: Incoming | None = None
        self._refused: Answer | None = None
        self._unlooked_bytes = 0
        try:
            self._incoming = intake.open(self._identity)
        except OSError as error:
            self._refuse(error)

    def write(self, piece: memoryview) -> None:
        """The rest of an object that was refused is read and thrown away: the association goes on."""
        if self._incoming is None:
            return
        try:
            self._unlooked_bytes += len(piece)
            if self._unlooked_bytes >= LOOK_EVERY_BYTES:
                self._unlooked_bytes = 0
                self._intake.require_space()
            self._incoming.write(piece)
        except OSError as error:
            self._refuse(error)

    def finish(self) -> Answer:
        """Make it durable; Success only then."""
        if self._incoming is not None and not self._incoming.dataset_bytes:
            self.discard()
            self._refused = Answer(status=dimse.CANNOT_UNDERSTAND, comment="it has no data set")
        if self._incoming is not None:
            try:
                self._intake.record(self._incoming, self._identity, self._peer)
            except (OSError, sqlite3.Error, TimeoutError) as error:
                self._refuse(error)
            else:
                self._warn()
        return self._refused or Answer(status=dimse.SUCCESS)

    def discard(self) -> None:
        """Leave nothing of it."""
        if self._incoming is not None:
            self._incoming.discard()
            self._incoming = None

    def _warn(self) -> None:
        reason = misnamed(self._identity["sop_class_uid"], self._identity["sop_instance_uid"])
        if reason is not None:
            log.warning("kept in quarantine", reason=reason, peer=self._peer.address, calling_ae=self._peer.calling_ae)

    def _refuse(self, error: Exception) -> None:
        self.discard()
        self._refused = _failure(error)
        log.error(
            "not stored, not acknowledged",
            error=str(error),
            status=f"0x{self._refused.status:04X}",
            peer=self._peer.address,
        )


def _failure(error: Exception) -> Answer:
    full = isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT}
    full = full or (isinstance(error, sqlite3.Error) and "full" in str(error))
    if full:
        return Answer(status=dimse.OUT_OF_RESOURCES, comment="too little room on the disk, try again later")
    return Answer(status=dimse.PROCESSING_FAILURE, comment="it could not be stored, see the log of the receiver")
