"""Objects in a bucket of S3 or of a compatible server, read and written over HTTP.

Credentials, region and endpoint are found by boto3: environment variables (``AWS_ENDPOINT_URL``
for servers other than Amazon's), its configuration files, or the role of the machine. Server errors
and broken connections are repeated. Preconditions make a write a compare-and-swap.
"""

import base64
import functools
import hashlib
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, Final

from data.remote.addresses import S3Address
from data.remote.errors import ChangedError, CutError, DeniedError, MissingError, RemoteError
from data.remote.transfers import Fetched, Stream, download

ABSENT: Final = ""
"""Precondition of a write: there is no such object yet."""

_ATTEMPTS: Final = 6
_CONNECT_S: Final = 10
_READ_S: Final = 60
_CHUNK_BYTES: Final = 2**20
_SINGLE_BYTES: Final = 256 * 2**20
"""Larger files are sent in several parts, each of which can be repeated."""
_DENIED: Final = frozenset({401, 403})
_CHANGED: Final = frozenset({409, 412})
_RUN_AGAIN: Final = "Remedy: check the network and the server, then run the same command again."


@dataclass(frozen=True, slots=True)
class StoredObject:
    """An object in a listing.

    Attributes:
        key: its key.
        size_bytes: its size.
        etag: identifier of its content.
        modified: when it was written, by the clock of the server.
    """

    key: str
    size_bytes: int
    etag: str
    modified: datetime


@dataclass(frozen=True, slots=True)
class Content:
    """A small object that was read.

    Attributes:
        data: its content.
        etag: identifier of the content, for preconditions.
        modified: when it was written, by the clock of the server.
        now: present time by the same clock.
    """

    data: bytes
    etag: str
    modified: datetime
    now: datetime


def read_object(address: S3Address) -> Content | None:
    """Read a small object; None if it does not exist.

    Raises:
        RemoteError: it cannot be read.
    """
    for attempt in range(_ATTEMPTS):
        try:
            with _converted(address):
                answer = _client().get_object(Bucket=address.bucket, Key=address.key)
                headers = answer["ResponseMetadata"]["HTTPHeaders"]
                with closing(answer["Body"]) as body:
                    data = body.read()
                now = parsedate_to_datetime(headers["date"])
                return Content(data, answer["ETag"], answer["LastModified"], now)
        except MissingError as error:
            if isinstance(error, _MissingBucketError):
                raise
            return None
        except CutError:
            if attempt == _ATTEMPTS - 1:
                raise
    raise AssertionError("unreachable")


def write_object(address: S3Address, data: bytes, *, expected: str | None = None) -> str:
    """Write an object.

    Args:
        address: its address.
        data: its content.
        expected: ``etag`` of the content that is replaced, or :data:`ABSENT`; None replaces any.

    Returns:
        The new ``etag``.

    Raises:
        ChangedError: the object has another content, or somebody writes it at the same time. If an
            answer was lost, it may be the one that this call has written.
        RemoteError: it cannot be written.
    """
    conditions: dict[str, str] = {}
    if expected is not None:
        conditions = {"IfMatch": expected} if expected else {"IfNoneMatch": "*"}
    with _converted(address):
        answer = _client().put_object(
            Bucket=address.bucket,
            Key=address.key,
            Body=data,
            ContentMD5=_md5(hashlib.md5(data, usedforsecurity=False)),
            **conditions,
        )
        return answer["ETag"]


def upload_file(path: Path, address: S3Address) -> str:
    """Write a file as an object, which replaces an object of that key.

    Returns:
        The new ``etag``.

    Raises:
        RemoteError: it cannot be written.
    """
    with _converted(address):
        if path.stat().st_size > _SINGLE_BYTES:
            _client().upload_file(str(path), address.bucket, address.key)
            return _client().head_object(Bucket=address.bucket, Key=address.key)["ETag"]
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, _new_md5)
        with path.open("rb") as file:
            answer = _client().put_object(
                Bucket=address.bucket, Key=address.key, Body=file, ContentMD5=_md5(digest)
            )
            return answer["ETag"]


def download_object(address: S3Address, target: Path, max_bytes: int = 2**63 - 1) -> Fetched:
    """Download an object to a file, see :func:`data.remote.transfers.download`."""
    return download(functools.partial(_open_at, address), target, str(address), max_bytes=max_bytes)


def list_objects(prefix: S3Address) -> Iterator[StoredObject]:
    """List the objects whose keys start with the key of an address, ordered by key.

    Raises:
        RemoteError: they cannot be listed.
    """
    with _converted(prefix):
        pages = _client().get_paginator("list_objects_v2")
        for page in pages.paginate(Bucket=prefix.bucket, Prefix=prefix.key):
            for one in page.get("Contents", ()):
                yield StoredObject(one["Key"], one["Size"], one["ETag"], one["LastModified"])


