"""The Hub of datasets on loopback for tests: repositories with commits, large files, tags, and faults on demand.

Written from the requests that huggingface_hub 2.4.0 makes. Large files go by Git LFS to a second port, as the Hub's
store has an address of its own: a token that reaches it is a leak, and is kept in `leaked`.
"""

import base64
import hashlib
import json
import re
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, NamedTuple, Self
from urllib.parse import unquote, urlsplit

import yaml

TOKEN = "hf_token-of-tests-0123456789"
NAMESPACE = "lab"
ATTRIBUTES = b"*.parquet filter=lfs diff=lfs merge=lfs -text\n"
LARGE = (".parquet", ".jsonl")
# Some of those that the Hub knows.
LICENCES = {"apache-2.0", "cc-by-4.0", "mit", "odc-by", "other", "unknown"}


class Fault(NamedTuple):
    """What becomes of the next requests that match: an answer instead (`status`), or a cut connection.

    `cut` "before" drops the request unread, "after" carries it out and drops the answer.
    """

    pattern: str
    status: int = 0
    times: int = 1
    headers: dict[str, str] = {}
    said: str = "no"
    cut: str = ""


class Commit(NamedTuple):
    """A state of a repository; files are whole contents by path."""

    oid: str
    parent: str
    title: str
    message: str
    files: dict[str, bytes]


def card_errors(card: str) -> list[str]:
    """Return what the Hub refuses in a card's head, by its documentation and its words in users' reports."""
    head, errors = yaml.safe_load(card.split("---\n")[1]), []
    if head["license"] not in LICENCES:
        errors.append(f'"license" must be one of [{", ".join(sorted(LICENCES))}]')
    if head["license"] == "other" and not re.fullmatch(r"[a-z0-9.-]+", head.get("license_name", "")):
        errors.append('"license_name" must be an id like my-license-1.0')
    errors += [
        f'"language[{place}]" must be an ISO 639-1, 639-2 or 639-3 code in lower case'
        for place, code in enumerate(head.get("language", []))
        if not re.fullmatch(r"[a-z]{2,3}|code|multilingual", code)
    ]
    return errors


class Repository:
    """A dataset: commits, the oldest first, and tags."""

    def __init__(self, *, private: bool) -> None:
        self.private = private
        self.commits: list[Commit] = []
        self.tags: dict[str, str] = {}
        self.commit("initial commit", {".gitattributes": ATTRIBUTES})

    @property
    def head(self) -> Commit:
        return self.commits[-1]

    def commit(self, title: str, files: dict[str, bytes], message: str = "") -> str:
        """Add a state as if somebody else had made it, and return its name."""
        parent = self.commits[-1].oid if self.commits else ""
        said = json.dumps([parent, title, message, sorted((k, v.hex()) for k, v in files.items())])
        oid = hashlib.sha1(said.encode()).hexdigest()
        self.commits.append(Commit(oid, parent, title, message, files))
        return oid

    def at(self, revision: str) -> Commit | None:
        revision = self.tags.get(revision, revision)
        if revision == "main":
            return self.head
        return next((one for one in self.commits if one.oid == revision), None)


class Refusal(Exception):
    def __init__(self, status: int, said: str) -> None:
        super().__init__(said)
        self.status = status


