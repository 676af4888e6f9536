"""The benchmark's server over HTTP. What it sends is untrusted; its URL is secret and never shown."""

from __future__ import annotations

import http.client
import logging
import os
import random
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from email.utils import mktime_tz, parsedate_tz
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import quote, urljoin, urlsplit, urlunsplit

from nersemble_cli.core.download.manifest import Version
from nersemble_cli.core.errors import InvalidInputError, NersembleError, UsageError
from nersemble_cli.core.formats.sniff import HEAD_SIZE, check_head
from nersemble_cli.core.threads import Cancel

if TYPE_CHECKING:
    import requests
    import urllib3

R = TypeVar("R")

CHUNK = 1 << 18
SMALL_CHUNK = 1 << 16
FIRST_CONTACT_ATTEMPTS = 2
MAX_REDIRECTS = 10
ACCESS_REFUSED = (401, 403)
NOT_THERE = (404, 410)
TRY_LATER = (408, 425, 429)
PROXY_REFUSED = 407
TOO_MANY = 429
LOGIN_NEEDED = 511
# Limits of a JSON or other small text.
SMALL_SIZE = 64 << 20  # bytes
SMALL_SECONDS = 5.0
_RANGE = re.compile(r"bytes ([0-9]{1,18})-[0-9]{1,18}/([0-9]{1,18})")
LONGEST_WAIT = 1e9  # seconds; a server can ask for anything


@dataclass(frozen=True)
class RetryPolicy:
    """When to try again; times in seconds.

    `attempts` counts consecutive attempts that bring no new byte. The waits between them double.
    """

    attempts: int = 6
    first_wait: float = 0.5
    longest_wait: float = 30.0
    longest_retry_after: float = 300.0
    connect_timeout: float = 10.0
    read_timeout: float = 30.0


class TransferError(NersembleError):
    """A file could not be downloaded. `message` continues a sentence after the file's name, without the URL.

    `again` tells whether another attempt may help, `wait` how long the server asked to wait before it (seconds).
    `status` is the HTTP status, None without one; `unreachable` means that there was no answer at all; `foreign`
    that the contents are not those of a benchmark file.
    """

    def __init__(
        self,
        message: str,
        *,
        again: bool = True,
        wait: float | None = None,
        status: int | None = None,
        unreachable: bool = False,
        foreign: bool = False,
        hint: str | None = None,
    ) -> None:
        super().__init__(message, hint)
        self.again, self.wait, self.status = again, wait, status
        self.unreachable, self.foreign = unreachable, foreign


class Answer:
    """The server's answer to one request: what its headers say, read as untrusted, and its body.

    `start` is where the body begins in the file (bytes), None if that cannot be told; `size` the size of the whole
    file, None if unknown; `has_end` whether a body that breaks off can be told from a complete one.
    """

    def __init__(self, response: requests.Response) -> None:
        headers = response.headers
        self._response = response
        self.status = response.status_code
        self.encoded = _is_encoded(headers.get("Content-Encoding", ""))
        length = _number(headers.get("Content-Length", ""))
        chunked = "chunked" in headers.get("Transfer-Encoding", "").lower()
        self.has_end = chunked or length is not None
        self.start: int | None = 0
        self.size = None if self.encoded or chunked else length
        if self.status == 206:
            given = _RANGE.fullmatch(_header(headers, "Content-Range"))
            self.start = int(given[1]) if given and not self.encoded else None
            self.size = int(given[2]) if given else None
        elif self.status != 200:
            self.start = None
        etag, date = _header(headers, "ETag"), _header(headers, "Last-Modified")
        self.version = Version(self.size, etag or None, date or None)

    def chunks(self, cancel: Cancel, seconds: float | None = None) -> Iterator[bytes]:
        """The decoded body as it arrives; the first chunk has at least `HEAD_SIZE` bytes if there are as many.

        Raises `TransferError`, also if the body takes longer than `seconds`.
        """
        deadline = None if seconds is None else time.monotonic() + seconds
        pending, started = b"", False
        while chunk := self._read():
            cancel.check()
            if deadline is not None and time.monotonic() > deadline:
                raise TransferError("the server sends too slowly")
            pending += chunk
            if started or len(pending) >= HEAD_SIZE:
                yield pending
                pending, started = b"", True
        if pending or not started:
            yield pending

    def _read(self) -> bytes:
        """What has arrived: nothing of it is lost if the connection breaks afterwards."""
        raw: urllib3.HTTPResponse = self._response.raw
        with _translated():
            return raw.read1(SMALL_CHUNK if self.encoded else CHUNK, decode_content=True)


