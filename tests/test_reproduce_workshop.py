"""Experiments that train networks: on made-up networks whose answers are known, and the workshop on tiny real ones."""

import dataclasses
import json
import time
import types

import jax
import numpy as np
import pytest
from scipy import stats
from test_reproduce import GROUPS, NAMES, column, features, truth

from jaxsim import engine, measures
from jaxsim.studies import reproduce
from jaxsim.studies.reproduce import branch_points, catalog, model_sizes, picture_sets, rankings, training_stages
from jaxsim.studies.reproduce.model_cache import STAGES, ModelCache, TrainedEncoder, recipe_of
from jaxsim.vision import models, training

nnx = pytest.importorskip("flax.nnx", reason="the built-in world needs the nn extra")

from jaxsim.studies.rooms import encoders, pictures, tasks, world
from jaxsim.vision.models import resnet as model_names

pytestmark = pytest.mark.slow

TARGETS = ("a", "d", "g", "j")
LIKES = ("rgb2sfnorm", "segmentsemantic")
BANK = features(0.8)
ENCODER = nnx.Linear(2, 3, rngs=nnx.Rngs(0))
ENCODER.widths, ENCODER.channels_in = (4, 8), 3


def noise(seed, n=60):
    return np.random.default_rng(seed).normal(size=(n, 2, 4, 4)).astype(np.float32)


def similarity():
    return np.asarray(engine.affinity(BANK, measures.RSA).values, dtype=float)


class Known:
    """A workshop whose networks have the codes of `code(task, size, stage)`."""

    def __init__(self, code, names=TARGETS, transfer=None):
        self.code, self.names, self.found = code, names, transfer
        self.recipe = types.SimpleNamespace(steps=200)
        self.bank = dict.fromkeys(NAMES, ENCODER)

    def made(self, task, size="small", *, world="rooms", stage=1.0):
        return TrainedEncoder(ENCODER, self.code(task, size, stage), 0.5 if stage else None)

    def transfer(self):
        return self.found


def setting(code, **rest):
    shop = Known(code, **rest)
    return reproduce.Setting({"conv1": BANK}, truth(similarity()), GROUPS, elsewhere=BANK, workshop=shop, quick=True)


def own(task, size, stage):
    return BANK[task]


def of_another(task, size, stage):
    return BANK[NAMES[(NAMES.index(task) + 4) % 12]]


def whole(found, name):
    assert {len(row) for row in found.rows} == {len(found.header)}
    assert isinstance(found.holds, bool)
    json.dumps(found.to_json(), allow_nan=False)
    pytest.importorskip("matplotlib")
    figure = found.draw()
    figure.canvas.draw()
    return figure


# Stages


def ripening(task, size, stage):
    """Noise before a tenth of the steps, nearly the end from then on."""
    share = 0 if stage < 0.1 else 0.97 if stage < 0.5 else 1
    return share * BANK[task] + (1 - share) * noise(NAMES.index(task))


def test_stages_hold_where_networks_ripen_early():
    found = catalog.stages(setting(ripening))
    whole(found, "stages")
    assert found.holds
    assert column(found, "share") == list(STAGES)
    assert column(found, "step")[:4] == [0, 4, 10, 20]
    same = column(found, "correlation")
    assert same[-1] == pytest.approx(1)
    assert max(same[:3]) < 0.6 < 0.9 < min(same[3:])
    assert column(found, "transfer_rank_correlation")[-1] == pytest.approx(1)
    assert column(found, "skill")[:2] == [None, 0.5]


def test_stages_do_not_hold_where_networks_ripen_late():
    late = catalog.stages(setting(lambda task, size, stage: BANK[task] if stage == 1 else noise(1)))
    assert not late.holds
    assert not catalog.stages(setting(lambda *a: ripening(*a) if a[2] != 0.75 else noise(1))).holds


