"""Workers in a Ray cluster: the contract of one machine, and machines that vanish.

One cluster serves all tests, which follow each other: it has two machines with a CPU each, of which
one is killed, and another is added.
"""

import subprocess
import sys
from collections.abc import Generator
from pathlib import Path
from typing import Any

import psutil
import pytest

from benchmarks.support.ray_cluster import LocalCluster, local_cluster
from data.errors import ItemError, Reason
from data.workers.calls import Pool, PoolError
from data.workers.cluster import ClusterConfig, StageResources
from data.workers.workers import WorkerConfig, Workers, open_pool
from tests.support.worker_items import (
    fail,
    log_and_hang,
    machine_of,
    once_and_slowly,
    pid_or_nothing,
    running,
    sleep,
    surroundings,
    wait_for,
    work,
    written_pids,
)

VARIABLE = "A_SECRET_OF_THE_RUN"


@pytest.fixture(scope="module")
def cluster() -> Generator[LocalCluster]:
    with local_cluster(2) as started:
        yield started


@pytest.fixture(scope="module")
def config(cluster: LocalCluster) -> WorkerConfig:
    return WorkerConfig(
        executor="ray",
        cluster=ClusterConfig(address=cluster.address),
        timeout_per_video_s=0.001,
    )


@pytest.fixture(scope="module")
def folder_of_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a package of the user's, whose name is that of one of ours."""
    folder = tmp_path_factory.mktemp("run")
    (folder / "data").mkdir()
    (folder / "data" / "__init__.py").write_text("raise ImportError('not ours')")
    return folder


