"""MLLP framing under whatever the network does to it."""

from hypothesis import given, settings
from hypothesis import strategies as st

from node.hl7.framing import FrameDecoder, frame

BODY = st.binary(min_size=1, max_size=60).map(lambda raw: raw.replace(b"\x0b", b".").replace(b"\x1c", b"."))


def feed(decoder: FrameDecoder, pieces: list[bytes]) -> list[bytes]:
    return [one for piece in pieces for one in decoder.feed(piece)]


@settings(max_examples=300)
@given(st.lists(BODY, max_size=6), st.data())
def test_any_split_gives_the_same_frames(bodies: list[bytes], data: st.DataObject) -> None:
    stream = b"".join(frame(body) for body in bodies)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=12)))
    pieces = [stream[start:stop] for start, stop in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    decoder = FrameDecoder(1000)
    assert feed(decoder, pieces) == bodies
    assert (decoder.junk_bytes, decoder.cut_frames, decoder.pending) == (0, 0, b"")


def test_byte_by_byte() -> None:
    stream = frame(b"MSH|1") + frame(b"MSH|2")
    decoder = FrameDecoder(100)
    assert feed(decoder, [bytes([one]) for one in stream]) == [b"MSH|1", b"MSH|2"]


def test_end_without_carriage_return() -> None:
    decoder = FrameDecoder(100)
    assert decoder.feed(b"\x0bA\x1c\x0bB\x1c") == [b"A"]
    assert decoder.ended
    assert decoder.pause() == [b"B"], "nothing follows"
    assert decoder.feed(b"\r\x0bC\x1c") == [] and decoder.feed(b"\x0bD\x1c\r") == [b"C", b"D"]
    assert decoder.junk_bytes == 0


def test_end_sign_inside_a_message() -> None:
    decoder = FrameDecoder(100)
    assert feed(decoder, [b"\x0bNTE|\x1cA\x1c", b"B\x1c\r"]) == [b"NTE|\x1cA\x1cB"]
    assert feed(decoder, [b"\x0bA\x1c \x0bB\x1c\r"]) == [b"A", b"B"], "a blank behind the end is none of it"
    assert (decoder.junk_bytes, decoder.cut_frames) == (1, 0)


def test_junk_between_frames_is_dropped_and_counted() -> None:
    decoder = FrameDecoder(100)
    assert decoder.feed(b"noise\x0bA\x1c\rmore\r\n\x0bB\x1c\r") == [b"A", b"B"]
    assert decoder.junk_bytes == len(b"noise") + len(b"more")


def test_empty_frames_are_left_out() -> None:
    assert FrameDecoder(100).feed(b"\x0b\x1c\r\x0bA\x1c\r") == [b"A"]


def test_a_frame_begun_anew_is_the_later_one() -> None:
    decoder = FrameDecoder(100)
    assert feed(decoder, [b"\x0bMSH|half", b"\x0bMSH|whole\x1c\r"]) == [b"MSH|whole"]
    assert decoder.cut_frames == 1


def test_the_size_is_bounded_and_earlier_frames_are_kept() -> None:
    decoder = FrameDecoder(10)
    assert decoder.feed(frame(b"x" * 10) + b"\x0b" + b"y" * 11) == [b"x" * 10]
    assert decoder.too_long
    assert decoder.feed(frame(b"z")) == []
    assert len(decoder.pending) == 10
