"""Whether a comment denies a doubt that it names: in front of it, behind it, over a list, over several lines.

In all questions that a text leaves open the doubt stands: a number that was not to be used is worse than one missing.
"""

import re
from dataclasses import dataclass

from node.hl7.catalogue import Table, Words

_LIST = re.compile(r"[,/、，]|\b(?:and|und|et|y|e|i|oraz|og|och|ja|ve|dan|va|и|та|і|και)\b|和|と")
"""Between the parts of a list, of which a denial need not be one of all; "or" and "nor" carry it on."""
_PARTS = re.compile(r"[,/、，\n]")
_COMMA = re.compile(r"[,，]")
"""Between the parts of a list, or two statements; ``、`` parts lists only."""
_OR = re.compile(
    r"\b(?:or|nor|oder|noch|ou|ni|o|u|lub|ani|nebo|eller|tai|vagy|sau|ili|niti|veya|atau|hoac|hay|или|ни|або|ні|η|ουτε)\b"
    r"|及|或|または|や"
)
_AHEAD = re.compile(r"\w[^:(]*[:(]")
"""What stands before a colon or a bracket is about itself."""
_REACH = 40
"""Signs between a denial and what it denies, at most."""


class Denial(Table):
    """Words that deny a doubt, in front of it and behind it."""

    before: Words
    behind: Words
    unsure: Words
    """That a doubt is not excluded."""
    goes_on: Words
    """Words at the end of a line whose sentence goes on in the next one."""
    either: Words
    """Of those behind, what denies the next word instead, where one but ``seen`` follows."""
    seen: Words
    of_the_count: Words
    """What a denial in front of a doubt may deny in its place: that cells were counted, because of it."""


@dataclass(frozen=True, kw_only=True)
class Clause:
    """A clause of a comment, with line ends, and what the words in it are known by."""

    text: str
    denial: Denial
    doubt: re.Pattern[str]
    """Any doubt."""
    cells: Words
    """The cells that doubts are about: they stand in lists of doubts and parts of them."""

    @property
    def flat(self) -> str:
        """In one line, each sign at its place: a phrase may go on in the next line."""
        return self.text.replace("\n", " ")

    def part_of(self, match: re.Match[str]) -> str:
        """The part of a list, or the line, in which a doubt stands."""
        starts = [one.end() for one in _PARTS.finditer(self.text, 0, match.start())]
        end = _PARTS.search(self.text, match.end())
        return self.flat[starts[-1] if starts else 0 : end.start() if end else len(self.text)]

    def denies(self, match: re.Match[str]) -> bool:
        """Whether a doubt, found in ``flat``, is denied."""
        before, behind = self.denial.before.searched, self.denial.behind.searched
        if self.denial.unsure.found(self.flat):
            return False
        said = behind.search(self.flat[match.end() :]) if behind else None
        if said and said.start() <= _REACH and not self._is_of_another(self.text[match.end() :], said):
            return True
        told = before.finditer(self.flat, 0, match.start()) if before else ()
        return any(match.start() - one.end() <= _REACH and self._reaches(one, match) for one in told)

    def _is_of_another(self, back: str, said: re.Match[str]) -> bool:
        """Whether a denial behind a doubt is of something else: named with it, in front of it or behind it."""
        between, follows = back[: said.start()], _PARTS.split(back[said.end() :])[0]
        if self.doubt.search(between) or _LIST.search(between) or re.search(r"\n\W*\w", self.cells.without(between)):
            return True
        either = self.denial.either.searched
        denies_what_follows = either is not None and either.fullmatch(said[0]) is not None
        return denies_what_follows and _has_words(self.denial.seen.without(follows))

    def _reaches(self, denial: re.Match[str], match: re.Match[str]) -> bool:
        """Whether a denial in front of a doubt is of it: over words of its own, and over a list of doubts alone."""
        between = self.text[denial.end() : match.start()]
        if _AHEAD.search(between) or self.denial.of_the_count.found(between) or self._ends_a_line(denial, between):
            return False
        first, *rest = _LIST.split(between)
        if not rest:
            return True
        if self.doubt.search(first) is None or _has_words(self._beside_doubts(" ".join(rest))):
            return False
        commas = list(_COMMA.finditer(between))
        return not commas or _OR.search(between, commas[-1].end()) is not None or self._list_goes_on(match.end())

    def _list_goes_on(self, place: int) -> bool:
        """Whether behind a doubt the last one of a list follows (``, clots or fibrin``)."""
        back = self.flat[place : place + _REACH]
        conjunction = _OR.search(back)
        return conjunction is not None and not _has_words(self._beside_doubts(back[: conjunction.start()]))

    def _beside_doubts(self, text: str) -> str:
        return self.cells.without(self.doubt.sub(" ", text))

    def _ends_a_line(self, denial: re.Match[str], between: str) -> bool:
        """Whether what a denial denies stands in its own line, so that the next line is another sentence."""
        line, gap, after = between.rpartition("\n")
        if not gap or re.match(rf"\s*(?:{_LIST.pattern}|{_OR.pattern})", after):
            return False
        words = re.findall(r"\w+|[,/-]", line)
        front = self.text[: denial.start()]
        if not words:
            return re.search(r"[:=]\W*$", front) is not None
        if words[-1] in (",", "/", "-") or any(one.found(words[-1]) for one in (self.denial.goes_on, self.cells)):
            return False
        opens = re.search(r"(?:^|\n)\W*$", front) is not None
        left = self.denial.goes_on.without(self.denial.seen.without(self.cells.without(line)))
        return not opens or _has_words(left)


def _has_words(text: str) -> bool:
    return re.search(r"\w", text) is not None