def copy_object(source: S3Address, target: S3Address) -> None:
    """Copy an object on the server.

    Raises:
        MissingError: there is no such object.
        RemoteError: it cannot be copied.
    """
    with _converted(source):
        _client().copy({"Bucket": source.bucket, "Key": source.key}, target.bucket, target.key)


def delete_object(address: S3Address) -> None:
    """Delete an object; one that does not exist is no error.

    Raises:
        RemoteError: it cannot be deleted.
    """
    with _converted(address):
        _client().delete_object(Bucket=address.bucket, Key=address.key)


def reset_client() -> None:
    """Find credentials and endpoint anew at the next request."""
    _client.cache_clear()


class _MissingBucketError(MissingError):
    pass


@functools.cache
def _client() -> Any:
    """Return the client of this process, which its threads share.

    Raises:
        RemoteError: boto3 is not installed.
    """
    try:
        import boto3.session  # noqa: PLC0415 - an optional dependency
        from botocore.config import Config  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise RemoteError(
            "expected the package boto3 for addresses s3://, found none. "
            "Remedy: pip install 'avatargpt[s3]'."
        ) from error
    config = Config(
        retries={"mode": "standard", "max_attempts": _ATTEMPTS},
        connect_timeout=_CONNECT_S,
        read_timeout=_READ_S,
        max_pool_connections=32,
        # Not all compatible servers know newer checksums; we send an MD5, and readers of datasets
        # compare SHA-256.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )
    return boto3.session.Session().client("s3", config=config)


@contextmanager
def _open_at(address: S3Address, start: int, etag: str) -> Generator[Stream]:
    request: dict[str, Any] = {"Range": f"bytes={start}-"} if start else {}
    if etag:
        request["IfMatch"] = etag
    with _converted(address):
        answer = _client().get_object(Bucket=address.bucket, Key=address.key, **request)
        with closing(answer["Body"]) as body:
            yield Stream(
                start,
                start + answer["ContentLength"],
                answer["ETag"],
                int(answer["LastModified"].timestamp() * 1e9),
                body.iter_chunks(_CHUNK_BYTES),
            )


@contextmanager
def _converted(address: S3Address) -> Generator[None]:
    """Turn the exceptions of boto3 into ours."""
    _client()  # an import error is not to be hidden by that of the next line
    from boto3.exceptions import Boto3Error  # noqa: PLC0415
    from botocore import exceptions  # noqa: PLC0415

    try:
        yield
    except exceptions.ClientError as error:
        raise _of_answer(address, error.response) from error
    except (
        exceptions.IncompleteReadError,
        exceptions.ReadTimeoutError,
        exceptions.ResponseStreamingError,
        exceptions.HTTPClientError,
    ) as error:
        raise CutError(
            f"{address}: expected a whole answer, found: {_short(error)} {_RUN_AGAIN}"
        ) from error
    except (exceptions.NoCredentialsError, exceptions.PartialCredentialsError) as error:
        raise DeniedError(
            f"{address}: expected credentials, found none. Remedy: set AWS_ACCESS_KEY_ID and "
            "AWS_SECRET_ACCESS_KEY, AWS_PROFILE, or give this machine a role."
        ) from error
    except (exceptions.BotoCoreError, Boto3Error) as error:
        raise RemoteError(
            f"{address}: expected an answer, found: {_short(error)} {_RUN_AGAIN}"
        ) from error


def _of_answer(address: S3Address, response: Any) -> RemoteError:
    status = int(response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    code = str(response.get("Error", {}).get("Code", ""))
    found = f"HTTP {status} {code}".rstrip()
    if code == "NoSuchBucket":
        return _MissingBucketError(
            f"{address}: expected the bucket {address.bucket}, found none of that name. Remedy: "
            "create it, or correct the address or AWS_ENDPOINT_URL."
        )
    if status == 404:
        return MissingError(
            f"{address}: expected an object, found none. Remedy: correct the address."
        )
    if status in _DENIED:
        return DeniedError(
            f"{address}: expected access, found {found}. Remedy: check the credentials of this "
            "machine, and that they may list, read and write this prefix."
        )
    if status in _CHANGED:
        return ChangedError(
            f"{address}: expected that nobody else writes it, found {found}. Remedy: run the same "
            "command again."
        )
    return RemoteError(f"{address}: expected success, found {found}. {_RUN_AGAIN}")


def _short(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"


def _new_md5() -> Any:
    return hashlib.md5(usedforsecurity=False)


def _md5(digest: Any) -> str:
    return base64.b64encode(digest.digest()).decode()
