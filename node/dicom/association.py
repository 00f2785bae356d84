"""One association from its request to its end, in the thread of its connection.

References
----------
DICOM PS3.8, section 9.2 (the acceptor's side of the state machine); PS3.7, section 9 and 10 (messages).
"""

import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from time import monotonic
from typing import Protocol

import structlog

from node.dicom import dimse, upper_layer
from node.dicom.commitment import WELL_KNOWN_INSTANCE, Report, encoded
from node.dicom.contexts import STORAGE_COMMITMENT, VERIFICATION, in_private_alone, transfer_syntaxes
from node.dicom.intake import Answer, Peer, Sink
from node.dicom.part10 import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from node.dicom.refusals import BROKEN_OFF, NO_ASSOCIATION, NOT_STORED, NOTHING_TAKEN, REJECTED, TOO_MANY
from node.dicom.refused_contexts import RefusedContext
from node.dicom.upper_layer import AssociationRequest, Context, Proposal, Reject, Wire
from node.errors import ProtocolError
from node.settings import Dicom

REQUEST_TIMEOUT_S = 10.0
"""A connection that has not asked for an association by then is closed."""
IDLE_TIMEOUT_S = 60.0
"""An association on which nothing came for so long, or one message takes longer, is aborted."""
LINGER_S = 2.0
"""How long the other side may take to close the connection, once the last word is said."""
REPORT_AFTER_S = 1.0
"""A peer silent this long after a request for Storage Commitment waits for its answer on this association."""
MAX_COMMAND_BYTES = 64 * 1024
ABORTED = "aborted by the other side"
"""How an association ended, for the log."""

COMMAND, LAST = 1, 2
"""Bits of the message control header (PS3.8, annex E.2)."""

log = structlog.get_logger()


class Slots(Protocol):
    """Who decides whether one association more is within the limits."""

    def enter(self, peer: str | None, address: str) -> bool:
        """Take a slot for this peer of the settings, at this address; false: there is none left."""

    def leave(self, peer: str | None, address: str) -> None:
        """Give it back."""


class Services(Protocol):
    """What messages are for."""

    def store(self, request: dimse.Command, context: Context, peer: Peer) -> Sink:
        """Begin with the object of a C-STORE."""

    def commit(self, request: dimse.Command, context: Context, peer: Peer, stored: Callable[[int], None]) -> Sink:
        """Begin with a request for Storage Commitment; ``stored`` is told its number once it is durable."""

    def told(self, event: dimse.Command, context: Context, peer: Peer) -> Sink:
        """Begin with the answer to a request for Storage Commitment of this node itself."""

    def report(self, request_id: int) -> Report | None:
        """The answer to such a request, made now; ``None`` when there is none to give."""

    def heard(self, report: Report) -> None:
        """The other side has confirmed the answer."""

    def refused(self, peer: Peer, *, code: str, reason: str) -> None:
        """It was not let in, or something of it was not taken."""

    def let_in(self, peer: Peer) -> None:
        """It was."""

    def negotiated(
        self, peer: Peer, proposals: tuple[Proposal, ...], accepted: Mapping[int, Context]
    ) -> tuple[RefusedContext, ...]:
        """Count the presentation contexts that were not accepted; returns them."""

    def ended(self, peer: Peer, refused: tuple[RefusedContext, ...], *, aborted: bool) -> None:
        """An association with these refused contexts has ended, in order or by the sender's abort."""

    def cut_off(self, peer: Peer, request: dimse.Command) -> None:
        """Of the object of a C-STORE no more will come."""


@dataclass
class _Message:
    """A message that is coming in."""

    context_id: int
    command_bytes: bytearray = field(default_factory=bytearray)
    command: dimse.Command | None = None
    sink: Sink | None = None


