"""Getting single files over HTTP: resumed, retried, checked, and at their final names only when complete."""

from __future__ import annotations

import hashlib
import os
import random
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, TypeVar
from urllib.parse import quote, urlsplit, urlunsplit

from nersemble_cli.core.download.manifest import Manifest, Version
from nersemble_cli.core.errors import InvalidInputError, NersembleError
from nersemble_cli.core.files import locked_part, part_path, write_all
from nersemble_cli.core.formats.sniff import HEAD_SIZE, check_file, check_head
from nersemble_cli.core.threads import Cancel, Progress

if TYPE_CHECKING:
    import requests

R = TypeVar("R")

CHUNK = 1 << 18
SMALL_CHUNK = 1 << 16
WORTH_RESUMING = 1 << 20  # bytes; smaller files start again
LOCK_POLL = 0.1  # seconds
FIRST_CONTACT_ATTEMPTS = 2
ACCESS_REFUSED = (401, 403)
NOT_THERE = (404, 410)
TRY_LATER = (408, 425, 429)


@dataclass(frozen=True)
class Patience:
    """How long a server is borne with; times in seconds.

    `attempts` counts those in a row that bring no new byte. The waits between them grow twofold.
    """

    attempts: int = 6
    first_wait: float = 0.5
    longest_wait: float = 30.0
    longest_retry_after: float = 300.0
    connect_timeout: float = 10.0
    read_timeout: float = 30.0


class TransferError(NersembleError):
    """A file could not be had. `message` goes on after the file's name, and never has the URL in it.

    `again` tells whether another attempt may help, `wait` how long the server asked to wait before it.
    `status` is the server's answer, None if there was none; `unreachable` that no server was reached at all.
    """

    def __init__(
        self,
        message: str,
        *,
        again: bool = True,
        wait: float | None = None,
        status: int | None = None,
        unreachable: bool = False,
    ) -> None:
        super().__init__(message)
        self.again, self.wait, self.status, self.unreachable = again, wait, status, unreachable


class Server:
    """The benchmark's server at a base URL, which is secret. One session keeps its `connections` alive."""

    def __init__(self, base_url: str, connections: int = 1, patience: Patience | None = None) -> None:
        self._base = urlsplit(base_url)
        self.connections = connections
        self.patience = patience or Patience()
        self.reached = False  # whether it has ever answered
        self.granted = False  # whether it has ever let us have a file

    def __repr__(self) -> str:
        return "Server(…)"

    @cached_property
    def session(self) -> requests.Session:
        import requests
        from requests.adapters import HTTPAdapter

        session = requests.Session()
        for scheme in ("http://", "https://"):
            session.mount(scheme, HTTPAdapter(pool_maxsize=self.connections))
        # Proxies and certificates of the environment are looked up once, not (slowly) for each request.
        settings = session.merge_environment_settings(urlunsplit(self._base), {}, None, None, None)
        session.proxies, session.verify, session.trust_env = settings["proxies"], settings["verify"], False
        # Sizes and ranges must mean the bytes of the file, so nothing may be compressed on the way.
        session.headers["Accept-Encoding"] = "identity"
        return session

    @cached_property
    def _template(self) -> requests.PreparedRequest:
        """A request to the base URL; to change a copy of it is cheaper than to prepare each from the start."""
        import requests

        return self.session.prepare_request(requests.Request("GET", urlunsplit(self._base)))

    def close(self) -> None:
        if "session" in self.__dict__:
            self.session.close()

    @contextmanager
    def request(
        self, method: str, path: str, headers: dict[str, str] | None = None
    ) -> Iterator[requests.Response]:
        """The server's answer, its body still to be read. Raises `TransferError` for whatever goes wrong, also
        while the body is read in the block, and for each status but 200, 206 and 416."""
        with _without_url():
            request = self._template.copy()
            base = urlsplit(str(request.url))
            request.method = method
            request.url = urlunsplit(base._replace(path=f"{base.path.rstrip('/')}/{quote(path, safe='/+')}"))
            request.headers.update(headers or {})
            response = self.session.send(
                request,
                stream=True,
                timeout=(self.patience.connect_timeout, self.patience.read_timeout),
                verify=self.session.verify,
                proxies=self.session.proxies,
                allow_redirects=True,
            )
            self.reached = True
            with response:
                if response.status_code not in (200, 206, 416):
                    raise _refusal(response)
                self.granted = True
                yield response


