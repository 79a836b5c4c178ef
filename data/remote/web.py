"""Download files from web servers over https, without being led into the own network.

A list of videos may come from a stranger. Only https is spoken, certificates are checked, and the
address that a name resolves to must be a public one, after every redirect again: otherwise a list
could make this machine read pages that only it can reach, such as the credentials that clouds
serve to their machines. The connection goes to the address that was checked.
"""

import http.client
import ipaddress
import re
import socket
import ssl
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from email.utils import parsedate_to_datetime
from functools import partial
from pathlib import Path
from typing import Final
from urllib.parse import SplitResult, quote, urljoin, urlsplit

from data.plain_text import plain_text
from data.remote.addresses import without_secrets
from data.remote.errors import CutError, DeniedError, MissingError, RemoteError, UnsuitableError
from data.remote.transfers import Fetched, Stream, download

SCHEME: Final = "https"
MAX_REDIRECTS: Final = 5

_TIMEOUT_S: Final = 30.0
_LIMIT_S: Final = 3600.0
"""Longest time of one attempt."""
_CHUNK_BYTES: Final = 2**18
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_TRANSIENT: Final = frozenset({408, 425, 429, 500, 502, 503, 504})
_DENIED: Final = frozenset({401, 403, 407})
_PAGES: Final = frozenset({"text/html", "application/xhtml+xml"})
_RANGE: Final = re.compile(r"bytes (?P<start>[0-9]+)-[0-9]+/(?P<size>[0-9]+|\*)")
_USER_AGENT: Final = "avatargpt (dataset tool)"


def download_page(url: str, target: Path, max_bytes: int, *, allow_private: bool) -> Fetched:
    """Download a file from a web server, see :func:`data.remote.transfers.download`.

    Args:
        url: address of the file, https.
        target: file to write.
        max_bytes: largest size that is accepted.
        allow_private: whether servers in the own network are allowed.

    Raises:
        RemoteError: the file cannot be downloaded, or is a page instead of a file.
    """
    open_at = partial(_open_at, url, allow_private)
    return download(open_at, target, without_secrets(url), max_bytes)


@contextmanager
def _open_at(url: str, allow_private: bool, start: int, etag: str) -> Generator[Stream]:
    shown = without_secrets(url)
    deadline_s = time.monotonic() + _LIMIT_S
    try:
        for _ in range(MAX_REDIRECTS + 1):
            connection, answer = _request(url, allow_private, start, etag)
            try:
                if answer.status not in _REDIRECTS:
                    _require_file(answer, shown)
                    yield _stream(answer, shown, deadline_s)
                    return
                url = urljoin(url, answer.getheader("Location") or "")
            finally:
                connection.close()
    except (OSError, http.client.HTTPException) as error:
        if isinstance(error, ssl.SSLCertVerificationError):
            raise DeniedError(
                f"{shown}: expected a certificate that can be verified, found: "
                f"{error.verify_message}. Remedy: check the address; for a server of your own, "
                "set SSL_CERT_FILE to the certificates of its authority."
            ) from error
        raise CutError(
            f"{shown}: expected an answer of the server, found {type(error).__name__}: "
            f"{plain_text(str(error), 200)}. Remedy: check the address and the network, then run "
            "the same command again."
        ) from error
    raise UnsuitableError(
        f"{shown}: expected at most {MAX_REDIRECTS} redirects, found more. Remedy: give the "
        "address of the file itself."
    )


def _request(
    url: str, allow_private: bool, start: int, etag: str
) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
    parts = _checked(url)
    host, port = parts.hostname or "", parts.port or 443
    connection = http.client.HTTPSConnection(host, port, timeout=_TIMEOUT_S)
    plain = _connect(host, port, allow_private, without_secrets(url))
    try:
        # The address was checked; the certificate must be that of the name.
        context = ssl.create_default_context()
        connection.sock = context.wrap_socket(plain, server_hostname=host)
    except BaseException:
        plain.close()
        raise
    headers = {"User-Agent": _USER_AGENT, "Accept-Encoding": "identity"}
    if start:
        headers |= {"Range": f"bytes={start}-", "If-Range": etag}
    path = quote(parts.path or "/", safe="/%:@!$&'()*+,;=~")
    query = f"?{quote(parts.query, safe='/%:@!$&()*+,;=~?-._')}" if parts.query else ""
    try:
        connection.request("GET", f"{path}{query}", headers=headers)
        return connection, connection.getresponse()
    except BaseException:
        connection.close()
        raise