def _header(headers: Mapping[str, str], name: str) -> str:
    """A header, or "" for one that is missing, too long, or has characters that it must not have."""
    value = headers.get(name, "").strip()
    return value if len(value) <= 200 and value.isascii() and value.isprintable() else ""


def _number(text: str) -> int | None:
    return int(text) if re.fullmatch(r"[0-9]{1,18}", text.strip()) else None


def _is_encoded(codings: str) -> bool:
    """Whether urllib3 decodes the body; others (`aws-chunked`, `none`) it passes over."""
    from urllib3.response import HTTPResponse

    return any(coding.strip().lower() in HTTPResponse.CONTENT_DECODERS for coding in codings.split(","))


class Server:
    """The benchmark's server at a base URL, which is secret. One session keeps `connections` alive."""

    def __init__(self, base_url: str, connections: int = 1, retry: RetryPolicy | None = None) -> None:
        self._base = urlsplit(base_url)
        self.connections = connections
        self.retry = retry or RetryPolicy()
        self.reached = False  # whether it has ever answered
        self.proven = False  # whether it has ever sent a file of the benchmark

    def __repr__(self) -> str:
        return "Server(…)"

    @cached_property
    def session(self) -> requests.Session:
        """Raises `UsageError` if the environment names a proxy or certificates that cannot be used."""
        import requests
        from requests.adapters import HTTPAdapter

        _keep_urls_out_of_logs()
        session = requests.Session()
        for scheme in ("http://", "https://"):
            session.mount(scheme, HTTPAdapter(pool_maxsize=self.connections))
        # Proxies and certificates of the environment are looked up once, not (slowly) for each request.
        settings = session.merge_environment_settings(urlunsplit(self._base), {}, None, None, None)
        session.proxies, session.verify, session.trust_env = settings["proxies"], settings["verify"], False
        if self._base.scheme.lower() == "https":
            _check_certificates(session.verify)
        if proxy := self._proxy(session):
            _check_proxy(proxy)
        # Sizes and ranges must mean the bytes of the file, so nothing may be compressed on the way.
        session.headers["Accept-Encoding"] = "identity"
        return session

    def _proxy(self, session: requests.Session) -> str | None:
        from requests.utils import select_proxy

        found: str | None = select_proxy(urlunsplit(self._base), session.proxies)
        return found

    @cached_property
    def _template(self) -> requests.PreparedRequest:
        """A request to the base URL; copying it is cheaper than preparing each request from the start."""
        import requests

        try:
            return self.session.prepare_request(requests.Request("GET", urlunsplit(self._base)))
        except (requests.RequestException, ValueError):
            raise UsageError(
                "The benchmark URL is not valid.", "Compare it with the one in your access mail."
            ) from None

    def close(self) -> None:
        if "session" in self.__dict__:
            with _silenced():
                self.session.close()

    @contextmanager
    def request(self, method: str, path: str, headers: dict[str, str] | None = None) -> Iterator[Answer]:
        """The server's answer, its body still to be read.

        Raises `TransferError` for every status but 200, 206 and, if a range was asked for, 416; and `UsageError`
        for a proxy or certificates that cannot be used.
        """
        template = self._template
        with _translated(self._proxy(self.session)):
            response = self._send(template, method, path, headers or {})
            self.reached = True
        try:
            answered = (200, 206, 416) if "Range" in (headers or {}) else (200, 206)
            if response.status_code not in answered:
                raise _refusal(response, self._proxy(self.session))
            yield Answer(response)
        finally:
            with _silenced(), suppress(Exception):
                response.close()

    def _send(
        self, template: requests.PreparedRequest, method: str, path: str, headers: dict[str, str]
    ) -> requests.Response:
        """The first answer that is not a redirect. Bodies of redirects, which may never end, are not read."""
        base = urlsplit(str(template.url))
        url = urlunsplit(base._replace(path=f"{base.path.rstrip('/')}/{quote(path, safe='/+')}"))
        for _ in range(MAX_REDIRECTS):
            request = template.copy()
            request.method, request.url = method, url
            request.headers.update(headers)
            if self.session.should_strip_auth(str(template.url), url):  # type: ignore[no-untyped-call]
                request.headers.pop("Authorization", None)
            # Not by `Session.send`, which reads the bodies of redirects.
            response = self.session.get_adapter(url).send(
                request,
                stream=True,
                timeout=(self.retry.connect_timeout, self.retry.read_timeout),
                verify=self.session.verify is None or self.session.verify,
                proxies=self.session.proxies,
            )
            if not response.is_redirect:
                return response
            response.close()
            url = _redirected(url, response.headers["Location"])
        raise TransferError("the server redirects in a circle", again=False)


