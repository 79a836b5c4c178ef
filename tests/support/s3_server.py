"""An S3 server (moto) and a web server over https on loopback, with faults in true HTTP."""

import atexit
import datetime
import functools
import ipaddress
import ssl
import threading
from collections import Counter
from collections.abc import Callable, Generator, Iterable
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from werkzeug.serving import make_server
from werkzeug.wrappers import Response

from data.remote import objects
from data.remote.addresses import S3Address

Application = Callable[..., Iterable[bytes]]


@dataclass
class Fault:
    """What goes wrong with the next requests.

    Attributes:
        kind: status of an answer; ``cut``: half of the body, then the end of the connection;
            ``lost``: the request is carried out, but its answer is 500.
        method: requests with this method.
        path: requests with this text in their path.
        count: number of requests that fail.
    """

    kind: int | Literal["cut", "lost"]
    method: str
    path: str
    count: int = 1


@dataclass
class Faulty:
    """A WSGI application around another one, which counts its requests and lets some fail.

    Attributes:
        faults: faults to come.
        requests: number of requests by method and path.
    """

    inner: Application
    faults: list[Fault] = field(default_factory=list[Fault])
    requests: Counter[tuple[str, str]] = field(default_factory=Counter[tuple[str, str]])
    before: Callable[[str, str], None] = lambda _method, _path: None
    _lock: Any = field(default_factory=threading.Lock)

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
        self.before(method, path)
        with self._lock:
            self.requests[method, path] += 1
            fault = self._next(method, path)
        if fault is None:
            return self.inner(environ, start_response)
        if isinstance(fault.kind, int):
            code = {
                403: "AccessDenied",
                409: "ConditionalRequestConflict",
                412: "PreconditionFailed",
            }
            body = f"<Error><Code>{code.get(fault.kind, 'SlowDown')}</Code></Error>"
            environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
            return Response(body, fault.kind, mimetype="application/xml")(environ, start_response)
        if fault.kind == "lost":
            Response.from_app(self.inner, environ)
            return Response("", 500)(environ, start_response)
        answer = Response.from_app(self.inner, environ)
        whole = answer.get_data()
        headers = [(name, value) for name, value in answer.headers if name != "Content-Length"]
        start_response(answer.status, [*headers, ("Content-Length", str(len(whole)))])
        return [whole[: len(whole) // 2]]

    def _next(self, method: str, path: str) -> Fault | None:
        for fault in self.faults:
            if fault.count and fault.method == method and fault.path in path:
                fault.count -= 1
                return fault
        return None


@contextmanager
def serving(app: Application, context: ssl.SSLContext | None = None) -> Generator[str]:
    """Serve an application on loopback; yields ``host:port``."""
    server = make_server("127.0.0.1", 0, app, threaded=True, ssl_context=context)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@functools.cache
def _running() -> tuple[Faulty, str]:
    """Start the S3 server of this process; the tests share it, and boto3's slow client."""
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app

    app = Faulty(DomainDispatcherApplication(create_backend_app))
    stack = ExitStack()
    address = stack.enter_context(serving(app))
    atexit.register(stack.close)
    return app, address


@contextmanager
def s3_server(monkeypatch: pytest.MonkeyPatch) -> Generator[Faulty]:
    """Serve S3 on loopback, and let boto3 of this process and its children use it."""
    app, address = _running()
    app.faults.clear()
    app.requests.clear()
    for name, value in {
        "AWS_ENDPOINT_URL": f"http://{address}",
        "AWS_ACCESS_KEY_ID": "someone",
        "AWS_SECRET_ACCESS_KEY": "nothing",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }.items():
        monkeypatch.setenv(name, value)
    yield app


@functools.cache
def _creator(address: str) -> Any:
    del address  # boto3 takes it from the environment
    import boto3.session

    return boto3.session.Session().client("s3")


def new_bucket(name: str) -> S3Address:
    """Create a bucket, without what earlier tests left in one of that name."""
    _creator(_running()[1]).create_bucket(Bucket=name)
    for one in list(objects.list_objects(S3Address(name, ""))):
        objects.delete_object(S3Address(name, one.key))
    return S3Address(name, "")


def certified(folder: Path) -> tuple[ssl.SSLContext, Path]:
    """Make a certificate for 127.0.0.1; return the context of a server, and the certificate."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "loopback")])
    now = datetime.datetime.now(datetime.UTC)
    day = datetime.timedelta(days=1)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - day)
        .not_valid_after(now + day)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]),
            critical=False,
        )
        .sign(key, hashes.SHA256())
    )
    public, private = folder / "certificate.pem", folder / "key.pem"
    public.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(public, private)
    return context, public
