"""IEC 60870-5-104 with c104: interrogation, measurements, commands, clock. `serve ADDRESS` or `drive ADDRESS`."""

import threading
import time

import c104
from board import Board, roles

PORT = 2404
STATION = 47
# Of a command.
TRIES = 3
MEASURED, SWITCH, SETPOINT = 11, 12, 13


def points(station, **more):
    measured = station.add_point(io_address=MEASURED, type=c104.Type.M_ME_NC_1, **more)
    switch = station.add_point(io_address=SWITCH, type=c104.Type.C_SC_NA_1)
    return measured, switch, station.add_point(io_address=SETPOINT, type=c104.Type.C_SE_NC_1)


def within(seconds, question):
    """Asks until the answer is true or the time is over."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if question():
            return True
        time.sleep(0.02)
    return False


def serve(address):
    server = c104.Server(ip=address, port=PORT)
    measured, _, _ = points(server.add_station(common_address=STATION), report_ms=200)
    measured.value = 12.34
    server.start()
    threading.Event().wait()


def drive(address):
    board = Board()
    client = c104.Client(command_timeout_ms=1000)
    connection = client.add_connection(ip=address, port=PORT, init=c104.Init.NONE)
    measured, switch, setpoint = points(connection.add_station(common_address=STATION))
    client.start()

    def opened():
        if connection.is_connected and connection.is_muted:
            connection.unmute()
        return connection.state == c104.ConnectionState.OPEN

    def command(point, value):
        point.value = value
        return point.transmit(cause=c104.Cot.ACTIVATION)

    def op(name, act):
        # On a busy machine a confirmation may arrive before c104 has begun to wait for it, and is then missed: once in
        # some hundred commands, without any gateway. That no frame was lost is told by the gateway's log.
        board.op(name, lambda: any(act() for _ in range(TRIES)))

    board.need("STARTDT", lambda: within(3, opened))
    op("general interrogation (100)", lambda: connection.interrogation(common_address=STATION))
    op("counter interrogation (101)", lambda: connection.counter_interrogation(common_address=STATION) is not None)
    board.op("periodic measurement (13)", lambda: within(3, lambda: abs(measured.value - 12.34) < 0.01))
    op("read command (102)", measured.read)
    op("clock synchronization (103)", lambda: connection.clock_sync(common_address=STATION))
    op("test command (104)", lambda: connection.test(common_address=STATION))
    op("single command (45)", lambda: command(switch, True))
    op("set-point command, float (50)", lambda: command(setpoint, 5.5))
    client.stop()
    board.end()


roles(serve, drive)
