"""DHCP with udhcpc against dnsmasq (RFC 2131): a device asks for its address. `drive SERVER`."""

import socket
import subprocess

from board import Board, roles

# Of a client (RFC 2131 4.1).
PORT = 68
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

    # udhcpc listens below the device's stack, which has its address already and would refuse the answers by ICMP.
    taken = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    taken.bind(("", PORT))
    board.op("DISCOVER, OFFER, REQUEST, ACK", lease, lambda answer: answer is True)
    taken.close()
    board.end()


roles(serve, drive)
