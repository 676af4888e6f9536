"""The benchmark's server over HTTP."""

from __future__ import annotations

import http.client
import random
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import cached_property
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import quote, urlsplit, urlunsplit

from nersemble_cli.core.download.manifest import Version
from nersemble_cli.core.errors import InvalidInputError, NersembleError
from nersemble_cli.core.formats.sniff import HEAD_SIZE, check_head
from nersemble_cli.core.threads import Cancel

if TYPE_CHECKING:
    import requests


R = TypeVar("R")


CHUNK = 1 << 18


FIRST_CONTACT_ATTEMPTS = 2


ACCESS_REFUSED = (401, 403)


NOT_THERE = (404, 410)


TRY_LATER = (408, 425, 429)


@dataclass(frozen=True)
class RetryPolicy:
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

    def __init__(self, base_url: str, connections: int = 1, retry: RetryPolicy | None = None) -> None:
        self._base = urlsplit(base_url)
        self.connections = connections
        self.retry = retry or RetryPolicy()
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
                timeout=(self.retry.connect_timeout, self.retry.read_timeout),
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


def with_retries(
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
    retry = server.retry
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
            if not error.again or hopeless or failures >= retry.attempts:
                raise
            wait = retry.first_wait * 2 ** (failures - 1) * random.uniform(0.8, 1.2)
            wait = min(wait, retry.longest_wait)
            if error.wait is not None:
                if error.wait > retry.longest_retry_after:
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

    return with_retries(attempt, server, cancel)


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

    return with_retries(attempt, server, cancel)


@contextmanager
def _checking(again: bool) -> Iterator[None]:
    """Turns what is wrong with contents into a `TransferError`; `again` is whether another attempt may help."""
    try:
        yield
    except InvalidInputError as error:
        raise TransferError(f"what the server sent {error.message}", again=again) from None
