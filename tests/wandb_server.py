"""The part of a W&B server that ``wandb sync`` and the public API talk to, on loopback: it keeps what a run is uploaded with."""

from __future__ import annotations

import gzip
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

OPERATION = re.compile(r"(?:query|mutation)\s+(\w+)")


@dataclass
class Uploaded:
    """What the server has of a run."""

    summary: dict[str, Any] = field(default_factory=dict)
    history: dict[int, str] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)
    exit_code: int | None = None


class Handler(BaseHTTPRequestHandler):
    """Answers just what the library needs to go on."""

    protocol_version = "HTTP/1.1"
    runs: dict[str, Uploaded]

    def log_message(self, format: str, *arguments: object) -> None:
        """Print nothing."""

    def run(self, name: str) -> Uploaded:
        return self.runs.setdefault(name, Uploaded())

    def body(self) -> bytes:
        data = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        return gzip.decompress(data) if self.headers.get("Content-Encoding") == "gzip" else data

    def answer(self, value: object) -> None:
        data = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def do_PUT(self) -> None:
        _, _, run, name = self.path.split("/", 3)
        self.run(run).files[name] = self.body()
        self.answer({})

    def do_POST(self) -> None:
        body = json.loads(self.body())
        if self.path.endswith("/file_stream"):
            self.stream(self.run(self.path.split("/")[-2]), body)
            self.answer({"exitcode": None})
        else:
            self.answer({"data": self.query(OPERATION.findall(body["query"])[0], body.get("variables") or {})})

    def stream(self, run: Uploaded, body: dict[str, Any]) -> None:
        for name, chunk in (body.get("files") or {}).items():
            if name == "wandb-summary.json":
                run.summary = json.loads(chunk["content"][-1])
            elif name == "wandb-history.jsonl":
                run.history.update({chunk["offset"] + index: line for index, line in enumerate(chunk["content"])})
        run.exit_code = body.get("exitcode", run.exit_code)

    def query(self, name: str, variables: dict[str, Any]) -> dict[str, Any]:
        if name in ("Viewer", "GetDefaultEntity"):
            return {"viewer": {"id": "v", "entity": "me", "username": "me", "flags": "{}", "teams": {"edges": []}, "email": "me@localhost"}}
        if name == "ServerFeaturesQuery":
            return {"serverInfo": {"features": []}}
        if name == "UpsertBucket":
            run = variables.get("name") or variables["id"]
            if variables.get("summaryMetrics"):
                self.run(run).summary = json.loads(variables["summaryMetrics"])
            project = {"id": "p", "name": variables.get("project") or "p", "entity": {"id": "e", "name": "me"}}
            bucket = {"id": run, "name": run, "displayName": run, "config": "{}", "project": project, "historyLineCount": 0}
            return {"upsertBucket": {"bucket": {**bucket, "description": None, "sweepName": None}, "inserted": True}}
        if name == "Run":
            return {"project": {"run": self.described(variables["name"])}}
        if name == "RunFiles":
            nodes = [{"id": name, "name": name, "url": "", "sizeBytes": "1", "md5": "", "mimetype": ""} for name in variables["fileNames"]]
            edges = [{"node": {**node, "directUrl": "", "updatedAt": None}, "cursor": "c"} for node in nodes]
            files = {"edges": edges, "pageInfo": {"endCursor": None, "hasNextPage": False}}
            return {"project": {"internalId": "1", "run": {"fileCount": len(edges), "files": files}}}
        if name == "CreateRunFiles":
            host = f"http://{self.headers['Host']}"
            places = [{"name": file, "uploadUrl": f"{host}/up/{variables['run']}/{file}"} for file in variables["files"]]
            return {"createRunFiles": {"runID": "b", "uploadHeaders": [], "files": places}}
        return {}

    def described(self, name: str) -> dict[str, Any]:
        fields = ["group", "jobType", "commit", "description", "notes", "sweepName"]
        times = {"createdAt": "2026-01-01T00:00:00Z", "heartbeatAt": "2026-01-01T00:00:00Z"}
        about = {"id": name, "name": name, "displayName": name, "projectId": "1", "state": "finished", "config": "{}", "readOnly": False}
        logged = {"systemMetrics": "{}", "summaryMetrics": json.dumps(self.run(name).summary), "historyLineCount": 0, "historyKeys": {}}
        return {**dict.fromkeys(fields), **times, **about, **logged, "tags": [], "user": {"name": "me", "username": "me"}}


@contextmanager
def wandb_server() -> Iterator[tuple[str, dict[str, Uploaded]]]:
    """The address of a server, and what it has, by run id."""
    runs: dict[str, Uploaded] = {}
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("RunHandler", (Handler,), {"runs": runs}))
    server.handle_error = lambda request, client_address: None  # type: ignore[method-assign]  # a client that hangs up
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", runs
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def sync(address: str, home: Path, *folders: Path, options: tuple[str, ...] = ()) -> None:
    """Run ``wandb sync`` for run folders, with its own log and settings in ``home``."""
    command = [sys.executable, "-m", "wandb", "sync", *options, *map(str, folders)]
    environment = {**os.environ, **settings(address, home)}
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment, check=False, cwd=home)
    assert done.returncode == 0, done.stdout + done.stderr


def settings(address: str, home: Path) -> dict[str, str]:
    """Environment variables that send the library there and nowhere else."""
    return {"WANDB_BASE_URL": address, "WANDB_API_KEY": "0" * 40, "WANDB_ERROR_REPORTING": "false", "HOME": str(home)}
