"""mDNS and DNS-SD with zeroconf (RFC 6762, RFC 6763): a device announces itself, a browser finds it. `serve` or
`drive ADDRESS`, where the address is the announcing device's.
"""

import socket
import threading

from board import Board, roles
from zeroconf import IPVersion, ServiceBrowser, ServiceInfo, ServiceStateChange, Zeroconf

TYPE = "_modbus._tcp.local."
NAME = f"press-1.{TYPE}"
PORT = 502
WAIT = 3


def own_address(towards):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect((towards, 9))
        return probe.getsockname()[0]


def serve(address):
    announced = Zeroconf(interfaces=[address], ip_version=IPVersion.V4Only)
    packed = [socket.inet_aton(address)]
    announced.register_service(ServiceInfo(TYPE, NAME, PORT, addresses=packed, server="press-1.local."))
    threading.Event().wait()


def drive(address):
    board = Board()
    found = threading.Event()
    browser = Zeroconf(interfaces=[own_address(address)], ip_version=IPVersion.V4Only)

    def changed(zeroconf, service_type, name, state_change):
        if name == NAME and state_change is ServiceStateChange.Added:
            found.set()

    ServiceBrowser(browser, TYPE, handlers=[changed])
    board.op("browse", lambda: found.wait(WAIT))

    def resolve():
        info = browser.get_service_info(TYPE, NAME, timeout=WAIT * 1000)
        return info is not None and (info.parsed_addresses(), info.port)

    board.op("resolve", resolve, lambda answer: answer == ([address], PORT))
    browser.close()
    board.end()


roles(serve, drive)
