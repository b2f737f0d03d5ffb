"""DHCP with udhcpc against dnsmasq (RFC 2131): a device asks for its address. `drive SERVER`."""

import subprocess

from board import Board, roles

WAIT = 15


def serve():
    raise SystemExit("the server is dnsmasq")


def drive(server):
    board = Board()

    def lease():
        # Leaves when it has a lease, and when it has none; /bin/true: the address is not taken into use.
        words = ["udhcpc", "-f", "-n", "-q", "-i", "eth0", "-t", "3", "-T", "1", "-s", "/bin/true"]
        done = subprocess.run(words, capture_output=True, text=True, timeout=WAIT)
        said = done.stdout + done.stderr
        return done.returncode == 0 and "lease of" in said and f"obtained from {server}" in said or said

    board.op("DISCOVER, OFFER, REQUEST, ACK", lease, lambda answer: answer is True)
    board.end()


roles(serve, drive)