def _redirected(url: str, location: str) -> str:
    """Where a redirect leads."""
    try:
        # Headers are read as Latin-1, but a URL in one is UTF-8.
        target = urljoin(url, location.encode("latin-1").decode("utf-8"))
        parts = urlsplit(target)
        valid = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        valid = False
    if not valid or not target.isprintable():
        raise TransferError("the server redirects to an address that is not a valid http(s) URL", again=False)
    return quote(target, safe="%/:=&?~#+!$,;'@()*[]")


def _variable(value: str, *names: str) -> str:
    """The environment variable that has this value, in either case."""
    wanted = {name.lower() for name in names}
    found = (name for name, text in os.environ.items() if name.lower() in wanted and text.strip() == value)
    return next(found, "the system settings")


def _check_certificates(verify: object) -> None:
    """Raises `UsageError` if the certificates that the environment names cannot be read."""
    if not isinstance(verify, str):
        return
    variable = _variable(verify, "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
    hint = f"Correct {variable}, or unset it."
    path = Path(verify)
    if not path.exists():
        raise UsageError(f"The CA bundle in {variable} does not exist: {verify}", hint)
    if path.is_dir():
        return
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cafile=verify)
    except (OSError, ValueError) as error:  # an SSLError is an OSError
        raise UsageError(f"The CA bundle in {variable} cannot be read: {verify} ({error}).", hint) from None


def _check_proxy(proxy: str) -> None:
    """Raises `UsageError` if requests cannot use the proxy. Its address is not shown: it may hold a password."""
    variable = _proxy_variable(proxy)
    hint = f"Correct {variable}, or unset it."
    try:
        parts = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
        scheme, host, _ = parts.scheme.lower(), parts.hostname, parts.port
    except ValueError:
        scheme, host = "", None
    if not host:
        raise UsageError(f"The proxy in {variable} is not a valid URL.", hint)
    if scheme.startswith("socks") and find_spec("socks") is None:
        raise UsageError(
            f"The proxy in {variable} is a SOCKS proxy, which needs the Python package PySocks.",
            f"pip install PySocks, or unset {variable}.",
        )
    if scheme not in ("http", "https", "socks4", "socks4a", "socks5", "socks5h"):
        raise UsageError(f"The proxy in {variable} has the scheme {scheme}://, which is not supported.", hint)


def _proxy_variable(proxy: str) -> str:
    return _variable(proxy, "http_proxy", "https_proxy", "all_proxy")


_own_request = threading.local()


class _OwnRequests(logging.Filter):
    """Drops what urllib3 logs of our requests, as the secret URL is in it; other requests are logged as ever."""

    def filter(self, record: logging.LogRecord) -> bool:
        return not getattr(_own_request, "running", False)


_FILTER = _OwnRequests()


def _keep_urls_out_of_logs() -> None:
    for module in ("connection", "connectionpool", "poolmanager", "response", "util.retry", "util.ssl_"):
        logging.getLogger(f"urllib3.{module}").addFilter(_FILTER)


@contextmanager
def _silenced() -> Iterator[None]:
    """urllib3 logs nothing of what this thread does in the block."""
    before = getattr(_own_request, "running", False)
    _own_request.running = True
    try:
        yield
    finally:
        _own_request.running = before


@contextmanager
def _translated(proxy: str | None = None) -> Iterator[None]:
    """Turns whatever the HTTP libraries raise into `TransferError`: their texts contain the URL."""
    with _silenced():
        try:
            yield
        except (NersembleError, MemoryError):
            raise
        except Exception as error:
            raise _problem(error, proxy) from None


