"""A server on loopback that speaks as much of the Hub's protocol as pushing and loading need.

Repositories, preupload, commits in ndjson, branches, pull requests, listing, and files by revision
with ETags. Every file is "regular" here; the Hub itself takes large and binary ones through Xet,
which is the client's affair. Who sends no token, or writes to a repository
that belongs to somebody else, is refused.
"""

import base64
import contextlib
import hashlib
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

TOKEN = "hf_of_the_tests"


class Hub(BaseHTTPRequestHandler):
    """Repositories of ``me`` can be written with :data:`TOKEN`."""

    repositories: dict
    """Name -> branch -> path -> bytes."""
    commits: list

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path = unquote(urlsplit(self.path).path)
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self.answer(401, {"error": "Invalid username or password."})
        if path == "/api/validate-yaml":
            sound = json.loads(body)["content"].startswith("---\n")
            return self.answer(200 if sound else 400, {"errors": [], "warnings": []})
        if path == "/api/repos/create":
            asked = json.loads(body)
            name = f"{asked.get('organization') or 'me'}/{asked['name']}"
            if not name.startswith("me/"):
                return self.answer(403, {"error": f"You don't have the rights to create {name}"})
            status = 409 if name in self.repositories else 200
            self.repositories.setdefault(name, {"main": {}})
            return self.answer(status, {"url": f"{self.url}/{name}", "name": name})
        if found := re.fullmatch(r"/api/models/(\w+/[\w.-]+)/(branch|preupload|commit)/(.+)", path):
            name, what, revision = found.groups()
            return getattr(self, what)(self.repositories[name], name, revision, body)
        return self.answer(404, {"error": "nothing here"})

    def branch(self, repository, name, revision, body):
        status = 409 if revision in repository else 200
        repository.setdefault(revision, dict(repository["main"]))
        return self.answer(status, {})

    def preupload(self, repository, name, revision, body):
        files = [
            {"path": file["path"], "uploadMode": "regular", "shouldIgnore": False}
            for file in json.loads(body)["files"]
        ]
        return self.answer(200, {"files": files})

    def commit(self, repository, name, revision, body):
        rows = [json.loads(line) for line in body.splitlines()]
        proposed = "create_pr=1" in self.path
        branch = "refs/pr/1" if proposed else revision
        files = repository.setdefault(branch, dict(repository[revision]))
        for row in rows:
            value = row["value"]
            if row["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
        self.commits.append((name, branch, rows[0]["value"]["summary"], sorted(files)))
        found = {"commitUrl": f"{self.url}/{name}/commit/{'c' * 40}", "commitOid": "c" * 40}
        if proposed:
            found["pullRequestUrl"] = f"{self.url}/{name}/discussions/1"
        return self.answer(200, found)

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        path = unquote(urlsplit(self.path).path)
        if found := re.fullmatch(r"/api/models/(\w+/[\w.-]+)/tree/(.+)", path):
            files = self.repositories[found[1]][found[2]]
            rows = [
                {"type": "file", "path": path, "size": len(content), "oid": "0" * 40}
                for path, content in files.items()
            ]
            return self.answer(200, rows)
        if found := re.fullmatch(r"/(\w+/[\w.-]+)/resolve/([^/]+)/(.+)", path):
            content = self.repositories.get(found[1], {}).get(found[2], {}).get(found[3])
            if content is not None:
                headers = {"X-Repo-Commit": "c" * 40, "ETag": hashlib.sha1(content).hexdigest()}
                return self.answer(200, content, headers)
            return self.answer(404, {"error": "none"}, {"X-Error-Code": "RepoNotFound"})
        return self.answer(404, {"error": "nothing here"})

    def answer(self, status, content, headers=()):
        content = content if isinstance(content, bytes) else json.dumps(content).encode()
        with contextlib.suppress(OSError):
            self.send_response(status)
            for name, value in dict(headers).items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

    def log_message(self, *_):
        pass


@contextlib.contextmanager
def serving():
    """Yield a fresh Hub, with its address as ``url``."""
    kind = type("Fresh", (Hub,), {"repositories": {}, "commits": []})
    running = ThreadingHTTPServer(("127.0.0.1", 0), kind)
    running.daemon_threads = True
    kind.url = f"http://127.0.0.1:{running.server_port}"
    threading.Thread(target=running.serve_forever, daemon=True).start()
    yield kind
    running.shutdown()
    running.server_close()