def _checked(url: str) -> SplitResult:
    """Split an address, and check that it may be requested."""
    try:
        parts = urlsplit(url)
        valid = parts.scheme == SCHEME and bool(parts.hostname) and (parts.port or 443) > 0
        secret = bool(parts.username or parts.password)
    except ValueError:
        raise UnsuitableError(
            f"{plain_text(url, 200)!r}: expected an address, found a text that is none. Remedy: "
            "correct it."
        ) from None
    if not valid:
        raise UnsuitableError(
            f"{without_secrets(url)}: expected https://HOST/PATH, found the scheme "
            f"{parts.scheme!r}. Remedy: give an https or s3 address, or download the file."
        )
    if secret:
        raise UnsuitableError(
            f"{without_secrets(url)}: expected an address without user name and password, found "
            "some. Remedy: use a signed address, or download the file."
        )
    return parts


def _connect(host: str, port: int, allow_private: bool, shown: str) -> socket.socket:
    """Connect to a host, if it has a public address."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (socket.gaierror, UnicodeError) as error:
        raise MissingError(
            f"{shown}: expected a server of the name {host}, found none. Remedy: correct the "
            "address, or check the network."
        ) from error
    addresses = [str(one[4][0]) for one in found]
    usable = [one for one in addresses if allow_private or _is_public(one)]
    if not usable:
        raise DeniedError(
            f"{shown}: expected a public server, found {addresses[0]} in a private network. "
            "Remedy: if the list of videos is your own, set downloads.allow_private to true."
        )
    failure: OSError | None = None
    for address in dict.fromkeys(usable):
        try:
            return socket.create_connection((address, port), timeout=_TIMEOUT_S)
        except OSError as error:
            failure = error
    raise failure or OSError("no address")


def _is_public(address: str) -> bool:
    ip = ipaddress.ip_address(address.partition("%")[0])
    mapped = getattr(ip, "ipv4_mapped", None) or getattr(ip, "sixtofour", None)
    return (mapped or ip).is_global and not (mapped or ip).is_multicast


def _require_file(answer: http.client.HTTPResponse, shown: str) -> None:
    status = answer.status
    kind = (answer.getheader("Content-Type") or "").partition(";")[0].strip().lower()
    if status in {404, 410}:
        raise MissingError(
            f"{shown}: expected a file, found HTTP {status}. Remedy: correct the address."
        )
    if status in _DENIED:
        raise DeniedError(
            f"{shown}: expected a public file, found HTTP {status}. Remedy: give an address that "
            "needs no login, such as a signed one, or download the file."
        )
    if status in _TRANSIENT:
        raise CutError(
            f"{shown}: expected the file, found HTTP {status}. Remedy: run the same command later."
        )
    if status not in {200, 206}:
        raise RemoteError(
            f"{shown}: expected the file, found HTTP {status}. Remedy: correct the address."
        )
    if kind in _PAGES:
        raise UnsuitableError(
            f"{shown}: expected a file, found a web page. Remedy: give the address of the file "
            "itself, not of a page that shows it or asks for a login."
        )


def _stream(answer: http.client.HTTPResponse, shown: str, deadline_s: float) -> Stream:
    start = 0
    length = answer.getheader("Content-Length")
    size = int(length) if length is not None and length.isdecimal() else None
    if answer.status == 206:
        match = _RANGE.fullmatch(answer.getheader("Content-Range") or "")
        if match is None:
            raise RemoteError(
                f"{shown}: expected the range of the answer, found none. Remedy: download the "
                "file by hand."
            )
        start = int(match["start"])
        size = None if match["size"] == "*" else int(match["size"])
    tag = answer.getheader("ETag") or ""
    # A weak identifier does not promise the same bytes.
    etag = "" if tag.startswith("W/") else tag
    return Stream(start, size, etag, _modified_ns(answer), _chunks(answer, shown, deadline_s))


def _modified_ns(answer: http.client.HTTPResponse) -> int:
    try:
        modified = parsedate_to_datetime(answer.getheader("Last-Modified") or "")
    except ValueError:
        return 0
    return max(0, int(modified.timestamp())) * 10**9


def _chunks(answer: http.client.HTTPResponse, shown: str, deadline_s: float) -> Iterator[bytes]:
    while chunk := answer.read(_CHUNK_BYTES):
        if time.monotonic() > deadline_s:
            raise UnsuitableError(
                f"{shown}: expected the file within {_LIMIT_S / 60:.0f} minutes, found a slower "
                "server. Remedy: download the file by hand."
            )
        yield chunk