def _causes(error: BaseException) -> Iterator[BaseException]:
    """An exception and those that led to it, however requests and urllib3 have wrapped them."""
    seen: set[int] = set()
    todo: list[object] = [error]
    while todo:
        cause = todo.pop(0)
        if isinstance(cause, BaseException) and id(cause) not in seen:
            seen.add(id(cause))
            yield cause
            wrapped = (getattr(cause, name, None) for name in ("reason", "original_error"))
            todo += [*cause.args, *wrapped, cause.__cause__, cause.__context__]


def _problem(error: Exception, proxy: str | None) -> TransferError:
    """The reason to report for an exception of the HTTP libraries, by the types among its causes."""
    import requests
    from urllib3 import exceptions

    causes = list(_causes(error))

    def caused_by(*types: type[BaseException]) -> bool:
        return any(isinstance(cause, types) for cause in causes)

    unreachable = caused_by(exceptions.NewConnectionError, exceptions.ConnectTimeoutError, exceptions.ProxyError)
    if caused_by(exceptions.ProxyError, requests.exceptions.ProxyError) or (proxy and unreachable):
        variable = _proxy_variable(proxy) if proxy else "the environment"
        what, hint = f"the proxy in {variable} does not answer or refuses", f"Correct {variable}, or unset it."
        return TransferError(what, unreachable=True, hint=hint)
    if caused_by(ssl.SSLCertVerificationError):
        return TransferError("the server's TLS certificate is not valid, or not for this host", again=False)
    if caused_by(exceptions.NameResolutionError, socket.gaierror):
        return TransferError("the server's host name does not resolve", unreachable=True)
    if caused_by(ConnectionRefusedError):
        return TransferError("the server refuses the connection", unreachable=True)
    if caused_by(exceptions.NewConnectionError):
        return TransferError("the server cannot be reached", unreachable=True)
    if caused_by(exceptions.ConnectTimeoutError, requests.exceptions.ConnectTimeout):
        return TransferError("the server does not answer", unreachable=True)
    if caused_by(TimeoutError, exceptions.TimeoutError, requests.exceptions.Timeout):
        return TransferError("the server stopped sending")
    if caused_by(ConnectionError, http.client.IncompleteRead, ssl.SSLEOFError, ssl.SSLZeroReturnError):
        return TransferError("the connection broke off")
    if caused_by(ssl.SSLError, exceptions.SSLError):
        return TransferError("no secure (TLS) connection can be made: is the URL's https:// right?", again=False)
    if caused_by(exceptions.DecodeError):
        return TransferError("what the server sent cannot be decompressed", again=False)
    if isinstance(error, OSError) and not isinstance(error, requests.RequestException):
        return TransferError("the TLS certificates of this machine cannot be read", again=False, unreachable=True)
    if caused_by(http.client.HTTPException, exceptions.InvalidHeader, ValueError, TypeError):
        return TransferError("the server's answer is not valid HTTP", again=False)
    return TransferError("the connection broke off")


def _refusal(response: requests.Response, proxy: str | None) -> TransferError:
    status = response.status_code
    if status == PROXY_REFUSED:
        variable = _proxy_variable(proxy) if proxy else "the environment"
        what, hint = f"the proxy in {variable} refuses access (HTTP {status})", f"Correct {variable}, or unset it."
        return TransferError(what, again=False, unreachable=True, hint=hint)
    if status in ACCESS_REFUSED:
        return TransferError(f"the server refuses access (HTTP {status})", again=False, status=status)
    if status in NOT_THERE:
        return TransferError(f"the server does not have it (HTTP {status})", again=False, status=status)
    if status == LOGIN_NEEDED:
        what = f"the network of this machine asks for a login first (HTTP {status})"
        hint = "Open any web page in a browser, log in, and run it again."
        return TransferError(what, again=False, unreachable=True, hint=hint)
    if status == TOO_MANY:
        what = f"the server asks for fewer requests at a time (HTTP {status}): use -j 1"
        return TransferError(what, wait=_retry_after(response.headers), status=status)
    again = status in TRY_LATER or status >= 500
    what = "is overloaded or out of order" if again else "answers in an unexpected way"
    wait = _retry_after(response.headers) if again else None
    return TransferError(f"the server {what} (HTTP {status})", again=again, wait=wait, status=status)


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds to wait: a number of them, or a date by the server's own clock; None if it asks for nothing."""
    from urllib3 import Retry
    from urllib3.exceptions import InvalidHeader

    value = _header(headers, "Retry-After")
    with suppress(InvalidHeader, ValueError, OverflowError):
        then, now = parsedate_tz(value), parsedate_tz(_header(headers, "Date"))
        wait = mktime_tz(then) - mktime_tz(now) if then and now else Retry().parse_retry_after(value)
        return float(min(max(wait, 0), LONGEST_WAIT))
    return None


