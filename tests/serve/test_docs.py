"""The lines with curl in the docs run, in their order, and the table of limits says what the limits are."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from ernest.serve.limits import Limits

PAGE = (Path(__file__).parents[2] / "docs/serve.md").read_text()
BLOCKS = re.findall(r"^```sh\n(.*?)^```$", PAGE, flags=re.MULTILINE | re.DOTALL)


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
def test_the_lines_of_the_page_run(server, tmp_path):
    script = "\n".join(["set -euo pipefail", 'curl() { command curl --silent --show-error --fail-with-body "$@"; }', *BLOCKS])
    script = script.replace("http://127.0.0.1:8000", server.url)
    done = subprocess.run(["bash", "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr
    heads = {"disk.gif": b"GIF8", "disk.mp4": b"\0\0\0 ftyp", "seven.png": b"\x89PNG", "said.wav": b"RIFF"}
    assert {name: (tmp_path / name).read_bytes()[: len(head)] for name, head in heads.items()} == heads
    assert done.stdout.count('"object":"chat.completion"') == 2
    assert done.stdout.count("data: [DONE]") == 2
    assert done.stdout.count("event: image_generation.partial_image") == 2
    assert '{"status":"ok"}' in done.stdout
    assert "# TYPE ernest_rows gauge" in done.stdout


def test_the_limits_of_the_page_are_those_of_the_server():
    limits = Limits()
    told = {
        f"| body | {limits.body >> 20} MiB; a pause of {limits.head_seconds:g} s, {limits.body_seconds:g} s in all |",
        f"| text | {limits.prompt:,} characters",
        f"| pictures and films | {limits.pixels // 1_000_000} million pixels",
        f"| answers that are waited for | `--queue` {limits.queue} |",
        f"| answers that are made at once | `--rows` {limits.rows} | the rest waits",
        f"a stream says so every {limits.silence_seconds:g} s",
        f"| an answer | {limits.answer_seconds:g} s",
        f"| open requests | {limits.connections:,} |",
        f"| a connection that says nothing | {limits.head_seconds:g} s |",
        f"| a client that reads nothing | {limits.read_seconds:g} s |",
        f"or after {limits.drain_seconds:g} seconds",
    }
    assert [line for line in told if line not in " ".join(PAGE.splitlines()) and line not in PAGE] == []


def test_every_endpoint_is_in_the_table(server):
    """But those of the page, of operators, and of the schema itself."""
    paths = {re.sub(r"\{.*?\}", "", path).rstrip("/") for path in server.app.openapi()["paths"] if path.startswith("/v1/")}
    rows = " ".join(re.findall(r"^\| (`[^|]*)\|", PAGE, flags=re.MULTILINE))
    families = {path for path in paths if path not in rows and not path.startswith("/v1/videos/")}
    assert families <= {"/v1/images/variations"}
