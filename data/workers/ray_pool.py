"""A pool of workers on the machines of a Ray cluster.

One thread owns the workers. It gives a call only to a worker that is ready and free, one at a time,
and takes outcomes in the order in which they come. A call whose worker is lost, with its machine or
its connection, is queued again: no item is to blame for a machine. What an item does to its own
process is settled on its machine (:mod:`data.workers.ray_worker`).
"""

import logging
import math
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

from data.errors import Reason
from data.workers.calls import START_LIMIT_S, STOPPED, Call, Killed, PoolError, Returned
from data.workers.cluster import ClusterConfig, StageResources
from data.workers.ray_connection import brief, connect, disconnect, import_ray
from data.workers.ray_worker import RayWorker, code_version

LOOK_EVERY_S: Final = 1.0
"""Interval between two looks at the machines of the cluster and at the clocks."""
ANSWER_LIMIT_S: Final = 60.0
"""Time beyond the limit of a call after which a worker that says nothing counts as lost."""
MAX_LOST: Final = 3
"""A call that was lost so often with its worker is assumed to bring it down."""
MAX_FAILED_STARTS: Final = 5
"""After this many workers in a row were lost before they were ready, the pool gives up."""
IDLE_S: Final = 60.0
"""A worker without work gives its resources back after this time, or at once if another stage
waits for them."""
WARN_AFTER_S: Final = 30.0
"""A stage that has waited so long for its first worker says so in the log."""
CLOSE_LIMIT_S: Final = 10.0
"""How long closing waits for the owner thread, which may wait for a head that is gone."""

logger: Final = logging.getLogger(__name__)


@dataclass(slots=True, eq=False)
class _Worker:
    """An actor. ``machine`` is empty until it is ready."""

    actor: Any
    machine: str = ""
    call: Call | None = None
    deadline_s: float = math.inf
    free_since_s: float = math.inf


@dataclass(slots=True, eq=False)
class _Group:
    """Workers with the same resources and the calls that wait for them.

    Attributes:
        resources: what a worker occupies.
        limit: largest number of workers.
        room: number of workers for which the machines of the cluster have room.
        waiting: calls that wait for a worker.
        workers: workers that are ready, and those that are starting.
        starved_since_s: since when calls wait and no worker is ready.
        warned: whether the log says so.
    """

    resources: StageResources
    limit: int = 0
    room: int = 0
    waiting: deque[Call] = field(default_factory=deque[Call])
    workers: list[_Worker] = field(default_factory=list[_Worker])
    starved_since_s: float = math.inf
    warned: bool = False

    @property
    def ready(self) -> list[_Worker]:
        return [worker for worker in self.workers if worker.machine]


