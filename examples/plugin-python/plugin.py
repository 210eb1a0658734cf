"""A worker provider in Python: each worker is one command on this machine, with a folder of its own that outlives the plugin."""

import asyncio
import datetime
import json
import os
import shutil
import signal
import subprocess
import sys
import time

# The folder of an installed plugin never changes: its digest is compared at each start.
sys.dont_write_bytecode = True

from muster_wire import MAX_CHUNK, ProviderError, serve  # noqa: E402

HERE = os.path.dirname(os.path.abspath(__file__))
with open(os.path.join(HERE, "muster-plugin.json"), encoding="utf-8") as file:
    MANIFEST = json.load(file)

# Of many that are started for one worker, one goes on. It needs no plugin, and keeps the exit code, whoever is killed meanwhile.
SUPERVISOR = 'set -C; : >started; "$@" >stdout 2>stderr; echo $? >exit.new; mv exit.new exit'
MARK = "MUSTER_PYTHON_WORKER"
HANDLE = {"v": 1, "data": None}
# How often a log that is written still is looked at.
LOOK_S = 0.02


def fields_of(spec):
    """The optional parts of a spec, as the contract names them."""
    for name in ("inputs", "outputs"):
        if name in spec["work"]:
            yield f"work.{name}"
    for key, value in spec.items():
        if key in ("id", "tags", "work"):
            continue
        if key == "mounts":
            yield from (f"mounts.{mount['source']['kind']}" for mount in value)
        elif key in ("resources", "network", "security"):
            for name, inner in value.items():
                yield f"network.egress.{inner}" if name == "egress" else f"{key}.{name}"
        else:
            yield key


def read(path):
    try:
        with open(path, "rb") as one:
            return one.read()
    except OSError:
        return b""


class Provider:
    def __init__(self, folder):
        self.folder = folder
        os.makedirs(folder, mode=0o700, exist_ok=True)

    def path(self, worker, name=""):
        return os.path.join(self.folder, worker, name) if name else os.path.join(self.folder, worker)

    def processes(self):
        """Living processes by worker: found by what is in their environment, not by a pid that somebody else may have by now."""
        found = {}
        mark = f"{MARK}={self.folder}/".encode()
        for pid in filter(str.isdigit, os.listdir("/proc")):
            for entry in read(f"/proc/{pid}/environ").split(b"\0"):
                if entry.startswith(mark):
                    found.setdefault(entry[len(mark) :].decode(), []).append(int(pid))
        return found

    def look(self, worker, processes):
        running = worker in processes
        # In this order: an exit that is not there yet belongs to a command that runs.
        spec, ended = read(self.path(worker, "spec")), read(self.path(worker, "exit"))
        if spec == b"":
            return None
        seen = {"id": worker, "handle": HANDLE, "tags": json.loads(spec)["tags"], "ready": running}
        if ended == b"":
            return {**seen, "phase": "running" if running else "provisioning"}
        return {**seen, "phase": "exited", "exit": {"code": int(ended), "reason": "exited"}}

    async def call_probe(self):
        return {"state": "ready", "notes": ["no isolation: workers are processes of the same user"]}

    async def call_launch(self, spec):
        refuse_what_is_not_declared(spec)
        worker = spec["id"]
        text = json.dumps(spec, sort_keys=True)
        home = self.path(worker)
        os.makedirs(home, mode=0o700, exist_ok=True)
        draft = self.path(worker, f"draft.{os.getpid()}.{time.monotonic_ns()}")
        with open(draft, "w", encoding="utf-8") as one:
            one.write(text)
        try:
            # Whole, by a link: two launches of one id cannot both make it.
            os.link(draft, self.path(worker, "spec"))
        except FileExistsError:
            pass
        if read(self.path(worker, "spec")).decode() != text:
            raise ProviderError("conflict", "another worker has this id", effect="none")
        environment = {**spec.get("env", {}), "PATH": "/usr/bin:/bin", MARK: home}
        subprocess.Popen(  # pylint: disable=consider-using-with
            ["/bin/sh", "-c", SUPERVISOR, "sh", *spec["work"]["command"]],
            cwd=home,
            env={key.encode(): value.encode() for key, value in environment.items()},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        return {"handle": HANDLE}

    async def call_terminate(self, target, how):
        worker = target["id"]
        end = time.monotonic() + (0 if how["force"] else how["graceMs"] / 1000)
        while pids := self.processes().get(worker):
            number = signal.SIGTERM if time.monotonic() < end else signal.SIGKILL
            for pid in pids:
                try:
                    os.kill(pid, number)
                except ProcessLookupError:
                    pass
            await asyncio.sleep(0.01)
        while os.path.exists(self.path(worker)):
            shutil.rmtree(self.path(worker), ignore_errors=True)
        return {"state": "gone"}

    async def call_list(self, query):
        processes = self.processes()
        ids = sorted(one for one in os.listdir(self.folder) if one > query.get("cursor", ""))
        seen = filter(None, (self.look(one, processes) for one in ids))
        ours = [one for one in seen if one["tags"].items() >= query["tags"].items()]
        page = {"workers": ours[: query["limit"]], "asOf": now()}
        return {**page, "next": page["workers"][-1]["id"]} if len(ours) > query["limit"] else page

    async def call_inspect(self, targets):
        processes = self.processes()
        return list(filter(None, (self.look(one["id"], processes) for one in targets)))

    async def call_logs(self, target, options, out):
        worker = target["id"]
        at = [int(one) for one in options.get("cursor", "0,0").split(",")]
        while True:
            # Before the files are read: what is written before the exit is in them then.
            seen = self.look(worker, self.processes())
            if seen is None:
                raise ProviderError("not-found", "there is no such worker", effect="none")
            moved = False
            for index, stream in enumerate(("stdout", "stderr")):
                data = self.part(worker, stream, at[index])
                if data == b"":
                    continue
                moved = True
                at[index] += len(data)
                if not await out.item({"stream": stream, "cursor": f"{at[0]},{at[1]}"}, data):
                    return
            if not moved:
                if seen["phase"] == "exited" or not options["follow"]:
                    return
                await asyncio.sleep(LOOK_S)

    def part(self, worker, stream, offset):
        try:
            with open(self.path(worker, stream), "rb") as one:
                one.seek(offset)
                return one.read(MAX_CHUNK)
        except FileNotFoundError:
            return b""


def refuse_what_is_not_declared(spec):
    mode = spec["work"]["mode"]
    capabilities = MANIFEST["capabilities"]
    if mode not in capabilities["work"]:
        raise ProviderError("unsupported", f"workers of mode {mode} are not made here", effect="none", path="work.mode")
    for field in fields_of(spec):
        if field not in capabilities["fields"]:
            raise ProviderError("unsupported", f"{field} is not honoured here", effect="none", path=field)
    size = sum(len(key.encode()) + len(value.encode()) for key, value in spec.get("env", {}).items())
    if size > capabilities["envBytes"]:
        raise ProviderError("invalid-spec", f"env has {size} bytes", effect="none", path="env")
    for name in (MARK, "PATH"):
        if name in spec.get("env", {}):
            raise ProviderError("unsupported", f"{name} is set by the provider", effect="none", path=f"env.{name}")


def now():
    text = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")


async def create(config, _context):
    return Provider(config["dir"])


# Ctrl-C in the daemon's terminal reaches the whole process group; the daemon decides what ends when.
signal.signal(signal.SIGINT, signal.SIG_IGN)
asyncio.run(serve(MANIFEST, create))
