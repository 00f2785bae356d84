"""The border to pydicom and its codecs, which raise whatever they like for content that they cannot make sense of."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from analytics.reasons import Reason
from node.errors import DecodingError, DicomReadError


@contextmanager
def content_faults(reason: Reason) -> Iterator[None]:
    """Make every fault of the content a :class:`DicomReadError` of this reason with the kind of fault as ``fault``.

    The text of the fault is left out: it may quote values of the patient. What the file system says of the file itself
    is raised on; pydicom raises a bare ``OSError`` for content, too (a sequence that is cut off), which has no number.

    Raises
    ------
    DicomReadError
        The content cannot be read.
    OSError
        The file cannot be read, or is not there.
    """
    try:
        yield
    except (DicomReadError, DecodingError):
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise DicomReadError(replace(reason, values={"fault": kind_of_fault(error)})) from error


def kind_of_fault(error: Exception) -> str:
    """A fault of content in a few words, without the values that its own text may quote."""
    name = type(error).__name__
    return f"cut off, {name}" if isinstance(error, EOFError | OSError) else name
