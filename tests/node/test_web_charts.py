"""Where the points of a blood count are drawn."""

from datetime import UTC, datetime

from node.web.charts import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, chart


def day(number: int) -> datetime:
    return datetime(2026, 3, number, 8, tzinfo=UTC)


def test_values_lie_in_time_between_nothing_and_a_tenth_above_the_highest() -> None:
    """By hand: of 0 to 4.4 (4.0 and a tenth), 2.2 lies in the middle; the third of four days at two thirds."""
    found = chart("NLR", [(day(4), 2.2), (day(1), 4.0), (day(3), 1.1)], 3.3, digits=2)
    assert found is not None
    middle = TOP + 0.5 * (HEIGHT - TOP - BOTTOM)
    assert [one.x for one in found.points] == [LEFT, round(LEFT + (WIDTH - LEFT - RIGHT) * 2 / 3, 1), WIDTH - RIGHT]
    assert found.points[2].y == middle
    assert found.points[1].y == round(TOP + 0.75 * (HEIGHT - TOP - BOTTOM), 1)
    assert found.cut_y == round(TOP + 0.25 * (HEIGHT - TOP - BOTTOM), 1)
    assert (found.top, found.first, found.last, found.cut) == ("4.40", "2026-03-01", "2026-03-04", "3.30")


def test_one_value_is_no_course() -> None:
    assert chart("NLR", [(day(1), 2.0)], None, digits=2) is None
    same = chart("PLR", [(day(1), 150.0), (day(1), 170.0)], None, digits=0)
    assert same is not None
    assert same.cut_y is None
