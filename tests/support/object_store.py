"""An object store for tests: a real server process that speaks S3, on loopback."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

PATIENCE_S = 120


@contextlib.contextmanager
def served() -> Iterator[dict[str, str]]:
    """Start a server; the variables by which boto3 finds it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [str(Path(sys.executable).with_name("moto_server")), "-H", "127.0.0.1", "-p"]
    quiet = subprocess.DEVNULL
    with subprocess.Popen([*command, str(port)], stdout=quiet, stderr=quiet) as process:
        try:
            deadline_s = time.monotonic() + PATIENCE_S
            while not _answers(port):
                assert process.poll() is None, "the S3 server ended"
                assert time.monotonic() < deadline_s, "the S3 server did not start"
                time.sleep(0.05)
            yield {
                "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
                "AWS_ACCESS_KEY_ID": "key",
                "AWS_SECRET_ACCESS_KEY": "secret",
                "AWS_DEFAULT_REGION": "us-east-1",
                "AWS_CONFIG_FILE": os.devnull,
                "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            }
        finally:
            process.terminate()


def _answers(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False
