"""``python -m node.nightly.child``: the process of a night. It is told when the role was started.

It does not outlive the role: it ends in the middle of the night then, which is a transaction.
"""

from node.apart import begin
from node.clock import from_text
from node.nightly.check import check


def main() -> None:
    """Do what is due."""
    (started_at,), settings = begin()
    check(settings, from_text(started_at))


if __name__ == "__main__":
    main()
