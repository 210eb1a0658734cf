"""The wire of a Muster plugin, with nothing but Python's standard library.

The host starts a plugin as a process whose file descriptor 3 is a socket. Over it go frames: u32 length of what follows, u8 kind,
body. Kind 0 is one JSON-RPC 2.0 message in UTF-8, kind 1 is u32 stream id and raw bytes. `schema/wire.json` of @muster/core has
every message.
"""

import asyncio
import json
import socket
import struct
import sys

WIRE_FD = 3
KIND_MESSAGE = 0
KIND_DATA = 1
MAX_FRAME = 1024 * 1024
MAX_CHUNK = 64 * 1024
# A stream's credit at its begin, and what each data frame costs on top of its bytes.
WINDOW = 256 * 1024
FRAME_OVERHEAD = 64
METHOD_NOT_FOUND = -32601
FAILED = -32000


class ProviderError(Exception):
    """A failure that the host understands: a code of the contract's table, and whether anything may have come of the call."""

    def __init__(self, code, message, effect="possible", **more):
        super().__init__(message)
        self.code = code
        self.effect = effect
        self.more = more

    def as_wire(self, number=FAILED):
        data = {"code": self.code, "effect": self.effect, **self.more}
        return {"code": number, "message": " ".join(str(self).split())[:2000], "data": data}


class OutStream:
    """Data from the plugin to the host, no faster than the host grants it."""

    def __init__(self, peer, number):
        self.peer = peer
        self.number = number
        self.credit = WINDOW
        self.total = 0
        self.stopped = False
        self.changed = asyncio.Event()

    async def item(self, header, data=b""):
        """Sends one item. False when the host wants no more."""
        head = json.dumps(header).encode()
        payload = struct.pack(">H", len(head)) + head + data
        while not self.stopped and self.credit < len(payload) + FRAME_OVERHEAD:
            self.changed.clear()
            await self.changed.wait()
        if self.stopped:
            return False
        self.credit -= len(payload) + FRAME_OVERHEAD
        self.total += len(payload)
        await self.peer.data(self.number, payload)
        return True

    def grant(self, count):
        self.credit += count
        self.changed.set()

    def stop(self):
        self.stopped = True
        self.changed.set()

    def end(self):
        self.stop()
        self.peer.notify("$/end", {"stream": self.number, "bytes": self.total})


class Peer:
    def __init__(self, manifest, create, reader, writer):
        self.manifest = manifest
        self.create = create
        self.reader = reader
        self.writer = writer
        self.provider = None
        self.calls = {}
        self.streams = {}

    def frame(self, kind, body):
        self.writer.write(struct.pack(">IB", 1 + len(body), kind) + body)

    def message(self, value):
        self.frame(KIND_MESSAGE, json.dumps({"jsonrpc": "2.0", **value}).encode())

    def notify(self, method, params):
        self.message({"method": method, "params": params})

    async def data(self, stream, payload):
        self.frame(KIND_DATA, struct.pack(">I", stream) + payload)
        await self.writer.drain()

    async def run(self):
        """Until the host ends the connection."""
        try:
            while True:
                (length,) = struct.unpack(">I", await self.reader.readexactly(4))
                if not 1 <= length <= MAX_FRAME:
                    raise ValueError(f"a frame of {length} bytes")
                body = await self.reader.readexactly(length)
                if body[0] != KIND_MESSAGE:
                    raise ValueError("data, and no method that takes any")
                self.heard(json.loads(body[1:]))
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        for task in [call["task"] for call in self.calls.values()]:
            task.cancel()

    def heard(self, message):
        if "id" in message:
            number = message["id"]
            # Begun at once: nothing that is said of the call may come before it.
            self.calls[number] = {"cause": None}
            self.calls[number]["task"] = asyncio.ensure_future(self.answer(number, message["method"], message["params"]))
            return
        method, params = message["method"], message["params"]
        if method == "$/cancel":
            self.abort(params["id"], "cancelled")
        elif method == "$/credit" and params["stream"] in self.streams:
            self.streams[params["stream"]].grant(params["bytes"])
        elif method == "$/cancelStream" and params["stream"] in self.streams:
            self.streams[params["stream"]].stop()

    def abort(self, number, cause):
        call = self.calls.get(number)
        if call is not None and call["cause"] is None:
            call["cause"] = cause
            call["task"].cancel()

    async def answer(self, number, method, params):
        stream = None
        if "out" in params:
            stream = self.streams[params["out"]] = OutStream(self, params["out"])
        deadline = None
        if "call" in params:
            left = params["call"]["deadlineMs"] / 1000
            deadline = asyncio.get_running_loop().call_later(left, self.abort, number, "deadline")
        try:
            outcome = {"result": await self.invoke(number, method, params, stream)}
        except NoMethod as error:
            outcome = {"error": error.as_wire(METHOD_NOT_FOUND)}
        except ProviderError as error:
            outcome = {"error": error.as_wire()}
        except asyncio.CancelledError:
            cause = self.calls[number]["cause"] or "cancelled"
            outcome = {"error": ProviderError(cause, f"{method}: {cause}").as_wire()}
        except Exception as error:  # pylint: disable=broad-except
            # Its text may hold anything: the log has it, the host gets its kind.
            print(f"{method}: {type(error).__name__}", file=sys.stderr, flush=True)
            outcome = {"error": ProviderError("internal", f"{method} failed: {type(error).__name__}").as_wire()}
        if deadline is not None:
            deadline.cancel()
        if stream is not None:
            # Before the answer: how much there was.
            stream.end()
            del self.streams[stream.number]
        del self.calls[number]
        self.message({"id": number, **outcome})
        if method == "retire":
            await self.writer.drain()
            self.writer.close()

    async def invoke(self, number, method, params, stream):
        if method == "describe":
            return self.manifest
        if method == "configure":
            self.provider = await self.create(params["config"], params["context"])
            return {}
        if method == "retire":
            others = [call["task"] for id, call in self.calls.items() if id != number]
            await asyncio.gather(*others, return_exceptions=True)
            return {}
        name = method.removeprefix("worker.")
        handler = getattr(self.provider, f"call_{name}", None)
        if handler is None:
            raise NoMethod("unsupported", f"{self.manifest['name']} has no {name}", effect="none")
        arguments = {key: value for key, value in params.items() if key not in ("call", "out")}
        if stream is None:
            return await handler(**arguments)
        self.notify("$/started", {"id": number})
        await handler(**arguments, out=stream)
        return {}


class NoMethod(ProviderError):
    """A method that the provider does not have."""


async def serve(manifest, create):
    """Serves one plugin until the host goes away. `create(config, context)` makes the provider, an object with a `call_…` for each method."""
    reader, writer = await asyncio.open_connection(sock=socket.socket(fileno=WIRE_FD))
    await Peer(manifest, create, reader, writer).run()