@contextmanager
def _without_url() -> Iterator[None]:
    """Turns everything that requests raises into `TransferError`: its own texts have the URL in them."""
    import http.client

    import requests
    import urllib3

    kinds = (requests.RequestException, urllib3.exceptions.HTTPError, http.client.HTTPException, UnicodeError)
    try:
        yield
    except kinds as error:
        raise _problem(error) from None


def _problem(error: Exception) -> TransferError:
    import requests

    text = repr(error)  # never shown: urllib3's reasons come wrapped several times over
    if isinstance(error, requests.exceptions.SSLError):
        return TransferError("the server's TLS certificate is not valid, or not for this host", again=False)
    if isinstance(error, requests.exceptions.TooManyRedirects):
        return TransferError("the server redirects in a circle", again=False)
    if isinstance(error, requests.exceptions.ProxyError):
        return TransferError("the proxy set in the environment does not answer", unreachable=True)
    if isinstance(error, (requests.exceptions.InvalidURL, requests.exceptions.InvalidSchema, ValueError)) and (
        not isinstance(error, requests.exceptions.ConnectionError)
    ):
        return TransferError("the URL is not valid", again=False, unreachable=True)
    if "NameResolutionError" in text or "Name or service" in text or "getaddrinfo" in text:
        return TransferError("the server's host name does not resolve", unreachable=True)
    if isinstance(error, requests.exceptions.ConnectTimeout):
        return TransferError("the server does not answer", unreachable=True)
    if "timed out" in text.lower() or isinstance(error, requests.exceptions.Timeout):
        return TransferError("the server stopped sending")
    if "NewConnectionError" in text or "refused" in text:
        return TransferError("the server refuses the connection", unreachable=True)
    return TransferError("the connection broke off")


def _refusal(response: requests.Response) -> TransferError:
    status = response.status_code
    if status in ACCESS_REFUSED:
        return TransferError(f"the server refuses access (HTTP {status})", again=False, status=status)
    if status in NOT_THERE:
        return TransferError(f"the server does not have it (HTTP {status})", again=False, status=status)
    again = status in TRY_LATER or status >= 500
    what = "is overloaded or out of order" if again else "answers in an unexpected way"
    wait = _retry_after(response.headers.get("Retry-After")) if again else None
    return TransferError(f"the server {what} (HTTP {status})", again=again, wait=wait, status=status)


def _retry_after(value: str | None) -> float | None:
    """Seconds to wait, from a number of them or a date; None if the server asks for nothing."""
    from datetime import UTC, datetime
    from email.utils import parsedate_to_datetime

    if not value:
        return None
    if value.strip().isdigit():
        return float(value)
    try:
        then = parsedate_to_datetime(value)
    except ValueError:
        return None
    now = datetime.now(UTC) if then.tzinfo else datetime.now()
    return max(0.0, (then - now).total_seconds())


def patiently(
    attempt: Callable[[], R],
    server: Server,
    cancel: Cancel,
    mark: Callable[[], int] = lambda: 0,
    waiting: Callable[[bool], None] = lambda starts: None,
) -> R:
    """`attempt()`, repeated with growing waits while it raises a `TransferError` that may pass.

    `mark` measures progress: attempts that got further than all before do not count. `waiting` is called with
    True before each wait and with False after it. A server that was never reached gets few attempts: it is
    more likely that its URL is wrong than that it is just away.
    """
    patience = server.patience
    failures, furthest = 0, mark()
    while True:
        cancel.check()
        try:
            return attempt()
        except TransferError as error:
            if mark() > furthest:
                furthest, failures = mark(), 0
            failures += 1
            hopeless = error.unreachable and not server.reached and failures >= FIRST_CONTACT_ATTEMPTS
            if not error.again or hopeless or failures >= patience.attempts:
                raise
            wait = patience.first_wait * 2 ** (failures - 1) * random.uniform(0.8, 1.2)
            wait = min(wait, patience.longest_wait)
            if error.wait is not None:
                if error.wait > patience.longest_retry_after:
                    error.message += f" and asks to come back in {error.wait:.0f} s"
                    raise
                wait = max(error.wait, 0.0)
        waiting(True)
        try:
            cancel.wait(wait)
        finally:
            waiting(False)


