"""The local server: one command up and down, its token, and what a page in a browser cannot do."""

import functools
import http.server
import json
import os
import queue
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final

import httpx2
import psutil
import pytest
from prefect.settings import PREFECT_API_DATABASE_CONNECTION_URL
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect
from websockets.typing import Subprotocol

from flows.commands.server import POOLS
from flows.commands.server import up as run_up
from flows.server.prefect_plugin import local_environment
from flows.server.process import (
    LocalServer,
    ask,
    free_port,
    own_token,
    recorded_server,
    runs,
    use_some_server,
    write_server,
)
from flows.settings import LOOPBACK_API_URL, Settings
from tests.support.runs import vqvae_config
from training.checkpoints import CheckpointStore
from training.loop import read_metrics
from training.tokenizer.motion_tokenizer import KIND

ROOT: Final = Path(__file__).parents[3]
AVATARGPT: Final = str(Path(sys.executable).with_name("avatargpt"))
PREFECT: Final = str(Path(sys.executable).with_name("prefect"))
NAMES: Final = ("server", *(f"worker-{pool}" for pool in POOLS))
LIMIT_S: Final = 120.0
BROWSER: Final = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), ""
)


@dataclass(frozen=True)
class Up:
    """What `avatargpt up` started, and said."""

    server: LocalServer
    run_dir: Path
    env: dict[str, str]
    output: str

    def pids(self) -> list[int]:
        return [int((self.run_dir / f"{name}.pid").read_text()) for name in NAMES]

    def client(self, **headers: str) -> httpx2.Client:
        """A client without the token."""
        return httpx2.Client(base_url=self.server.api_url, headers=headers, timeout=30)

    def own_client(self) -> httpx2.Client:
        auth = httpx2.BasicAuth(*self.server.token.split(":", 1))
        return httpx2.Client(base_url=self.server.api_url, auth=auth, timeout=30)


def _migrated_home(folder: Path) -> Path:
    """A Prefect home with an empty database, taken from the tests' own server: made in no time."""
    folder.mkdir()
    source = PREFECT_API_DATABASE_CONNECTION_URL.value().split("///", 1)[1]
    with (
        closing(sqlite3.connect(source)) as database,
        closing(sqlite3.connect(folder / "prefect.db")) as copy,
    ):
        database.backup(copy)
    return folder


def environment(folder: Path) -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith("PREFECT_")}
    home = str(_migrated_home(folder / "prefect"))
    return kept | {"AVATARGPT_HOME": str(folder / "home"), "PREFECT_HOME": home}


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Generator[Up]:
    folder = tmp_path_factory.mktemp("server")
    # Workers look for runs every ten seconds by default.
    env = environment(folder) | {"PREFECT_WORKER_QUERY_SECONDS": "2"}
    port = free_port()
    done = _avatargpt(env, "up", "--port", str(port))
    assert done.returncode == 0, done.stderr
    run_dir = folder / "home" / "run"
    token = (run_dir / "token").read_text()
    yield Up(LocalServer(port, token), run_dir, env, done.stdout)
    _avatargpt(env, "down")


def _avatargpt(env: dict[str, str], *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [AVATARGPT, *arguments], cwd=ROOT, env=env, capture_output=True, text=True, check=False
    )


# -------------------------------------------------------------------------------- up and down


def test_up_says_little_and_gives_a_link(started: Up) -> None:
    assert started.output.splitlines() == [
        "Starting the Prefect server (the first time takes half a minute) …",
        f"Prefect UI: {started.server.link}",
        f"Logs: {started.run_dir}",
        "Run:  prefect deployment run annotate-videos/local "
        """-p 'config={"videos": ["/DIR"], "dataset": "/DIR"}'""",
        "Stop: avatargpt down",
    ]
    assert ask(started.server.api_url, started.server.token) == "ready"
    with started.own_client() as client:
        pools = client.post("/work_pools/filter", json={}).json()
        assert {"cpu", "gpu"} <= {pool["name"] for pool in pools}
        deployments = client.post("/deployments/filter", json={}).json()
        (automation,) = client.post("/automations/filter", json={}).json()[:1]
    assert {"annotate-videos", "train-all"} <= {deployment["name"] for deployment in deployments}
    assert automation["enabled"]
    assert automation["trigger"]["posture"] == "Proactive"


