"""mosec, as its documentation writes a server: a Worker whose `forward` gets a list where batching is on."""

# mypy: disable-error-code="import-not-found,misc"
# mosec lives in an environment of its own, so its classes are unknown here.

from typing import Any

from job import Row, Session, answer, job, read
from mosec import Server, Worker


class Inference(Worker):
    """mosec reads and writes the JSON itself."""

    def __init__(self) -> None:
        super().__init__()
        self.batching = job().batching
        self.session = Session(job().file)

    def forward(self, data: Any) -> Any:
        requests = data if self.batching else [data]
        rows: list[Row] = [read(request) for request in requests]
        answers = [answer(one) for one in self.session.run(rows)]
        return answers if self.batching else answers[0]


if __name__ == "__main__":
    server = Server()  # reads --address, --port and --timeout from the command line
    server.append_worker(
        Inference, num=1, max_batch_size=job().rows, max_wait_time=int(job().wait_ms)
    )
    server.run()
