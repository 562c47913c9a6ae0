"""Trees against SciPy and scikit-learn, hand-made matrices, and the released transfer matrix."""

import itertools
import re

import jax
import numpy as np
import pandas as pd
import pytest
from machine import DATA
from scipy.cluster import hierarchy
from scipy.spatial import distance
from sklearn.metrics import adjusted_rand_score

from jaxsim import results, taxonomy

MATRICES = DATA / "taskonomy_transfer" / "dds17_matrices.npz"
LINKAGES = list(taxonomy.LINKAGES.values())
GROUPS = {
    "2D": "autoencoder denoise edge2d keypoint2d segment2d",
    "3D": "curvature edge3d keypoint3d reshade rgb2depth rgb2mist rgb2sfnorm segment25d",
    "geometric": "room_layout vanishing_point_well_defined",
    "semantic": "class_1000 segmentsemantic_rb",
}


def frame(values, names=None):
    names = names or [f"net{i}" for i in range(len(values))]
    return pd.DataFrame(values, names, names)


def random_affinity(count, seed=0):
    noise = np.random.default_rng(seed).uniform(-0.5, 0.9, (count, count))
    values = (noise + noise.T) / 2
    np.fill_diagonal(values, 1.0)
    return values


HAND = frame([[1, 0.9, 0.2, 0.1], [0.9, 1, 0.3, 0.2], [0.2, 0.3, 1, 0.6], [0.1, 0.2, 0.6, 1]], list("abcd"))


def test_hand_made_average_tree():
    t = taxonomy.tree(HAND)
    np.testing.assert_allclose(t.merges[:, 2], [0.1, 0.4, 0.8])
    assert [set(c) for c in t.clusters(2)] in ([{"a", "b"}, {"c", "d"}], [{"c", "d"}, {"a", "b"}])
    assert t.convention == "average linkage on 1 - S"
    assert t.support is None
    assert t.provenance.measure == "the affinity"


def test_authors_convention_is_single_linkage_on_rows():
    t = taxonomy.tree(HAND, linkage=taxonomy.authors_linkage)
    expected = hierarchy.linkage(HAND.to_numpy(), "single", "euclidean")
    np.testing.assert_allclose(np.sort(t.merges[:, 2]), np.sort(expected[:, 2]))
    assert not np.allclose(t.merges[:, 2], taxonomy.tree(HAND).merges[:, 2])


@pytest.mark.parametrize("count", [2, 3, 8, 25])
@pytest.mark.parametrize("linkage", LINKAGES, ids=lambda x: x.name)
def test_agrees_with_scipy(linkage, count):
    values = random_affinity(count)
    t = taxonomy.tree(frame(values), linkage=linkage)
    on_scores = linkage is taxonomy.average_linkage
    condensed = distance.squareform(1 - values, checks=False) if on_scores else distance.pdist(values)
    expected = hierarchy.linkage(condensed, linkage.rule)
    np.testing.assert_allclose(t.merges[:, 2:], expected[:, 2:], atol=1e-12)
    np.testing.assert_allclose(distance.squareform(t.cophenetic()), hierarchy.cophenet(expected), atol=1e-12)
    assert hierarchy.is_valid_linkage(t.merges)
    assert list(t.order) == list(hierarchy.leaves_list(t.merges))
    ordered = hierarchy.optimal_leaf_ordering(expected, condensed)
    square = distance.squareform(condensed)
    assert path(square, t.order) == pytest.approx(path(square, hierarchy.leaves_list(ordered)))
    for k in range(1, count + 1):
        theirs = hierarchy.fcluster(expected, k, "maxclust")
        assert adjusted_rand_score(t.cut(k), theirs) == 1.0


def path(square, order):
    return sum(square[i, j] for i, j in itertools.pairwise(order))


def test_cut_numbers_clusters_in_leaf_order_and_gives_exactly_k():
    t = taxonomy.tree(frame(np.ones((6, 6))))
    for k in range(1, 7):
        assert sorted(set(t.cut(k))) == list(range(k))
        assert len(t.clusters(k)) == k
        assert [n for c in t.clusters(k) for n in c] == [t.names[i] for i in t.order]