def test_stages_against_a_plain_calculation():
    """Pearson correlation of similarities without self, RSA from its definition."""
    found = catalog.stages(setting(ripening, names=("d", "h")))

    def distances(x):
        x = x.reshape(len(x), -1).astype(float)
        return 1 - np.corrcoef(x - x.mean(0))[np.triu_indices(len(x), 1)]

    bank, each, real = {name: distances(x) for name, x in BANK.items()}, [], []
    for name in ("d", "h"):
        others = [other for other in NAMES if other != name]
        early, last = (
            [stats.spearmanr(bank[other], distances(ripening(name, "small", stage)))[0] for other in others]
            for stage in (0.05, 1.0)
        )
        each.append(stats.pearsonr(early, last)[0])
        column_of = [similarity()[NAMES.index(other), NAMES.index(name)] for other in others]
        real.append(stats.spearmanr(early, column_of)[0])
    row = dict(zip(found.header, found.rows[2], strict=True))
    assert row["correlation"] == pytest.approx(np.mean(each), abs=1e-4)
    assert row["lowest"] == pytest.approx(min(each), abs=1e-4)
    assert row["lowest_task"] == ("d", "h")[int(np.argmin(each))]
    assert row["transfer_rank_correlation"] == pytest.approx(np.mean(real), abs=1e-2)
    assert row["low"] < row["correlation"] < row["high"]


# Sizes


def test_sizes_hold_where_they_do_not_matter():
    found = catalog.sizes(setting(own))
    figure = whole(found, "sizes")
    assert found.holds
    assert column(found, "size") == ["tiny", "small", "wide", "bank's own"]
    assert column(found, "rank_correlation")[:-1] == pytest.approx([1, 1, 1])
    assert column(found, "transfer_rank_correlation") == pytest.approx([1, 1, 1, 1])
    assert column(found, "weights") == [9 * 3 * 4 + 4 + 9 * 4 * 8 + 8] * 4
    labels = [text.get_text().split("\n")[0] for text in figure.axes[0].get_xticklabels()]
    assert labels == column(found, "size")


def test_one_size_that_differs_is_enough_to_fail():
    found = catalog.sizes(setting(lambda task, size, stage: noise(3) if size == "wide" else BANK[task]))
    assert not found.holds
    scores = column(found, "rank_correlation")
    assert scores[:2] == pytest.approx([1, 1])
    assert scores[2] < 0.8


def test_sizes_take_the_handful_that_there_is(monkeypatch):
    monkeypatch.setattr(model_sizes, "HANDFUL", ("j", "zoo", "d"))
    assert "(2 tasks: j, d)" in catalog.sizes(setting(own)).here
    full = dataclasses.replace(setting(own), quick=False)
    assert column(catalog.sizes(full), "size")[:-1] == ["tiny", "small", "wide", "deep", "large"]


def test_weights_are_those_of_the_network():
    from flax import nnx

    encoder = nnx.eval_shape(lambda: models.SmallEncoder.named("tiny", rngs=nnx.Rngs(0)))
    assert model_sizes.weights(encoder) == sum(np.prod(leaf.shape) for leaf in jax.tree.leaves(nnx.state(encoder)))


# Small against large


def test_small_is_the_large_networks_ranking():
    found = catalog.small(setting(own))
    whole(found, "small")
    assert found.holds
    assert column(found, "task") == list(TARGETS)
    for name in ("correlation", "rank_correlation", "transfer_rank_correlation"):
        assert column(found, name) == pytest.approx([1] * 4)
    assert column(found, "rank_of_chosen") == column(found, "rank_of_own_task") == [1] * 4
    assert column(found, "shared_of_5") == [5] * 4
    values = similarity()
    for task, chosen in zip(TARGETS, column(found, "chosen"), strict=True):
        place = NAMES.index(task)
        assert chosen == NAMES[np.argsort(-values[:, place])[1]]
    assert "top 1 / 3 / 5: 4, 4, 4" in found.here
    assert "matrices 1.00 (ranks 1.00)" in found.here


def test_small_networks_of_other_tasks_are_told_apart():
    found = catalog.small(setting(of_another))
    assert not found.holds
    assert min(column(found, "rank_of_own_task")) > 1
    assert catalog.small(setting(own, names=("a",))).rows[0][4] is None
    assert "too few tasks" in catalog.small(setting(own, names=("a", "d"))).here


