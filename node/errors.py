"""Every error this software raises on purpose.

::

    NodeError                  one clear line for a person; exit code 1
    ├── SettingsError          a setting is wrong, unknown or dangerous; exit code 2
    ├── InputError             a file, message or argument given by a person cannot be used
    │   ├── ReadingError       a reading does not fit the series it is for
    │   │   └── SliceError     it does not name one slice of it
    │   └── CohortError        a cohort table as a whole cannot be read
    ├── StoreError             the database or the data folder cannot be used
    ├── ClusterError           a cluster cannot be reached, or none of its workers can be used
    ├── ListenError            a port cannot be opened
    ├── PeerError              another DICOM node does not do what it is asked
    │   └── UnreachableError   it cannot be reached, or does not let this node in
    ├── ProtocolError          the other side of a DICOM connection does not keep to the protocol
    ├── DecodingError          pixels end the process that decodes them, or are not decoded in time
    ├── DicomReadError         a stored DICOM object cannot be read as what it claims to be
    ├── MessageError           bytes cannot be read as HL7 v2
    └── NightError             a nightly run cannot be done or has failed
"""

from analytics.reasons import Reason


class NodeError(Exception):
    """Something the operator can act on; the message says what, where and what to do."""

    exit_code = 1


class SettingsError(NodeError):
    """A setting is wrong, unknown or dangerous."""

    exit_code = 2


class InputError(NodeError):
    """A file, message or argument given by a person cannot be used."""


class ReadingError(InputError):
    """A reading does not fit the series it is for."""


class StoreError(NodeError):
    """The database or the data folder cannot be used."""


class ClusterError(NodeError):
    """A cluster cannot be reached, or none of its workers can be used."""


class ListenError(NodeError):
    """A port cannot be opened."""


class PeerError(NodeError):
    """Another DICOM node does not do what it is asked."""


class UnreachableError(PeerError):
    """Another DICOM node cannot be reached, or does not let this node in."""


class ProtocolError(NodeError):
    """The other side of a DICOM connection does not keep to the protocol."""


class ReasonedError(NodeError):
    """An error that is kept as the reason why a thing is not used; the message is its words."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(str(reason))
        self.reason = reason


class DecodingError(ReasonedError):
    """Pixels end the process that decodes them, or are not decoded in time."""


class SliceError(ReasonedError, ReadingError):
    """A reading does not name one slice of its series."""


class CohortError(ReasonedError, InputError):
    """A cohort table as a whole cannot be read."""


class DicomReadError(ReasonedError):
    """A stored DICOM object cannot be read as what it claims to be."""


class MessageError(ReasonedError):
    """Bytes cannot be read as HL7 v2."""


class NightError(NodeError):
    """A nightly run cannot be done or has failed."""
