"""Addresses of what is not on this machine: ``s3://bucket/key`` and ``https://host/path``."""

import re
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final
from urllib.parse import unquote, urlsplit

S3: Final = "s3://"

_ADDRESS: Final = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]+://")
_S3: Final = re.compile(r"s3:/{1,2}(?P<bucket>[^/]+)(/(?P<key>.*))?", re.DOTALL)
_BUCKET: Final = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9._-]{1,253}[a-zA-Z0-9]")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")
_MAX_KEY_BYTES: Final = 1024


@dataclass(frozen=True, slots=True)
class S3Address:
    """An object, or everything below a prefix.

    Attributes:
        bucket: name of the bucket.
        key: key of the object, or the prefix without a slash at its end; empty for the bucket.
    """

    bucket: str
    key: str

    def __str__(self) -> str:
        return f"{S3}{self.bucket}/{self.key}" if self.key else f"{S3}{self.bucket}"

    def child(self, name: str) -> "S3Address":
        """Return the address of an object below this one, such as ``videos/part-1.parquet``."""
        return S3Address(self.bucket, f"{self.key}/{name}" if self.key else name)


def is_address(text: str) -> bool:
    """Whether a text is an address with a scheme, such as ``https://…``, and not a path."""
    return _ADDRESS.match(text) is not None


def is_s3(text: str) -> bool:
    """Whether a text names something on S3. ``pathlib`` turns ``s3://`` into ``s3:/``."""
    return _S3.match(text) is not None


def parse_s3(text: str) -> S3Address:
    """Read an address ``s3://bucket/key``.

    Raises:
        ValueError: the text is something else.
    """
    match = _S3.fullmatch(text)
    key = (match["key"] or "").strip("/") if match else ""
    if (
        match is None
        or not _BUCKET.fullmatch(match["bucket"])
        or _CONTROL.search(key)
        or {".", ".."} & set(key.split("/"))
        or len(key.encode()) > _MAX_KEY_BYTES
    ):
        raise ValueError(
            f"expected s3://BUCKET/PREFIX, found {without_secrets(text)!r}. Remedy: give the name "
            "of a bucket and a prefix, without . and .. in it."
        )
    return S3Address(match["bucket"], key)


def name_of(address: str) -> PurePosixPath:
    """Return the file name at the end of an address."""
    path = unquote(urlsplit(address).path) if not is_s3(address) else address
    return PurePosixPath(PurePosixPath(path).name)


def without_secrets(address: str) -> str:
    """Remove user name, password, query and fragment, which are often secrets, from an address."""
    if is_s3(address):
        return address
    parts = urlsplit(address)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
