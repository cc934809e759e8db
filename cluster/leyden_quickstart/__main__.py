"""``python3 -m leyden_quickstart up | down``."""

import argparse
import os
import sys
import time
from functools import partial

from leyden_quickstart import cluster, digits
from leyden_quickstart.console import Console, Step, StepFailed, run_steps, seconds
from leyden_quickstart.down import remove

STEPS = (
    ("Check this machine", cluster.check_machine),
    ("Build Kubernetes and the images", cluster.build),
    ("Start the cluster", cluster.start_cluster),
    ("Load the images", cluster.load_images),
    ("Install the operator", cluster.install_operator),
    ("Apply examples/digits", digits.apply_job),
    ("Train on 3 worker pods", digits.train),
    ("Serve the best checkpoint", digits.serve),
    ("Ask about held-out images", digits.predict),
)


def up() -> int:
    """Run every step; what is there already is left as it is."""
    began = time.monotonic()
    ground = cluster.ground_here()
    console = Console(len(STEPS))
    console.say(f"Leyden quickstart on {ground.target.described}.\n")
    if not run_steps([Step(title, partial(action, ground)) for title, action in STEPS], console):
        console.say("\n  Everything is kept for a look. `make quickstart` goes on from here;")
        console.say("  `make quickstart-down` removes what it started.")
        return 1
    console.say(f"\nDone in {seconds(time.monotonic() - began)}. Go on with:\n")
    console.say(f"  export KUBECONFIG={ground.target.kubeconfig} PATH={os.path.dirname(ground.kubectl.binary)}:$PATH")
    console.say(f"  kubectl -n {cluster.NAMESPACE} get trainingjobs,inferenceservices")
    console.say("  make quickstart-down        # removes everything again")
    return 0


def main() -> int:
    parser = argparse.ArgumentParser("leyden_quickstart", description=__doc__)
    parser.add_argument("what", choices=("up", "down"))
    what = parser.parse_args().what
    try:
        return up() if what == "up" else remove()
    except StepFailed as error:
        print(f"{error.reason}\n{error.look}".strip(), file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nStopped. `make quickstart` goes on from here; `make quickstart-down` removes it.", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
