"""The corpus with one library or the other, each in processes of its own."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from leyden.agent.machine import free_port
from parity.environment import of_programs

HERE = Path(__file__).parent
Results = dict[str, dict[str, Any]]


def programs(decorator: str) -> list[str]:
    """Names of the corpus's functions under a decorator; read, not imported, since they import Lightning."""
    found = []
    for path in sorted((HERE / "programs").glob("*.py")):
        for node in ast.parse(path.read_text()).body:
            marks = [ast.unparse(mark) for mark in getattr(node, "decorator_list", ())]
            if isinstance(node, ast.FunctionDef) and any(mark.split("(")[0] == decorator for mark in marks):
                found.append(node.name)
    return found


def start(library: str, folder: Path, output: Path, *asked: str, **variables: str) -> subprocess.Popen[str]:
    command = (sys.executable, str(HERE / "run.py"), library, str(folder), str(output), *asked)
    env = of_programs(**variables)
    return subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def end(process: subprocess.Popen[str], output: Path) -> Results:
    said, _ = process.communicate()
    assert process.returncode == 0, said
    found: Results = json.loads(output.read_text())
    return found


def run(library: str, folder: Path, output: Path) -> Results:
    return end(start(library, folder, output), output)


def run_two(library: str, folder: Path, output: Path, *asked: str) -> list[Results]:
    """Two processes with the variables that torchrun sets, rank 0's results first."""
    shared = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    started = []
    for rank in ("0", "1"):
        own = {"RANK": rank, "LOCAL_RANK": rank, "GROUP_RANK": "0", "TORCHELASTIC_RUN_ID": "parity"}
        path = output.with_suffix(f".{rank}.json")
        started.append((start(library, folder, path, *asked, **shared, **own), path))
    return [end(process, path) for process, path in started]
