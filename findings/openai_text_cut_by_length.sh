#!/usr/bin/env bash
# openai 3.57.0 (Python): a plain text that `max_tokens` has cut is an answer to `create`, and an error to `stream` and `parse`.
#
# `chat.completions.stream` is the client's helper for any stream, with events and the whole answer in the end. Where an answer ended
# by its length, `get_final_completion` raises LengthFinishReasonError, "Could not parse response content", though no format and no
# tool was given and there is nothing to parse; the events before it come without a word. `create`, streamed or not, gives the text
# with the finish_reason "length". Seen, against a local server that sends the same cut text each time:
#
#     create:                              The cat sat on
#     create, stream=True:                 The cat sat on
#     stream, its events:                  The cat sat on
#     stream, get_final_completion:        LengthFinishReasonError
#     parse, without a response_format:    LengthFinishReasonError
#
# Exit status: 0 where it is still so, 1 where it is not.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet openai==3.57.0

cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import openai

HEAD = {"id": "chatcmpl-1", "created": 1, "model": "m"}
TEXT = "The cat sat on"


def chunk(delta: dict, reason: str | None = None) -> str:
    choice = {"index": 0, "delta": delta, "finish_reason": reason}
    return f"data: {json.dumps({**HEAD, 'object': 'chat.completion.chunk', 'choices': [choice]})}\n\n"


class Cutting(BaseHTTPRequestHandler):
    """A server whose every answer is the same text, cut by its length."""

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        message = {"role": "assistant", "content": TEXT}
        body, kind = chunk(message) + chunk({}, "length") + "data: [DONE]\n\n", "text/event-stream"
        if not asked.get("stream"):
            choice = {"index": 0, "message": message, "finish_reason": "length"}
            body, kind = json.dumps({**HEAD, "object": "chat.completion", "choices": [choice]}), "application/json"
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *words):
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Cutting)
threading.Thread(target=server.serve_forever, daemon=True).start()
chats = openai.OpenAI(base_url=f"http://127.0.0.1:{server.server_port}/v1", api_key="none", max_retries=0).chat.completions
asked = {"model": "m", "messages": [{"role": "user", "content": "Where is the cat?"}], "max_tokens": 4}


def events() -> str:
    with chats.stream(**asked) as stream:
        return "".join(event.delta for event in stream if event.type == "content.delta")


def final() -> str:
    with chats.stream(**asked) as stream:
        return stream.get_final_completion().choices[0].message.content


ways = {
    "create": lambda: chats.create(**asked).choices[0].message.content,
    "create, stream=True": lambda: "".join(one.choices[0].delta.content or "" for one in chats.create(stream=True, **asked)),
    "stream, its events": events,
    "stream, get_final_completion": final,
    "parse, without a response_format": lambda: chats.parse(**asked).choices[0].message.content,
}
seen = []
for name, way in ways.items():
    try:
        seen.append(way())
    except openai.OpenAIError as error:
        seen.append(type(error).__name__)
    print(f"{name + ':':<36} {seen[-1]}")
sys.exit(0 if seen == [TEXT] * 3 + ["LengthFinishReasonError"] * 2 else 1)
PYTHON