def test_small_networks_rank_large_ones_as_these_do():
    found = catalog.large(setting(lambda task, size, stage: BANK[task], names=NAMES))
    whole(found, "large")
    assert found.holds
    assert column(found, "task") == list(NAMES)
    assert column(found, "correlation") == pytest.approx([1] * 12)
    assert column(found, "rank_of_chosen") == [1] * 12
    assert "matrices 1.00 (ranks 1.00)" in found.here
    other = catalog.large(setting(of_another, names=NAMES))
    assert not other.holds


def test_rankings_of_large_networks_are_those_by_hand():
    """The small networks are the bank; both sides' similarities with the larger networks, their own task left out."""
    given = dataclasses.replace(
        setting(own),
        large={n: TrainedEncoder(ENCODER, features(0.5, seed=2)[n], 0.1 * i) for i, n in enumerate("adgj")},
    )
    found = catalog.large(given)
    large = {n: given.large[n].code for n in "adgj"}
    first = np.asarray(engine.affinity(large, measures.RSA, against={"x": BANK["d"]}).values)[[0, 2, 3], 0]
    second = np.asarray(engine.affinity(large, measures.RSA).values)[[0, 2, 3], 1]
    assert column(found, "correlation")[1] == pytest.approx(stats.pearsonr(first, second)[0], abs=1e-5)
    assert column(found, "chosen")[1] == "agj"[int(np.argmax(first))]
    with pytest.raises(ValueError, match="at least 4 larger networks for tasks in the bank, but there are 1"):
        catalog.large(dataclasses.replace(given, large={"a": given.large["a"]}))


# A new task


def with_transfer(values):
    """A setting whose new network is that of 'd' and whose transfer to the new task is given."""
    made = truth(np.asarray(values)[::-1, None], NAMES[::-1], ("new",))
    values = np.full((12, 1), 0.25)
    made = dataclasses.replace(made, skill=values, wins_scratch=values, reliability=np.array([0.9]))
    return setting(lambda *a: BANK["d"], transfer=made)


def test_new_task_finds_the_source_that_transfers_best():
    found = catalog.new_task(with_transfer(similarity()[:, 3]))
    whole(found, "new-task")
    assert found.holds
    assert column(found, "source")[0] == "d"
    assert column(found, "rank_by_rsa") == column(found, "rank_by_transfer") == list(range(1, 13))
    assert "rank correlation 1.00 (p = 0.005)" in found.here
    assert not catalog.new_task(with_transfer(-similarity()[:, 3])).holds


def test_new_task_needs_a_good_first_choice_as_well():
    values = similarity()[:, 3].copy()
    values[3] = -1
    found = catalog.new_task(with_transfer(values))
    assert not found.holds
    assert "d first, 12th of 12" in found.here


def test_the_papers_order_and_transfer():
    from jaxsim.studies.reproduce import source_selection

    order, transfer = source_selection.PAPER_ORDER, source_selection.PAPER_TRANSFER
    assert set(order) == set(tasks.TASKS)
    assert len(order) == 20
    assert set(tasks.TASKS) - set(transfer) == {"denoise", "colorization", "inpainting"}
    better = sum(value > transfer["class_object"] for value in transfer.values())
    assert (order[0], better) == ("class_object", 3)


@pytest.mark.slow
def test_image_sets_prefer_pictures_that_show_the_ranking(monkeypatch):
    """Transfer is what the new network's codes say of the own pictures; other pictures show noise."""
    values = similarity()[:, 3]
    made, other = with_transfer(values), {name: noise(50 + i) for i, name in enumerate(NAMES)}
    monkeypatch.setattr(picture_sets, "_codes", lambda encoders, rgb: {**other, "segmentsemantic": noise(99)})
    made = dataclasses.replace(made, features={"conv1": other})
    shown = np.zeros((60, 8, 8, 3), np.uint8)
    monkeypatch.setattr(made.workshop, "shown", {"rooms": shown, "lofts": shown}, raising=False)
    found = catalog.image_sets(made)
    assert len(found.rows) == 18
    assert found.holds
    frame = [dict(zip(found.header, row, strict=True)) for row in found.rows]
    assert {row["paper"] is None for row in frame if row["function"] in ("cosine", "laplacian")} == {False}
    own_ = [row for row in frame if row["pictures"] == "own world"]
    assert all(row["mean"] > 0.6 and row["low"] < row["all_pictures"] < 1 for row in own_)
    others = [row["mean"] for row in frame if row["pictures"] != "own world"]
    assert abs(np.mean(others)) < 0.4
    monkeypatch.setattr(picture_sets, "_codes", lambda encoders, rgb: {**other, "segmentsemantic": BANK["d"]})
    swapped = dataclasses.replace(made, features={"conv1": BANK}, elsewhere=other)
    assert not catalog.image_sets(swapped).holds


