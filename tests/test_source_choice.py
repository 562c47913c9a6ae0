"""The choice of sources is the best of all, whatever the orders, costs and weights."""

import itertools

import numpy as np
import pytest
from machine import DATA

import jaxsim as js
from jaxsim import plotting
from jaxsim.cli import main
from jaxsim.io import read_transfers
from jaxsim.taxonomy import choose_sources

NAMES = ("edges", "depth", "faces")
SCORES = js.Affinity.from_array([[1, 0.5, 0.4], [0.4, 1, 0.3], [0.6, 0.1, 1]], NAMES, measure="gain")


def random_transfers(rng):
    sources, targets = [f"s{i}" for i in range(rng.integers(2, 8))], [f"t{i}" for i in range(rng.integers(1, 13))]
    single = {((s,), t): rng.normal() for s in sources for t in targets if rng.random() < 0.8}
    several = {
        (tuple(rng.choice(sources, rng.integers(2, len(sources) + 1), replace=False)), t): rng.normal() + 1
        for t in targets
        for _ in range(rng.integers(0, 5))
    }
    weights = {t: float(3 * rng.random()) for t in targets}
    costs = {s: float(rng.integers(0, 4)) for s in sources}
    return (
        single | several,
        {t: weights[t] for _, t in single | several},
        {s: costs[s] for used, _ in single | several for s in used},
    )


def best_of_all(transfers, budget, weights, costs):
    totals = [-np.inf]
    for size in range(1, len(costs) + 1):
        for kept in map(set, itertools.combinations(costs, size)):
            if sum(costs[s] for s in kept) <= budget:
                served = [[v for (used, u), v in transfers.items() if u == t and kept >= {*used}] for t in weights]
                totals.append(sum(w * max(v, default=-np.inf) for w, v in zip(weights.values(), served, strict=True)))
    return max(totals)


@pytest.mark.parametrize("seed", range(20))
def test_no_other_choice_is_better(seed):
    rng = np.random.default_rng(seed)
    transfers, weights, costs = random_transfers(rng)
    for budget in (1, 2, 4, 7):
        best = best_of_all(transfers, budget, weights, costs)
        if best == -np.inf:
            with pytest.raises(ValueError, match="too few sources to serve all"):
                choose_sources(transfers, budget, importance=weights, cost=costs)
            continue
        found = choose_sources(transfers, budget, importance=weights, cost=costs)
        assert found.total == pytest.approx(best, abs=1e-9)
        assert found.cost == sum(costs[s] for s in found.sources) <= budget
        assert {*found.sources} == {s for used in found.used for s in used}
        assert [transfers[u, t] for u, t in zip(found.used, found.targets, strict=True)] == found.scores.tolist()


def test_a_distance_is_turned_and_a_free_source_costs_nothing():
    falling = js.Affinity.from_array(-np.asarray(SCORES.values), NAMES, measure="gain", distance=True)
    assert choose_sources(falling, 1).sources == choose_sources(SCORES, 1).sources == ("edges",)
    found = choose_sources(SCORES, 1, free=["faces"])
    assert (found.sources, found.cost) == (("depth", "faces"), 1)
    assert "2 sources for 3 targets" in str(found)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"budget": 0}, "budget must be a positive number, not 0"),
        ({"budget": float("nan")}, "budget must be a positive number"),
        ({"budget": "2"}, "budget must be a positive number, not '2'"),
        ({"cost": {"depth": "a"}}, "the cost of 'depth' must be zero or positive, not 'a'"),
        ({"budget": True}, "budget must be a positive number, not True"),
        ({"importance": {"walls": 1}}, "importance names 'walls', which is not a target; choose from edges"),
        ({"cost": {"depth": -1}}, "the cost of 'depth' must be zero or positive, not -1"),
        ({"free": ["walls"]}, "free names 'walls', which is not a source"),
        ({"cost": dict.fromkeys(NAMES, 3)}, "a budget of 2 allows too few sources to serve all 3 targets"),
        ({"transfers": {}}, "no transfer is defined for any target"),
        ({"transfers": {(("a",), "b"): 1.0, (("a",), "c"): np.nan}}, "no transfer is defined for c"),
    ],
)
def test_bad_input(given, said):
    given = {"transfers": SCORES, "budget": 2} | given
    with pytest.raises(ValueError, match=said):
        choose_sources(given.pop("transfers"), given.pop("budget"), **given)


@pytest.mark.parametrize("key", [("edges", "depth"), "depth", ((), "depth"), (("edges",), "depth", "faces")])
def test_transfers_by_other_keys_are_refused(key):
    with pytest.raises(TypeError, match=r"the keys of transfers must be \(sources, target\), such as .*, not"):
        choose_sources({(("faces",), "depth"): 0.2, key: 0.5}, 1)


def test_saved_and_drawn(tmp_path):
    found = choose_sources(SCORES, 2)
    again = js.load(found.save(tmp_path / "choice.npz"))
    assert (again.sources, again.used, again.total) == (found.sources, found.used, found.total)
    assert found.to_pandas()["from"].tolist() == ["faces", "depth", "faces"]
    drawn = {text.get_text() for text in plotting.source_graph(found).axes[0].texts}
    assert drawn == {*NAMES}


def test_the_command_writes_sources(tmp_path):
    SCORES.save(tmp_path / "scores.npz")
    command = ["taxonomy", f"{tmp_path}/scores.npz", "--linkage", "transfer", "--out", f"{tmp_path}/out"]
    assert main([*command, "--free", "faces"]) == 2
    assert main([*command, "--budget", "1", "--free", "faces"]) == 0
    rows = (tmp_path / "out" / "sources.csv").read_text().splitlines()
    assert rows[:2] == ["target,from,score", "edges,faces,0.6"]
    assert {p.name for p in (tmp_path / "out").iterdir()} >= {"sources.npz", "sources.png", "taxonomy.npz"}


@pytest.mark.parametrize("name", ["results_affinities_all_affinities.pkl", "results_affinities_all_affinities_16k.pkl"])
def test_released_affinities_of_all_orders(name):
    path = DATA / "taskonomy_transfer" / name
    if not path.is_file():
        pytest.skip(f"the Taskonomy pickles are not at {path}; set JAXSIM_DATA")
    transfers = read_transfers(path)
    assert not any("self" in used for used, _ in transfers)
    first = {key: score for key, score in transfers.items() if len(key[0]) == 1}
    sources = sorted({used[0] for used, _ in first})
    for budget in (1, 2):
        found = choose_sources(first, budget)
        best = max(
            sum(max(first.get(((s,), t), -np.inf) for s in kept) for t in found.targets)
            for kept in itertools.combinations(sources, budget)
        )
        assert found.total == pytest.approx(best, abs=1e-9)
    assert choose_sources(transfers, 4).total >= choose_sources(first, 4).total - 1e-9
