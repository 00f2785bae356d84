"""Logging: one line per event, never patient data (no names, numbers, birth dates or file names of senders)."""

import logging
import sys

import structlog

from node.settings import Logging


def configure_logging(settings: Logging) -> None:
    """Send structured events to standard error, as text or as JSON lines."""
    level = getattr(logging, settings.level.upper())
    # Plain tracebacks: the pretty ones print the local variables, and those hold patient data.
    renderers: list[structlog.types.Processor] = (
        [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
        if settings.format == "json"
        else [
            structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback)
        ]
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *renderers,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(file=sys.stderr),
    )
    # Libraries speak at warning and above only: pynetdicom's info lines would carry data set elements.
    logging.basicConfig(
        level=max(level, logging.WARNING), stream=sys.stderr, format="%(name)s %(levelname)s %(message)s"
    )
