"""``python -m node`` is ``vbq-node``."""

from node.cli import main

main()