@pytest.mark.slow
def test_branches_are_trained_once_for_both_similarities(monkeypatch, tmp_path):
    pytest.importorskip("skimage")
    from jaxsim.studies.branching import training_runs

    trained, original = [], training_runs.train

    def train(*arguments, **keywords):
        trained.append(arguments[1].name)
        return original(*arguments, **keywords)

    monkeypatch.setattr(training_runs, "train", train)
    monkeypatch.setattr(branch_points, "AMOUNTS_QUICK", {"pictures": 16, "epochs": 1, "seeds": 1})
    monkeypatch.setattr(models.SmallEncoder, "side", 32)
    names = ("class_object", *LIKES)
    small = {name: models.SmallEncoder((4, 8, 8), (2, 2, 2), rngs=nnx.Rngs(i)) for i, name in enumerate(names)}
    shop = ModelCache(small, {}, recipe_of(), folder=tmp_path)
    values = truth(np.zeros((3, len(shop.names))), names, shop.names)
    made = dataclasses.replace(setting(own), workshop=shop, truth=values)
    found = catalog.branches(made)
    whole(found, "branches")
    layers = list(dict.fromkeys(column(found, "layer")))
    assert layers == [f"conv{i}" for i in range(1, len(small["class_object"].widths))]
    assert trained == ["normals", "semantic"] * len(layers)
    assert np.isfinite(column(found, "mean")).all()
    assert sum(column(found, "best")) == sum(column(found, "recommended")) == 2
    assert max(np.abs(np.subtract(column(found, "similarity"), column(found, "equal_view")))) > 1e-3
    again = catalog.branches(made)
    assert again.rows == found.rows
    assert len(trained) == 2 * len(layers)


def test_costs_count_every_step(monkeypatch):
    made, waits = with_transfer(similarity()[:, 3]), iter((0.0, 2.0))
    shown = np.zeros((60, 8, 8, 3), np.uint8)
    monkeypatch.setattr(made.workshop, "shown", {"rooms": shown, "lofts": shown}, raising=False)
    monkeypatch.setattr(encoders, "features", lambda bank, rgb: BANK)
    monkeypatch.setattr(made.workshop, "transfer", lambda: time.sleep(next(waits)), raising=False)
    found = catalog.costs(made)
    assert column(found, "step")[::4] == ["forward passes", "brute-force transfer"]
    assert column(found, "seconds")[-1] == pytest.approx(2 * 12, rel=0.2)
    assert column(found, "paper_seconds")[0] == pytest.approx(74.8)
    assert min(column(found, "seconds")) >= 0
    lacking = types.SimpleNamespace(shown={"rooms": shown}, names=TARGETS)
    with pytest.raises(ValueError, match="pictures of another world"):
        catalog.costs(dataclasses.replace(made, workshop=lacking))


def test_dead_leaves_are_pictures_of_a_natural_spectrum():
    made = picture_sets.dead_leaves(3, 32, 0)
    assert made.shape == (3, 32, 32, 3)
    assert made.dtype == np.uint8
    np.testing.assert_array_equal(made[:2], picture_sets.dead_leaves(3, 32, 0)[:2])
    assert np.any(made != picture_sets.dead_leaves(3, 32, 1))
    power = np.abs(np.fft.rfft2(made.astype(float).mean(-1))) ** 2
    assert power[:, 0, 1:4].mean() > 10 * power[:, 0, 8:].mean()


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("stages", {"workshop": Known(own, names=("zoo",))}, "trains for zoo, but no transfer"),
        ("new-task", {"elsewhere": None}, "pictures of another world"),
        ("image-sets", {"elsewhere": None}, "pictures of another world"),
    ],
)
def test_what_is_lacking_is_named(name, change, message):
    with pytest.raises(ValueError, match=message):
        reproduce.EXPERIMENTS[name].run(dataclasses.replace(setting(own), **change))


