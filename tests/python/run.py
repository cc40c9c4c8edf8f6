"""The official Python client, unmodified, against a server: `run.py URL [SCENARIO...]`.

Runs every scenario in `scenarios/`, each on queues of its own, many at once; those that change the
whole server run alone, at the end. Prints a line for each, then the counts, and ends with status 1
when one fails. A scenario that is named runs alone with the others that are named.
The same scenarios run with every version of the client that is supported.
"""

import asyncio
import collections
import inspect
import sys
import time
import traceback

import capability
import verbs
from scenarios import (
    absent,
    acks,
    admin,
    clients,
    consumers,
    groups,
    leases,
    letters,
    maintenance,
    options,
    policies,
    pops,
    pushes,
    queues,
    traces,
    transactions,
)

SUBJECTS = [
    leases,
    options,
    consumers,
    queues,
    pushes,
    pops,
    acks,
    transactions,
    groups,
    letters,
    traces,
    policies,
    clients,
    admin,
    absent,
]
ALONE = [maintenance]

# Protects a small machine: every scenario in progress holds up to a dozen connections.
AT_ONCE = 24
SCENARIO_SECONDS_MAX = 60


def scenarios_of(subject):
    """The scenarios of a file, in the order in which they stand there."""
    return [
        function
        for name, function in vars(subject).items()
        if inspect.iscoroutinefunction(function)
        and function.__module__ == subject.__name__
        and not name.startswith("_")
    ]


async def run(scenario, queen):
    """Runs one scenario, says what became of it and returns that in one word."""
    name = scenario.__name__
    lacked = [needed for needed in getattr(scenario, "needs", ()) if not needed.present]
    if lacked:
        print(f"skipped {name}: lacks {' and '.join(c.name for c in lacked)}", flush=True)
        return "skipped"
    began = time.monotonic()
    try:
        await asyncio.wait_for(scenario(queen), SCENARIO_SECONDS_MAX)
    except Exception:
        print(f"FAILED {name}\n{traceback.format_exc()}", flush=True)
        return "failed"
    print(f"passed {name} ({time.monotonic() - began:.1f} s)", flush=True)
    return "passed"


async def run_all(only):
    """How many scenarios passed, failed and were skipped."""
    limit = asyncio.Semaphore(AT_ONCE)

    async def limited(scenario, queen):
        async with limit:
            return await run(scenario, queen)

    def chosen(subjects):
        named = [scenario for subject in subjects for scenario in scenarios_of(subject)]
        return [s for s in named if not only or s.__name__ in only]

    async with verbs.connected() as queen:
        together = (limited(scenario, queen) for scenario in chosen(SUBJECTS))
        became = await asyncio.gather(*together)
        became += [await run(scenario, queen) for scenario in chosen(ALONE)]
    return collections.Counter(became)


async def main(url, *only):
    disagreed = await capability.ask_all()
    if disagreed:
        print(f"queen-mq {capability.VERSION} and capability.py disagree: {disagreed}")
        return 1
    known = {s.__name__ for subject in SUBJECTS + ALONE for s in scenarios_of(subject)}
    unknown = set(only) - known
    if unknown:
        print(f"there is no scenario {sorted(unknown)}")
        return 1
    verbs.URL = url
    became = await run_all(only)
    said = ", ".join(f"{count} {word}" for word, count in sorted(became.items()))
    print(f"queen-mq {capability.VERSION}: {said}", flush=True)
    return 0 if became["passed"] and not became["failed"] else 1


if __name__ == "__main__":
    sys.exit(asyncio.run(main(*sys.argv[1:])))
