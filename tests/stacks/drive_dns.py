"""DNS over UDP and TCP (RFC 1035) against dnsmasq. `drive ADDRESS`."""

import os
import socket
import struct

from board import Board, roles

PORT = 53
WAIT = 1
NAME = "press.plant.example"
# The address that dnsmasq.conf gives to NAME.
ANSWER = socket.inet_aton("192.0.2.10")
A, CLASS_IN = 1, 1
NO_ERROR, REFUSED = 0, 5


def serve():
    raise SystemExit("the server is dnsmasq")


def query(name):
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    # Recursion desired, one question (RFC 1035 4.1.1).
    return os.urandom(2) + struct.pack(">5H", 0x0100, 1, 0, 0, 0) + labels + b"\0" + struct.pack(">HH", A, CLASS_IN)


def code(question, answer):
    if answer[:2] != question[:2] or not answer[2] & 0x80:
        raise ValueError("not an answer to this question")
    return answer[3] & 15


def over_udp(address, question):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
        peer.settimeout(WAIT)
        peer.connect((address, PORT))
        peer.send(question)
        return peer.recv(512)


def over_tcp(address, question):
    with socket.create_connection((address, PORT), WAIT) as peer:
        peer.sendall(struct.pack(">H", len(question)) + question)
        stream = peer.makefile("rb")
        return stream.read(struct.unpack(">H", stream.read(2))[0])


def drive(address):
    board = Board()
    for transport, ask in (("UDP", over_udp), ("TCP", over_tcp)):

        def known():
            question = query(NAME)
            answer = ask(address, question)
            return code(question, answer) == NO_ERROR and answer.endswith(ANSWER)

        def unknown():
            question = query("elsewhere.example")
            return code(question, ask(address, question)) == REFUSED

        board.op(f"name over {transport}", known)
        board.op(f"unknown name over {transport}", unknown)
    board.end()


roles(serve, drive)
