"""What the operator costs while nothing happens: memory and processor time with 0 and with 200 jobs.

    python benchmarks/operator_idle.py [--jobs 200] [--seconds 60]

Against a real etcd, kube-apiserver and controller manager on this machine, without nodes: half of the jobs are
suspended, and half wait for their pods to be scheduled. Prints resident memory in MiB, and processor time as percent
of one core over the time.
"""

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / folder) for folder in ("tests", "cluster", "contract", "operator")]

from api.conftest import Api, Operator, running_operator  # noqa: E402  the path comes first
from api.test_operator import CLAIM, CODE, job  # noqa: E402
from leyden_cluster.apiserver import start_apiserver  # noqa: E402


def cost(operator: Operator, seconds: float) -> tuple[float, float]:
    """Resident memory in MiB, and percent of one core, over some seconds."""
    before = processor_seconds(operator.process.pid)
    time.sleep(seconds)
    used = processor_seconds(operator.process.pid) - before
    pages = int(Path(f"/proc/{operator.process.pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20, 100 * used / seconds


def processor_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=60)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        server = start_apiserver(Path(folder), controllers=True)
        try:
            measure(Api(server), Path(folder) / "log", options.jobs, options.seconds)
        finally:
            server.stop()


def measure(api: Api, log: Path, jobs: int, seconds: float) -> None:
    api.run("apply", "--server-side", "-f", str(ROOT / "crds"))
    api.run("wait", "--for=condition=Established", "crd", "--all", "--timeout=30s")
    api.run("wait", "--for=create", "--timeout=30s", "serviceaccount/default")
    with running_operator(api.server, log) as operator:
        print("jobs 0:   {:.0f} MiB, {:.1f} % of a core".format(*cost(operator, seconds)), flush=True)
        api.apply(CODE, CLAIM, *(job(f"job-{number}", suspend=number % 2 == 0) for number in range(jobs)))
        api.wait("all pods", lambda: len(api.list("pods")) == jobs // 2 * 3, 300)
        time.sleep(30)
        print(f"jobs {jobs}: " + "{:.0f} MiB, {:.1f} % of a core".format(*cost(operator, seconds)), flush=True)


if __name__ == "__main__":
    main()
