"""`probe serve` in a process of its own, on the loopback.

with serving(index, "--threads", "2") as server:
    server.get("/health")
"""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
CPU = ("--device", "cpu")
STARTS = 180  # seconds, on a machine under load too


@dataclass(frozen=True)
class Server:
    process: subprocess.Popen[bytes]
    port: int
    token: str | None
    said: Path

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    def ask(self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> tuple[int, Any]:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=STARTS)
        try:
            connection.request(method, path, body, headers or {})
            answer = connection.getresponse()
            content = answer.read()
            return answer.status, json.loads(content) if "json" in answer.headers["Content-Type"] else content
        finally:
            connection.close()

    def lives(self) -> bool:
        return self.process.poll() is None and self.ask("GET", "/health")[0] == 200

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=STARTS)


@contextmanager
def serving(index: Path, *words: str, host: str = "127.0.0.1") -> Iterator[Server]:
    """It is interrupted in the end, and has to end well."""
    with tempfile.TemporaryDirectory() as folder:
        said = Path(folder) / "said"
        with said.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "probe", "serve", str(index), "--port", "0", "--host", host, *CPU, *words],
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=ROOT,
                env=os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"},
            )
        try:
            yield _started(process, said)
            process.send_signal(signal.SIGINT)
            assert process.wait(STARTS) == 0, said.read_text()
            assert "Traceback" not in said.read_text(), said.read_text()
        finally:
            process.kill()
            process.wait()


def _started(process: subprocess.Popen[bytes], said: Path) -> Server:
    patience = time.monotonic() + STARTS
    while time.monotonic() < patience and process.poll() is None:
        if found := re.search(r"http://[^:/]+:(\d+)/(?:\?token=(\S+))?", said.read_text()):
            server = Server(process, int(found[1]), found[2], said)
            try:
                server.connect().close()
                if server.ask("GET", "/health")[0] == 200:
                    return server
            except OSError:
                pass
        time.sleep(0.05)
    raise AssertionError(said.read_text())
