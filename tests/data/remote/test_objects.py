from collections.abc import Generator
from pathlib import Path

import pytest

from data.remote import objects
from data.remote.addresses import S3Address, is_s3, parse_s3, without_secrets
from data.remote.errors import (
    ChangedError,
    CutError,
    DeniedError,
    MissingError,
    RemoteError,
    UnsuitableError,
)
from data.remote.objects import (
    ABSENT,
    copy_object,
    delete_object,
    download_object,
    list_objects,
    read_object,
    upload_file,
    write_object,
)
from data.remote.transfers import ATTEMPTS
from tests.support.s3_server import Fault, Faulty, new_bucket


@pytest.fixture
def address(s3: Faulty) -> S3Address:
    del s3
    return new_bucket("things").child("some/object")


@pytest.fixture(autouse=True)
def _quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("data.remote.transfers.FIRST_WAIT_S", 0.0)


@pytest.fixture
def own_client() -> Generator[None]:
    """A client of the environment of the test, which the next test does not get."""
    objects.reset_client()
    yield
    objects.reset_client()


@pytest.mark.parametrize("text", ["s3://b", "s3:///key", "s3://bucket/../x", "s3://bucket/a\nb"])
def test_an_address_that_is_none_is_named(text: str) -> None:
    with pytest.raises(ValueError, match=r"expected s3://BUCKET/PREFIX, found .*Remedy"):
        parse_s3(text)


def test_an_address_survives_pathlib() -> None:
    assert parse_s3(str(Path("s3://bucket/a/b/"))) == S3Address("bucket", "a/b")
    assert is_s3("s3:/bucket/a") and not is_s3("s3/bucket") and not is_s3("/data/s3:/x")
    assert without_secrets("https://u:p@host/a.mp4?sig=1#x") == "https://host/a.mp4"


def test_a_write_replaces_only_what_was_read(address: S3Address) -> None:
    first = write_object(address, b"one", expected=ABSENT)
    with pytest.raises(ChangedError, match=r"s3://things/some/object: expected that nobody else"):
        write_object(address, b"other", expected=ABSENT)
    second = write_object(address, b"two", expected=first)
    with pytest.raises(ChangedError):
        write_object(address, b"late", expected=first)
    found = read_object(address)
    assert found is not None and (found.data, found.etag) == (b"two", second)


def test_objects_are_listed_copied_and_deleted(address: S3Address, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"x" * 1000)
    upload_file(file, address)
    copy_object(address, address.child("copy"))
    listed = list(list_objects(S3Address("things", "some/")))
    assert [(one.key, one.size_bytes) for one in listed] == [
        ("some/object", 1000),
        ("some/object/copy", 1000),
    ]
    delete_object(address)
    delete_object(address)
    assert read_object(address) is None
    with pytest.raises(MissingError, match="expected an object, found none"):
        download_object(address, tmp_path / "gone")


@pytest.mark.parametrize("kind", [500, 503])
def test_errors_of_the_server_are_repeated(
    s3: Faulty, address: S3Address, tmp_path: Path, kind: int
) -> None:
    s3.faults.append(Fault(kind, "PUT", "object", 1))
    s3.faults.append(Fault(kind, "GET", "object", 1))
    write_object(address, b"content")
    download_object(address, tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == b"content"
    assert s3.requests["PUT", "/things/some/object"] == 2
    assert s3.requests["GET", "/things/some/object"] == 2


@pytest.mark.usefixtures("own_client")
def test_a_server_that_stays_down_is_named(
    s3: Faulty, address: S3Address, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("data.remote.objects._ATTEMPTS", 2)
    objects.reset_client()
    s3.faults.append(Fault(503, "GET", "object", 100))
    with pytest.raises(RemoteError, match=r"found HTTP 503 SlowDown\. Remedy: check the network"):
        read_object(address)


def test_a_cut_transfer_goes_on_where_it_stopped(
    s3: Faulty, address: S3Address, tmp_path: Path
) -> None:
    content = bytes(range(256)) * 20_000
    write_object(address, content)
    s3.faults.append(Fault("cut", "GET", "object", 2))
    fetched = download_object(address, tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == content
    assert fetched.size_bytes == len(content)
    s3.faults.append(Fault("cut", "GET", "object", 1))
    found = read_object(address)
    assert found is not None and found.data == content
    s3.faults.append(Fault("cut", "GET", "object", ATTEMPTS))
    with pytest.raises(CutError, match=r"s3://things/some/object: expected"):
        download_object(address, tmp_path / "copy")


def test_a_file_above_the_limit_is_not_downloaded(address: S3Address, tmp_path: Path) -> None:
    write_object(address, b"x" * 1_000_001)
    with pytest.raises(UnsuitableError, match="expected at most 1 MB, found 1 MB or more"):
        download_object(address, tmp_path / "copy", 1_000_000)


def test_a_missing_bucket_is_named(s3: Faulty) -> None:
    del s3
    for call in (
        lambda: read_object(S3Address("nowhere", "x")),
        lambda: write_object(S3Address("nowhere", "x"), b""),
        lambda: list(list_objects(S3Address("nowhere", "x"))),
    ):
        with pytest.raises(MissingError, match=r"expected the bucket nowhere, found none"):
            call()


def test_refused_access_is_named(s3: Faulty, address: S3Address) -> None:
    s3.faults.append(Fault(403, "GET", "object"))
    with pytest.raises(DeniedError, match=r"expected access, found HTTP 403 .*credentials"):
        read_object(address)


@pytest.mark.usefixtures("own_client")
def test_missing_credentials_are_named(
    address: S3Address, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    objects.reset_client()
    with pytest.raises(DeniedError, match=r"expected credentials, found none\. Remedy"):
        read_object(address)


@pytest.mark.usefixtures("own_client")
def test_an_endpoint_without_a_server_is_named(
    address: S3Address, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    monkeypatch.setattr("data.remote.objects._ATTEMPTS", 1)
    objects.reset_client()
    with pytest.raises(RemoteError, match=r"s3://things/some/object: expected .* Remedy: check"):
        read_object(address)
