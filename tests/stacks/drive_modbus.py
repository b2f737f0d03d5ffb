"""Modbus/TCP with pymodbus: every function a client of a PLC uses. `serve ADDRESS` or `drive ADDRESS`."""

import asyncio

from board import Board, roles

PORT = 502
# The unit a client means that talks to the PLC itself and to nobody behind it (Modbus/TCP guide 1.0b, 4.4.1.2).
UNIT = 255


# What the server says of itself.
IDENTITY = {"VendorName": "Press Works", "ProductCode": "PW-7", "MajorMinorRevision": "4.2.1"}


def serve(address):
    from pymodbus import ModbusDeviceIdentification
    from pymodbus.server import StartAsyncTcpServer
    from pymodbus.simulator import DataType, SimData, SimDevice

    def bits(value):
        return [SimData(0, values=[value] * 64, datatype=DataType.BITS)]

    def registers(values):
        return [SimData(0, values=values, datatype=DataType.REGISTERS)]

    blocks = (bits(False), bits(True), registers(list(range(200))), registers([7] * 200))
    device, identity = SimDevice(UNIT, simdata=blocks), ModbusDeviceIdentification(info_name=IDENTITY)
    asyncio.run(StartAsyncTcpServer(device, identity=identity, address=(address, PORT)))


def drive(address):
    from pymodbus.client import ModbusTcpClient

    board = Board()
    client = ModbusTcpClient(address, port=PORT, timeout=2, retries=0)
    board.need("connect", client.connect)

    def op(name, call, *args, **more):
        board.op(name, lambda: call(*args, device_id=UNIT, **more), lambda answer: not answer.isError())

    op("read coils (1)", client.read_coils, 0, count=8)
    op("read discrete inputs (2)", client.read_discrete_inputs, 0, count=8)
    op("read holding registers (3)", client.read_holding_registers, 0, count=10)
    op("read holding registers, the longest answer (3)", client.read_holding_registers, 0, count=125)
    op("read input registers (4)", client.read_input_registers, 0, count=5)
    op("write single coil (5)", client.write_coil, 3, True)
    op("write single register (6)", client.write_register, 5, 4242)
    op("return query data (8/0)", client.diag_query_data, b"ab")
    op("write multiple coils (15)", client.write_coils, 4, [True] * 4)
    op("write multiple registers (16)", client.write_registers, 10, [1, 2, 3])
    op("report server id (17)", client.report_device_id)
    op("mask write register (22)", client.mask_write_register, address=5, and_mask=0xF2, or_mask=0x25)
    op("read/write multiple registers (23)", client.readwrite_registers, read_address=0, read_count=2, address=5, values=[9])
    op("read device identification (43/14)", client.read_device_information)
    board.op(
        "what was written is there",
        lambda: client.read_holding_registers(10, count=3, device_id=UNIT).registers,
        lambda words: words == [1, 2, 3],
    )
    client.close()
    board.end()


roles(serve, drive)
