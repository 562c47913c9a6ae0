"""Rankings of the bank by networks trained anew, and how alike two rankings are."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from jaxsim import engine, evaluation, measures
from jaxsim.studies.reproduce.model_cache import ModelCache
from jaxsim.studies.reproduce.settings import Features, Setting

ALIKE = 0.8
"""Mean correlation from which rankings count as alike; the paper's lie between .84 and .99."""


@dataclasses.dataclass(frozen=True)
class Likeness:
    """Correlations of two networks' similarities to the bank.

    Attributes:
        pearson: of the similarities.
        spearman: of their ranks.
    """

    pearson: float
    spearman: float


def workshop(setting: Setting, who: str) -> ModelCache:
    """The setting's workshop.

    Raises:
        ValueError: it has none, naming who needs it; or tasks it trains for were no targets of measured transfer.
    """
    if setting.workshop is None:
        raise ValueError(f"{who} trains networks: it needs a setting with a workshop.")
    odd = [name for name in setting.workshop.names if name not in setting.truth.targets]
    if odd:
        raise ValueError(f"The workshop trains for {', '.join(odd)}, to which no transfer was measured.")
    return setting.workshop


def similarities(bank: Features, codes: Sequence[np.ndarray]) -> np.ndarray:
    """RSA `(S, K)` of S networks of the bank with K codes of the same pictures."""
    named = {str(k): code for k, code in enumerate(codes)}
    return np.asarray(engine.cross_affinity(bank, named, measures.RSA).values, dtype=float)


def own(setting: Setting, names: Sequence[str]) -> np.ndarray:
    """RSA `(S, T)` of the bank with the bank's own networks for the named tasks."""
    return similarities(setting.code, [setting.code[name] for name in names])


def transfer(setting: Setting, names: Sequence[str]) -> np.ndarray:
    """Measured transfer affinity `(S, T)` to the named tasks."""
    return np.asarray(setting.truth.affinity, dtype=float)[:, [setting.truth.targets.index(name) for name in names]]


def alike(first: np.ndarray, second: np.ndarray, setting: Setting, *without: str) -> Likeness:
    """Likeness of two columns `(S,)` over the bank, some of its networks left out."""
    used = ~np.isin(setting.truth.sources, without)
    pair = first[used], second[used]
    return Likeness(evaluation.pearson(*pair), evaluation.spearman(*pair))
