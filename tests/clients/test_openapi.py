"""Schemathesis over the server's own description of its API: whatever it makes up, no answer is a failure of the server's,
and none is of a kind that the description does not name."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from server import Server

CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"
# Streams end when their reader has had enough, which this reader never has.
STREAMS = "/v1/(live|ws).*"
# Consumer groups are made by Kafka clients.
FOR_GROUPS = {"describe_group", "delete_group"}
HERE = Path(__file__).resolve().parent
# Longer than the longest wait for records that a reader can ask for.
REQUEST_SECONDS = 45


def run(server: Server, directory: Path, seconds: int, examples: int) -> None:
    settings = directory / "schemathesis.toml"
    # 503 is how a server that is busy asks for patience.
    settings.write_text('[checks.not_a_server_error]\nexpected-statuses = ["2xx", "3xx", "4xx", "503"]\n')
    command = [
        str(Path(sys.executable).parent / "schemathesis"), "--config-file", str(settings),
        "run", f"http://{server.http}/openapi.json",
        "--exclude-path-regex", STREAMS,
        "--checks", CHECKS,
        "--phases", "examples,coverage,fuzzing",
        "--max-examples", str(examples),
        "--request-timeout", str(REQUEST_SECONDS),
        "--seed", "4", "--generation-database", "none", "--no-color",
    ]  # fmt: skip
    answered = directory / "answered.json"
    told = {
        "OPENAPI_ADDRESS": server.http or "",
        "OPENAPI_ANSWERED": str(answered),
        "PYTHONPATH": str(HERE),
        "SCHEMATHESIS_HOOKS": "openapi_hooks",
    }
    environment = os.environ | told | {"NO_COLOR": "1"}
    with (directory / "schemathesis.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, cwd=directory, env=environment)
        try:
            code = process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            code = None
    said = (directory / "schemathesis.log").read_text()
    assert code == 0, f"it ended with {code}:\n{said[-6000:]}"
    answers = json.loads(answered.read_text())
    never = {name for name, statuses in answers.items() if not any(status[0] == "2" for status in statuses)}
    assert len(answers) > 30 and never <= FOR_GROUPS, f"these only ever refused: {never - FOR_GROUPS}"


@pytest.mark.timeout(150)
def test_no_answer_is_undescribed(own_server: Server, tmp_path: Path):
    run(own_server, tmp_path, seconds=120, examples=8)


@pytest.mark.slow
@pytest.mark.timeout(1300)
def test_no_answer_is_undescribed_for_long(own_server: Server, tmp_path: Path):
    run(own_server, tmp_path, seconds=1200, examples=200)