class HubServer:
    """The server: `repositories` by name, `asked` requests in order, `faults` still to come."""

    def __init__(self) -> None:
        self.repositories: dict[str, Repository] = {}
        self.blobs: dict[str, bytes] = {}
        self.verified: list[str] = []
        self.asked: list[str] = []
        self.tokens: set[str] = set()
        self.leaked: list[str] = []
        self.faults: list[Fault] = []
        # What a file is read back as, by path.
        self.spoiled: dict[str, bytes] = {}
        # Called with the repository before a commit is looked at: somebody else may be quicker.
        self.before_commit: Callable[[Repository], object] | None = None
        self._lock = threading.RLock()
        self._hub, self.origin = self._serve(self._answer, is_store=False)
        self._store, self.store_origin = self._serve(self._answer_store, is_store=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for http in (self._hub, self._store):
            http.shutdown()
            http.server_close()

    def calls(self, pattern: str) -> int:
        """Return how many requests match, as "METHOD path"."""
        return sum(bool(re.search(pattern, one)) for one in self.asked)

    def add(self, target: str, *, private: bool = True) -> Repository:
        """Make a repository as if by hand."""
        self.repositories[target] = Repository(private=private)
        return self.repositories[target]

    # --- HTTP -------------------------------------------------------------------------------------------------------

    def _serve(self, answer: Callable[..., Any], *, is_store: bool) -> tuple[ThreadingHTTPServer, str]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            # Headers and body leave in two writes: without this each answer waits 40 ms for the other side.
            disable_nagle_algorithm = True

            def log_message(self, format: str, *args: Any) -> None:
                pass

            def _do(self) -> None:
                server._handle(self, answer, is_store)

            do_GET = do_POST = do_PUT = do_HEAD = _do

        http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        http.daemon_threads = True
        threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return http, f"http://127.0.0.1:{http.server_port}"

    def _handle(self, request: BaseHTTPRequestHandler, answer: Callable[..., Any], is_store: bool) -> None:
        path = unquote(urlsplit(request.path).path)
        line = f"{request.command} {'store:' if is_store else ''}{path}"
        body = request.rfile.read(int(request.headers.get("Content-Length") or 0))
        if request.headers.get("Transfer-Encoding") == "chunked":
            body = self._unchunk(request)
        authorization = request.headers.get("Authorization", "")
        with self._lock:
            self.asked.append(line)
            fault = self._fault(line)
            if is_store and authorization:
                self.leaked.append(line)
            self.tokens.add(authorization)
            if fault and fault.cut == "before":
                self._cut(request)
                return
            if fault and fault.status:
                self._send(request, fault.status, {"error": fault.said}, fault.headers)
                return
            try:
                if not is_store and authorization != f"Bearer {TOKEN}":
                    raise Refusal(401, "Invalid user token.")
                status, said, headers = answer(request.command, path, body)
            except Refusal as refusal:
                status, said, headers = refusal.status, {"error": str(refusal)}, {}
            if fault and fault.cut == "after":
                self._cut(request)
                return
        self._send(request, status, said, headers)

    def _fault(self, line: str) -> Fault | None:
        for place, fault in enumerate(self.faults):
            if re.search(fault.pattern, line):
                self.faults[place : place + 1] = [fault._replace(times=fault.times - 1)] if fault.times > 1 else []
                return fault
        return None

    def _cut(self, request: BaseHTTPRequestHandler) -> None:
        request.close_connection = True
        request.connection.shutdown(2)

    def _unchunk(self, request: BaseHTTPRequestHandler) -> bytes:
        body = b""
        while size := int(request.rfile.readline(), 16):
            body += request.rfile.read(size)
            request.rfile.readline()
        request.rfile.readline()
        return body

    def _send(self, request: BaseHTTPRequestHandler, status: int, said: Any, headers: dict[str, str]) -> None:
        content = said if isinstance(said, bytes) else json.dumps(said).encode()
        kind = "application/octet-stream" if isinstance(said, bytes) else "application/json"
        request.send_response(status)
        for name, value in {"Content-Type": kind, "Content-Length": str(len(content)), **headers}.items():
            request.send_header(name, value)
        request.end_headers()
        if request.command != "HEAD":
            request.wfile.write(content)

    # --- The Hub ----------------------------------------------------------------------------------------------------

    def _answer(self, method: str, path: str, body: bytes) -> tuple[int, Any, dict[str, str]]:
        if path == "/api/whoami-v2":
            return 200, {"name": NAMESPACE, "type": "user"}, {}
        if path == "/api/repos/create":
            return self._create(json.loads(body))
        if path == "/api/validate-yaml":
            errors = [{"message": said} for said in card_errors(json.loads(body)["content"])]
            return 400 if errors else 200, {"errors": errors, "warnings": []}, {}
        if found := re.fullmatch(r"/datasets/([^/]+/[^/]+)\.git/info/lfs/objects/batch", path):
            return self._batch(self._repository(found[1]), json.loads(body))
        if found := re.fullmatch(r"/datasets/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            return self._resolve(self._repository(found[1]), found[2], found[3])
        if found := re.fullmatch(r"/api/datasets/([^/]+/[^/]+)(?:/([a-z-]+)(?:/(.+))?)?", path):
            return self._api(method, found[1], found[2] or "", found[3] or "", body)
        raise Refusal(404, f"no {path}")

    def _create(self, asked: dict[str, Any]) -> tuple[int, Any, dict[str, str]]:
        target = f"{asked['organization']}/{asked['name']}"
        if asked["organization"] != NAMESPACE:
            raise Refusal(403, f"You don't have the rights to create a dataset under {asked['organization']}")
        url = f"{self.origin}/datasets/{target}"
        if target in self.repositories:
            return 409, {"error": "You already created this dataset repo", "url": url}, {}
        self.add(target, private=asked.get("visibility") == "private")
        return 200, {"url": url}, {}

    def _api(self, method: str, target: str, verb: str, rest: str, body: bytes) -> tuple[int, Any, dict[str, str]]:
        repository = self._repository(target)
        if not verb:
            return 200, {"id": target, "sha": repository.head.oid, "private": repository.private}, {}
        if verb == "settings" and method == "PUT":
            repository.private = json.loads(body)["visibility"] == "private"
            return 200, {}, {}
        if verb == "tree":
            commit = self._commit_at(repository, rest.partition("/")[0])
            return 200, [self._entry(path, content) for path, content in sorted(commit.files.items())], {}
        if verb == "refs":
            refs = {"branches": {"main": repository.head.oid}, "tags": repository.tags}
            listed = {
                kind: [{"name": n, "ref": f"refs/{kind}/{n}", "targetCommit": oid} for n, oid in named.items()]
                for kind, named in refs.items()
            }
            return 200, {**listed, "converts": []}, {}
        if verb == "commits":
            when = "2026-11-30T10:00:00.000Z"
            listed_commits = [
                {"id": one.oid, "title": one.title, "message": one.message, "date": when, "authors": []}
                for one in reversed(repository.commits)
            ]
            return 200, listed_commits, {}
        if verb == "preupload":
            files = json.loads(body)["files"]
            modes = [
                {"path": one["path"], "uploadMode": self._mode(one["path"]), "shouldIgnore": False} for one in files
            ]
            return 200, {"files": modes}, {}
        if verb == "commit":
            return self._commit(target, repository, body)
        if verb == "tag":
            name = json.loads(body)["tag"]
            if name in repository.tags:
                raise Refusal(409, f"Tag reference {name} exists already")
            repository.tags[name] = self._commit_at(repository, rest).oid
            return 200, {}, {}
        raise Refusal(404, f"no {verb}")

    def _commit(self, target: str, repository: Repository, body: bytes) -> tuple[int, Any, dict[str, str]]:
        if self.before_commit:
            self.before_commit(repository)
        header: dict[str, Any] = {}
        files = dict(repository.head.files)
        for line in map(json.loads, body.splitlines()):
            value = line["value"]
            if line["key"] == "header":
                header = value
            elif line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                if value["oid"] not in self.blobs:
                    raise Refusal(400, f"the large file {value['path']} was not uploaded")
                files[value["path"]] = self.blobs[value["oid"]]
            elif line["key"] == "deletedFile":
                del files[value["path"]]
        if header.get("parentCommit") not in (None, repository.head.oid):
            raise Refusal(412, "A commit has happened since. Please refresh and try again.")
        oid = repository.commit(header["summary"], files, header.get("description", ""))
        url = f"{self.origin}/datasets/{target}/commit/{oid}"
        return 200, {"success": True, "commitOid": oid, "commitUrl": url}, {}

    def _batch(self, repository: Repository, asked: dict[str, Any]) -> tuple[int, Any, dict[str, str]]:
        objects = []
        for one in asked["objects"]:
            actions = {
                "upload": {"href": f"{self.store_origin}/{one['oid']}"},
                "verify": {"href": f"{self.store_origin}/{one['oid']}/verify"},
            }
            objects.append({**one, **({} if one["oid"] in self.blobs else {"actions": actions})})
        return 200, {"transfer": "basic", "objects": objects}, {"Content-Type": "application/vnd.git-lfs+json"}

    def _resolve(self, repository: Repository, revision: str, path: str) -> tuple[int, Any, dict[str, str]]:
        content = self._commit_at(repository, revision).files.get(path)
        if content is None:
            raise Refusal(404, f"no {path}")
        if path in self.spoiled:
            return 200, self.spoiled[path], {}
        if path.endswith(LARGE):
            oid = hashlib.sha256(content).hexdigest()
            self.blobs.setdefault(oid, content)
            return 302, b"", {"Location": f"{self.store_origin}/{oid}"}
        return 200, content, {}

    def _answer_store(self, method: str, path: str, body: bytes) -> tuple[int, Any, dict[str, str]]:
        oid, _, verb = path.removeprefix("/").partition("/")
        if method == "PUT":
            if hashlib.sha256(body).hexdigest() != oid:
                raise Refusal(400, "content and name differ")
            self.blobs[oid] = body
            return 200, {}, {}
        if oid not in self.blobs:
            raise Refusal(404, "no such object")
        if verb == "verify":
            if json.loads(body) != {"oid": oid, "size": len(self.blobs[oid])}:
                raise Refusal(400, "not that size")
            self.verified.append(oid)
            return 200, {}, {}
        return 200, self.blobs[oid], {}

    def _repository(self, target: str) -> Repository:
        if target not in self.repositories:
            raise Refusal(404, "Repository not found")
        return self.repositories[target]

    def _commit_at(self, repository: Repository, revision: str) -> Commit:
        commit = repository.at(revision)
        if commit is None:
            raise Refusal(404, f"Invalid rev id: {revision}")
        return commit

    def _mode(self, path: str) -> str:
        return "lfs" if path.endswith(LARGE) else "regular"

    def _entry(self, path: str, content: bytes) -> dict[str, Any]:
        git = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
        entry: dict[str, Any] = {"type": "file", "path": path, "size": len(content), "oid": git}
        if path.endswith(LARGE):
            # Git has the pointer, not the content.
            oid = hashlib.sha256(content).hexdigest()
            entry |= {"oid": "0" * 40, "lfs": {"oid": oid, "size": len(content), "pointerSize": 134}}
        return entry