def version_of(response: requests.Response) -> Version:
    """What the headers of an answer say of the whole file."""
    headers = response.headers
    encoded = headers.get("Content-Encoding", "identity").lower() not in ("identity", "")
    if response.status_code == 206:
        total = re.fullmatch(r"bytes \d+-\d+/(\d+)", headers.get("Content-Range", "").strip())
        size = int(total[1]) if total else None
    else:
        length = headers.get("Content-Length", "")
        size = int(length) if length.isdigit() and not encoded else None
    return Version(size, headers.get("ETag"), headers.get("Last-Modified"))


def ask_version(server: Server, path: str, cancel: Cancel) -> Version:
    """The version of a file that the server has now; its contents are not fetched. Raises `TransferError`."""

    def attempt() -> Version:
        try:
            with server.request("HEAD", path) as response:
                return version_of(response)
        except TransferError as error:
            if error.status not in (*ACCESS_REFUSED, 405, 501):
                raise
        with server.request("GET", path) as response:  # a server that does not answer HEAD
            return version_of(response)

    return patiently(attempt, server, cancel)


def read_small(server: Server, path: str, cancel: Cancel, limit: int = 64 << 20) -> bytes:
    """The first `limit` bytes of a file, whose type must fit its name. Raises `TransferError`."""

    def attempt() -> bytes:
        with server.request("GET", path) as response:
            data = b""
            for chunk in response.iter_content(min(CHUNK, limit)):
                data += chunk
                if len(data) >= limit:
                    break
        with _checking(again=False):
            check_head(path, data[:HEAD_SIZE])
        return data[:limit]

    return patiently(attempt, server, cancel)


@contextmanager
def _checking(again: bool) -> Iterator[None]:
    """Turns what is wrong with contents into a `TransferError`; `again` is whether another attempt may help."""
    try:
        yield
    except InvalidInputError as error:
        raise TransferError(f"what the server sent {error.message}", again=again) from None


class Gauge:
    """Tells the progress about one file: bytes that arrived, and corrections of what is still to come."""

    def __init__(self, progress: Progress, expected: int) -> None:
        self._progress = progress
        self._outstanding = expected

    def to_come(self, n: int) -> None:
        self._progress.expect(n - self._outstanding)
        self._outstanding = n

    def arrived(self, n: int) -> None:
        self._progress.advance(n)
        self._outstanding -= n


def fetch(
    server: Server,
    path: str,
    target: Path,
    name: str,
    manifest: Manifest,
    cancel: Cancel,
    gauge: Gauge,
    waiting: Callable[[bool], None] = lambda starts: None,
) -> Version:
    """Fetches `path` of the server to `target`, which the manifest knows as `name`; resumes what is begun.

    `target` is replaced by a complete and checked file or not at all. If another process fetches the same
    file at the same time, its result is waited for and taken. Raises `TransferError`, or OSError if the file
    cannot be written; what has arrived by then stays in the `.part`.
    """
    before = manifest.file(name)
    target.parent.mkdir(parents=True, exist_ok=True)
    with locked_part(target, lambda: cancel.wait(LOCK_POLL)) as part:
        manifest.refresh()
        now = manifest.file(name)
        if now is not None and now is not before and target.is_file() and target.stat().st_size == now.size:
            part_path(target).unlink()
            gauge.to_come(0)
            return now
        try:
            version = patiently(
                lambda: _attempt(server, path, part, target, name, manifest, cancel, gauge),
                server,
                cancel,
                mark=lambda: part.seek(0, os.SEEK_END),
                waiting=waiting,
            )
        except NersembleError:
            gauge.to_come(0)
            if part.seek(0, os.SEEK_END) == 0:
                part_path(target).unlink()
            raise
        if os.name == "nt":
            part.close()  # nothing that is open can be renamed there
        part_path(target).replace(target)  # still locked: nobody takes the complete file for a part
        manifest.add(name, version)
        return version


