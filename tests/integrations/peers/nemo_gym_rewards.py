"""NeMo-Gym's resources server of ours verifies over its routes. Argument: ROWS.jsonl. Prints a JSON list of rewards."""

import json
import sys
from pathlib import Path

from fastapi.testclient import TestClient
from nemo_gym_parts import REFUSED, message, request, resources, response

from integrations.nemo_gym import SorobanVerifyResponse


def main():
    rows = [json.loads(line) for line in Path(sys.argv[1]).read_text().splitlines()]
    server = resources("http://127.0.0.1:9", weights={"correct": 1})
    given = []
    with TestClient(server.setup_webserver()) as client:
        for row in rows:
            body = {**request(row["question"], row["reference"]), "response": response(message(row["solution"]))}
            answer = client.post("/verify", json=body)
            assert answer.status_code == 200, answer.text
            verified = SorobanVerifyResponse.model_validate(answer.json())
            assert not verified.mask_sample, verified.failure_reason
            assert verified.accuracy == (verified.reward == 1.0)
            given.append(verified.reward)
        unread = {**request("1 + 1", "\\frac{"), "response": response(message("\\boxed{2}"))}
        verified = client.post("/verify", json=unread).json()
        assert (verified["mask_sample"], verified["failure_kind"]) == (True, "verifier_error"), verified
        assert "\\frac{" in verified["failure_reason"], verified
        for body in REFUSED:
            assert client.post("/verify", json=body).status_code == 422, body
    print(json.dumps(given))


if __name__ == "__main__":
    main()
