import os
import ssl
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
from werkzeug.wrappers import Request, Response

from data.remote.cache import CachedFile
from data.remote.downloads import DownloadConfig, open_cache
from data.remote.errors import DeniedError, MissingError, RemoteError, UnsuitableError
from data.remote.objects import write_object
from data.remote.web import MAX_REDIRECTS, download_page
from tests.support.s3_server import Fault, Faulty, certified, new_bucket, serving

VIDEO = bytes(range(256)) * 4_000


@Request.application
def _site(request: Request) -> Response:
    if request.path.endswith(".mp4"):
        answer = Response(VIDEO, mimetype="video/mp4")
        answer.set_etag("one")
        answer.headers["Last-Modified"] = "Mon, 02 Nov 2026 10:00:00 GMT"
        return answer.make_conditional(request, accept_ranges=True, complete_length=len(VIDEO))
    if request.path == "/page":
        return Response("<html>Log in</html>", mimetype="text/html")
    moved = {"/moved": "/a.mp4", "/loop": "/loop", "/file": "file:///etc/passwd"}
    if request.path in moved:
        return Response(status=302, headers={"Location": moved[request.path]})
    if request.path == "/private":
        return Response("secret", 403)
    return Response("no", 404)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Generator[tuple[str, Faulty]]:
    monkeypatch.setattr("data.remote.transfers.FIRST_WAIT_S", 0.0)
    context, certificate = certified(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    app = Faulty(_site)
    with serving(app, context) as address:
        yield f"https://{address}", app


def _get(url: str, target: Path, **options: Any) -> Any:
    return download_page(url, target, 10**9, **{"allow_private": True} | options)


def test_a_file_is_downloaded_after_redirects_and_cuts(
    site: tuple[str, Faulty], tmp_path: Path
) -> None:
    url, app = site
    app.faults += [Fault("cut", "GET", "a.mp4", 2), Fault(503, "GET", "a.mp4", 1)]
    fetched = _get(f"{url}/moved?token=1", tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == VIDEO
    assert fetched.modified_ns == 1_793_613_600 * 10**9


@pytest.mark.parametrize(
    ("path", "error", "found"),
    [
        ("/none", MissingError, "found HTTP 404"),
        ("/private", DeniedError, "found HTTP 403"),
        ("/page", UnsuitableError, "found a web page"),
        ("/loop", UnsuitableError, f"at most {MAX_REDIRECTS} redirects"),
        ("/file", UnsuitableError, "found the scheme 'file'"),
    ],
)
def test_what_is_no_file_is_named(
    site: tuple[str, Faulty], tmp_path: Path, path: str, error: type[RemoteError], found: str
) -> None:
    with pytest.raises(error, match=found):
        _get(site[0] + path, tmp_path / "a")


def test_a_private_server_is_not_asked(site: tuple[str, Faulty], tmp_path: Path) -> None:
    url, app = site
    for host in (url, url.replace("127.0.0.1", "localhost"), "https://[::ffff:169.254.169.254]"):
        with pytest.raises(DeniedError, match=r"expected a public server, found .*allow_private"):
            _get(f"{host}/a.mp4", tmp_path / "a", allow_private=False)
    assert not app.requests


def test_a_certificate_is_checked(
    site: tuple[str, Faulty], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", ssl.get_default_verify_paths().openssl_cafile)
    with pytest.raises(DeniedError, match="expected a certificate that can be verified"):
        _get(f"{site[0]}/a.mp4", tmp_path / "a")


@pytest.mark.parametrize("url", ["http://host/a.mp4", "ftp://host/a", "https://u:p@host/a.mp4"])
def test_other_addresses_are_refused_without_their_secrets(url: str, tmp_path: Path) -> None:
    with pytest.raises(UnsuitableError, match="Remedy") as caught:
        _get(url, tmp_path / "a")
    assert "u:p" not in str(caught.value)


def test_the_cache_is_bounded_and_downloads_once(s3: Faulty, tmp_path: Path) -> None:
    bucket = new_bucket("films")
    names = [f"s3://films/{name}.mp4" for name in "abc"]
    for name in "abc":
        write_object(bucket.child(f"{name}.mp4"), name.encode() * 400_000)
    cache = open_cache(tmp_path / "cache", DownloadConfig(cache_gb=0.001))
    a, b = cache.get(names[0]), cache.get(names[1])
    for number, one in enumerate((b, a)):  # a was used last
        facts = one.path.with_name(f"{one.path.name}.json")
        os.utime(facts, ns=(number, number))
    assert cache.get(names[2]).path.exists()
    assert a.path.exists() and not b.path.exists() and a.path.suffix == ".mp4"
    cache.get(names[0])
    assert s3.requests["GET", "/films/a.mp4"] == 1

    with cache.held(names) as held:
        assert all(isinstance(one, CachedFile) and one.path.exists() for one in held.values())
    sizes = [path.stat().st_size for path in (tmp_path / "cache").glob("*.mp4")]
    assert sum(sizes) <= 1_000_000
    assert not list((tmp_path / "cache").glob(".*"))


def test_what_cannot_be_downloaded_does_not_stop_the_others(s3: Faulty, tmp_path: Path) -> None:
    del s3
    bucket = new_bucket("films")
    write_object(bucket.child("a.mp4"), VIDEO)
    cache = open_cache(tmp_path / "cache", DownloadConfig())
    found = dict(cache.get_many(["s3://films/none.mp4", "s3://films/a.mp4"]))
    assert isinstance(found["s3://films/none.mp4"], MissingError)
    a = found["s3://films/a.mp4"]
    assert isinstance(a, CachedFile) and a.path.read_bytes() == VIDEO