@pytest.mark.parametrize("k", [0, 5, -1])
def test_cut_refuses(k):
    with pytest.raises(ValueError, match=f"4 networks cannot be cut into {k} clusters"):
        taxonomy.tree(HAND).cut(k)


@pytest.mark.parametrize("linkage", LINKAGES, ids=lambda x: x.name)
def test_one_network(linkage):
    t = taxonomy.tree(frame([[1.0]], ["only"]), linkage=linkage)
    assert t.order == (0,)
    assert t.cut(1) == (0,)
    assert t.to_newick() == "only;"
    assert t.to_text() == "only"
    assert t.merges.shape == (0, 4)
    assert len(t.to_pandas()) == 0
    assert t.cophenetic().tolist() == [[0.0]]


def test_identical_networks_join_at_zero_and_rounding_is_not_an_error():
    values = np.array([[1, 1 + 6e-8, 0.2], [1, 1, 0.2], [0.2, 0.2 + 1e-7, 1]])
    np.testing.assert_allclose(taxonomy.tree(frame(values)).merges[:, 2], [0.0, 0.8], atol=1e-7)


def test_negative_affinities_give_distances_up_to_two():
    assert taxonomy.tree(frame([[1, -1.0], [-1.0, 1]])).merges[0, 2] == 2.0


ASYMMETRIC = np.array([[0.5, 0.4, 0.1], [0.2, 0.6, 0.1], [0.1, 0.1, 0.3]])
REFUSED = [
    (np.array([[1, np.nan, 0], [np.nan, 1, 0], [0, 0, 1]]), "2 affinities are not finite"),
    (ASYMMETRIC, "symmetrize=True"),
    (np.array([[1, 3.0], [3.0, 1]]), "at most 1, but one is 3"),
    (np.zeros((0, 0)), "at least one network"),
]


