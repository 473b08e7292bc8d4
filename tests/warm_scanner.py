"""`scanner` for tests that run many commands, each in a process of its own, without a second of imports for each.

    python warm_scanner.py FOLDER

imports what the commands import and makes FOLDER/scanner.  That script hands its words, its environment, its folder and its
files to this process, a fork of which does what the real command does.  It ends when its stdin is closed.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import select
import socket
import sys
import traceback
from pathlib import Path

LIBRARIES = ("fsspec.core", "onnx", "onnxruntime", "pyarrow.parquet", "scipy.stats")
CLIENT = f"""#!{sys.executable} -IS
import json, os, pathlib, socket, sys
told = json.dumps([sys.argv[1:], os.getcwd(), dict(os.environ)]).encode()
with socket.socket(socket.AF_UNIX) as server:
    server.connect(str(pathlib.Path(__file__).parent / "socket"))
    socket.send_fds(server, [b"!"], [0, 1, 2])
    server.sendall(told)
    server.shutdown(socket.SHUT_WR)
    code = server.recv(10)
sys.exit(int(code) if code else "the command died")
"""


def serve(folder: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(folder / "socket"))
        listener.listen()
        script = folder / "scanner"
        script.write_text(CLIENT)
        script.chmod(0o700)
        print("ready", flush=True)
        while select.select([listener, 0], [], [])[0][0] is listener:
            client, _ = listener.accept()
            if os.fork() == 0:
                listener.close()
                run(client)
            client.close()
            with contextlib.suppress(ChildProcessError):
                while os.waitpid(-1, os.WNOHANG) != (0, 0):
                    pass


def run(client: socket.socket) -> None:
    """Do as the client would; never returns."""
    _, files, _, _ = socket.recv_fds(client, 1, 3)
    with client.makefile("rb") as told:
        words, folder, environment = json.loads(told.read())
    for number, file in enumerate(files):
        os.dup2(file, number)
        os.close(file)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = ["scanner", *words]
    code = 1
    try:
        code = importlib.import_module("scanner.cli").main()
    except BaseException:  # noqa: BLE001 - this process must not go on as a second server
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        client.sendall(str(code).encode())
        os._exit(0)


if __name__ == "__main__":
    for library in LIBRARIES:
        importlib.import_module(library)
    from scanner.cli import COMMANDS

    for module, _ in COMMANDS.values():
        importlib.import_module(module)
    for job in ("scanning.scan", "indexing.build", "checking.check", "checking.verify"):
        importlib.import_module(f"scanner.jobs.{job}")
    serve(Path(sys.argv[1]))
