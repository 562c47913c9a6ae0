"""The public verb `explain`: the plan of a call, with memory and time, without running it."""

from collections.abc import Sequence
from typing import Any

from jaxsim.engine import verbs as similarity
from jaxsim.engine.plans import Plan
from jaxsim.measures import Measure
from jaxsim.protocols import Comparator, Scheme
from jaxsim.resampling import verbs as resampling
from jaxsim.statistics.checks import flag


def explain(
    features: Any,
    measure: str | Measure | Comparator | Sequence[str | Measure | Comparator],
    scheme: Scheme | str | None = None,
    *,
    n_resamples: int | None = None,
    estimate: bool = True,
    against: Any = None,
    ids: Any = None,
    against_ids: Any = None,
    align: bool = False,
    missing: str = "shared",
    channels: Any = None,
    memory: float | None = None,
    tile: int | None = None,
    devices: Any = None,
) -> Plan:
    """Plan of `js.affinity`, or of `js.resample` with a scheme, for the same arguments: route, memory and time.

    This is the plan that the verb follows. Its memory is computed. Its time is based on the speed of this machine,
    which is measured once per process in about a second.

    Args:
        features: as for the verb.
        measure: as for the verb; precomputed maps and comparators require a scheme.
        scheme: as for `js.resample`; None is for `js.affinity`.
        n_resamples: as for `js.resample`.
        estimate: as for `js.resample`.
        against: as for `js.affinity`.
        ids: as for `js.affinity`.
        against_ids: as for `js.affinity`.
        align: as for `js.affinity`.
        missing: as for `js.affinity`, without a scheme. If each pair of networks is compared on its own images, the
            plan shows the most images, all calls and the largest memory.
        channels: as for `js.affinity`.
        memory: as for `js.affinity`.
        tile: as for `js.affinity`, without a scheme; resampling uses tiles when maps do not fit.
        devices: as for `js.affinity`.

    Returns:
        `Plan`, which prints itself.

    Raises:
        TypeError: as for the verb.
        ValueError: as for the verb; if nothing fits, the message gives the memory needed.

    >>> import jax, jaxsim as js
    >>> features = jax.random.normal(jax.random.key(0), (20, 200, 8))
    >>> plan = js.explain(features, ["rsa", "cka"])
    >>> plan.routes, plan.calls
    ((('rsa', 'maps'), ('cka-linear', 'feature space')), 1)
    >>> plan = js.explain(features, "cka", js.Bootstrap(), n_resamples=1000)
    >>> plan.routes, plan.resamples, plan.at_once
    ((('cka-linear', 'maps'),), 1000, 8)
    """
    given = {"against": against, "ids": ids, "against_ids": against_ids, "align": align, "channels": channels}
    given |= {"memory": memory, "devices": devices}
    if scheme is None:
        if n_resamples is not None or not flag(estimate, "estimate"):
            raise ValueError(
                "n_resamples and estimate=False are for resampling: give a scheme such as js.HalfSamples()."
            )
        return similarity.plan_of(features, measure, missing=missing, tile=tile, **given)
    if tile is not None or missing != "shared":
        raise ValueError("js.resample takes neither tile nor missing; leave them out.")
    return resampling.plan_of(features, measure, scheme, n_resamples=n_resamples, estimate=estimate, **given)
