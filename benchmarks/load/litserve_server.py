"""The same model in LitServe, with its batching.

``python -m benchmarks.load.litserve_server FOLDER PORT``
"""

import sys
from pathlib import Path

import litserve

from benchmarks.load.model import Model


class Classify(litserve.LitAPI):
    """Each call of ``predict`` gets the texts of up to ``max_batch_size`` requests."""

    def setup(self, device: str) -> None:
        self.model = Model(Path(sys.argv[1]))

    def decode_request(self, request: dict) -> list[str]:
        return request["texts"]

    def batch(self, inputs: list[list[str]]) -> list[list[str]]:
        return inputs

    def predict(self, requests: list[list[str]]) -> list[dict]:
        return self.model.predict_many(requests)

    def unbatch(self, output: list[dict]) -> list[dict]:
        return output

    def encode_response(self, output: dict) -> dict:
        return output


if __name__ == "__main__":
    api = Classify(max_batch_size=32, batch_timeout=0.005, api_path="/predict")
    server = litserve.LitServer(api, accelerator="cpu", timeout=30)
    server.run(
        host="127.0.0.1", port=int(sys.argv[2]), generate_client_file=False, log_level="error"
    )
