"""What every test leaves as it found it."""

from collections.abc import Iterator

import pytest
import structlog


@pytest.fixture(autouse=True)
def default_logging() -> Iterator[None]:
    """A command run inside the test process configures logging for the standard error it had; forget that."""
    yield
    structlog.reset_defaults()