def test_up_again_starts_only_what_does_not_run(started: Up) -> None:
    server, cpu_worker, gpu_worker = started.pids()
    psutil.Process(cpu_worker).kill()
    again = _avatargpt(started.env, "up", "--port", str(started.server.port))
    assert again.returncode == 0, again.stderr
    first_line = again.stdout.splitlines()[0]
    assert first_line == f"The Prefect server at {started.server.api_url} is already running."
    assert again.stdout.splitlines()[1:] == started.output.splitlines()[1:]
    now = started.pids()
    assert (now[0], now[2]) == (server, gpu_worker)
    assert now[1] != cpu_worker
    command = psutil.Process(now[1]).cmdline()
    assert command[-5:] == ["start", "--pool", "cpu", "--name", "local-cpu"]
    other = _avatargpt(started.env, "up", "--port", str(free_port()))
    assert other.returncode == 2
    assert f"expected {started.server.port}, where our server is already running" in other.stderr


def test_the_token_is_its_owners_only(started: Up) -> None:
    token_file = started.run_dir / "token"
    assert stat.S_IMODE(token_file.stat().st_mode) == 0o600
    secret = started.server.token.encode()
    assert len(secret) > 40
    logs = list(started.run_dir.glob("*.log"))
    assert len(logs) >= 3
    assert not [log for log in logs if secret in log.read_bytes()]
    commands = [Path(f"/proc/{pid}/cmdline").read_bytes() for pid in started.pids()]
    assert b"flows.server.app" in commands[0]
    assert not [command for command in commands if secret in command]


def test_only_loopback_is_listened_on(started: Up) -> None:
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    rows += [line.split() for line in Path("/proc/net/tcp6").read_text().splitlines()[1:]]
    port = f":{started.server.port:04X}"
    listening = {row[1] for row in rows if row[1].endswith(port) and row[3] == "0A"}
    assert listening == {f"0100007F{port}"}


@contextmanager
def _served(handler: Callable[..., http.server.SimpleHTTPRequestHandler]) -> Generator[int]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as service:
        threading.Thread(target=service.serve_forever, daemon=True).start()
        yield service.server_address[1]
        service.shutdown()


def test_another_service_on_the_port_is_no_prefect(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "environ", dict(os.environ) | {"AVATARGPT_HOME": str(tmp_path)})
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(tmp_path))
    with _served(handler) as port:
        assert ask(f"http://127.0.0.1:{port}/api") == "foreign"
        with pytest.raises(ValueError, match=rf"port {port}: .* not Prefect.*--port"):
            run_up(port=port)
    assert ask(f"http://127.0.0.1:{port}/api") == "silent"


def test_a_process_of_another_program_is_not_ours() -> None:
    assert not runs(os.getpid(), "flows.server.app")


# ------------------------------------------------------------------------------------- the token