def with_retries(
    attempt: Callable[[], R],
    server: Server,
    cancel: Cancel,
    mark: Callable[[], int] = lambda: 0,
    waiting: Callable[[bool], None] = lambda starts: None,
) -> R:
    """`attempt()`, repeated with growing waits while it raises a `TransferError` that may pass.

    `mark` measures progress: attempts that got further than all before do not count. `waiting` is called with
    True before each wait and with False after it. A server that was never reached gets few attempts: its URL is
    more likely to be wrong than the server to be away for a moment.
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
                    error.message += f" and asks to wait for more than {retry.longest_retry_after:.0f} s"
                    raise
                wait = error.wait
        waiting(True)
        try:
            cancel.wait(wait)
        finally:
            waiting(False)


def ask_version(server: Server, path: str, cancel: Cancel) -> Version:
    """The version of a file that the server has now; its contents are not fetched. Raises `TransferError`.

    HEAD is only an optimisation: if the server does not answer it, GET decides.
    """
    try:
        with server.request("HEAD", path) as answer:
            if answer.status == 200:
                return answer.version
    except TransferError as error:
        if error.unreachable or error.status in TRY_LATER:
            raise
    cancel.check()
    with server.request("GET", path) as answer:
        return answer.version


def read_small(
    server: Server, path: str, cancel: Cancel, limit: int | None = None, seconds: float | None = None
) -> bytes:
    """A small file, or its first `limit` bytes, whose type must fit its name.

    Raises `TransferError`, also if the file is larger than `SMALL_SIZE` or takes longer than `seconds`.
    """
    data = b""
    with server.request("GET", path) as answer:
        if answer.start != 0:
            raise TransferError("the server sends only a part of it", again=False)
        for chunk in answer.chunks(cancel, SMALL_SECONDS if seconds is None else seconds):
            data += chunk
            if limit is not None and len(data) >= limit:
                data = data[:limit]
                break
            if len(data) > SMALL_SIZE:
                raise TransferError(f"the server sends more than {SMALL_SIZE:,} bytes of it", again=False)
    with checking(path, again=False):
        check_head(path, data[:HEAD_SIZE])
    return data


def read_within(server: Server, path: str, seconds: float | None = None) -> bytes:
    """`read_small` without retries, which takes at most `seconds` in all: name resolution, connection and headers
    too.

    Raises `TransferError`, and `UsageError` like `Server.request`.
    """
    seconds = SMALL_SECONDS if seconds is None else seconds
    cancel = Cancel()
    outcome: list[bytes | BaseException] = []

    def work() -> None:
        try:
            outcome.append(read_small(server, path, cancel, seconds=seconds))
        except BaseException as error:
            outcome.append(error)

    # A daemon: nothing can end a call to the resolver, but nobody has to wait for it.
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(seconds)
    cancel.set()
    if not outcome:
        raise TransferError(f"the server did not answer within {seconds:g} s")
    if isinstance(outcome[0], BaseException):
        raise outcome[0]
    return outcome[0]


@contextmanager
def checking(name: str, again: bool) -> Iterator[None]:
    """Turns what is wrong with contents into a `TransferError`; `again` is whether another attempt may help."""
    try:
        yield
    except InvalidInputError as error:
        raise TransferError(f"what the server sent {error.message}", again=again, foreign=True) from None
    except (NersembleError, OSError, MemoryError):
        raise
    except Exception as error:  # a reader's own surprise, which must cost no more than this one file
        reason = f"what the server sent cannot be read ({type(error).__name__}: {error})"
        raise TransferError(reason, again=again, foreign=True) from None
