"""A web server of this machine, in place of those that publish archives."""

import contextlib
import http.server
import threading
from collections.abc import Iterator
from typing import Any


class Server:
    """Files by their path, and what was asked for.

    Attributes:
      files: content by path.
      cut: bytes after which an answer ends, once.
      ranges: whether it goes on where it is asked to.
      asked: path and header `Range` of each request.
      url: address of the server.
    """

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.cut: int | None = None
        self.ranges = True
        self.asked: list[tuple[str, str | None]] = []
        self.url = ""


@contextlib.contextmanager
def serve() -> Iterator[Server]:
    """A server that runs in a thread."""
    state = Server()

    class Handler(http.server.BaseHTTPRequestHandler):
        def log_message(self, format: str, *args: Any) -> None:
            pass

        def do_GET(self) -> None:
            asked = self.headers.get("Range")
            state.asked.append((self.path, asked))
            content = state.files.get(self.path)
            if content is None:
                self.send_error(404)
                return
            start = 0
            if asked and state.ranges:
                start = int(asked.removeprefix("bytes=").rstrip("-"))
            self.send_response(206 if start else 200)
            part = content[start:]
            self.send_header("Content-Length", str(len(part)))
            self.end_headers()
            if state.cut is not None:
                part, state.cut = part[: state.cut], None
            with contextlib.suppress(OSError):
                self.wfile.write(part)

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        state.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield state
        finally:
            server.shutdown()
            thread.join()
