"""A server on the loopback address that speaks the part of the Hugging Face hub's protocol that fetching needs."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha1, sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Hub:
    """What the server offers, and what it was asked for.

    Attributes:
        files: content by name; those of more than `large` bytes are large files, with a sha256.
        commit: of the only revision, which `main` names.
        stated: name -> sha256 that the server states, where it is not the content's.
        cut: after how many bytes of a file the connection breaks, once; None for never.
        down: whether files are refused (500); `cut` sets it.
        gated: whether files are refused until a licence is accepted (403).
        ranges: where each request for a file began.
    """

    files: dict[str, bytes] = field(default_factory=dict)
    commit: str = "a" * 40
    large: int = 1000
    stated: dict[str, str] = field(default_factory=dict)
    cut: int | None = None
    down: bool = False
    gated: bool = False
    ranges: list[tuple[str, int]] = field(default_factory=list)
    url: str = ""

    def info(self) -> dict[str, Any]:
        siblings = []
        for name, content in self.files.items():
            blob = sha1(b"blob %d\0" % len(content) + content).hexdigest()
            one: dict[str, Any] = {"rfilename": name, "size": len(content), "blobId": blob}
            if len(content) > self.large:
                digest = self.stated.get(name, sha256(content).hexdigest())
                one["lfs"] = {"sha256": digest, "size": len(content), "pointerSize": 130}
            siblings.append(one)
        return {
            "_id": "1", "id": "owner/set", "sha": self.commit, "private": False, "disabled": False, "gated": self.gated,
            "downloads": 0, "likes": 0, "tags": [], "cardData": {"license": "cc-by-4.0"}, "siblings": siblings,
        }  # fmt: skip


@contextmanager
def serve(hub: Hub) -> Iterator[Hub]:
    """Run the server while the block runs; `hub.url` is what HF_ENDPOINT names."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *given: Any) -> None:
            pass

        def answer(self, code: int, body: bytes, **headers: str) -> None:
            self.send_response(code)
            for key, value in headers.items():
                self.send_header(key.replace("_", "-"), value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            revisions = {"/api/datasets/owner/set"}
            revisions |= {f"/api/datasets/owner/set/revision/{name}" for name in ("main", hub.commit)}
            start = f"/datasets/owner/set/resolve/{hub.commit}/"
            if path in revisions:
                self.answer(200, json.dumps(hub.info()).encode(), Content_Type="application/json")
            elif path.startswith("/api/datasets/owner/set/revision/"):
                self.answer(404, b"", X_Error_Code="RevisionNotFound")
            elif not path.startswith(start):
                self.answer(404, b"", X_Error_Code="RepoNotFound")
            elif hub.gated:
                self.answer(403, b"", X_Error_Code="GatedRepo", X_Error_Message="Access to this is restricted.")
            elif hub.down:
                self.answer(500, b"")
            else:
                self.send_file(path.removeprefix(start))

        def send_file(self, name: str) -> None:
            content = hub.files[name]
            begin = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").partition("-")[0])
            hub.ranges.append((name, begin))
            if hub.cut is None or len(content) <= hub.cut:
                self.answer(206 if begin else 200, content[begin:])
                return
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content[: hub.cut])
            hub.cut, hub.down, self.close_connection = None, True, True

    class Server(ThreadingHTTPServer):
        def handle_error(self, *given: Any) -> None:
            """A client that stops in the middle of a file is no error of the server."""

    server = Server(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