def test_means_over_tasks():
    mean, low, high = rankings.over_tasks([0.2, 0.4, np.nan, 0.6], setting(own))
    assert mean == pytest.approx(0.4)
    assert low < 0.2
    assert high > 0.6
    mean, low, high = rankings.over_tasks([0.7, 1.0, 1.0, 0.98], setting(own))
    assert low < mean < 0.99 < high < 1
    assert rankings.over_tasks([0.3, np.nan], setting(own)) == (0.3, None, None)
    assert np.isnan(rankings.over_tasks([np.nan], setting(own))[0])


def test_thresholds_are_below_the_papers_numbers():
    assert min(training_stages.PAPER[0.1], model_sizes.PAPER, model_sizes.SMALL_PAPER) > rankings.ALIKE
    assert training_stages.PAPER[0.5] > training_stages.SETTLED


# The workshop

RECIPE = world.Recipe(seed=7, learn=12, judge=8, steps=10, fit=8, test=8, names=("autoencoder", "rgb2depth"))
SHOWN = {name: np.random.default_rng(k).integers(0, 256, (9, 16, 16, 3), np.uint8) for k, name in enumerate("rl")}
SHOWN = {"rooms": SHOWN["r"], "lofts": SHOWN["l"]}


@pytest.fixture
def made_up(monkeypatch):
    """Made-up pictures instead of rendered ones; what was asked for."""
    asked = []

    def make(count, *, seed, world, resolution, names, progress):
        asked.append((world, seed, count, tuple(names)))
        rng = np.random.default_rng(seed)
        rgb = rng.integers(0, 256, (count, resolution, resolution, 3), np.uint8)
        gray = rgb.mean(-1, keepdims=True) / 255
        targets = {"autoencoder": rgb / 255, "rgb2depth": gray, "segmentsemantic": (gray[..., 0] * 4).astype(np.uint8)}
        kept = {n: targets[n] if n == "segmentsemantic" else targets[n].astype(np.float16) for n in names}
        return pictures.Pictures(world, seed, rgb, kept)

    monkeypatch.setattr(pictures, "make", make)
    return asked


@pytest.fixture
def trained(monkeypatch):
    """Every call of `encoders.train`: task, size and the step it goes to."""
    calls, original = [], encoders.train

    def train(names, *arguments, **keywords):
        calls.append((*names, keywords["size"], keywords["until"]))
        return original(names, *arguments, **keywords)

    monkeypatch.setattr(encoders, "train", train)
    return calls


@pytest.fixture(scope="module")
def bank():
    return {name: encoders.network(tasks.TASKS[name], 1, "tiny", 16).encoder for name in RECIPE.names}


def same(one, other):
    np.testing.assert_array_equal(one.code, other.code)
    assert one.skill == other.skill


def test_a_network_is_trained_once_and_kept_at_every_stage(made_up, trained, bank):
    shop = ModelCache(bank, SHOWN, RECIPE)
    stages = [shop.made("rgb2depth", stage=stage) for stage in STAGES]
    assert trained == [("rgb2depth", "small", round(stage * 10)) for stage in STAGES if round(stage * 10)]
    assert [stage.code.shape for stage in stages] == [(9, 2, 2, 8)] * len(STAGES)
    assert stages[0].skill is None
    plain = pictures.make(20, seed=3_000_070, world="rooms", resolution=16, names=RECIPE.names, progress=None)
    whole_run = encoders.train(
        ["rgb2depth"], plain.part(0, 12), plain.part(12, 20), steps=10, seed=7, size="small", until=None
    )["rgb2depth"]
    same(
        stages[-1],
        TrainedEncoder(
            None,
            encoders.features({"rgb2depth": whole_run.network.encoder}, SHOWN["rooms"])["rgb2depth"],
            whole_run.skill,
        ),
    )
    fresh = encoders.network(tasks.TASKS["rgb2depth"], 7, "small", 16).encoder
    np.testing.assert_array_equal(stages[0].code, encoders.features({"rgb2depth": fresh}, SHOWN["rooms"])["rgb2depth"])
    assert made_up[0] == ("rooms", 3_000_070, 20, RECIPE.names)


