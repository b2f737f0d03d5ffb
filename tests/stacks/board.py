"""Tells how each operation of a protocol ended: one line each, and an exit code that counts.

A line is `PASS <operation>` or `FAIL <operation>: <why>`. The exit code is 0 when all passed, 1 when one failed.
What goes on after a failed connection would only wait for the same silence again, so `need` ends the driver there.
"""

import sys


class Board:
    def __init__(self):
        self.failed = 0

    def record(self, operation, problem=None):
        if problem is None:
            print(f"PASS {operation}", flush=True)
            return True
        self.failed += 1
        print(f"FAIL {operation}: {' '.join(str(problem).split())[:160]}", flush=True)
        return False

    def op(self, operation, act, right=lambda answer: answer is not False):
        """Passes when `act` returns something that `right` accepts."""
        try:
            answer = act()
            accepted = right(answer)
        except Exception as error:  # a driver of somebody else's stack: any exception is a failed operation
            return self.record(operation, f"{type(error).__name__}: {error}")
        return self.record(operation, None if accepted else f"unexpected answer {answer!r}")

    async def op_async(self, operation, awaitable, right=lambda answer: answer is not False):
        """As `op`, for an operation that is awaited."""
        try:
            answer = await awaitable
            accepted = right(answer)
        except (Exception, BaseExceptionGroup) as error:
            return self.record(operation, f"{type(error).__name__}: {error}")
        return self.record(operation, None if accepted else f"unexpected answer {answer!r}")

    def need(self, operation, act, right=lambda answer: answer is not False):
        """As `op`, and the end when it fails."""
        if not self.op(operation, act, right):
            self.end()

    def end(self):
        sys.stdout.flush()
        sys.exit(1 if self.failed else 0)


def roles(serve, drive):
    """Runs `serve` or `drive`, as the first argument says, with the rest of the command line."""
    role, *rest = sys.argv[1:]
    {"serve": serve, "drive": drive}[role](*rest)