@pytest.mark.parametrize(("values", "message"), REFUSED, ids=[m for _, m in REFUSED])
def test_refuses(values, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        taxonomy.tree(frame(values))


def test_a_name_is_no_linkage():
    with pytest.raises(TypeError, match="linkage must be a Linkage such as .*, not 'average'"):
        taxonomy.tree(HAND, linkage="average")  # pyright: ignore[reportArgumentType]


def test_undefined_names_the_worst_network():
    values = random_affinity(4)
    values[2] = values[:, 2] = np.nan
    with pytest.raises(ValueError, match="most of them for net2"):
        taxonomy.tree(frame(values), linkage=taxonomy.authors_linkage)


def test_rectangular_matrices():
    table = pd.DataFrame(np.random.default_rng(0).random((4, 6)), list("abcd"), list("uvwxyz"))
    with pytest.raises(ValueError, match=re.escape("but its shape is (4, 6)")):
        taxonomy.tree(table)
    with pytest.raises(ValueError, match="same networks as rows and as columns"):
        taxonomy.tree(table, symmetrize=True, linkage=taxonomy.transfer_linkage)
    t = taxonomy.tree(table, linkage=taxonomy.transfer_linkage)
    assert sorted(t.names[i] for i in t.order) == list("abcd")


def test_symmetrize_uses_the_mean_with_the_transpose():
    t = taxonomy.tree(frame(ASYMMETRIC), symmetrize=True)
    expected = taxonomy.tree(frame((ASYMMETRIC + ASYMMETRIC.T) / 2))
    np.testing.assert_allclose(t.merges, expected.merges)
    assert t.symmetrized
    assert not expected.symmetrized


def test_newick_path_lengths_are_cophenetic_distances_and_names_are_quoted():
    t = taxonomy.tree(frame(HAND.to_numpy(), ["plain", "o'hara", "a b", "x:y"]))
    text = t.to_newick()
    for quoted in ("plain:0.05", "'o''hara':0.05", "'a b':0.2", "'x:y':0.2"):
        assert quoted in text
    assert text.endswith(";")
    assert text.count("(") == text.count(")") == 3
    assert text.count(":0.35") == 1
    assert text.count(":0.2") == 3


def test_text_and_table():
    t = taxonomy.tree(HAND)
    assert t.to_text().isascii()
    assert len(t.to_text().splitlines()) == 4 + 3
    table = t.to_pandas()
    np.testing.assert_allclose(table["height"], [0.1, 0.4, 0.8])
    assert table["size"].tolist() == [2, 2, 4]
    assert set(table["members"][0].split(", ")) == {"a", "b"}
    assert table["support"].isna().all()


@pytest.mark.parametrize("supported", [False, True])
def test_save_and_load(tmp_path, supported):
    t = taxonomy.tree(HAND)
    if supported:
        t = taxonomy.branch_support(t, np.stack([HAND.to_numpy()] * 3))
    again = results.load(t.save(tmp_path / "tree.npz"))
    assert isinstance(again, taxonomy.Tree)
    assert again.to_newick() == t.to_newick()
    assert again.to_text() == t.to_text()
    assert (again.names, again.convention, again.provenance) == (t.names, t.convention, t.provenance)
    assert (again.support is None) is not supported
    assert t.to_json()["names"] == list("abcd")


def test_five_hundred_networks_do_not_recurse():
    line = np.arange(500.0)[:, None]
    linkage = taxonomy.Linkage("chain", lambda v: distance.pdist(line), "single")
    t = taxonomy.tree(frame(np.eye(500)), linkage=linkage)
    assert taxonomy.branch_support(t, np.eye(500)[None], linkage=linkage).support.min() == 1
    assert len(t.to_newick()) > 500
    assert len(t.to_text().splitlines()) == 999
    assert abs(np.diff(t.order)).tolist() == [1] * 499


# Agreement of trees


def test_cophenetic_agreement_is_pearson_of_scipys_distances():
    a, b = random_affinity(9, 1), random_affinity(9, 2)
    theirs = [hierarchy.cophenet(hierarchy.average(distance.squareform(1 - v))) for v in (a, b)]
    expected = np.corrcoef(*theirs)
    first, second = taxonomy.tree(frame(a)), taxonomy.tree(frame(b))
    assert taxonomy.cophenetic_agreement(first, second) == pytest.approx(expected[0, 1])
    moved = np.random.default_rng(3).permutation(9)
    shuffled = taxonomy.tree(frame(b).iloc[moved, moved])
    assert taxonomy.cophenetic_agreement(first, shuffled) == pytest.approx(expected[0, 1])
    assert taxonomy.cophenetic_agreement(first, first) == pytest.approx(1.0)


def test_cophenetic_agreement_is_undefined_for_a_flat_tree():
    flat, other = taxonomy.tree(frame(np.ones((4, 4)))), taxonomy.tree(frame(random_affinity(4)))
    assert np.isnan(taxonomy.cophenetic_agreement(flat, other))


def test_trees_of_other_networks_are_refused():
    other = taxonomy.tree(frame(HAND.to_numpy(), list("abce")))
    for call in (taxonomy.cophenetic_agreement, lambda x, y: taxonomy.cluster_agreement(x, y, 2)):
        with pytest.raises(ValueError, match="only one of them has: d, e"):
            call(taxonomy.tree(HAND), other)
    two = taxonomy.tree(frame(np.eye(2)))
    with pytest.raises(ValueError, match="at least 3 networks"):
        taxonomy.cophenetic_agreement(two, two)


@pytest.mark.parametrize("k", [1, 2, 5, 12])
def test_cluster_agreement_is_scikit_learns(k):
    first, second = (taxonomy.tree(frame(random_affinity(12, s))) for s in (4, 5))
    expected = adjusted_rand_score(first.cut(k), second.cut(k))
    assert taxonomy.cluster_agreement(first, second, k) == pytest.approx(expected)
    groups = {n: i % 3 for i, n in enumerate(first.names)} | {"unused": 9}
    expected = adjusted_rand_score(first.cut(k), [groups[n] for n in first.names])
    assert taxonomy.cluster_agreement(first, groups, k) == pytest.approx(expected)


def test_cluster_agreement_names_networks_without_a_group():
    with pytest.raises(ValueError, match="groups do not include the networks c, d"):
        taxonomy.cluster_agreement(taxonomy.tree(HAND), {"a": 1, "b": 1}, 2)


def test_permutation_p_is_exact_where_all_relabelings_are_few():
    """Two pairs of four: one relabeling in three gives the same partition."""
    t, groups = taxonomy.tree(HAND), {"a": 0, "b": 0, "c": 1, "d": 1}
    p = taxonomy.cluster_agreement_p(t, groups, 2, key=jax.random.key(0), permutations=3000)
    assert p == pytest.approx(1 / 3, abs=0.03)
    assert p == taxonomy.cluster_agreement_p(t, groups, 2, key=jax.random.key(0), permutations=3000)
    assert (p * 3001) == pytest.approx(round(p * 3001))
    assert p == taxonomy.cluster_agreement_p(t, groups, 2, permutations=3000)  # a seed of 0
    worst = {"a": 0, "c": 0, "b": 1, "d": 1}
    assert taxonomy.cluster_agreement_p(t, worst, 2, key=jax.random.key(1), permutations=99) == 1.0


# Support of branches


def test_support_counts_clades():
    other = frame([[1, 0.1, 0.9, 0.1], [0.1, 1, 0.2, 0.2], [0.9, 0.2, 1, 0.3], [0.1, 0.2, 0.3, 1]]).to_numpy()
    base = taxonomy.tree(HAND)
    supported = taxonomy.branch_support(base, np.stack([HAND.to_numpy()] * 3 + [other]))
    assert supported.support.tolist() == [0.75, 0.75, 1.0]
    assert "(75%)" in supported.to_text()
    assert ")0.75:" in supported.to_newick()
    assert base.support is None


@pytest.mark.parametrize("linkage", LINKAGES, ids=lambda x: x.name)
def test_support_equals_counting_sets_by_hand(linkage):
    rng = np.random.default_rng(0)
    values = random_affinity(10)
    noise = rng.normal(0, 0.1, (50, 10, 10))
    draws = np.minimum(values + noise + noise.transpose(0, 2, 1), 1)
    base = taxonomy.tree(frame(values), linkage=linkage)
    found = [clades(taxonomy.tree(frame(one), linkage=linkage)) for one in draws]
    expected = [np.mean([c in f for f in found]) for c in clades(base)]
    support = taxonomy.branch_support(base, draws).support
    np.testing.assert_allclose(support, expected)
    assert 0 < support.min() < 1


def clades(t):
    return [frozenset(m.split(", ")) for m in t.to_pandas()["members"]]


def test_support_aligns_by_name_and_symmetrizes_as_the_tree():
    class Draws:
        names = tuple("dcba")
        values = HAND.to_numpy()[None, ::-1, ::-1] + np.triu(np.full((4, 4), 0.01), 1)

    base = taxonomy.tree(HAND, symmetrize=True)
    assert taxonomy.branch_support(base, Draws()).support.tolist() == [1.0, 1.0, 1.0]


def test_support_leaves_out_undefined_resamples_and_says_so():
    draws = np.stack([HAND.to_numpy()] * 4)
    draws[2, 0, 1] = np.nan
    with pytest.warns(RuntimeWarning, match="1 of 4 resamples contain NaN"):
        supported = taxonomy.branch_support(taxonomy.tree(HAND), draws)
    assert supported.support.tolist() == [1.0, 1.0, 1.0]
    assert "1 of 4" in supported.notes[0]


def test_support_refuses():
    base, draws = taxonomy.tree(HAND), np.stack([HAND.to_numpy()] * 2)
    with pytest.raises(ValueError, match="was made with average linkage on 1 - S; pass that linkage"):
        taxonomy.branch_support(base, draws, linkage=taxonomy.authors_linkage)
    with pytest.raises(ValueError, match=re.escape("(4, 4), but a tree of 4 networks")):
        taxonomy.branch_support(base, draws[0])
    with pytest.raises(ValueError, match="all 2 resamples contain NaN"):
        taxonomy.branch_support(base, draws * np.nan)


# The released transfer matrix


@pytest.fixture
def transfer():
    if not MATRICES.exists():
        pytest.skip(f"the Taskonomy matrices are not at {MATRICES}; set JAXSIM_DATA")
    with np.load(MATRICES) as file:
        return frame(file["all_affinities"], [str(t) for t in file["tasks"]])


def test_average_tree_of_real_transfer_holds_the_task_groups(transfer):
    """All four groups are branches, but for edge2d, which stands alone."""
    groups = {name: group for group, names in GROUPS.items() for name in names.split()}
    t = taxonomy.tree(transfer, symmetrize=True)
    expected = [set(names.split()) - {"edge2d"} for names in GROUPS.values()] + [{"edge2d"}]
    assert sorted(map(sorted, t.clusters(5))) == sorted(map(sorted, expected))
    assert taxonomy.cluster_agreement(t, groups, 5) == pytest.approx(0.927, abs=5e-4)
    assert taxonomy.cluster_agreement_p(t, groups, 4, key=jax.random.key(0), permutations=199) == 1 / 200


def test_authors_tree_of_real_transfer_differs(transfer):
    groups = {name: group for group, names in GROUPS.items() for name in names.split()}
    t = taxonomy.tree(transfer, linkage=taxonomy.authors_linkage)
    assert taxonomy.cluster_agreement(t, groups, 4) == pytest.approx(0.485, abs=5e-4)
    assert 0 < taxonomy.cophenetic_agreement(t, taxonomy.tree(transfer, symmetrize=True)) < 0.9


def test_distances_are_clustered_as_they_are():
    distances = np.array([[0, 0.9, 0.8], [0.9, 0, 0.2], [0.8, 0.2, 0]])
    said = taxonomy.tree(results.Affinity.from_array(distances, list("abc"), measure="d", distance=True))
    np.testing.assert_allclose(said.merges[:, 2], [0.2, 0.85])
    with pytest.warns(RuntimeWarning, match="least similar values on the diagonal; if it contains distances"):
        taxonomy.tree(results.Affinity.from_array(distances, list("abc"), measure="d"))


def test_scaling_finds_points_of_euclidean_distances():
    points = np.random.default_rng(0).standard_normal((9, 3))
    found = taxonomy.classical_scaling(distance.squareform(distance.pdist(points)), 3)
    np.testing.assert_allclose(distance.pdist(found), distance.pdist(points), atol=1e-9)
    _, _, turned = np.linalg.svd(points - points.mean(0), full_matrices=False)
    np.testing.assert_allclose(np.abs(found), np.abs((points - points.mean(0)) @ turned.T), atol=1e-9)
    assert (found.max(0) >= -found.min(0)).all()


def test_scaling_of_distances_whose_squares_overflow():
    three = np.array([[0, 3, 5], [3, 0, 4], [5, 4, 0.0]])
    np.testing.assert_allclose(taxonomy.classical_scaling(1e200 * three), 1e200 * taxonomy.classical_scaling(three))


def test_scaling_of_other_distances_keeps_what_is_euclidean():
    three = np.array([[0, 1, 1], [1, 0, 3], [1, 3, 0.0]])  # no triangle
    found = taxonomy.classical_scaling(three, 3)
    np.testing.assert_allclose(found[:, 1:], 0, atol=1e-7)


@pytest.mark.parametrize(
    ("distances", "dimensions", "words"),
    [
        (np.ones((2, 3)), 2, r"not \(2, 3\)"),
        (np.array([[0, np.nan], [np.nan, 0]]), 2, "2 distances are not finite"),
        (np.array([[0, 1], [2, 0]]), 2, "symmetric"),
        (np.ones((3, 3)), 2, "zeros on the diagonal"),
        (np.array([[0, -1], [-1, 0]]), 2, "without negative values"),
        (np.zeros((2, 2)), 3, "2 points cannot be placed in 3 dimensions"),
    ],
)
def test_scaling_refuses(distances, dimensions, words):
    with pytest.raises(ValueError, match=words):
        taxonomy.classical_scaling(distances, dimensions)
