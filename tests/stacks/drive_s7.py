"""S7comm over ISO-on-TCP with python-snap7: data, clock, state and blocks. `serve ADDRESS` or `drive ADDRESS`."""

import threading

from board import Board, roles

PORT = 102


def serve(address):
    from snap7.server import Server
    from snap7.type import SrvArea

    server = Server()
    server.register_area(SrvArea.DB, 1, bytearray(256))
    for area in (SrvArea.MK, SrvArea.PA, SrvArea.PE):
        server.register_area(area, 0, bytearray(64))
    server.start_to(address, PORT) if hasattr(server, "start_to") else server.start(PORT)
    threading.Event().wait()


def drive(address):
    import snap7
    from snap7.type import Area, Block

    board = Board()
    client = snap7.Client()
    done = lambda answer: answer in (0, None)
    board.need("COTP connection and S7 setup", lambda: client.connect(address, 0, 1) and client.get_connected())
    board.op("read data block", lambda: client.db_read(1, 0, 10), lambda data: len(data) == 10)
    board.op("read flags", lambda: client.read_area(Area.MK, 0, 0, 4), lambda data: len(data) == 4)
    board.op("read inputs", lambda: client.read_area(Area.PE, 0, 0, 4), lambda data: len(data) == 4)
    board.op("write data block", lambda: client.db_write(1, 0, bytearray(b"\x01\x02\x03\x04")), done)
    board.op("what was written is there", lambda: client.db_read(1, 0, 4), lambda data: data == b"\x01\x02\x03\x04")
    board.op("write outputs", lambda: client.write_area(Area.PA, 0, 0, bytearray(b"\xff")), done)
    board.op("read system status list 0x1c", lambda: client.read_szl(0x1C) is not None)
    board.op("list blocks", lambda: client.list_blocks() is not None)
    board.op("read clock", lambda: client.get_plc_datetime() is not None)
    board.op("set clock", client.set_plc_system_datetime, done)
    board.op("read state", lambda: client.get_cpu_state() is not None)
    board.op("upload block", lambda: client.full_upload(Block.DB, 1)[0], lambda data: len(data) > 0)
    board.op("download block", lambda: client.download(bytearray(128), 1), done)
    board.op("stop", client.plc_stop, done)
    board.op("hot start", client.plc_hot_start, done)
    client.disconnect()
    board.end()


roles(serve, drive)
