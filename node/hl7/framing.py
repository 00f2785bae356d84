"""MLLP framing: SB, the message, EB, CR; decoded from whatever pieces the network delivers."""

START = b"\x0b"
END = b"\x1c"


def frame(message: bytes) -> bytes:
    """The message as it goes over the wire."""
    return START + message + END + b"\r"


class FrameDecoder:
    """Takes bytes as they come and gives the complete frames.

    A frame begins at SB and ends at EB; the CR after EB may be missing. Bytes between frames are dropped and,
    unless they are line ends, counted in ``junk_bytes``. An SB inside a frame that has not ended starts anew: its
    sender gave up on the earlier one, which was never complete (``cut_frames``). A frame longer than allowed sets
    ``too_long``; nothing after its beginning is taken any more.
    """

    def __init__(self, max_frame_bytes: int) -> None:
        self._max_frame_bytes = max_frame_bytes
        self._buffer = bytearray()
        self._inside = False
        self.junk_bytes = 0
        self.cut_frames = 0
        self.too_long = False

    @property
    def pending(self) -> bytes:
        """The beginning of a frame that has not ended yet."""
        return bytes(self._buffer)

    def feed(self, data: bytes) -> list[bytes]:
        """The frames that these bytes complete, without their framing characters, empty ones left out."""
        frames = []
        position = 0
        while position < len(data) and not self.too_long:
            if not self._inside:
                position = self._skip_to_start(data, position)
                continue
            end = data.find(END, position)
            stop = len(data) if end < 0 else end
            self._append(data[position:stop])
            if end >= 0 and not self.too_long:
                frames.append(self._take())
            position = stop + 1
        return [one for one in frames if one]

    def _skip_to_start(self, data: bytes, position: int) -> int:
        start = data.find(START, position)
        stop = len(data) if start < 0 else start
        self.junk_bytes += len(data[position:stop].strip(b"\r\n"))
        self._inside = start >= 0
        return stop + 1

    def _append(self, piece: bytes) -> None:
        restart = piece.rfind(START)
        if restart >= 0:
            self._buffer.clear()
            self.cut_frames += 1
            piece = piece[restart + 1 :]
        room = self._max_frame_bytes - len(self._buffer)
        self.too_long = len(piece) > room
        self._buffer += piece[:room]

    def _take(self) -> bytes:
        message = bytes(self._buffer)
        self._buffer.clear()
        self._inside = False
        return message
