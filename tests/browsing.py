"""A Chromium for tests of pages, and a server that notes who calls."""

import contextlib
import os
import shutil
import socketserver
import threading

import pytest

BROWSERS = ("chromium", "chromium-browser", "google-chrome")


@contextlib.contextmanager
def chromium():
    """Start Chromium; without one the test is skipped, or fails if PYSCORE_REQUIRE_CHROMIUM=1."""
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        absent = pytest.fail if os.environ.get("PYSCORE_REQUIRE_CHROMIUM") == "1" else pytest.skip
        absent("there is no Chromium on this machine (PYSCORE_REQUIRE_CHROMIUM=1 makes this fail)")
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=found, args=["--no-sandbox"], timeout=0)
        yield browser
        browser.close()


@contextlib.contextmanager
def listener():
    """Listen on loopback; yields the address and the list of what was heard."""
    heard = []

    class Handler(socketserver.StreamRequestHandler):
        timeout = 2  # a browser may connect and say nothing

        def handle(self):
            heard.append("connected")
            with contextlib.suppress(OSError):
                heard.append(self.rfile.readline().decode("latin-1").strip())
                self.wfile.write(b"HTTP/1.0 404 no\r\nContent-Length: 0\r\n\r\n")

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads, block_on_close = True, False

    with Server(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}", heard
        server.shutdown()
        thread.join()
