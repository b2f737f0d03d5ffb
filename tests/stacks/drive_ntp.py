"""NTP, client and server mode of RFC 5905 with port 123 at both ends, as many devices do. `serve` or `drive ADDRESS`."""

import socket
import struct
import time

from board import Board, roles

PORT = 123
WAIT = 1
CLIENT, SERVER = 3, 4
VERSION = 4
# Seconds from 1900 to 1970.
ERA = 2_208_988_800
# Leap, version and mode; stratum, poll, precision; delay, dispersion, reference; four timestamps (RFC 5905 7.3).
HEADER = struct.Struct(">BBbb3I4Q")


def now():
    return int((time.time() + ERA) * (1 << 32))


def bound(address):
    peer = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    peer.bind((address, PORT))
    return peer


def serve(address):
    peer = bound(address)
    while True:
        request, client = peer.recvfrom(512)
        arrived = now()
        if len(request) < HEADER.size or request[0] & 7 != CLIENT:
            continue
        origin = HEADER.unpack_from(request)[10]
        head = (VERSION << 3 | SERVER, 1, 6, -20, 0, 0, 0x4C4F434C)
        peer.sendto(HEADER.pack(*head, arrived, origin, arrived, now()), client)


def drive(address):
    board = Board()
    peer = bound("")
    peer.settimeout(WAIT)

    def ask():
        sent = now()
        peer.sendto(HEADER.pack(VERSION << 3 | CLIENT, 0, 6, -20, 0, 0, 0, 0, 0, 0, sent), (address, PORT))
        answer, _ = peer.recvfrom(512)
        fields = HEADER.unpack_from(answer)
        return answer[0] & 7 == SERVER and fields[8] == sent and fields[9] <= fields[10]

    for number in ("first", "second", "third"):
        board.op(f"{number} exchange", ask)
    board.end()


roles(serve, drive)
