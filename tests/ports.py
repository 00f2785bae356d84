"""Ports for servers of the tests, such that neither another test process nor an outgoing connection has them."""

import contextlib
import os
import socket

PORTS = range(20_000, 32_000)
"""Below the range from which Linux takes the ports of outgoing connections (from 32768 on, unless set otherwise)."""

_reserved: list[socket.socket] = []


def free_port() -> int:
    """A port of loopback that nobody uses, reserved for this process until it ends.

    The reservation is a name in Linux's abstract socket namespace: it holds between the processes that run tests
    side by side, whether they are workers of one run or two runs, and ends with the process however that ends.
    """
    start = int.from_bytes(os.urandom(2)) % len(PORTS)
    for port in (*PORTS[start:], *PORTS[:start]):
        if _reserve(port):
            return port
    raise AssertionError(f"no free port in {PORTS}")


def free_ports(number: int) -> list[int]:
    """So many different free ports."""
    return [free_port() for _ in range(number)]


def _reserve(port: int) -> bool:
    with contextlib.ExitStack() as stack:
        name = stack.enter_context(socket.socket(socket.AF_UNIX))
        probe = stack.enter_context(socket.socket())
        try:
            name.bind(f"\0vbq-node test port {port}")
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        _reserved.append(name)
        probe.close()
        stack.pop_all()
        return True
