"""The same model in mosec, with its batching.

``python -m benchmarks.load.mosec_server FOLDER --port PORT --address 127.0.0.1 --timeout 30000``
"""

import sys
from pathlib import Path

from mosec import Server, Worker

from benchmarks.load.model import Model


class Classify(Worker):
    """Each call of ``forward`` gets the bodies of up to ``max_batch_size`` requests."""

    def __init__(self) -> None:
        self.model = Model(Path(sys.argv[1]))

    def forward(self, data: list[dict]) -> list[dict]:
        return self.model.predict_many([body["texts"] for body in data])


if __name__ == "__main__":
    server = Server()
    server.append_worker(Classify, max_batch_size=32, max_wait_time=5, route="/predict")
    server.run()
