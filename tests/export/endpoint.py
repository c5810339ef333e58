"""A hub on this machine: what huggingface_hub asks for when it downloads a repository, answered from a folder.

with serving(folder, "me/groceries") as (address, asked): ...        # HF_ENDPOINT=address
"""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import urlsplit

COMMIT = "1" * 40

Asked = list[tuple[str, str]]
"""Method and path of each request."""


@contextmanager
def serving(folder: Path, repository: str) -> Iterator[tuple[str, Asked]]:
    """Its address, and what it is asked while it serves."""
    asked: Asked = []
    files = {file.name: file.read_bytes() for file in folder.iterdir() if file.is_file()}
    listed = [
        {"type": "file", "path": name, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}
        for name, content in files.items()
    ]
    answers = {
        f"/api/models/{repository}/revision/main": {"id": repository, "sha": COMMIT, "siblings": []},
        f"/api/models/{repository}/tree/{COMMIT}": listed,
    }

    class Answer(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self._answer(body=False)

        def do_GET(self) -> None:
            self._answer(body=True)

        def _answer(self, body: bool) -> None:
            path = urlsplit(self.path).path
            asked.append((self.command, path))
            name = path.rpartition("/")[2]
            is_file = path.startswith(f"/{repository}/resolve/") and name in files
            content = files[name] if is_file else json.dumps(answers.get(path)).encode()
            self.send_response(200 if is_file or path in answers else 404)
            self.send_header("Content-Length", str(len(content)))
            self.send_header("X-Repo-Commit", COMMIT)
            self.send_header("ETag", f'"{hashlib.sha1(content).hexdigest()}"')
            self.end_headers()
            if body:
                self.wfile.write(content)

        def log_message(self, format: str, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