def test_other_sizes_and_worlds_are_kept_at_the_end(made_up, trained, bank):
    told = []
    shop = ModelCache(bank, SHOWN, RECIPE, progress=lambda what: lambda *now: told.append((what, *now)))
    first = shop.made("autoencoder", "tiny")
    assert shop.made("autoencoder", "tiny") is first
    new = shop.made("segmentsemantic", world="lofts")
    assert new.code.shape == (9, 2, 2, 8)
    assert trained == [("autoencoder", "tiny", 10), ("segmentsemantic", "small", 10)]
    assert made_up == [
        ("rooms", 3_000_070, 20, RECIPE.names),
        ("lofts", 3_000_071, 11, ("segmentsemantic",)),
    ]
    assert told == [("autoencoder, tiny", 10, 10), ("segmentsemantic, small, lofts", 10, 10)]
    with pytest.raises(
        ValueError, match=r"tiny network for autoencoder in rooms is kept at 1\.0 of its steps, not 0\.5"
    ):
        shop.made("autoencoder", "tiny", stage=0.5)
    with pytest.raises(ValueError, match="no encoder size 'huge'"):
        shop.made("autoencoder", "huge")
    with pytest.raises(ValueError, match="there is no task 'zoo'"):
        shop.made("zoo", stage=0.0)


def test_a_killed_run_goes_on_and_a_finished_one_is_read(made_up, trained, bank, tmp_path, monkeypatch):
    unbroken = ModelCache(bank, SHOWN, RECIPE)
    expected = [unbroken.made("autoencoder", stage=stage) for stage in STAGES]

    class Killed(Exception):
        pass

    original = training.fit

    def fit(*arguments, until, **keywords):
        if until == 8:
            original(*arguments, until=6, **keywords)  # a checkpoint between two stages
            raise Killed
        return original(*arguments, until=until, **keywords)

    with monkeypatch.context() as patch:
        patch.setattr(training, "fit", fit)
        with pytest.raises(Killed):
            ModelCache(bank, SHOWN, RECIPE, folder=tmp_path).made("autoencoder")
    trained.clear()
    made_up.clear()
    again = ModelCache(bank, SHOWN, RECIPE, folder=tmp_path)
    for stage, wanted in zip(STAGES, expected, strict=True):
        same(again.made("autoencoder", stage=stage), wanted)
    assert [step for *_, step in trained] == [8, 10]
    trained.clear()
    last = ModelCache(bank, SHOWN, RECIPE, folder=tmp_path)
    for stage, wanted in zip(STAGES, expected, strict=True):
        same(last.made("autoencoder", stage=stage), wanted)
    assert trained == made_up == []
    (file,) = tmp_path.glob("*/autoencoder-small-7-00000010.safetensors")
    data = bytearray(file.read_bytes())
    data[-5] ^= 1
    file.write_bytes(data)
    with pytest.raises(ValueError, match="differs from its checksum"):
        ModelCache(bank, SHOWN, RECIPE, folder=tmp_path).made("autoencoder")


def test_transfer_to_the_new_task(made_up, bank):
    told = []
    shop = ModelCache(bank, SHOWN, RECIPE, progress=lambda what: lambda *now: told.append((what, *now)))
    found = shop.transfer()
    assert found.sources == RECIPE.names
    assert found.targets == ("segmentsemantic",)
    assert found.losses.shape == (2, 1, 8)
    assert [(w, seed) for w, seed, *_ in made_up] == [("lofts", 3_000_072), ("lofts", 3_000_073)]
    assert told == [("transfer to lofts", 1, 2), ("transfer to lofts", 2, 2)]


