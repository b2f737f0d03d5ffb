"""SNMP v2c with net-snmp's own programs against snmpd: read, walk and write. `drive ADDRESS`."""

import subprocess

from board import Board, roles

SYSTEM = "1.3.6.1.2.1.1"
INTERFACES = "1.3.6.1.2.1.2"


def serve():
    raise SystemExit("the server is snmpd")


def drive(address):
    board = Board()

    def ask(program, community, *words):
        # Numeric output, no MIB files: what is printed does not depend on the machine.
        base = [program, "-v2c", "-t2", "-r0", "-On", "-m", "", "-c", community]
        options = [word for word in words if word.startswith("-")]
        rest = [word for word in words if not word.startswith("-")]
        done = subprocess.run(base + options + [address] + rest, capture_output=True, text=True, timeout=10)
        if done.returncode != 0:
            raise RuntimeError(done.stderr or done.stdout)
        return done.stdout

    board.need("GET", lambda: ask("snmpget", "public", f"{SYSTEM}.3.0"), lambda text: "Timeticks" in text)
    board.op("GETNEXT", lambda: ask("snmpgetnext", "public", SYSTEM), lambda text: "STRING" in text)
    board.op("GETBULK", lambda: ask("snmpbulkget", "public", "-Cr5", INTERFACES), lambda text: "INTEGER" in text)
    board.op("walk", lambda: ask("snmpwalk", "public", SYSTEM), lambda text: len(text.splitlines()) > 5)
    board.op("SET", lambda: ask("snmpset", "private", f"{SYSTEM}.4.0", "s", "ops"), lambda text: "ops" in text)
    board.op("what was written is there", lambda: ask("snmpget", "public", f"{SYSTEM}.4.0"), lambda text: "ops" in text)
    board.end()


roles(serve, drive)