def _attempt(
    server: Server,
    path: str,
    part: BinaryIO,
    target: Path,
    name: str,
    manifest: Manifest,
    cancel: Cancel,
    gauge: Gauge,
) -> Version:
    """One request for what is missing of `part`. Raises `TransferError` if that is not complete afterwards."""
    begun = manifest.part(name)
    start, digest, headers = 0, hashlib.sha256(), {}
    if begun and begun.size and begun.validator:
        # If all bytes are there, the last one is asked for again: the answer tells whether they still hold.
        start = min(part.seek(0, os.SEEK_END), begun.size - 1)
    if begun and begun.validator and start:
        headers = {"Range": f"bytes={start}-", "If-Range": begun.validator}
        _hash_start(part, start, digest, cancel)
    with server.request("GET", path, headers) as response:
        version = version_of(response)
        if response.status_code == 200:
            start, digest = 0, hashlib.sha256()
            if version.size is None or version.size >= WORTH_RESUMING:
                _cut(part, 0)  # first: what is there is no beginning of this version
                manifest.add_part(name, version)
        elif not _continues(response, start, begun, version):
            _cut(part, 0)
            raise TransferError("it changed on the server while it was fetched")
        if version.size is None and response.headers.get("Transfer-Encoding", "").lower() != "chunked":
            raise TransferError("the server does not say how long it is", again=False)
        _cut(part, start)
        if version.size is not None:
            gauge.to_come(version.size - start)
        position = start
        for chunk in _chunks(response, version.size):
            if position == 0:
                with _checking(again=False):
                    check_head(name, chunk[:HEAD_SIZE])
            write_all(part, chunk)
            digest.update(chunk)
            position += len(chunk)
            gauge.arrived(len(chunk))
            cancel.check()
    if version.size is not None and position != version.size:
        raise TransferError(f"the connection broke off after {position:,} of {version.size:,} bytes")
    try:
        with _checking(again=True):
            check_file(part, name)
    except TransferError:
        _cut(part, 0)
        raise
    return replace(version, size=position, sha256=digest.hexdigest())


def _cut(part: BinaryIO, size: int) -> None:
    """Cuts a part off at `size` bytes, if it is longer, and goes there. If it is not it is left alone: ext4 writes
    a file that was once truncated to the disk before it closes it, which costs seconds for a large one."""
    if part.seek(0, os.SEEK_END) > size:
        part.truncate(size)
        part.seek(size)


def _chunks(response: requests.Response, size: int | None) -> Iterator[bytes]:
    """The body in pieces, of which the first has all of the file's head. Large files come as they arrive: of what
    comes before a connection breaks nothing is lost."""
    raw = response.raw
    if size is not None and size < WORTH_RESUMING:
        yield raw.read(decode_content=True)
    elif size is None or not hasattr(raw, "read1"):  # of unknown length, or urllib3 before 2.1
        yield from raw.stream(SMALL_CHUNK, decode_content=True)
    else:
        first = b""
        while len(first) < HEAD_SIZE and (chunk := raw.read1(CHUNK)):
            first += chunk
        yield first
        while chunk := raw.read1(CHUNK):
            yield chunk


def _continues(response: requests.Response, start: int, begun: Version | None, version: Version) -> bool:
    """Whether a 206 goes on exactly where our part ends (a 416 never does), with the same version of the file."""
    range_start = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
    return (
        response.status_code == 206
        and begun is not None
        and range_start is not None
        and int(range_start[1]) == start
        and not version.differs(begun)
    )


def _hash_start(part: BinaryIO, length: int, digest: hashlib._Hash, cancel: Cancel) -> None:
    part.seek(0)
    left = length
    while left and (chunk := part.read(min(CHUNK, left))):
        cancel.check()
        digest.update(chunk)
        left -= len(chunk)