@pytest.fixture(scope="module")
def pool(config: WorkerConfig, folder_of_run: Path) -> Generator[Pool]:
    """Workers of the tests that need none of their own, of a run with a secret."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder_of_run)
        patch.setenv(VARIABLE, "sesame")
        pool = open_pool(config)
        yield pool
        pool.close()


def _hasty(config: WorkerConfig, limit_s: float) -> WorkerConfig:
    return config.model_copy(update={"min_timeout_s": limit_s})


def _with(config: WorkerConfig, **cluster: Any) -> WorkerConfig:
    return config.model_copy(update={"cluster": config.cluster.model_copy(update=cluster)})


def test_items_end_as_on_one_machine(config: WorkerConfig, pool: Pool) -> None:
    items = ["a", "hang", "b", "crash", "c", "bad", "d", "bug"]
    hasty = _hasty(config, 3.0)
    local = hasty.model_copy(update={"executor": "local", "cluster": ClusterConfig()})
    there = {item: str(result) for item, result in Workers(hasty, pool=pool).run(work, items)}
    with Workers(local) as workers:
        assert there == {item: str(result) for item, result in workers.run(work, items)}
    assert there["a"] == "A"


def test_what_crashed_or_hung_is_tried_once_more_alone(
    config: WorkerConfig, pool: Pool, tmp_path: Path
) -> None:
    names = ["hang", "once", *(f"good{number}" for number in range(6))]
    items = [str(tmp_path / name) for name in names]
    workers = Workers(_hasty(config, 2.0), pool=pool)
    results = {Path(item).name: r for item, r in workers.run(log_and_hang, items)}
    error = results.pop("hang")
    assert results == dict.fromkeys(names[1:], "done")
    assert isinstance(error, ItemError)
    assert error.reason is Reason.DECODE_TIMEOUT
    lines = [line.split() for line in (tmp_path / "log").read_text().splitlines()]
    tail = lines[-3:]
    assert {name for name, _, _ in tail} == {"hang", "once"}
    assert not {process for _, _, process in tail} & {process for _, _, process in lines[:-3]}


def test_a_machine_or_an_actor_that_dies_loses_no_item(
    cluster: LocalCluster, config: WorkerConfig, pool: Pool, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    done: list[object] = []
    items = [(str(tmp_path), number) for number in range(24)]
    for _, result in Workers(config, pool=pool).run(once_and_slowly, items):
        done.append(result)
        if len(done) == 4:
            cluster.kill(0)
        if len(done) == 12:
            # Its own process ends with it.
            actor = int(log.read_text().splitlines()[-1].split()[2])
            psutil.Process(actor).kill()
    assert sorted(map(str, done)) == sorted(map(str, range(24)))
    lines = [line.split() for line in log.read_text().splitlines()]
    actors = [int(actor) for _, _, actor in lines]
    assert len({*actors}) >= 3
    # The last one waits for more work.
    ended = {int(process) for _, process, actor in lines if int(actor) != actors[-1]}
    ended |= {*actors} - {actors[-1]}
    assert wait_for(lambda: not any(running(pid) for pid in ended))


def test_workers_have_neither_secrets_nor_the_folder_of_the_run(
    config: WorkerConfig, pool: Pool, folder_of_run: Path
) -> None:
    ((_, found),) = Workers(config, pool=pool).run(surroundings, [VARIABLE])
    assert not isinstance(found, ItemError), found
    secret, threads, path, has_ray = found
    assert (secret, threads, has_ray) == (None, "1", False)
    assert str(folder_of_run) not in path


def test_a_run_stops_when_many_items_end_unexpectedly(config: WorkerConfig, pool: Pool) -> None:
    with pytest.raises(RuntimeError, match="stopped early"):
        list(Workers(config, pool=pool).run(fail, range(1000)))


def test_a_machine_that_does_not_see_the_files_of_the_run_ends_it(
    config: WorkerConfig, pool: Pool
) -> None:
    """The last test with these workers, which it ends."""
    workers = Workers(config, pool=pool, shared=(Path("/only/here"),))
    expected = r"machine .* of the cluster: expected /only/here .* Remedy: .* same path"
    with pytest.raises(PoolError, match=expected):
        list(workers.run(work, ["a"]))


def test_stages_with_other_resources_have_workers_of_their_own(
    cluster: LocalCluster, config: WorkerConfig
) -> None:
    special = cluster.add(pose=1)
    stages = {
        "poses": StageResources(resources={"pose": 1}, max_workers=1),
        "captions": StageResources(num_gpus=1),
    }
    with Workers(_with(config, stages=stages, wait_s=0.5)) as workers:
        anywhere = workers.run(machine_of, range(12), stage="clips")
        first = next(anywhere)
        # All CPUs are busy; a stage without any worker is given one.
        there = {machine for _, machine in workers.run(machine_of, range(4), stage="poses")}
        assert there == {cluster.raylet(special)}
        assert len({machine for _, machine in [first, *anywhere]}) >= 2
        with pytest.raises(PoolError, match=r'room for a worker of .*"num_gpus":1.* found none'):
            list(workers.run(work, ["a"], stage="captions"))


def test_closing_and_leaving_end_items_in_progress(config: WorkerConfig, tmp_path: Path) -> None:
    workers = Workers(config)
    results = workers.run(sleep, [0.0, 600.0], video_s=lambda _: 0.0)
    assert next(results) == (0.0, "done")
    results.close()
    files = [tmp_path / "a", tmp_path / "b"]
    waiting = workers.run(pid_or_nothing, ["", *map(str, files)])
    assert next(waiting)[0] == ""
    pids = written_pids(files[:1])
    workers.close()
    with pytest.raises(PoolError, match="stopped"):
        next(waiting)
    assert wait_for(lambda: not any(running(pid) for pid in pids))
    with pytest.raises(PoolError, match="stopped"):
        list(workers.run(sleep, [0.0]))


_RUN = """
import sys
sys.path.insert(0, sys.argv[1])
from data.workers.workers import WorkerConfig, Workers
from tests.support.worker_items import pid_and_wait
with Workers(WorkerConfig.model_validate_json(sys.argv[2])) as workers:
    list(workers.run(pid_and_wait, sys.argv[3:]))
"""


def test_workers_die_with_a_killed_run(
    config: WorkerConfig, folder_of_run: Path, tmp_path: Path
) -> None:
    script = folder_of_run / "run.py"
    script.write_text(_RUN)
    root, files = Path(__file__).parents[3], [tmp_path / "a", tmp_path / "b"]
    options = [str(root), config.model_dump_json(), *map(str, files)]
    run = subprocess.Popen([sys.executable, str(script), *options])
    pids = written_pids(files)
    run.kill()
    run.wait()
    assert wait_for(lambda: not any(running(pid) for pid in pids))


def test_what_cannot_be_reached_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    nobody = ClusterConfig(address="127.0.0.1:9")
    with pytest.raises(
        ValueError, match=r"127.0.0.1:9 .* found: .*refused.* Remedy: start its head"
    ):
        Workers(WorkerConfig(executor="ray", cluster=nobody))
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ValueError, match=r"expected the package ray, found none\. Remedy: install"):
        Workers(WorkerConfig(executor="ray"))


@pytest.mark.parametrize("address", ["ray://head:10001", "head", "user@head:6379"])
def test_only_addresses_of_heads_are_taken(address: str) -> None:
    with pytest.raises(ValueError, match=r"expected HOST:PORT .* Remedy"):
        ClusterConfig(address=address)
