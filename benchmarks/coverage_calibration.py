"""Study of `js.calibrate`: p-values of layers and of best layers, and family-wise errors over pairs of networks.

Networks are layers relu(z A + b) of causes z (coverage_data.py: eight clusters, skewed spread). The causes are shared
by no two networks or by pairs of networks, or all networks share only the classes of the images. In a second world,
causes are Student t with three degrees of freedom, and layers have 2 to 24 features.
"""

import functools
import warnings

import jax
import jax.numpy as jnp
import numpy as np

import jaxsim as js
from benchmarks import coverage_data
from benchmarks.coverage_studies import Study

IMAGES, NETWORKS, LAYERS, WIDTH = 60, 4, 4, 24
BATCH, PERMUTATIONS, LEVEL = 100, 199, 0.05
OF = tuple(f"network {k}" for k in range(NETWORKS) for _ in range(LAYERS))


def layers(key, causes):
    """Features of all layers `(NETWORKS * LAYERS, n, WIDTH)` of causes `(NETWORKS, n, c)`."""
    a, b, c = jax.random.split(key, 3)
    k, n, wide = causes.shape
    weights = jax.random.normal(a, (k, LAYERS, wide, WIDTH)) / jnp.sqrt(wide)
    biases = 0.3 * jax.random.normal(b, (k, LAYERS, 1, WIDTH))
    seen = jax.nn.relu(jnp.einsum("knc,klcw->klnw", causes, weights, precision="highest") + biases)
    noisy = seen + 0.3 * jax.random.normal(c, seen.shape)
    return noisy.reshape(-1, n, WIDTH)


def clusters(key, number):
    """Causes `(number, n, c)` of clustered images, each with centers of its own."""
    centers, keys = jax.random.split(key)
    shape = (number, coverage_data.CLUSTERS, coverage_data.CAUSES)
    own = jax.random.normal(centers, shape)
    return jax.vmap(lambda k, c: coverage_data.causes(k, c, IMAGES))(jax.random.split(keys, number), own)


def unrelated(key):
    a, b = jax.random.split(key)
    return layers(a, clusters(b, NETWORKS))


def families(key):
    """Networks 0 and 1 see the same causes, and so do 2 and 3."""
    a, b = jax.random.split(key)
    return layers(a, jnp.repeat(clusters(b, NETWORKS // 2), 2, 0))


def labeled(key, number):
    """Unrelated networks, in each of which images of a label are alike."""
    a, b, c = jax.random.split(key, 3)
    own = jnp.repeat(jax.random.normal(b, (NETWORKS, number, 6)), IMAGES // number, 1)
    return layers(a, own + jax.random.normal(c, own.shape))


def heavy(key):
    a, b = jax.random.split(key)
    return layers(a, jax.random.t(b, 3.0, (NETWORKS, IMAGES, 6)))


@functools.partial(jax.jit, static_argnums=0)
def draws(world, seed):
    keys = jax.random.split(jax.random.fold_in(jax.random.key(23), seed), BATCH)
    return jax.lax.map(world, keys)


def calibrated(world, seed, measure, narrow=False, **options):
    """A record for each data set of a batch."""
    found, widths = [], np.geomspace(2, WIDTH, NETWORKS * LAYERS).round().astype(int)
    for k, features in enumerate(np.asarray(draws(world, seed))):
        given = [x[:, :w] for x, w in zip(features, widths, strict=True)] if narrow else features
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", js.FewResamples)
            made = js.calibrate(
                given, measure, layers_of=OF, n_permutations=PERMUTATIONS, key=seed + k, level=LEVEL, **options
            )
        found.append(jax.tree.map(np.asarray, made))
    return found


def alone(found, i=0, j=1):
    """P-values of one pair: of its first layers, of the best layers' own, and of the maximum."""
    best = [r.p[r.best_source[i, j], r.best_target[i, j]] for r in found]
    return {
        "p of a layer pair": np.array([r.p[i * LAYERS, j * LAYERS] for r in found]),
        "best layers, their own p (before)": np.array(best) <= LEVEL + 1e-6,
        "best layers, p of the maximum": np.array([r.best_p[i, j] for r in found]),
    }


def together(found, false):
    """Whether any pair of unrelated networks is found, by adjustment; `false` marks these pairs."""
    made = {}
    for name in ("none", "single-step", "step-down", "false-discovery"):
        hit = np.array([np.asarray(r.adjusted_p(name)) <= LEVEL + 1e-6 for r in found])
        if name == "false-discovery":  # an event as probable as the share of false findings is large
            share = (hit & false).sum((1, 2)) / np.maximum((hit & FAMILY).sum((1, 2)), 1)
            made["false discoveries, Benjamini-Hochberg"] = np.random.default_rng(0).random(len(share)) < share
        else:
            label = "unadjusted (before)" if name == "none" else name
            made[f"any of {false.sum()} pairs, {label}"] = (hit & false).any((1, 2))
    return made


FAMILY = np.triu(np.ones((NETWORKS, NETWORKS), bool), 1)
ACROSS = FAMILY & (np.arange(NETWORKS)[:, None] // 2 != np.arange(NETWORKS) // 2)


def globally(world, measure, **options):
    def once(seed):
        found = calibrated(world, seed, measure, **options)
        return alone(found) | together(found, FAMILY)

    return once


def partly(measure):
    def once(seed):
        found = calibrated(families, seed, measure)
        return alone(found, 0, 2) | together(found, ACROSS)

    return once


def by_labels(number, name, before):
    """Networks that have nothing in common but the labels, with and without them."""
    labels = np.arange(IMAGES) // (IMAGES // number)
    world = functools.partial(labeled, number=number)

    def once(seed):
        with_labels, without = (calibrated(world, seed, "cka-linear", **g) for g in ({name: labels}, {}))
        made = {f"{k}, {name}=": v for k, v in alone(with_labels).items() if "before" not in k}
        p = alone(without)["best layers, p of the maximum"]
        made[f"best layers, {before} (before)"] = p <= LEVEL + 1e-6
        return made | {
            f"{k}, {name}=": v for k, v in together(with_labels, FAMILY).items() if "single" in k or "down" in k
        }

    return once


STUDY = Study(
    "Does calibration keep its level? 4 networks of 4 layers, 60 images, 199 permutations.",
    100 * LEVEL,
    (3, 7),
    {
        "unrelated, RSA": globally(unrelated, "rsa"),
        "unrelated, CKA": globally(unrelated, "cka-linear"),
        "two families, CKA": partly("cka-linear"),
        "heavy tails, 2 to 24 features, biased CKA": globally(heavy, "cka-linear-biased", narrow=True),
        "10 classes that all see, CKA": by_labels(10, "strata", "no strata"),
        "20 new groups, CKA": by_labels(20, "groups", "no groups"),
    },
)
