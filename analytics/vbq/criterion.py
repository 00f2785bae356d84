"""What speaks for or against a series: one thing looked at, and the words for it."""

from dataclasses import dataclass

from analytics.reasons import Language, Reason, Value


@dataclass(frozen=True, kw_only=True)
class Criterion:
    """One thing looked at. ``holds`` is ``None`` where it is unknown and neither speaks for nor against.

    ``silent``: it speaks against only because the headers do not say; the image itself can.
    """

    holds: bool | None
    reason: Reason
    silent: bool = False

    def words(self, language: Language | None = None) -> str:
        """The sentence, and whether it speaks for or against."""
        said: dict[str, Value] = {"what": self.reason}
        if self.holds is None:
            return Reason("criterion-unknown", said).words(language)
        return (Reason("criterion-for", said) if self.holds else Reason("criterion-against", said)).words(language)
