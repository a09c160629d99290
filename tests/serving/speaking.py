"""A client of the Model Context Protocol, for tests."""

import json
import subprocess
import sys


class Client:
    def __init__(self, *command):
        self.process = subprocess.Popen(
            [sys.executable, "-m", "sae_nb", *command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )  # fmt: skip
        self.n = 0
        hello = {
            "protocolVersion": "2025-06-18",
            "capabilities": {},
            "clientInfo": {"name": "t", "version": "1"},
        }
        self.ask("initialize", hello)
        self.send({"jsonrpc": "2.0", "method": "notifications/initialized"})

    def send(self, message):
        self.process.stdin.write(json.dumps(message) + "\n")
        self.process.stdin.flush()

    def ask(self, method, parameters):
        self.n += 1
        self.send({"jsonrpc": "2.0", "id": self.n, "method": method, "params": parameters})
        while (answer := json.loads(self.process.stdout.readline())).get("id") != self.n:
            pass
        return answer

    def call(self, name, **arguments):
        return self.ask("tools/call", {"name": name, "arguments": arguments})["result"]

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.process.terminate()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()


def told(result):
    assert not result.get("isError"), result
    return json.loads(result["content"][0]["text"])