class Association:
    """The acceptor's side."""

    def __init__(
        self, connection: socket.socket, address: str, *, settings: Dicom, slots: Slots, services: Services
    ) -> None:
        self._wire = Wire(connection)
        self._address = address
        self._settings = settings
        self._slots = slots
        self._services = services
        self._contexts: dict[int, Context] = {}
        self._refused_contexts: tuple[RefusedContext, ...] = ()
        self._message: _Message | None = None
        self._max_pdu_bytes = 0
        self._peer = Peer(address=address, calling_ae="", called_ae="", name=None)
        self._stored = self._refused = 0
        self._due: list[int] = []
        self._reported: dict[int, Report] = {}
        self.silent_since: float | None = None
        """Since when an association waits for its other side, by the monotonic clock; ``None``: it is at work."""

    def serve(self) -> None:
        """Hold the association until it ends, one way or another; the connection is then at its end, too."""
        request = self._requested()
        if request is None:
            return
        refusal = self._refusal(request)
        if refusal is not None:
            self._reject(*refusal, code=REJECTED)
        elif not self._slots.enter(self._peer.name, self._address):
            reason = "there are as many associations as the settings allow (max_associations)"
            self._reject(upper_layer.TOO_MANY, reason, code=TOO_MANY)
        else:
            try:
                self._hold(request)
            finally:
                self._slots.leave(self._peer.name, self._address)
        self._linger()

    def _requested(self) -> AssociationRequest | None:
        """Hear the request; ``None`` for one who only looks whether the port is open, or talks something else.

        No limit counts before it is here in full: load balancers connect only to close again.
        """
        try:
            kind, length = self._wire.header(within_s=REQUEST_TIMEOUT_S)
            if kind != upper_layer.ASSOCIATE_RQ or length > upper_layer.MAX_REQUEST_BYTES:
                known = upper_layer.ASSOCIATE_RQ <= kind <= upper_layer.ABORT
                self._wire.send(
                    upper_layer.abort(upper_layer.UNEXPECTED_PDU if known else upper_layer.UNRECOGNISED_PDU)
                )
                self._turn_away("it does not ask for an association")
                return None
            request = upper_layer.parse_request(self._wire.body(length))
        except ProtocolError as error:
            self._turn_away(str(error))
            self._say(upper_layer.abort(upper_layer.INVALID_PARAMETER))
            return None
        except (EOFError, OSError):
            return None
        name = self._settings.peer_name(address=self._address, calling_ae=request.calling_ae)
        self._peer = Peer(address=self._address, calling_ae=request.calling_ae, called_ae=request.called_ae, name=name)
        self._max_pdu_bytes = request.max_pdu_bytes
        return request

    def _turn_away(self, reason: str) -> None:
        log.warning("connection refused", peer=self._address, reason=reason)
        self._services.refused(self._peer, code=NO_ASSOCIATION, reason=reason)

    def _refusal(self, request: AssociationRequest) -> tuple[Reject, str] | None:
        if not request.protocol_version & 1:
            return upper_layer.VERSION_UNKNOWN, "it speaks another version of the protocol"
        if request.application_context != upper_layer.APPLICATION_CONTEXT:
            return upper_layer.APPLICATION_CONTEXT_UNKNOWN, "its application context is not that of DICOM"
        reason = self._settings.refusal(address=self._address, calling_ae=request.calling_ae)
        if reason is not None:
            return upper_layer.CALLING_AE_UNKNOWN, reason
        if self._settings.check_called_ae and request.called_ae != self._settings.ae_title:
            return upper_layer.CALLED_AE_UNKNOWN, "it calls for another AE title than dicom.ae_title"
        return None

    def _reject(self, why: Reject, reason: str, *, code: str) -> None:
        peer = self._peer
        log.warning(
            "association rejected",
            reason=reason,
            peer=peer.address,
            calling_ae=peer.calling_ae,
            called_ae=peer.called_ae,
        )
        self._services.refused(peer, code=code, reason=reason)
        self._say(upper_layer.reject(why))

    def _hold(self, request: AssociationRequest) -> None:
        began = monotonic()
        who = {"peer": self._peer.address, "calling_ae": self._peer.calling_ae}
        log.info("association", **who, called_ae=self._peer.called_ae)
        try:
            outcome = self._converse(request)
            self._ended(aborted=outcome == ABORTED)
        except ProtocolError as error:
            outcome = f"aborted, {error}"
            self._broken_off(str(error))
            self._say(upper_layer.abort(upper_layer.INVALID_PARAMETER))
        except TimeoutError as error:
            outcome = f"aborted, {error}"
            if self._message is not None:
                self._broken_off("a message did not come to its end in time")
            self._say(upper_layer.abort())
        except (EOFError, OSError) as error:
            outcome = f"cut, {error}"
            self._ended(aborted=True)
        finally:
            self._discard()
        log.info(
            "association ended",
            **who,
            outcome=outcome,
            stored=self._stored,
            refused=self._refused,
            seconds=round(monotonic() - began, 1),
        )

    def _discard(self) -> None:
        """Leave nothing of a message that did not come to its end; an object among them is missed until it comes."""
        message = self._message
        if message is None or message.sink is None:
            return
        message.sink.discard()
        if message.command is not None and message.command.field == dimse.C_STORE_RQ:
            self._services.cut_off(self._peer, message.command)

    def _broken_off(self, why: str) -> None:
        """Count an association that this node ends: what the sender still had for it does not arrive."""
        self._services.refused(self._peer, code=BROKEN_OFF, reason=f"the association was aborted by this node: {why}")

    def _ended(self, *, aborted: bool) -> None:
        if self._refused_contexts and self._contexts:
            self._services.ended(self._peer, self._refused_contexts, aborted=aborted)

    def _converse(self, request: AssociationRequest) -> str:
        """Answer the request and then every message; returns how it ended."""
        self._contexts, items = upper_layer.negotiate(request.proposals, self._taken_of(request))
        self._refused_contexts = self._services.negotiated(self._peer, request.proposals, self._contexts)
        if self._contexts:
            self._services.let_in(self._peer)
        else:
            reason = "none of the SOP classes and transfer syntaxes that it proposes is taken (dicom.accept)"
            self._services.refused(self._peer, code=NOTHING_TAKEN, reason=reason)
        self._wire.send(
            upper_layer.accept(
                request,
                items,
                class_uid=IMPLEMENTATION_CLASS_UID,
                version_name=IMPLEMENTATION_VERSION_NAME,
                users_of=[STORAGE_COMMITMENT],
            )
        )
        while True:
            if self._due and self._wire.is_silent(REPORT_AFTER_S):
                self._report(self._due.pop(0))
            kind, length = self._next()
            if kind == upper_layer.P_DATA_TF:
                self._take(length)
            elif kind == upper_layer.RELEASE_RQ:
                self._wire.send(upper_layer.release_answer())
                return "released"
            elif kind == upper_layer.ABORT:
                return ABORTED
            else:
                raise ProtocolError(f"a PDU of type {kind} in the middle of an association")

    def _taken_of(self, request: AssociationRequest) -> Callable[[Proposal], tuple[str, ...]]:
        """Says of each proposal which transfer syntaxes are taken."""
        private = in_private_alone((one.abstract_syntax, one.transfer_syntaxes) for one in request.proposals)
        return lambda one: transfer_syntaxes(
            one.abstract_syntax,
            accept=self._settings.accept,
            proposed=one.transfer_syntaxes,
            private=one.abstract_syntax in private,
        )

    def _next(self) -> tuple[int, int]:
        """Kind and length of the next PDU."""
        self.silent_since = monotonic()
        try:
            return self._wire.header(within_s=IDLE_TIMEOUT_S)
        finally:
            self.silent_since = None

    def _take(self, length: int) -> None:
        """The presentation data values of one P-DATA-TF."""
        while length:
            if length < 6:
                raise ProtocolError("a P-DATA-TF is cut off")
            value, context_id, control = self._wire.value_header()
            if not 2 <= value <= length - 4:
                raise ProtocolError("a presentation data value is longer than its P-DATA-TF")
            self._fragment(context_id, control, value - 2)
            length -= value + 4

    def _fragment(self, context_id: int, control: int, length: int) -> None:
        if context_id not in self._contexts:
            raise ProtocolError("a message in a presentation context that was not agreed on")
        message = self._message
        if message is None:
            message = self._message = _Message(context_id=context_id)
        if message.context_id != context_id or bool(control & COMMAND) != (message.sink is None):
            raise ProtocolError("the fragments of two messages are mixed")
        if message.sink is None:
            if len(message.command_bytes) + length > MAX_COMMAND_BYTES:
                raise ProtocolError("a command is too long")
            message.command_bytes += self._wire.body(length)
            if control & LAST:
                self._commanded(message)
        else:
            while length:
                piece = self._wire.some(length)
                message.sink.write(piece)
                length -= len(piece)
            if control & LAST:
                answer = message.sink.finish()
                self._message = None
                self._answer(message, answer)

    def _commanded(self, message: _Message) -> None:
        """The command is here in full: answer it, or begin to take its data set."""
        command = message.command = dimse.parse(bytes(message.command_bytes))
        if command.field == dimse.N_EVENT_REPORT_RQ | dimse.RESPONSE:
            self._confirmed(command)
        if command.has_dataset:
            message.sink = self._sink(command, self._contexts[message.context_id])
            return
        self._message = None
        if command.field & dimse.RESPONSE or command.field == dimse.C_CANCEL_RQ:
            return
        self._answer(message, self._without_dataset(command, self._contexts[message.context_id]))

    def _report(self, request_id: int) -> None:
        """Answer a request for Storage Commitment over this association: the other side keeps it open for that."""
        report = self._services.report(request_id)
        agreed = [one for one in self._contexts.items() if one[1].abstract_syntax == STORAGE_COMMITMENT]
        if report is None or not agreed:
            return
        number, context = agreed[0]
        self._reported[request_id] = report
        event = report.dataset(retrieve_ae=self._settings.ae_title)
        command: dict[int, int | bytes | str] = {
            dimse.AFFECTED_CLASS: STORAGE_COMMITMENT,
            dimse.COMMAND_FIELD: dimse.N_EVENT_REPORT_RQ,
            dimse.MESSAGE_ID: request_id % 65_536,
            dimse.DATASET_TYPE: 1,
            dimse.AFFECTED_INSTANCE: WELL_KNOWN_INSTANCE,
            dimse.EVENT_TYPE: report.event_type,
        }
        self._wire.send(
            upper_layer.data(
                number,
                command=dimse.encode(command),
                dataset=encoded(event, context.transfer_syntax),
                max_pdu_bytes=self._max_pdu_bytes,
            )
        )

    def _confirmed(self, command: dimse.Command) -> None:
        answered = command.number(dimse.MESSAGE_ID_ANSWERED)
        for request_id, report in list(self._reported.items()):
            if request_id % 65_536 == answered and command.number(dimse.STATUS) == dimse.SUCCESS:
                del self._reported[request_id]
                self._services.heard(report)

    def _sink(self, command: dimse.Command, context: Context) -> Sink:
        of_commitment = context.abstract_syntax == STORAGE_COMMITMENT
        if command.field == dimse.C_STORE_RQ and not of_commitment and context.abstract_syntax != VERIFICATION:
            return self._services.store(command, context, self._peer)
        if command.field == dimse.N_ACTION_RQ and of_commitment:
            return self._services.commit(command, context, self._peer, self._due.append)
        if command.field == dimse.N_EVENT_REPORT_RQ and of_commitment:
            return self._services.told(command, context, self._peer)
        return Ignored(Answer(status=dimse.UNRECOGNISED_OPERATION))

    def _without_dataset(self, command: dimse.Command, context: Context) -> Answer:
        if command.field == dimse.C_ECHO_RQ and context.abstract_syntax == VERIFICATION:
            return Answer(status=dimse.SUCCESS)
        if command.field == dimse.C_STORE_RQ:
            return Answer(status=dimse.CANNOT_UNDERSTAND, comment="it has no data set")
        if command.field == dimse.N_ACTION_RQ:
            return Answer(status=dimse.INVALID_ARGUMENT, comment="it has no data set")
        return Answer(status=dimse.UNRECOGNISED_OPERATION)

    def _answer(self, message: _Message, answer: Answer) -> None:
        command = message.command
        if command is None or command.field & dimse.RESPONSE:
            return
        if command.field == dimse.C_STORE_RQ:
            self._stored += answer.status == dimse.SUCCESS
            self._refused += answer.status != dimse.SUCCESS
            if answer.status != dimse.SUCCESS:
                reason = f"an object was not stored (answered {answer.status:04X}): {answer.comment}"
                self._services.refused(self._peer, code=NOT_STORED, reason=reason)
        content = dimse.response(command, answer.status, comment=answer.comment)
        self._wire.send(upper_layer.data(message.context_id, command=content, max_pdu_bytes=self._max_pdu_bytes))

    def _say(self, last_word: bytes) -> None:
        """Send what ends the association; whether it arrives no longer matters."""
        try:
            self._wire.send(last_word)
        except OSError as error:
            log.debug("the other side does not hear", peer=self._address, error=str(error))

    def _linger(self) -> None:
        """Let the other side read the last word and close: closing with unread bytes sends RST, which discards our last
        PDU."""
        connection = self._wire.connection
        deadline = monotonic() + LINGER_S
        try:
            connection.shutdown(socket.SHUT_WR)
            connection.settimeout(LINGER_S)
            while connection.recv(upper_layer.BUFFER_BYTES) and monotonic() < deadline:
                pass
        except OSError:
            return


class Ignored:
    """Takes a data set that nothing is done with."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer

    def write(self, piece: memoryview) -> None:
        """Read and thrown away."""

    def finish(self) -> Answer:
        """The answer given at the beginning."""
        return self._answer

    def discard(self) -> None:
        """There is nothing."""
