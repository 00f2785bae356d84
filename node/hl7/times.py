"""Times of HL7 v2: ``YYYYMMDD[HH[MM[SS[.S…]]]][±ZZZZ]``, and the ISO 8601 forms that some senders use."""

import re
from dataclasses import dataclass
from datetime import date, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

_FORM = re.compile(
    r"(?P<year>\d{4})(?P<between>[-/.]?)(?P<month>\d\d)(?P=between)(?P<day>\d\d)"
    r"(?:[T ]?(?P<hour>\d\d)(?::?(?P<minute>\d\d)(?::?(?P<second>\d\d)(?:[.,]?(?P<fraction>\d{1,9}))?)?)?)?"
    r"\s*(?P<zone>Z|[+-](?:\d\d:?\d\d|\d:?\d\d|\d\d))?"
)
_DAY_FIRST = re.compile(r"(\d\d)\.(\d\d)\.(\d{4})(?=\D|$)")
"""A date whose parts points part begins with the day wherever it is written; with strokes it may be either."""
_DATE = re.compile(r"(?P<year>\d{4})(?P<between>[-/.]?)(?P<month>\d\d)(?P=between)(?P<day>\d\d)(?=\D|\d{2})")
"""The date of a time whose rest is not understood."""
_YEARS = range(1850, 2200)


@dataclass(frozen=True, kw_only=True)
class Moment:
    """A time as sent; ``date_only`` when the sender gave no time of day, and then the start of the local day."""

    at: datetime
    date_only: bool


def read_time(text: str, zone: ZoneInfo) -> Moment | None:
    """Read a time; without an offset it is in the site's zone.

    Midnight to the second is taken for a date without a time: senders that only know the date write it so, and then
    it is that date here, whatever offset they add. Where only the date is understood, the time is that date. Hour 24
    is midnight of the next day. ``None`` when the text is no date or less precise than a day.
    """
    if not text:
        return None
    told = _DAY_FIRST.sub(r"\3\2\1", text.strip(), count=1)
    match = _FORM.fullmatch(told)
    if match is None:
        match = _DATE.match(told)
        return read_time("".join(match.group("year", "month", "day")), zone) if match else None
    if int(match["year"]) not in _YEARS:
        return None
    hour, minute, second = (int(match[name] or 0) for name in ("hour", "minute", "second"))
    microsecond = int(((match["fraction"] or "") + "000000")[:6])
    date_only = match["hour"] is None or (hour, minute, second, microsecond) == (0, 0, 0, 0)
    next_day = (hour, minute, second, microsecond) == (24, 0, 0, 0)
    try:
        tzinfo = _offset(match["zone"]) if match["zone"] and not date_only else zone
        at = datetime(
            int(match["year"]),
            int(match["month"]),
            int(match["day"]),
            0 if next_day else hour,
            minute,
            second,
            microsecond,
            tzinfo=tzinfo,
        ) + timedelta(days=int(next_day))
    except ValueError:
        # A second of 60, an hour of 25: the date is certain all the same.
        return None if date_only else read_time("".join(match.group("year", "month", "day")), zone)
    return Moment(at=at, date_only=date_only)


def read_date(text: str) -> date | None:
    """The calendar date of a time as sent, whatever its offset: a date of birth has no time zone."""
    match = re.match(r"(\d{4})-?(\d\d)-?(\d\d)", text.strip())
    if match is None:
        return None
    try:
        return date(*(int(number) for number in match.groups()))
    except ValueError:
        return None


def _offset(text: str) -> timezone:
    if text == "Z":
        return timezone(timedelta(0))
    digits = text[1:].replace(":", "")
    # Three digits are an hour of one; two are hours alone.
    hours, minutes = (int(digits), 0) if len(digits) == 2 else (int(digits[:-2]), int(digits[-2:]))
    return timezone((1 if text[0] == "+" else -1) * timedelta(hours=hours, minutes=minutes))