def test_all_four_on_the_workshop(made_up, trained, bank):
    """From networks to outcomes, with a bank of three: numbers mean nothing, no network is trained twice."""
    names = RECIPE.names
    codes = {world_: encoders.features(bank, rgb) for world_, rgb in SHOWN.items()}
    three = {name: {**found, "edge2d": noise(4, 9)} for name, found in codes.items()}
    net = encoders.network(tasks.TASKS["edge2d"], 1, "tiny", 16).encoder
    shop = ModelCache({**bank, "edge2d": net}, SHOWN, dataclasses.replace(RECIPE, names=names[:1]))
    sources = (*names, "edge2d")
    given = reproduce.Setting(
        {"conv5": three["rooms"]},
        truth(np.random.default_rng(0).random((3, 3)), sources, sources),
        {name: tasks.TASKS[name].group for name in sources},
        elsewhere=three["lofts"],
        workshop=shop,
        quick=True,
    )
    found = reproduce.run(given, ["small", "new-task", "stages", "sizes"])
    for name, one in found.items():
        whole(one, name)
    assert len(set(trained)) == len(trained)
    assert {call[1] for call in trained} == {"tiny", "small", "wide"}


def test_large_networks_may_be_resnets(made_up, trained, bank, monkeypatch, tmp_path):
    """The run of a GPU in miniature: narrow ResNets on pictures of 16 pixels, kept and read again."""
    monkeypatch.setattr(
        model_names, "NETWORKS", {"resnet50-taskonomy": {"depths": (1, 1), "width": 2, "variant": "taskonomy"}}
    )
    shop = ModelCache(bank, SHOWN, RECIPE, folder=tmp_path)
    net = shop.made("autoencoder", "resnet50")
    assert net.code.shape == (9, 1, 1, 8)
    assert trained == [("autoencoder", "resnet50", 10)]
    assert isinstance(net.encoder, models.ResNet)
    again = ModelCache(bank, SHOWN, RECIPE, folder=tmp_path).made("autoencoder", "resnet50")
    same(again, net)
    assert len(trained) == 1


def test_large_networks_may_be_those_of_a_folder(bank, tmp_path):
    from jaxsim.studies.reproduce import settings

    models.to_safetensors(
        bank, tmp_path / "encoders.safetensors", {"world_version": pictures.VERSION, "skill": {"autoencoder": 0.5}}
    )
    found = settings._larger(tmp_path, SHOWN["rooms"])
    assert {name: net.skill for name, net in found.items()} == {"autoencoder": 0.5, "rgb2depth": None}
    code = encoders.features(bank, SHOWN["rooms"])
    np.testing.assert_array_equal(found["rgb2depth"].code, code["rgb2depth"])
    with pytest.raises(FileNotFoundError):
        settings._larger(tmp_path / "none", SHOWN["rooms"])


def test_the_recipe_is_the_files(tmp_path, bank):
    path = models.to_safetensors(bank, tmp_path / "e.safetensors", {"recipe": {"learn": 5, "names": ["a"], "odd": 1}})
    assert recipe_of(path) == dataclasses.replace(world.Recipe(), learn=5, names=("a",))
    assert recipe_of(models.to_safetensors(bank, tmp_path / "f.safetensors")) == world.Recipe()


def test_a_setting_has_a_workshop_of_the_recipe(made_up, bank, monkeypatch):
    from jaxsim.studies.reproduce import settings

    monkeypatch.setattr(settings, "FEWEST", 1)
    monkeypatch.setattr(settings, "PICTURES_QUICK", 9)
    monkeypatch.setattr(settings, "PICTURES", 9)

    def make(count, *, seed, world, names, progress):
        return pictures.Pictures(
            world, seed, np.random.default_rng(seed).integers(0, 256, (count, 16, 16, 3), np.uint8), {}
        )

    monkeypatch.setattr(pictures, "make", make)
    given = {"encoders": bank, "truth": truth(np.eye(2), RECIPE.names, RECIPE.names), "recipe": RECIPE}
    full = reproduce.setting(**given, parts=["workshop"], seed=2)
    assert full.workshop.recipe == dataclasses.replace(RECIPE, seed=10)
    assert list(full.workshop.shown) == ["rooms"]
    quick = reproduce.setting(True, **given, parts=["workshop", "elsewhere"])
    assert quick.workshop.recipe == dataclasses.replace(RECIPE, seed=8, **settings.QUICK)
    assert quick.workshop.names == RECIPE.names
    assert list(quick.workshop.shown) == ["rooms", "lofts"]
    other = {"encoders": {"x": bank["autoencoder"]}, "truth": truth(np.eye(1), ("x",), ("x",))}
    assert reproduce.setting(True, **other, parts=["workshop"]).workshop.names == ("x",)
