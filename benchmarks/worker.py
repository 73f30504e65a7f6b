"""Process of one contender of `benchmarks.harness`; needs the standard library only.

    python worker.py FILE FUNCTION OPTIONS

Calls a function of a file with options in JSON, which builds a step, runs the step once
to warm up, and then at each line on stdin; says on stdout, a line of JSON each time,
what came out. It may run in another checkout than this file: modules are looked for in
the working directory first, and in the checkout of the contender's file last.
"""

import json
import os
import resource
import runpy
import sys
import time
from pathlib import Path


def main() -> None:
    """Serve one contender until stdin ends."""
    # What the contender prints must not get between the answers.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def say(**values: object) -> None:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        print(json.dumps({**values, "peak_gigabytes": peak}), file=answers, flush=True)

    file, function, options = sys.argv[1:]
    sys.path[0] = os.getcwd()
    sys.path.append(str(Path(file).parents[1]))
    try:
        since = time.perf_counter()
        step = runpy.run_path(file)[function](**json.loads(options))
        answer = step()
        say(ready_seconds=time.perf_counter() - since, answer=answer)
    except ModuleNotFoundError as error:
        say(missing=error.name)
        return
    for _ in sys.stdin:
        since = time.perf_counter()
        step()
        say(seconds=time.perf_counter() - since)


if __name__ == "__main__":
    main()
