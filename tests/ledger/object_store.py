"""A server on loopback that speaks S3, and the store of an empty bucket on it."""

from __future__ import annotations

import logging
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch
from urllib.request import Request, urlopen

from moto.server import ThreadedMotoServer


@contextmanager
def s3_bucket() -> Iterator[str]:
    """The URL of a new bucket; meanwhile the environment leads this process and its children to it."""
    logging.getLogger("werkzeug").setLevel(logging.WARNING)  # or it tells of every request
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    access = {
        "AWS_ENDPOINT": f"http://{host}:{port}",
        "AWS_ALLOW_HTTP": "true",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_REGION": "us-east-1",
    }
    bucket = f"bucket-{uuid.uuid4().hex[:12]}"
    try:
        urlopen(Request(f"http://{host}:{port}/{bucket}", method="PUT")).close()
        with patch.dict(os.environ, access):
            yield f"s3://{bucket}"
    finally:
        server.stop()
