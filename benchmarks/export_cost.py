"""What an export costs beside a checkpoint: seconds and bytes for the digits example, by format.

    python benchmarks/export_cost.py [--later 20]

Each format in a process of its own, as the first one of a process pays for torch's imports. All figures include
reading the file back and comparing it with the module on batches of 1, 2 and 7. Wall time, one thread.
"""

import argparse
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / folder) for folder in ("examples/digits", "trainer-image", "contract")]

FORMATS = ("exported", "onnx", "torchscript")


def measure(kind: str, later: int) -> str:
    import torch
    from digits import LitDigits

    from leyden.checkpoint import signature
    from leyden.export import Exporter

    torch.set_num_threads(1)
    module = LitDigits()
    traced = signature.trace(module, [((torch.rand(2, 1, 8, 8),), {})])
    exporter = Exporter((kind,))

    def export(exporter: Exporter) -> tuple[float, int]:
        began = time.perf_counter()
        data = exporter.files(module, traced, sys.exit)[kind]
        return time.perf_counter() - began, len(data)

    first, size = export(exporter)
    again = statistics.median(export(exporter)[0] for _ in range(later))
    anew = statistics.median(export(Exporter((kind,)))[0] for _ in range(3))
    return f"{kind:12} {first:6.2f} s  {again * 1000:6.0f} ms  {anew:6.2f} s  {size / 1024:6.0f} KiB"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--later", type=int, default=20, help="exports after the first one, of which the median is shown"
    )
    parser.add_argument("--format", choices=FORMATS, help="only this one, in this process")
    options = parser.parse_args()
    if options.format:
        print(measure(options.format, options.later))
        return
    print(f"{'format':12} {'first':>8}  {'later':>9}  {'anew':>8}  {'file':>10}", flush=True)
    for kind in FORMATS:
        command = [sys.executable, __file__, "--format", kind, "--later", str(options.later)]
        subprocess.run(command, check=True)


if __name__ == "__main__":
    main()
