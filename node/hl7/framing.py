"""MLLP framing: SB, the message, EB, CR; decoded from whatever pieces the network delivers."""

START = b"\x0b"
END = b"\x1c"
_AFTER_END = (b"\r", b"\n", b"\x0c", b"\x00", START)
"""What may follow EB: the standard's CR, and LF, form feed and NUL, which senders of some makers write in its place."""
_FILL = b"\r\n\x0c\x00"


def frame(message: bytes) -> bytes:
    """The message as it goes over the wire."""
    return START + message + END + b"\r"


class FrameDecoder:
    """Takes bytes as they come and gives the complete frames.

    A frame begins at SB and ends at EB before CR, LF, form feed, NUL or the next SB; an EB before anything else is part
    of the message. Where an EB is the last that has come, ``ended`` is set: the frame is complete when the sender
    pauses or closes (:meth:`pause`). Bytes between frames are dropped and, unless they are line ends or fill, counted
    in ``junk_bytes``. An SB inside a frame that has not ended starts anew: its sender gave up on the earlier one, which
    was never complete (``cut_frames``). A frame longer than allowed sets ``too_long``; nothing after its beginning is
    taken any more.
    """

    def __init__(self, max_frame_bytes: int) -> None:
        self._max_frame_bytes = max_frame_bytes
        self._buffer = bytearray()
        self._inside = False
        self.ended = False
        self.junk_bytes = 0
        self.cut_frames = 0
        self.too_long = False

    @property
    def pending(self) -> bytes:
        """The beginning of a frame that has not ended yet."""
        return bytes(self._buffer)

    @property
    def pending_bytes(self) -> int:
        """What the beginning of a frame that has not ended yet takes of the memory."""
        return len(self._buffer)

    def feed(self, data: bytes) -> list[bytes]:
        """The frames that these bytes complete, without their framing characters, empty ones left out."""
        frames: list[bytes] = []
        if self.ended and data:
            self.ended = False
            self._decide(data[:1], frames)
        position = 0
        while position < len(data) and not self.too_long:
            if not self._inside:
                position = self._skip_to_start(data, position)
                continue
            end = data.find(END, position)
            stop = len(data) if end < 0 else end
            self._append(data[position:stop], frames)
            position = stop + 1
            if end >= 0 and not self.too_long:
                self.ended = position == len(data)
                self._decide(data[position : position + 1], frames)
        return [one for one in frames if one]

    def pause(self) -> list[bytes]:
        """The frame that an EB without a CR has ended, when nothing follows it."""
        if not self.ended:
            return []
        self.ended = False
        return [one for one in [self._take()] if one]

    def _decide(self, following: bytes, frames: list[bytes]) -> None:
        """Whether an EB has ended the frame, from the byte after it; not yet when there is none."""
        if following in _AFTER_END:
            frames.append(self._take())
        elif following:
            self._append(END, frames)

    def _skip_to_start(self, data: bytes, position: int) -> int:
        start = data.find(START, position)
        stop = len(data) if start < 0 else start
        self.junk_bytes += len(data[position:stop].strip(_FILL))
        self._inside = start >= 0
        return stop + 1

    def _append(self, piece: bytes, frames: list[bytes]) -> None:
        restart = piece.rfind(START)
        if restart >= 0:
            # An EB with junk behind it has ended a frame all the same, when another one begins.
            complete, end, junk = bytes(self._buffer + piece[:restart]).partition(END)
            if end:
                frames.append(complete)
                self.junk_bytes += len(junk)
            else:
                self.cut_frames += 1
            self._buffer.clear()
            piece = piece[restart + 1 :]
        room = self._max_frame_bytes - len(self._buffer)
        self.too_long = len(piece) > room
        self._buffer += piece[:room]

    def _take(self) -> bytes:
        message = bytes(self._buffer)
        self._buffer.clear()
        self._inside = False
        return message
