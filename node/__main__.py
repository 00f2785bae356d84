"""``python -m node`` is ``vbq-node``; so is a role that the supervisor starts, which needs no other command."""

import sys

from node.run.supervised import MARK
from node.run.supervised import main as main_of_a_role

if MARK in sys.argv:
    main_of_a_role(sys.argv[1:])
else:
    from node.cli import main

    main()
