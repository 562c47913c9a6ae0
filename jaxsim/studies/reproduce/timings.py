"""Timing of compiled calls, and the experiment on costs: similarity against brute-force transfer."""

import functools
import time
from collections.abc import Callable
from typing import NamedTuple, TypeVar

import jax
import numpy as np

from jaxsim import engine
from jaxsim.studies.reproduce import figures, rankings
from jaxsim.studies.reproduce.model_cache import NEW_WORLD
from jaxsim.studies.reproduce.predictors import MEASURES
from jaxsim.studies.reproduce.settings import Outcome, Setting

Result = TypeVar("Result")
PICTURES = 200
PAPER = {"brute-force transfer": 1.6e7, "DDS, Laplacian": 103.36, "DDS, cosine": 84.14, "RSA": 78.2}
"""Total seconds in DDS 2020, Table 3, including forward passes of 17 networks on 200 pictures (17 x 200 x 0.022)."""
PASSES = 17 * 200 * 0.022
FACTOR = 100
"""Brute force must take this many times as long as DDS."""
METHODS = {name: measure for name, (measure, _) in MEASURES.items() if name in PAPER}


class Cost(NamedTuple):
    """A row of the table of `costs`: seconds for all networks, without compilation."""

    step: str
    paper_seconds: float | None
    seconds: float


def costs(setting: Setting) -> Outcome:
    """Time forward passes, similarity and brute-force transfer of the bank (DDS 2020, table 3, section 6.2).

    Features and similarities are for 200 pictures, from compiled calls, using the fastest of three. Brute force fits a
    readout of every source to the new task's pictures, times the number of targets; the paper's trains networks.
    Attribution is timed by its own benchmark.

    Raises:
        ValueError: the setting has no workshop, or one without pictures of the new world.
    """
    from jaxsim.studies.rooms import encoders

    shop = rankings.workshop(setting, "costs")
    if NEW_WORLD not in shop.shown:
        raise ValueError("costs needs pictures of another world.")
    rgb = next(iter(shop.shown.values()))[:PICTURES]
    code = {name: x[:PICTURES] for name, x in setting.code.items()}
    _, passes = timed(lambda: encoders.features(shop.bank, rgb), 3)
    rows = [Cost("forward passes", PASSES, passes)]
    rows += [
        Cost(name, PAPER[name] - PASSES, timed(lambda m=measure: engine.affinity(code, m), 3)[1])
        for name, measure in METHODS.items()
    ]
    brute = timed(shop.transfer)[1] * len(setting.truth.targets)
    rows.append(Cost("brute-force transfer", PAPER["brute-force transfer"], brute))
    slowest = passes + max(row.seconds for row in rows[1:-1])
    return Outcome(
        source="DDS 2020, table 3 and section 6.2",
        claim="Similarity costs a small part of what brute-force transfer does.",
        criterion=f"brute force takes at least {FACTOR} times as long as forward passes and the slowest similarity",
        paper="74.8 s of forward passes in totals of 84 (cosine), 103 (Laplacian) and 78 s (RSA); brute force 1.6e7 s",
        here=", ".join(f"{row.step} {row.seconds:.3g} s" for row in rows) + f"; {brute / slowest:.0f} times",
        holds=bool(brute >= FACTOR * slowest),
        header=Cost._fields,
        rows=tuple(rows),
        draw=functools.partial(
            figures.listed,
            [row.step for row in rows],
            {
                "here": [float(np.log10(row.seconds)) for row in rows],
                "paper": [np.nan if row.paper_seconds is None else float(np.log10(row.paper_seconds)) for row in rows],
            },
            "log10 of seconds",
        ),
    )


def timed(call: Callable[[], Result], repeats: int = 1, *, compiled: bool = False) -> tuple[Result, float]:
    """Result of a call, and the seconds of the fastest of several.

    A first call, which compiles, is not timed; it is skipped if everything is compiled already.
    """
    if not compiled:
        call()
    found = []
    for _ in range(repeats):
        start = time.perf_counter()
        result = jax.block_until_ready(call())
        found.append((result, time.perf_counter() - start))
    return min(found, key=lambda one: one[1])
