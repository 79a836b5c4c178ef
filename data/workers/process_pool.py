"""A pool of processes that can be killed, each executing one call at a time.

One thread owns the processes. It assigns calls, enforces a time and a memory limit for each call,
and replaces a process that dies or is killed. The time limit uses a monotonic clock and starts when
the function starts, so that neither queueing nor the imports of a new process count.
"""

import multiprocessing
import os
import pickle
import signal
import threading
import time
from collections import deque
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Final

from data.errors import ItemError, Reason, UnexpectedItemError
from data.workers.calls import (
    DISK_FULL,
    START_LIMIT_S,
    STOPPED,
    Call,
    Killed,
    PoolError,
    Returned,
)
from data.workers.sandbox import leave_network

WATCH_EVERY_S: Final = 0.1
"""Interval between two checks of time and memory."""
MAX_FAILED_STARTS: Final = 3
"""After this many processes in a row have died before they were ready, the pool gives up: no item
is to blame."""

_READY: Final = b"ready"
_BEGUN: Final = b"begun"


@dataclass(slots=True, eq=False)
class _Worker:
    process: BaseProcess
    connection: "Connection[Any, Any]"
    deadline_s: float
    call: Call | None = None
    ready: bool = False
    used: bool = False


class ProcessPool:
    """A pool of up to ``num_processes`` spawned processes, which are started on demand.

    Args:
        num_processes: maximum number of processes.
        memory_bytes: resident memory above which a process is killed.
    """

    def __init__(self, num_processes: int, memory_bytes: int) -> None:
        self._num_processes = num_processes
        self._memory_bytes = memory_bytes
        self._context = multiprocessing.get_context("spawn")
        self._lock = threading.Lock()
        self._queue: deque[Call] = deque()
        self._alone: deque[Call] = deque()
        self._workers: list[_Worker] = []
        self._failed_starts = 0
        self._closed = False
        self._thread: threading.Thread | None = None
        self._wake_receiver, self._wake_sender = self._context.Pipe(duplex=False)

    def capacity(self, stage: str) -> int:
        """Return how many calls can run at once, of whatever stage."""
        del stage
        return self._num_processes

    def submit(self, call: Call) -> None:
        """Queue a call.

        Raises:
            PoolError: the pool is closed.
        """
        with self._lock:
            if self._closed:
                raise PoolError(STOPPED)
            (self._alone if call.alone else self._queue).append(call)
            if self._thread is None:
                self._thread = threading.Thread(target=self._own, name="workers", daemon=True)
                self._thread.start()
        self._wake()

    def drop(self, call: Call) -> None:
        """Cancel a call: remove it from the queue, or kill its process."""
        call.dropped = True
        self._wake()

    def close(self) -> None:
        """Kill all processes at once; unfinished calls fail with :class:`PoolError`."""
        with self._lock:
            self._closed = True
            thread = self._thread
        self._wake()
        if thread is not None:
            thread.join()

    def _wake(self) -> None:
        with self._lock:
            if not self._wake_receiver.poll():
                self._wake_sender.send_bytes(b"\0")

    # ----------------------------------------------------------------------------- owner thread

    def _own(self) -> None:
        # Ctrl-C sends SIGINT to every process of the terminal. Processes started by this thread
        # inherit its mask and ignore the signal; the parent decides when they end.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        error: Exception = PoolError(STOPPED)
        try:
            while not self._closed:
                self._hand_out()
                self._listen()
                self._watch()
        except Exception as problem:  # noqa: BLE001 - passed on to every waiting caller
            error = problem
        with self._lock:
            self._closed = True
        for worker in tuple(self._workers):
            call = worker.call
            self._kill(worker)
            if call is not None:
                call.future.set_exception(error)
        for call in (*self._queue, *self._alone):
            call.future.set_exception(error)

    def _hand_out(self) -> None:
        busy = [worker for worker in self._workers if worker.call is not None]
        if any(worker.call is not None and worker.call.alone for worker in busy):
            return
        # While a call waits to run alone, no other call is started.
        queue = self._alone or self._queue
        while queue and queue[0].dropped:
            queue.popleft().future.cancel()
        if not queue:
            return
        if queue is self._alone:
            if busy:
                return
            for worker in [worker for worker in self._workers if worker.used]:
                self._kill(worker)
        for worker in self._workers:
            if worker.ready and worker.call is None and queue:
                self._begin(worker, queue.popleft())
                if queue is self._alone:
                    return
        starting = sum(not worker.ready for worker in self._workers)
        wanted = min(len(queue), 1 if queue is self._alone else self._num_processes)
        for _ in range(min(wanted - starting, self._num_processes - len(self._workers))):
            self._start()

    def _start(self) -> None:
        ours, theirs = self._context.Pipe()
        process = self._context.Process(
            target=_serve, args=(theirs,), name="avatargpt worker", daemon=True
        )
        process.start()
        theirs.close()
        self._workers.append(_Worker(process, ours, time.monotonic() + START_LIMIT_S))

    def _begin(self, worker: _Worker, call: Call) -> None:
        worker.call, worker.used = call, True
        worker.deadline_s = time.monotonic() + START_LIMIT_S
        try:
            worker.connection.send_bytes(call.pickled)
        except OSError:
            self._bury(worker)

    def _listen(self) -> None:
        connections = {worker.connection: worker for worker in self._workers}
        busy = any(not w.ready or w.call is not None for w in self._workers)
        found = wait([self._wake_receiver, *connections], WATCH_EVERY_S if busy else None)
        for connection in found:
            if connection is self._wake_receiver:
                self._wake_receiver.recv_bytes()
            else:
                self._take(connections[connection])  # pyright: ignore[reportArgumentType]

    def _take(self, worker: _Worker) -> None:
        try:
            message = worker.connection.recv_bytes()
        except (EOFError, OSError):
            self._bury(worker)
            return
        if message == _READY:
            worker.ready = True
            self._failed_starts = 0
        elif message == _BEGUN and worker.call is not None:
            worker.deadline_s = time.monotonic() + worker.call.limit_s
        elif worker.call is not None:
            worker.call.future.set_result(Returned(message))
            worker.call = None

    def _watch(self) -> None:
        now_s = time.monotonic()
        for worker in tuple(self._workers):
            call = worker.call
            if call is None:
                if not worker.ready and now_s > worker.deadline_s:
                    self._bury(worker)
                continue
            if call.dropped:
                self._kill(worker)
                call.future.cancel()
            elif now_s > worker.deadline_s:
                self._kill(worker)
                found = f"was still running after {call.limit_s:.0f} s and was stopped"
                call.future.set_result(Killed(Reason.DECODE_TIMEOUT, found))
            elif (used := _resident_bytes(worker.process.pid)) > self._memory_bytes:
                self._kill(worker)
                found = f"used {used / 1e9:.1f} GB of memory"
                call.future.set_result(Killed(Reason.OUT_OF_MEMORY, found))

    def _bury(self, worker: _Worker) -> None:
        """Remove a process that died, and settle its call."""
        # The pipe closes slightly before the exit code is available.
        worker.process.join(1.0)
        call, code = worker.call, worker.process.exitcode
        self._kill(worker)
        if call is not None:
            found = f"crashed its worker process (exit code {code})"
            call.future.set_result(Killed(Reason.WORKER_CRASHED, found))
        elif not worker.ready:
            self._failed_starts += 1
            if self._failed_starts >= MAX_FAILED_STARTS:
                raise PoolError(
                    f"worker processes: expected them to start, found that {MAX_FAILED_STARTS} in "
                    f"a row ended with exit code {code}. Remedy: see their messages above; a "
                    "script of your own needs `if __name__ == '__main__':` around its work."
                )

    def _kill(self, worker: _Worker) -> None:
        self._workers.remove(worker)
        worker.process.kill()
        worker.process.join()
        worker.process.close()
        worker.connection.close()


