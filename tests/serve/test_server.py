"""The server in a process of its own, asked by those who mean it no good: refused politely, and it lives on."""

import json
import socket
import statistics
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import quote

import pytest

from probe import Index
from tests.serve.server import Server, serving
from tests.serve.test_app import bomb, files

pytestmark = pytest.mark.slow
SECONDS = 5  # the server's limit
GIGABYTE = 1 << 30


@pytest.fixture(scope="module")
def server(described: Path) -> Iterator[Server]:
    with serving(described, "--seconds", str(SECONDS), "--upload-mb", "2", "--threads", "2") as server:
        yield server


@pytest.fixture(autouse=True)
def _it_lives_on(server: Server) -> Iterator[None]:
    yield
    assert server.lives()


def memory(server: Server) -> int:
    """Resident, in bytes."""
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    return 1024 * int(status.split("VmRSS:")[1].split()[0])


def post(server: Server, headers: str) -> socket.socket:
    connection = server.connect()
    connection.sendall(f"POST /api/search HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\n{headers}\r\n\r\n".encode())
    return connection


def answered(connection: socket.socket) -> tuple[int, dict]:
    """The status and the JSON of what comes before the connection is closed."""
    content = b""
    while chunk := connection.recv(65536):
        content += chunk
    head, _, body = content.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body)


def test_a_gigabyte_that_says_so_is_refused_before_it_is_read(server: Server):
    with post(server, f"Content-Length: {GIGABYTE}") as connection:
        status, said = answered(connection)
    assert (status, said) == (413, {"detail": "the file is larger than 2 MB; send a smaller one."})


@pytest.mark.parametrize("announced", [True, False])
def test_a_gigabyte_of_zeros_is_stopped_early(server: Server, announced: bool):
    before, sent, chunk = memory(server), 0, bytes(1 << 20)
    kind = f"Content-Length: {GIGABYTE}" if announced else "Transfer-Encoding: chunked"
    with post(server, kind) as connection:
        connection.setblocking(False)
        answer, framed = b"", chunk if announced else b"100000\r\n" + chunk + b"\r\n"
        rest = memoryview(framed)
        while sent < GIGABYTE:
            try:
                answer += connection.recv(65536)
                if b"\r\n\r\n" in answer:
                    break
            except BlockingIOError:
                pass
            try:
                done = connection.send(rest)
                sent += done
                rest = rest[done:] if done < len(rest) else memoryview(framed)
            except BlockingIOError:
                time.sleep(0.001)
    assert b" 413 " in answer.split(b"\r\n")[0]
    assert sent < GIGABYTE / 2
    assert memory(server) - before < 100 << 20


@pytest.mark.parametrize("headers", ["Content-Length: 100000", "Transfer-Encoding: chunked"])
def test_a_slow_upload_is_ended(server: Server, headers: str):
    began = time.monotonic()
    with post(server, headers) as connection:
        connection.sendall(b"1\r\nx\r\n")
        status, said = answered(connection)
    assert (status, said) == (408, {"detail": f"the upload took longer than {SECONDS} s; send it again."})
    assert time.monotonic() - began > SECONDS - 0.5


def test_connections_that_ask_for_nothing_are_closed(server: Server):
    connections = [server.connect() for _ in range(50)]
    for connection in connections[::2]:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: lo")
    assert server.lives()
    assert [connection.recv(100) for connection in connections] == [b""] * 50
    for connection in connections:
        connection.close()


def test_a_connection_that_goes_on_asking_is_kept(server: Server):
    connection = HTTPConnection("127.0.0.1", server.port, timeout=60)
    began = time.monotonic()
    while time.monotonic() - began < 2.5 * SECONDS:
        connection.request("GET", "/health")
        assert connection.getresponse().read() == b'{"status":"ok"}'
    connection.close()


def test_what_is_no_http_is_refused(server: Server):
    for words in (
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET / HTTP/1.1\r\n\r\n",
        bytes(100_000),
        b"x" * 70_000,
    ):
        with server.connect() as connection:
            connection.sendall(words + b"\r\n\r\n")
            said = connection.recv(100)
            assert said == b"" or b" 4" in said.split(b"\r\n")[0]


def test_fifty_broken_uploads_at_once_are_each_refused(server: Server, index: Index):
    whole = files(index)[0].read_bytes()
    kinds = [
        whole[: len(whole) // 2],
        b"text",
        bomb(50_000, 50_000),
        b"\xff\xd8\xff" + bytes(1000),
        b"GIF89a",
        b"RIFFxxxxWEBP",
    ]
    uploads = [kinds[number % len(kinds)] for number in range(50)]
    with ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(lambda upload: server.ask("POST", "/api/search", upload), uploads))
    assert {status for status, _ in answers} == {413, 415}
    assert all(set(said) == {"detail"} for _, said in answers)
    assert server.ask("POST", "/api/search", whole)[0] == 200


def test_fifty_uploads_that_are_cut_off_leave_nothing_behind(server: Server):
    for _ in range(50):
        connection = post(server, "Content-Length: 100000")
        connection.sendall(bytes(1000))
        connection.close()
    patience = time.monotonic() + 10
    while b"probe_upload_bytes_held 0.0" not in (told := server.ask("GET", "/metrics")[1]):
        assert time.monotonic() < patience, told.decode()


def test_no_path_of_a_request_reaches_the_file_system(server: Server):
    for path in ("../../etc/passwd", "/etc/passwd", "photos/../../../etc/passwd", "photos.index/manifest.json"):
        for wanted in (
            f"/api/image?id={quote(path)}",
            f"/api/search?id={quote(path)}",
            f"/{path}",
            f"/{quote(path, safe='')}",
        ):
            status, said = server.ask("GET", wanted)
            assert status == 404
            assert set(said) == {"detail"}


def test_a_thousand_concurrent_searches_are_all_answered(server: Server, index: Index):
    ids = index.frame["id"].to_list()

    def search(number: int) -> tuple[int, float, str]:
        began = time.perf_counter()
        status, found = server.ask("GET", f"/api/search?id={quote(ids[number % len(ids)])}&k=5&exclude_self=false")
        return status, time.perf_counter() - began, found["hits"][0]["id"]

    with ThreadPoolExecutor(200) as pool:
        answers = list(pool.map(search, range(1000)))
    assert {status for status, _, _ in answers} == {200}
    assert [first for _, _, first in answers] == [ids[number % len(ids)] for number in range(1000)]
    threads = len(list(Path(f"/proc/{server.process.pid}/task").iterdir()))
    assert threads < 40
    print(f"median {statistics.median(seconds for _, seconds, _ in answers):.3f} s, {threads} threads")


def test_beyond_the_loopback_a_token_is_drawn_and_needed(described: Path):
    with serving(described, host="0.0.0.0") as server:
        assert server.token
        assert len(server.token) > 20
        status, said = server.ask("GET", "/api/index")
        assert (status, set(said)) == (401, {"detail"})
        assert server.ask("GET", "/api/index", headers={"Authorization": f"Bearer {server.token}"})[0] == 200
