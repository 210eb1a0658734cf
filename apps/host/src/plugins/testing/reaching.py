"""A plugin that tells of each launch what it could reach."""

import asyncio
import errno
import json
import os
import socket
import subprocess
import sys

# The folder of an installed plugin never changes.
sys.dont_write_bytecode = True

from muster_wire import serve  # noqa: E402

HERE = os.path.dirname(os.path.abspath(__file__))
# A port that nobody listens on is refused at once, and one that cannot be reached is said to be: this ends what neither happens to.
PATIENCE_S = 10


def outcome(act):
    try:
        act()
        return "done"
    except OSError as error:
        return errno.errorcode.get(error.errno, str(error))


def connect(family, address):
    with socket.socket(family) as one:
        one.settimeout(PATIENCE_S)
        one.connect(address)


def listen(port):
    with socket.create_server(("", port), reuse_port=False):
        pass


class Provider:
    def __init__(self, config):
        self.config = config

    async def call_probe(self):
        return {"state": "ready"}

    async def call_launch(self, spec):
        del spec
        target = self.config["target"]
        tcp = ("127.0.0.1", target["port"])
        child = ["/usr/bin/python3", "-c", f"import socket; socket.create_connection({tcp!r}, {PATIENCE_S})"]
        said = {
            "uid": os.getuid(),
            "network": os.readlink("/proc/self/ns/net"),
            "tcp": outcome(lambda: connect(socket.AF_INET, tcp)),
            "outside": outcome(lambda: connect(socket.AF_INET, (target["outside"], target["port"]))),
            "abstract": outcome(lambda: connect(socket.AF_UNIX, "\0" + target["abstract"])),
            "file": outcome(lambda: connect(socket.AF_UNIX, target["file"])),
            "listen": outcome(lambda: listen(target["port"])),
            "child": subprocess.run(child, stderr=subprocess.DEVNULL, check=False).returncode,
        }
        return {"handle": {"v": 1, "data": said}}


async def create(config, _context):
    return Provider(config)


with open(os.path.join(HERE, "muster-plugin.json"), encoding="utf-8") as file:
    asyncio.run(serve(json.load(file), create))