def test_commands_find_server_and_token_by_themselves(
    started: Up, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As a user types it in the project's folder, whose settings name another port.
    listed = subprocess.run(
        [PREFECT, "deployment", "ls"],
        cwd=ROOT,
        env=started.env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert listed.returncode == 0, listed.stderr
    assert "train-all/tiny" in listed.stdout
    # Our own commands, which run in any folder.
    monkeypatch.setattr(os, "environ", dict(started.env))
    use_some_server()
    assert os.environ["PREFECT_API_URL"] == started.server.api_url
    assert os.environ["PREFECT_API_AUTH_STRING"] == started.server.token


def test_the_token_goes_to_no_other_server(started: Up, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "environ", dict(started.env))
    assert recorded_server() == started.server
    assert local_environment(LOOPBACK_API_URL) == started.server.client_environment
    assert local_environment(started.server.api_url) == started.server.client_environment
    assert local_environment("https://prefect.invalid/api") == {}
    os.environ["PREFECT_API_URL"] = LOOPBACK_API_URL
    assert local_environment(LOOPBACK_API_URL) == {}


def test_a_server_that_refuses_us_is_said_so(started: Up, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = {"PREFECT_API_URL": started.server.api_url, "PREFECT_API_AUTH_STRING": "wrong:token"}
    monkeypatch.setattr(os, "environ", started.env | wrong)
    with pytest.raises(ValueError, match=r"rejects it\..*PREFECT_API_AUTH_STRING"):
        use_some_server()


@pytest.mark.parametrize("quiet", [False, True])
def test_quiet_tells_of_no_server(
    quiet: bool,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    begun = LocalServer(free_port(), "avatargpt:token")
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    # Nobody listens where the recorded server was.
    monkeypatch.setattr(os, "environ", {**clean, "AVATARGPT_HOME": str(tmp_path)})
    own_token(Settings().run_dir)
    write_server(begun, Settings().run_dir)
    # Starting one takes half a minute, and tells nothing of its own.
    monkeypatch.setattr("flows.server.process.start_temporary_server", lambda _: begun)
    use_some_server(quiet=quiet)
    assert ("Starting a Prefect server" in capsys.readouterr().err) is not quiet
    assert os.environ["PREFECT_API_URL"] == begun.api_url


_ONE_RUN = """
import os, sys, time
from flows.server.process import start_temporary_server
from pathlib import Path
server = start_temporary_server(Path(sys.argv[1]))
print(server.port, server.token, flush=True)
time.sleep(600)
"""


def test_a_runs_own_server_asks_for_a_token_and_ends_with_it(started: Up, tmp_path: Path) -> None:
    log = tmp_path / "server.log"
    run = subprocess.Popen(
        [sys.executable, "-c", _ONE_RUN, str(log)],
        env=started.env | {"PREFECT_HOME": str(_migrated_home(tmp_path / "prefect"))},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert run.stdout is not None
    port, token = run.stdout.readline().split()
    server = LocalServer(int(port), token)
    assert ask(server.api_url, token) == "ready"
    assert ask(server.api_url, started.server.token) == "refuses"
    assert ask(server.api_url) == "refuses"
    run.kill()
    run.wait()
    _wait_for(lambda: ask(server.api_url) == "silent")
    assert token not in log.read_text()


def test_two_servers_may_start_at_once_on_a_new_machine(started: Up, tmp_path: Path) -> None:
    # Each begins with the tables of the one database that neither has made yet.
    runs = [
        subprocess.Popen(
            [sys.executable, "-c", _ONE_RUN, str(tmp_path / f"server-{number}.log")],
            env=started.env | {"PREFECT_HOME": str(tmp_path / "prefect")},
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(2)
    ]
    for run in runs:
        assert run.stdout is not None
        port, token = run.stdout.readline().split()
        assert ask(LocalServer(int(port), token).api_url, token) == "ready"
    for run in runs:
        run.kill()
        run.wait()


def _wait_for(condition: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < deadline_s, "it did not happen"
        time.sleep(0.25)


# ------------------------------------------------------------------------- pages in a browser


def test_the_api_answers_nobody_without_the_token(started: Up) -> None:
    foreign = f"http://127.0.0.1:{free_port()}"
    with started.client(Origin=foreign) as client:
        for path in ("/flows/", "/deployments/", "/flow_runs/filter", "/deployments/filter"):
            # As a form posts it, and as a script does.
            assert client.post(path, content='{"name": "evil"}').status_code == 401
            assert client.post(path, json={"name": "evil"}).status_code == 401
        reply = client.get("/health")
        preflight = client.options(
            "/deployments/",
            headers={
                "Access-Control-Request-Method": "POST",
                "Access-Control-Request-Headers": "authorization,content-type",
            },
        )
        for answer in (reply, preflight):
            assert "access-control-allow-origin" not in answer.headers
            # A page of another port is the same site: a cookie would come along with its requests.
            assert "set-cookie" not in answer.headers
            assert answer.headers["x-frame-options"] == "DENY"
    own = f"http://127.0.0.1:{started.server.port}"
    with started.client(Origin=own) as client:
        assert client.get("/health").headers["access-control-allow-origin"] == own


@pytest.mark.parametrize("path", ["events/in", "events/out", "logs/out"])
def test_no_stream_is_open_without_the_token(started: Up, path: str) -> None:
    url = f"{started.server.api_url.replace('http', 'ws')}/{path}"
    with connect(url, subprotocols=[Subprotocol("prefect")]) as stream:
        stream.send(json.dumps({"type": "auth", "token": "guess"}))
        with pytest.raises(ConnectionClosed) as refused:
            stream.send(json.dumps({"type": "filter", "filter": {}}))
            while "auth_success" not in str(stream.recv(timeout=30)):
                pass
    assert refused.value.rcvd is not None
    assert refused.value.rcvd.code == 1008


_PAGE = """<!doctype html><title>evil</title>
<iframe name="form"></iframe><iframe id="ui"></iframe>
<form target="form" method="post" enctype="text/plain" action="UI/api/flows/">
<input name='{"name": "evil-form", "tags": ["' value='"]}'></form>
<script>
const api = "UI/api", seen = {};
const json = {"Content-Type": "application/json"};
async function attempt(name, work) {
  try { seen[name] = await work(); } catch (error) { seen[name] = "refused"; }
}
async function post(path, body, more) {
  const reply = await fetch(
    api + path, {method: "POST", headers: json, body: JSON.stringify(body), ...more});
  return {status: reply.status, text: await reply.text()};
}
(async () => {
  await attempt("read", () => post("/flow_runs/filter", {}));
  await attempt("read with credentials",
    () => post("/flow_runs/filter", {}, {credentials: "include"}));
  await attempt("create", async () => {
    const flow = JSON.parse((await post("/flows/", {name: "evil-flow"})).text);
    return post("/deployments/", {name: "evil", flow_id: flow.id});
  });
  await attempt("no-cors", async () => {
    const reply = await fetch(api + "/flows/", {method: "POST", mode: "no-cors",
      headers: {"Content-Type": "text/plain"}, body: '{"name": "evil-no-cors"}'});
    return (await reply.text()).length;
  });
  await attempt("stream", () => new Promise((opened, refused) => {
    const stream = new WebSocket(api.replace("http", "ws") + "/events/out", "prefect");
    stream.onopen = () => stream.send(JSON.stringify({type: "auth", token: null}));
    stream.onmessage = told => told.data.includes("auth_success") ? opened("open") : refused();
    stream.onclose = refused;
  }));
  await attempt("form", async () => {
    const answer = new Promise(done => document.getElementsByName("form")[0].onload = done);
    document.forms[0].submit();
    await answer;
    return "sent";
  });
  await attempt("frame", async () => {
    const ui = document.getElementById("ui"), loaded = new Promise(done => ui.onload = done);
    ui.src = "UI/runs";
    await loaded;
    return ui.contentDocument.title;
  });
  fetch("/seen", {method: "POST", body: JSON.stringify(seen)});
})();
</script>"""


def _chromium(profile: Path, *arguments: str) -> list[str]:
    # Containers have no user namespaces and little shared memory.
    flags = ("--headless", "--disable-gpu", "--no-sandbox", "--disable-dev-shm-usage")
    return [BROWSER, *flags, "--no-first-run", f"--user-data-dir={profile}", *arguments]


def _shown(url: str, profile: Path) -> str:
    """A page as headless Chromium shows it when nothing more comes, as HTML."""
    command = _chromium(profile, "--virtual-time-budget=20000", "--dump-dom", url)
    return subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=LIMIT_S
    ).stdout


def _seen_by_page(folder: Path, name: str, profile: Path) -> dict[str, Any]:
    """What a page of another port tells of what it tried."""
    told: queue.Queue[bytes] = queue.Queue()

    class Handler(http.server.SimpleHTTPRequestHandler):
        def do_POST(self) -> None:
            told.put(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(HTTPStatus.NO_CONTENT)
            self.end_headers()

    with _served(functools.partial(Handler, directory=str(folder))) as port:
        page = f"http://127.0.0.1:{port}/{name}"
        # Kept open, since real time passes until sockets are refused.
        browser = subprocess.Popen(
            _chromium(profile, "--remote-debugging-port=0", page), stderr=subprocess.DEVNULL
        )
        try:
            return json.loads(told.get(timeout=LIMIT_S))
        finally:
            browser.terminate()
            browser.wait()


@pytest.mark.skipif(
    not BROWSER, reason="no Chromium here (apt-get install chromium); the API's answers are tested"
)
def test_a_page_in_chromium_neither_reads_nor_creates(started: Up, tmp_path: Path) -> None:
    profile = tmp_path / "profile"
    own = f"http://127.0.0.1:{started.server.port}"
    # The user opens the printed link: the UI works, and this browser holds the token from now on.
    _shown(started.server.link, profile)
    shown = _shown(f"{own}/deployments", profile)
    # The first page, by name.
    assert "import-motions" in shown
    assert "annotate-videos" in shown
    # Then, in the same browser, a page of another port.
    folder = tmp_path / "pages"
    folder.mkdir()
    (folder / "evil.html").write_text(_PAGE.replace("UI", own))
    seen = _seen_by_page(folder, "evil.html", profile)
    # An opaque reply has no text.
    assert seen.pop("no-cors") == 0
    assert seen.pop("form") == "sent"
    assert seen == dict.fromkeys(
        ("read", "read with credentials", "create", "stream", "frame"), "refused"
    )
    with started.own_client() as client:
        flows = [flow["name"] for flow in client.post("/flows/filter", json={}).json()]
        deployments = [d["name"] for d in client.post("/deployments/filter", json={}).json()]
    assert "train-all" in flows
    assert not [name for name in (*flows, *deployments) if "evil" in name]


# ------------------------------------------------------------------------------------ dead runs

_FLOW = """
import time
from prefect import flow
@flow(name="hangs")
def hangs():
    print("at work", flush=True)
    time.sleep(600)
hangs()
"""


def test_a_killed_run_does_not_run_for_ever(started: Up) -> None:
    # As `up` makes it, with the least silence that Prefect takes, so that the test is short.
    watch = (
        "from flows.server.setup import silent_runs, add_automation\n"
        "add_automation(silent_runs(10).model_copy(update={'name': 'soon'}))"
    )
    env = started.env | started.server.client_environment
    env["PREFECT_FLOWS_HEARTBEAT_FREQUENCY"] = "30"
    subprocess.run([sys.executable, "-c", watch], env=env, check=True)
    run = subprocess.Popen([sys.executable, "-c", _FLOW], env=env, stdout=subprocess.PIPE)
    assert run.stdout is not None
    assert run.stdout.readline() == b"at work\n"
    with started.own_client() as client:

        def events() -> list[str]:
            found = client.post("/events/filter", json={"limit": 50}).json()["events"]
            return [event["event"] for event in found]

        _wait_for(lambda: "prefect.flow-run.heartbeat" in events())
        run.send_signal(signal.SIGKILL)
        run.wait()

        def state() -> dict[str, Any]:
            (found,) = client.post(
                "/flow_runs/filter", json={"flows": {"name": {"any_": ["hangs"]}}}
            ).json()
            return found["state"]

        assert state()["type"] == "RUNNING"
        _wait_for(lambda: state()["type"] == "CRASHED")
        assert "No heartbeat for 10 s" in state()["message"]
        # Other tests' runs on this server send a heartbeat every 30 s, and would be ended as well.
        (soon,) = client.post(
            "/automations/filter", json={"automations": {"name": {"any_": ["soon"]}}}
        ).json()
        client.delete(f"/automations/{soon['id']}").raise_for_status()


def test_a_cancelled_training_stores_a_checkpoint_and_leaves_nobody(
    started: Up, motions_root: Path, tmp_path: Path
) -> None:
    # No checkpoint of its own before the end: what is found is what the cancellation stored.
    limits = {"steps": 1_000_000, "validate_every": 1_000_000, "checkpoint_every": 1_000_000}
    config = vqvae_config(motions_root, tmp_path / "run", **limits, log_every=1, decay="none")
    parameters = {"preset": "", "config": config.model_dump(mode="json")}
    worker = psutil.Process(int((started.run_dir / "worker-gpu.pid").read_text()))
    with started.own_client() as client:
        deployment = client.get("/deployments/name/train-motion-vqvae/tiny").json()
        path = f"/deployments/{deployment['id']}/create_flow_run"
        answer = client.post(path, json={"parameters": parameters})
        # A locked database answers 503, after which Prefect's own client asks again, too.
        while answer.status_code == HTTPStatus.SERVICE_UNAVAILABLE:
            time.sleep(1)
            answer = client.post(path, json={"parameters": parameters})
        assert answer.status_code == HTTPStatus.CREATED, answer.text
        run = answer.json()

        def state() -> dict[str, Any]:
            return client.get(f"/flow_runs/{run['id']}").json()["state"]

        def trains() -> bool:
            assert state()["type"] in {"SCHEDULED", "PENDING", "RUNNING"}, state()
            return len(read_metrics(config.run)) >= 5

        _wait_for(trains)
        processes = worker.children(recursive=True)
        commands = [" ".join(process.cmdline()) for process in processes]
        for part in ("prefect.engine", "training.launch", "-m training.tokenizer.train"):
            assert any(part in command for command in commands), (part, commands)
        cancelling = {"state": {"type": "CANCELLING", "name": "Cancelling"}}
        client.post(f"/flow_runs/{run['id']}/set_state", json=cancelling).raise_for_status()
        _wait_for(lambda: state()["type"] not in {"RUNNING", "CANCELLING"})
        assert (state()["type"], state()["name"]) == ("CANCELLED", "Cancelled")
    _, alive = psutil.wait_procs(processes, timeout=LIMIT_S)
    assert alive == []
    assert worker.is_running()
    stored = CheckpointStore(config.run, KIND).last()
    assert stored is not None
    assert stored.step == read_metrics(config.run)[-1]["step"] >= 4
    # The worker has nothing to complain of.
    log = started.run_dir / "worker-gpu.log"
    _wait_for(lambda: "Cancelled flow run" in log.read_text())
    assert "Traceback" not in log.read_text()


def test_down_stops_everything(started: Up) -> None:
    pids = started.pids()
    done = _avatargpt(started.env, "down")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        *(f"stopped the worker-{pool}" for pool in POOLS),
        "stopped the server",
    ]
    assert not [pid for pid in pids if Path(f"/proc/{pid}").exists()]
    assert ask(started.server.api_url) == "silent"
    # Logs and the token stay; where nothing runs, there is nothing to stop.
    left = {file.name for file in started.run_dir.iterdir()}
    assert left == {"token", "up.log", *(f"{name}.log" for name in NAMES)}
    again = _avatargpt(started.env, "down")
    assert (again.returncode, again.stdout, again.stderr) == (0, "", "")
