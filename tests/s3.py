"""An S3-compatible server for tests: moto on a loopback port, one request at a time. As a program it prints its URL.

S3 decides a conditional put in one step. moto looks first and writes then, which is one step only while nobody else is served.
"""

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import live

CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_DEFAULT_REGION": "us-east-1",
}
BUCKET = "evergreen"


@contextmanager
def serving(directory: Path) -> Iterator[live.Program]:
    """A server with an empty bucket; `said` is its URL."""
    with live.running([sys.executable, __file__], r"answers on (\S+)", directory) as program:
        yield program


def main() -> None:
    import boto3
    from moto.server import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import WSGIRequestHandler, make_server

    moto, alone = DomainDispatcherApplication(create_backend_app), threading.Lock()

    def application(environ, start_response):
        with alone:
            return [b"".join(moto(environ, start_response))]

    class Quiet(WSGIRequestHandler):
        def log_request(self, *_: object) -> None:
            pass

    server = make_server("127.0.0.1", 0, application, threaded=True, request_handler=Quiet)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    url = f"http://127.0.0.1:{server.port}"
    boto3.client(
        "s3",
        endpoint_url=url,
        region_name=CREDENTIALS["AWS_DEFAULT_REGION"],
        aws_access_key_id=CREDENTIALS["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
    ).create_bucket(Bucket=BUCKET)
    sys.stdout.write(f"answers on {url}\n")
    sys.stdout.flush()
    thread.join()


if __name__ == "__main__":
    main()
