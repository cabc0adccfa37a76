"""A bucket on loopback: a server (moto) that speaks S3, found by AWS_ENDPOINT_URL, for tests of any room."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import pyarrow.fs as pafs
import pytest


@contextmanager
def object_store(host: str) -> Iterator[pafs.FileSystem]:
    """The server with one bucket, 'bucket', and an environment that leads to it; both end with the context."""
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # else a line for each request
    server = ThreadedMotoServer(ip_address=host, port=0, verbose=False)
    server.start()
    name, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", f"http://{name}:{port}")
        patch.setenv("AWS_ACCESS_KEY_ID", "a")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "b")
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        where = f"s3://bucket?endpoint_override={name}%3A{port}&scheme=http&allow_bucket_creation=true&region=us-east-1"
        filesystem, _ = pafs.FileSystem.from_uri(where)
        filesystem.create_dir("bucket")
        yield filesystem
    server.stop()
