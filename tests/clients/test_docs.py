"""The examples of the pages about the HTTP API, as bash and curl make of them.

All blocks of a page run in its order, in one shell on one fresh server, so that an example may use what one above it made.
A block marked `sh refused` has to be refused; a `json` block behind a `sh` block is the form of its last answer.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from server import REPOSITORY, Server

PAGES = ["docs/http.md", "docs/http-live.md"]
FENCED = re.compile(r"^```(?P<kind>[^\n]*)\n(?P<text>.*?)^```$", re.M | re.S)
ADDRESS = re.compile(r"(?:localhost|127\.0\.0\.1):8080")
WAIT = re.compile(r"(wait_ms\W{1,3})\d+")
BLOCK_END = "--- the block has ended"
PAGE_SECONDS_MAX = 60

# A stream ends when its reader has seen enough of it, which is after two seconds here.
PREAMBLE = """
set -euo pipefail
curl() {
    local words=" $* " code=0
    case "$words" in *" -N "* | *" --no-buffer "*) set -- --max-time 2 "$@" ;; esac
    command curl --silent --show-error --fail-with-body --max-time 20 "$@" || code=$?
    case "$words" in *" -N "* | *" --no-buffer "*) [ "$code" = 28 ] && code=0 ;; esac
    return "$code"
}
"""


@dataclass
class Example:
    line: int
    text: str
    refused: bool
    form: Any = None


def examples(name: str) -> list[Example]:
    page = (REPOSITORY / name).read_text()
    found: list[Example] = []
    ended_at = -1
    for block in FENCED.finditer(page):
        kind, text = block["kind"].strip(), block["text"]
        if kind in ("sh", "sh refused"):
            found.append(Example(page.count("\n", 0, block.start()) + 2, text, kind.endswith("refused")))
        elif kind == "json" and found and not page[ended_at : block.start()].strip():
            found[-1].form = json.loads(text)
        ended_at = block.end()
    return found


def script(name: str, blocks: list[Example], address: str) -> Iterator[str]:
    yield PREAMBLE
    for block in blocks:
        text = WAIT.sub(r"\g<1>300", ADDRESS.sub(address, block.text))
        if block.refused:
            yield f"if ( {text}\n); then echo 'line {block.line}: was not refused' >&2; exit 1; fi\n"
        else:
            # Each command counts, not only the last; a newline keeps answers apart.
            yield f"trap 'echo \"{name}, example at line {block.line}, failed\" >&2' ERR\n{text}\n"
        yield f"echo; echo '{BLOCK_END}'\n"


@pytest.mark.parametrize("page", PAGES)
def test_every_example_does_what_the_page_says(page, own_server: Server, tmp_path):
    blocks = examples(page)
    assert blocks, "the page has lost its examples, or its fences are not `sh`"
    (tmp_path / "logo.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(range(256)))
    (tmp_path / "page.sh").write_text("".join(script(page, blocks, own_server.http or "")))
    ran = subprocess.run(
        ["bash", "-E", "page.sh"], cwd=tmp_path, capture_output=True, timeout=PAGE_SECONDS_MAX, check=False
    )
    out = ran.stdout.decode(errors="replace")
    assert ran.returncode == 0, f"{ran.stderr.decode(errors='replace')}\nthe last answers: {out[-1500:]}"
    said = out.split(BLOCK_END)
    for block, answer in zip(blocks, said, strict=False):
        if block.form is not None:
            same_form(block.form, last_json(answer), f"line {block.line}")


def last_json(text: str) -> Any:
    """The last JSON document of what several commands printed."""
    decoder, at, found = json.JSONDecoder(), 0, None
    while (start := text.find("{", at)) >= 0:
        try:
            found, at = decoder.raw_decode(text, start)
        except ValueError:
            at = start + 1
    return found


def same_form(shown: Any, real: Any, where: str) -> None:
    """Whether the real answer has each member of the one shown, of the same kind."""
    if shown is None or real is None:
        return
    numbers = (int, float)
    alike = isinstance(real, type(shown)) or (isinstance(shown, numbers) and isinstance(real, numbers))
    assert alike, f"{where}: {shown!r} is shown, {real!r} came"
    if isinstance(shown, dict):
        for name, value in shown.items():
            assert name in real, f"{where}: {name!r} is shown, and is not in {real!r}"
            same_form(value, real[name], f"{where}, {name}")
    elif isinstance(shown, list) and shown:
        assert real, f"{where}: {shown!r} is shown, and nothing came"
        same_form(shown[0], real[0], where)


@pytest.mark.parametrize("path", ["/openapi.json", "/healthz", "/readyz", "/metrics", "/docs"])
def test_curl_gets_the_pages_that_are_named(path, http_address):
    command = ["curl", "--silent", "--show-error", "--fail-with-body", f"http://{http_address}{path}"]
    ran = subprocess.run(command, capture_output=True, timeout=20, check=False)
    assert ran.returncode == 0 and ran.stdout, ran.stderr