def _resident_bytes(pid: int | None) -> int:
    """Resident memory of a process; 0 if the system does not report it (not Linux)."""
    try:
        pages = Path(f"/proc/{pid}/statm").read_text().split()[1]
    except (OSError, IndexError):
        return 0
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


# -------------------------------------------------------------------------- worker processes


def _serve(connection: "Connection[Any, Any]") -> None:
    # Ctrl-C sends SIGINT to every process of the terminal; the parent decides when this one ends.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    leave_network()
    _die_with_parent()
    connection.send_bytes(_READY)
    while True:
        try:
            pickled = connection.recv_bytes()
        except (EOFError, ConnectionError):
            # The parent ended. The connection is reset if the parent was killed.
            return
        connection.send_bytes(_answer(pickled, connection))


def _answer(pickled: bytes, connection: "Connection[Any, Any]") -> bytes:
    try:
        # The data comes from our own parent. Unpickling imports the function's module.
        function, item = pickle.loads(pickled)  # noqa: S301
        connection.send_bytes(_BEGUN)
        return pickle.dumps(function(item))
    except ItemError as error:
        return pickle.dumps(error)
    except MemoryError:
        return pickle.dumps(
            ItemError(
                Reason.OUT_OF_MEMORY,
                "expected the item to fit into memory, found that it does not.",
                "Split the file, or give the machine more memory.",
            )
        )
    except Exception as error:  # noqa: BLE001 - one bad item must not stop the run
        if isinstance(error, OSError) and error.errno in DISK_FULL:
            return pickle.dumps(error)
        return pickle.dumps(UnexpectedItemError.of(error))


def _die_with_parent() -> None:
    """Exit when the parent ends, even if it was killed."""
    parent = multiprocessing.parent_process()
    if parent is None:
        raise RuntimeError("expected to run in a worker process, found the main process")

    def watch() -> None:
        wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
