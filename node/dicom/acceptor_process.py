"""``python -m node.dicom.acceptor_process N``: an acceptor process; N is the descriptor on which its parent speaks."""

import socket
import sys

from node.dicom.pool import main

if __name__ == "__main__":
    sys.exit(main(socket.socket(fileno=int(sys.argv[1]))))
