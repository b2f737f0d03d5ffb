"""BACnet/IP with bacpypes3: discovery by broadcast and unicast, properties, change of value. `serve` or `drive ADDRESS`.

Both ends use port 47808, and the device answers a broadcast Who-Is by itself (ASHRAE 135, 16.10 and annex J).
"""

import asyncio
import socket

from bacpypes3.apdu import ErrorRejectAbortNack, SubscribeCOVRequest
from bacpypes3.app import Application
from bacpypes3.argparse import SimpleArgumentParser
from bacpypes3.local.analog import AnalogValueObject
from bacpypes3.pdu import Address
from bacpypes3.primitivedata import ObjectIdentifier, Real
from board import Board, roles

DEVICE, CLIENT = 1001, 2002
PREFIX = 24
WAIT = 3
VALUE = ObjectIdentifier("analog-value,1")


def application(instance, address, name):
    words = ["--instance", str(instance), "--name", name, "--address", f"{address}/{PREFIX}"]
    return Application.from_args(SimpleArgumentParser().parse_args(words))


def own_address(towards):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect((towards, 9))
        return probe.getsockname()[0]


async def offer(address):
    device = application(DEVICE, address, "air-handling")
    setpoint = dict(objectIdentifier=("analog-value", 1), objectName="setpoint", presentValue=21.0)
    device.add_object(AnalogValueObject(**setpoint, units="degrees-celsius", covIncrement=0.5))
    await asyncio.Event().wait()


async def ask(address):
    board = Board()
    client = application(CLIENT, own_address(address), "building-management")
    device = Address(address)

    def answered(work):
        return asyncio.wait_for(work, WAIT)

    async def subscribe():
        request = SubscribeCOVRequest(
            subscriberProcessIdentifier=1,
            monitoredObjectIdentifier=VALUE,
            issueConfirmedNotifications=False,
            lifetime=30,
            destination=device,
        )
        try:
            await client.request(request)
        except ErrorRejectAbortNack:
            pass  # a no is an answer

    found = lambda devices: [answer.iAmDeviceIdentifier[1] for answer in devices] == [DEVICE]
    await board.op_async("Who-Is by broadcast", answered(client.who_is(DEVICE, DEVICE, timeout=1)), found)
    await board.op_async("Who-Is by unicast", answered(client.who_is(DEVICE, DEVICE, device, timeout=1)), found)
    read = lambda: answered(client.read_property(device, VALUE, "present-value"))
    await board.op_async("read property", read(), lambda value: isinstance(value, float))
    several = client.read_property_multiple(device, [VALUE, ["present-value", "object-name"]])
    await board.op_async("read property multiple", answered(several), lambda answers: len(answers) == 2)
    write = client.write_property(device, VALUE, "present-value", Real(18.5))
    await board.op_async("write property", answered(write), lambda answer: answer is None)
    await board.op_async("what was written is there", read(), lambda value: value == 18.5)
    await board.op_async("subscribe to changes of value", answered(subscribe()))
    client.close()
    board.end()


roles(lambda address: asyncio.run(offer(address)), lambda address: asyncio.run(ask(address)))