class RayPool:
    """A pool of workers in a cluster, which are started on demand.

    Args:
        cluster: address of the cluster, and what workers occupy.
        num_workers: largest number of workers with the same resources; 0 means as many as the
            cluster has room for.
        memory_gb: memory limit of a worker process; 0 means an equal share of its machine.

    Raises:
        ValueError: the package ``ray`` is not installed, or the cluster does not answer.
    """

    def __init__(
        self, cluster: ClusterConfig, num_workers: int = 0, memory_gb: float = 0.0
    ) -> None:
        self._ray = import_ray()
        self._actor_class: Any = self._ray.remote(RayWorker)
        self._cluster = cluster
        self._num_workers = num_workers
        self._memory_gb = memory_gb
        distinct = {r.model_dump_json(): r for r in (cluster.workers, *cluster.stages.values())}
        self._groups = {key: _Group(resources) for key, resources in distinct.items()}
        self._alone: deque[Call] = deque()
        self._reserved = ""
        self._events: queue.SimpleQueue[Callable[[], object]] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._closed = False
        self._failed_starts = 0
        self._looked_s = -math.inf
        self._own_machine = ""
        connected: Future[None] = Future()
        self._thread = threading.Thread(
            target=self._own, args=(connected,), name="cluster", daemon=True
        )
        self._thread.start()
        connected.result()

    def capacity(self, stage: str) -> int:
        """Return how many calls of a stage can run at once; at least 1."""
        return max(1, self._group(stage).limit)

    def submit(self, call: Call) -> None:
        """Queue a call.

        Raises:
            PoolError: the pool is closed.
        """
        with self._lock:
            if self._closed:
                raise PoolError(STOPPED)
            self._events.put(partial(self._queue, call))

    def drop(self, call: Call) -> None:
        """Cancel a call: remove it from the queue, or kill its worker."""
        call.dropped = True
        self._events.put(partial(self._drop, call))

    def close(self) -> None:
        """Kill all workers at once; unfinished calls fail with :class:`PoolError`."""
        with self._lock:
            self._closed = True
        self._events.put(lambda: None)
        self._thread.join(CLOSE_LIMIT_S)

    def _group(self, stage: str) -> _Group:
        return self._groups[self._cluster.of_stage(stage).model_dump_json()]

    # ----------------------------------------------------------------------------- owner thread

    def _own(self, connected: "Future[None]") -> None:
        # Ray replaces the SIGTERM handler of the process when it is started in the main thread.
        try:
            connect(self._ray, self._cluster, self._num_workers)
        except Exception as error:  # noqa: BLE001 - raised in the thread that opens the pool
            connected.set_exception(error)
            return
        try:
            self._own_machine = self._ray.get_runtime_context().get_node_id()
            self._look()
            connected.set_result(None)
            while not self._closed:
                self._hand_out()
                self._listen()
                if time.monotonic() - self._looked_s > LOOK_EVERY_S:
                    self._look()
                    self._watch()
            self._end(PoolError(STOPPED))
        except Exception as error:  # noqa: BLE001 - passed on to every waiting caller
            if not connected.done():
                connected.set_exception(error)
            self._end(error)
        finally:
            disconnect(self._ray)

    def _end(self, error: Exception) -> None:
        """Kill all workers, and fail all calls."""
        with self._lock:
            self._closed = True
        # Calls that were submitted and not yet queued.
        while not self._events.empty():
            with suppress(PoolError):
                self._events.get()()
        calls = [*self._alone]
        for group in self._groups.values():
            calls += group.waiting
            for worker in tuple(group.workers):
                calls += [worker.call] if worker.call is not None else []
                self._remove(group, worker)
        for call in calls:
            if not call.future.done():
                call.future.set_exception(error)

    def _listen(self) -> None:
        """Wait for events, and act on them."""
        busy = self._alone or any(group.waiting or group.workers for group in self._groups.values())
        try:
            event = self._events.get(timeout=LOOK_EVERY_S if busy else None)
            while True:
                event()
                event = self._events.get_nowait()
        except queue.Empty:
            return

    def _queue(self, call: Call) -> None:
        (self._alone if call.alone else self._group(call.stage).waiting).append(call)

    def _drop(self, call: Call) -> None:
        waiting = self._alone if call.alone else self._group(call.stage).waiting
        if call in waiting:
            waiting.remove(call)
        for group in self._groups.values():
            for worker in tuple(group.workers):
                if worker.call is call:
                    self._settled(worker)
                    self._remove(group, worker)
        call.future.cancel()

    # ---------------------------------------------------------------------------------- calls

    def _hand_out(self) -> None:
        self._hand_out_alone()
        for group in self._groups.values():
            free = [w for w in group.ready if w.call is None and w.machine != self._reserved]
            while group.waiting and free:
                worker = free.pop()
                if self._yields(group):
                    self._remove(group, worker)
                else:
                    self._begin(group, worker, group.waiting.popleft())
            starting = len(group.workers) - len(group.ready)
            wanted = min(len(group.waiting) - starting, group.limit - len(group.workers))
            for _ in range(wanted):
                self._start(group)

    def _yields(self, group: _Group) -> bool:
        """Whether a free worker makes room for another stage that has none."""
        others = (other for other in self._groups.values() if other is not group)
        return len(group.ready) > 1 and any(self._starves(one) and one.workers for one in others)

    def _starves(self, group: _Group) -> bool:
        """Whether calls wait, and no worker is there to take them."""
        waits = group.waiting or any(self._group(call.stage) is group for call in self._alone)
        return bool(waits) and not group.ready

    def _hand_out_alone(self) -> None:
        """Begin the next call that runs alone, once the machine kept free for it is idle."""
        if any(worker.call is not None and worker.call.alone for worker in self._all()):
            return
        if not self._alone:
            self._reserved = ""
            return
        group = self._group(self._alone[0].stage)
        ready = group.ready
        if not ready:
            if not group.workers and group.limit:
                self._start(group)
            return
        busy = [worker.machine for worker in self._all() if worker.call is not None]
        if self._reserved not in {worker.machine for worker in ready}:
            self._reserved = min({worker.machine for worker in ready}, key=busy.count)
        if self._reserved not in busy:
            worker = next(worker for worker in ready if worker.machine == self._reserved)
            self._begin(group, worker, self._alone.popleft())

    def _begin(self, group: _Group, worker: _Worker, call: Call) -> None:
        worker.call = call
        worker.deadline_s = time.monotonic() + START_LIMIT_S + call.limit_s + ANSWER_LIMIT_S
        answer = worker.actor.run.remote(call.pickled, call.limit_s, call.alone, call.shared)
        self._when_done(answer, partial(self._take, group, worker))

    def _take(self, group: _Group, worker: _Worker, done: "Future[Returned | Killed]") -> None:
        """Settle the call of a worker that answered or was lost."""
        call = worker.call
        if call is None or worker not in group.workers:
            return
        error = done.exception()
        if isinstance(error, PoolError):
            raise error
        if error is not None:
            self._lose(group, worker, error)
            return
        self._settled(worker)
        call.future.set_result(done.result())

    def _settled(self, worker: _Worker) -> None:
        worker.call, worker.deadline_s = None, math.inf
        worker.free_since_s = time.monotonic()

    def _lose(self, group: _Group, worker: _Worker, why: object) -> None:
        """Remove a worker that was lost, and queue its call again."""
        call = worker.call
        self._settled(worker)
        self._remove(group, worker)
        if call is None:
            return
        call.num_lost += 1
        logger.warning("a worker of the cluster was lost; its item is done again: %s", brief(why))
        if call.num_lost >= MAX_LOST:
            found = f"lost its worker {MAX_LOST} times, at last with: {brief(why)}"
            call.future.set_result(Killed(Reason.WORKER_CRASHED, found))
        else:
            (self._alone if call.alone else group.waiting).appendleft(call)

    # -------------------------------------------------------------------------------- workers

    def _all(self) -> Iterable[_Worker]:
        return (worker for group in self._groups.values() for worker in group.workers)

    def _start(self, group: _Group) -> None:
        resources = group.resources
        actor = self._actor_class.options(
            num_cpus=resources.num_cpus,
            num_gpus=resources.num_gpus,
            resources=resources.resources,
            max_restarts=0,
            max_task_retries=0,
        ).remote(resources.memory_gb or self._memory_gb)
        worker = _Worker(actor)
        group.workers.append(worker)
        answer = actor.ready.remote(code_version())
        self._when_done(answer, partial(self._greet, group, worker))

    def _greet(self, group: _Group, worker: _Worker, done: "Future[str]") -> None:
        """Take note of a worker that is ready, or was lost before."""
        if worker not in group.workers:
            return
        error = done.exception()
        if error is None:
            worker.machine, worker.free_since_s = done.result(), time.monotonic()
            self._failed_starts = 0
            return
        if isinstance(error, PoolError):
            raise error
        self._remove(group, worker)
        self._failed_starts += 1
        if self._failed_starts >= MAX_FAILED_STARTS:
            raise PoolError(
                f"cluster: expected workers to start, found that {MAX_FAILED_STARTS} in a row did "
                f"not, the last one with: {brief(error)} Remedy: install the same version of this "
                "package and of Ray on every machine; see /tmp/ray/session_latest/logs there."
            )

    def _when_done(self, answer: Any, then: Callable[[Any], object]) -> None:
        """Call a function in the owner thread when Ray has an answer or an error."""
        answer.future().add_done_callback(lambda done: self._events.put(partial(then, done)))

    def _remove(self, group: _Group, worker: _Worker) -> None:
        group.workers.remove(worker)
        try:
            self._ray.kill(worker.actor)
        except self._ray.exceptions.RayError:
            logger.debug("cannot kill a worker that was lost", exc_info=True)

    # -------------------------------------------------------------------------------- cluster

    def _look(self) -> None:
        """Look at the machines of the cluster: how many workers they have room for, who is gone.

        Raises:
            PoolError: the cluster, or the Ray of this machine, does not answer any more.
        """
        self._looked_s = time.monotonic()
        try:
            alive = {n["NodeID"]: n["Resources"] for n in self._ray.nodes() if n["Alive"]}
        except self._ray.exceptions.RayError as error:
            raise _lost(error) from error
        if self._own_machine not in alive:
            raise _lost("Ray on this machine has ended")
        for group in self._groups.values():
            resources = group.resources
            group.room = sum(_room(resources, machine) for machine in alive.values())
            group.limit = resources.max_workers or min(group.room, self._num_workers or group.room)
            for worker in tuple(group.ready):
                # Whoever works there gets an error of its own.
                if worker.machine not in alive and worker.call is None:
                    self._remove(group, worker)

    def _watch(self) -> None:
        """Give back what nobody needs, and notice who waits in vain or says nothing."""
        now_s = time.monotonic()
        hungry = [group for group in self._groups.values() if self._starves(group)]
        for group in self._groups.values():
            for worker in tuple(group.workers):
                if now_s > worker.deadline_s:
                    self._lose(group, worker, "it did not answer in time")
                elif not group.waiting and worker.call is None and worker.machine:
                    wanted = any(other is not group for other in hungry)
                    if wanted or now_s - worker.free_since_s > IDLE_S:
                        self._remove(group, worker)
            self._watch_starving(group, now_s)

    def _watch_starving(self, group: _Group, now_s: float) -> None:
        if not self._starves(group):
            group.starved_since_s, group.warned = math.inf, False
            return
        group.starved_since_s = min(group.starved_since_s, now_s)
        waited_s = now_s - group.starved_since_s
        needs = group.resources.model_dump_json(include={"num_cpus", "num_gpus", "resources"})
        if not group.room and waited_s > self._cluster.wait_s:
            raise PoolError(
                f"cluster: expected a machine with room for a worker of {needs}, found none for "
                f"{waited_s:.0f} s. Remedy: start a machine with these resources (`ray start "
                "--address=HOST:PORT --num-cpus=…`), or ask for fewer in workers.cluster."
            )
        if waited_s > WARN_AFTER_S and not group.warned:
            group.warned = True
            logger.warning("waiting for a machine of the cluster with room for %s", needs)


def _room(needed: StageResources, machine: dict[str, float]) -> int:
    """Return how many workers fit on a machine; workers that need nothing fit once per CPU."""
    wants = {"CPU": needed.num_cpus, "GPU": needed.num_gpus, **needed.resources}
    fits = [machine.get(name, 0.0) / count for name, count in wants.items() if count > 0]
    return int(min(fits, default=machine.get("CPU", 0.0)) + 1e-6)


def _lost(why: object) -> PoolError:
    return PoolError(
        f"cluster: expected it to answer, found: {brief(why)}. Remedy: see that its head and Ray "
        "on this machine run, and run the same command again; finished work is kept."
    )
