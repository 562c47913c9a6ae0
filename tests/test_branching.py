"""Choosing the layer and the initialization: recommendations, folders, tasks, branches, the work folder."""

import dataclasses
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

nnx = pytest.importorskip("flax.nnx")
pytest.importorskip("grain")
pytest.importorskip("skimage")

from jaxsim import measures
from jaxsim.io import read_features
from jaxsim.io.jobs import Blocks
from jaxsim.studies import branching
from jaxsim.studies.branching import networks, similarity
from jaxsim.studies.branching.augmentation import warp
from jaxsim.studies.branching.branches import Branches, likenesses
from jaxsim.studies.branching.cache import working
from jaxsim.studies.branching.data import Pictures, add_computed
from jaxsim.studies.branching.initializations import Transfer
from jaxsim.studies.branching.similarity import mean
from jaxsim.studies.branching.tasks import KINDS, Task, canny
from jaxsim.studies.rooms import export
from jaxsim.studies.rooms.export.labeled_pictures import Labeled
from jaxsim.vision import datasets, models
from jaxsim.vision.datasets import Dataset, Example, folder
from jaxsim.vision.datasets.records import Label, Values
from jaxsim.vision.extraction.storage import Unfinished

RNG = np.random.default_rng(0)
SIDE = 16


# Recommendations


def layered(noise=0.1, n=40):
    """Two layers, and tasks that are like the first, like the second, and like neither."""
    early, late, other = RNG.normal(size=(3, n, 30))
    near = {"low": early + noise * late, "high": late + noise * early, "none": other}
    return {"block1": early, "block2": late}, near


def test_the_layer_most_alike_is_recommended_with_an_interval_and_a_share():
    layers, tasks = layered()
    found = branching.recommend(layers, tasks, resamples=10, key=jax.random.key(0))
    assert found.best["low"] == "block1"
    assert found.best["high"] == "block2"
    assert found.affinity.names == ("block1", "block2")
    assert found.affinity.targets == ("low", "high", "none")
    share, (low, high) = found.resamples.first_share(), found.resamples.interval()
    np.testing.assert_allclose(share.sum(0), 1)
    np.testing.assert_array_equal(share[:, :2], np.eye(2))
    assert (low <= found.scores).all()
    assert (found.scores <= high).all()
    first = found.best["none"]
    assert found.contenders == {"low": ("block1",), "high": ("block2",), "none": (first, *({*layers} - {first}))}
    plain = branching.recommend(layers, tasks)
    np.testing.assert_allclose(plain.scores, found.scores, atol=1e-5)
    assert plain.resamples is None
    assert plain.contenders["low"] == ("block1", "block2")


def test_encoders_are_averaged_over_the_same_half_samples():
    (layers, tasks), others = layered(), layered()[0]
    each = [branching.recommend(x, tasks, resamples=10) for x in (layers, others)]
    found = mean(each)
    np.testing.assert_allclose(found.scores, (each[0].scores + each[1].scores) / 2, atol=1e-6)
    drawn = [np.asarray(one.resamples.values) for one in each]
    np.testing.assert_allclose(found.resamples.values, (drawn[0] + drawn[1]) / 2, atol=1e-6)
    assert found.contenders["low"][0] == found.best["low"]


def hsic(a, b):
    """Song et al.'s unbiased estimator of two matrices without diagonals, times n (n - 3)."""
    n = len(a)
    cross = a.sum(0) @ b.sum(1)
    return np.trace(a @ b) + a.sum() * b.sum() / ((n - 1) * (n - 2)) - 2 / (n - 2) * cross


def test_maps_are_averaged_to_the_smallest_grid():
    rng = np.random.default_rng(0)
    maps = {
        "early": rng.normal(size=(3, 7, 8, 2)),
        "late": rng.normal(size=(3, 3, 4, 5)),
        "code": rng.normal(size=(3, 6)),
    }
    found = similarity.equal_view(maps)
    assert {name: x.shape for name, x in found.items()} == {"early": (3, 3, 4, 2), "late": (3, 3, 4, 5), "code": (3, 6)}
    np.testing.assert_array_equal(found["late"], maps["late"])
    np.testing.assert_array_equal(found["code"], maps["code"])
    rows = ((0, 2), (2, 4), (4, 7))
    for i, (top, bottom) in enumerate(rows):
        for j in range(4):
            block = maps["early"][:, top:bottom, 2 * j : 2 * j + 2].mean((1, 2))
            np.testing.assert_allclose(found["early"][:, i, j], block)
    assert similarity.equal_view({"a": maps["code"]})["a"] is maps["code"]


@pytest.mark.slow
def test_layers_of_equal_view_are_scored_by_averaged_maps(tmp_path):
    rng = np.random.default_rng(1)
    pixels = {f"p{k}": rng.integers(0, 256, (16, 16, 3), np.uint8) for k in range(10)}
    pictures = Dataset("made up", tuple(pixels), pixels.__getitem__, {})
    encoder = models.SmallEncoder((4, 8), (2, 2), rngs=nnx.Rngs(0))
    task = rng.normal(size=(10, 2, 2, 3)).astype(np.float32)
    probe = branching.Probe(measures.CKA_LINEAR, resamples=None, side=16)
    with working(tmp_path / "work", {"made": "up"}) as work:
        plain, equal = (
            similarity.score_layers(
                encoder, {"task": task}, pictures, dataclasses.replace(probe, equal_view=e), work, name="edge2d"
            )
            for e in (False, True)
        )
        kept = read_features(work.folder / "features" / "layers-conv1-conv2")[0]
    layers = {name: kept[f"edge2d.{name}"] for name in ("conv1", "conv2")}
    assert layers["conv1"].shape[1:3] == (8, 8)
    pooled = {
        name: x.reshape(10, 2, k, 2, k, -1).mean((2, 4)) for (name, x), k in zip(layers.items(), (4, 2), strict=True)
    }
    np.testing.assert_allclose(plain.scores, branching.recommend(layers, {"task": task}, measures.CKA_LINEAR).scores)
    expected = branching.recommend(pooled, {"task": task}, measures.CKA_LINEAR).scores
    np.testing.assert_allclose(equal.scores, expected, atol=1e-5)
    assert np.abs(equal.scores - plain.scores).max() > 1e-3


@pytest.mark.slow
def test_scores_are_those_of_the_measure():
    layers, tasks = layered()
    found = branching.recommend(layers, tasks, measures.CKA_LINEAR)
    for i, x in enumerate(layers.values()):
        for t, y in enumerate(tasks.values()):
            kx, ky = x @ x.T, y @ y.T
            for k in (kx, ky):
                np.fill_diagonal(k, 0)
            expected = hsic(kx, ky) / np.sqrt(hsic(kx, kx) * hsic(ky, ky))
            assert found.scores[i, t] == pytest.approx(expected, abs=1e-4)


@pytest.mark.slow
def test_tasks_whose_scores_are_not_known_get_no_recommendation():
    layers, tasks = layered()
    with pytest.warns(RuntimeWarning, match="dead"):
        found = branching.recommend(layers, {**tasks, "dead": np.ones((40, 3))}, measures.RSA)
    assert set(found.best) == set(tasks)


# Folders


def labeled(count, side=SIDE):
    """Pictures with labels in a moment, without rendering."""
    rng = np.random.default_rng(1)
    for _ in range(count):
        normals = rng.normal(size=(side, side, 3))
        normals /= np.linalg.norm(normals, axis=-1, keepdims=True)
        semantic = np.where(np.arange(side) < side // 2, 0, rng.integers(3, 19))[None].repeat(side, 0)
        depth = rng.uniform(1, 5, (side, side)).astype(np.float32)
        shares = np.eye(16, dtype=np.float32)[rng.integers(16)]
        more = {"class_object": shares, "class_scene": np.array(rng.integers(8))}
        rgb = rng.integers(0, 256, (side, side, 3)).astype(np.uint8)
        yield Labeled(rgb, depth, depth, normals.astype(np.float32), semantic, semantic // 3, more)


TASKS = {
    "folder": ("edge",),
    "nyu": ("edge", "semantic", "depth"),
    "nyud_mt": ("edge", "semantic", "depth", "normals"),
    "pascal_mt": ("edge", "semantic", "normals"),
    "taskonomy": ("edge", "semantic", "depth", "normals", "object", "scene"),
    "voc": ("edge", "semantic"),
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("folders")
    for layout in TASKS:
        export.WRITERS[layout].write(root / layout, labeled(12))
    return root


@pytest.mark.parametrize("layout", TASKS)
def test_every_layout_is_recognized_and_gives_all_its_tasks(folders, layout):
    found = branching.open_folder(folders / layout, TASKS[layout])
    assert found.layout == layout
    assert tuple(task.name for task in found.tasks) == TASKS[layout]
    assert not set(found.train.dataset.ids) & set(found.val.dataset.ids)
    assert min(len(found.train), len(found.val)) >= 3
    example = found.train[0]
    assert tuple(example.targets) == (*TASKS[layout][1:], "edge")
    for task in found.tasks:
        if task.name in ("semantic", "object", "scene"):
            target = example.targets[task.name]
            assert (target[example.masks[task.name]].max() if target.ndim > 1 else len(target) - 1) < task.channels
    assert branching.open_folder(folders / layout, layout=layout).tasks == ()


def test_what_is_held_out_follows_the_lists(folders):
    voc = branching.open_folder(folders / "voc")
    assert len(voc.train) == 9  # trainaug: VOC's own six and SBD's three
    assert len(voc.val) == 3
    assert len(branching.open_folder(folders / "voc" / "VOCdevkit").train) == 9
    taskonomy = branching.open_folder(folders / "taskonomy")
    assert {name.split("/")[0] for name in taskonomy.val.dataset.ids} == {"room001"}
    assert branching.open_folder(folders / "folder").val.dataset.ids == tuple(f"{k:06d}.png" for k in (3, 7, 11))
    assert len(branching.open_folder(folders / "nyu").val) == 3


def test_an_incomplete_taskonomy_is_branched_for_on_request(folders, tmp_path):
    root = shutil.copytree(folders / "taskonomy", tmp_path / "taskonomy")
    gone = sorted((root / "normal" / "room000").iterdir())[0]
    gone.unlink()
    with pytest.raises(FileNotFoundError, match="give complete_only=True"):
        branching.open_folder(root, ["normals"])
    with pytest.warns(UserWarning, match="1 without normal"):
        found = branching.open_folder(root, ["normals"], complete_only=True)
    assert len(found.train) == len(branching.open_folder(folders / "taskonomy", ["normals"]).train) - 1


def test_taskonomy_without_a_list_holds_out_buildings_or_pictures(tmp_path):
    export.taskonomy(tmp_path / "many", labeled(16), "tiny")
    (tmp_path / "many" / "train_val_test_rooms.csv").unlink()
    found = branching.open_folder(tmp_path / "many")
    assert {name.split("/")[0] for name in found.val.dataset.ids} == {"room003"}
    assert len(found.train) == 12
    export.taskonomy(tmp_path / "one", labeled(8), "sample")
    (tmp_path / "one" / "train_val_test_rooms.csv").unlink()
    assert [
        len(part)
        for part in (branching.open_folder(tmp_path / "one").train, branching.open_folder(tmp_path / "one").val)
    ] == [6, 2]


@pytest.mark.parametrize(
    ("layout", "how", "error", "words"),
    [
        ("voc", {"names": ["depth"]}, ValueError, "the voc layout has no task 'depth'; it has edge, semantic"),
        ("voc", {"names": ["color"]}, ValueError, "there is no task 'color'"),
        ("voc", {"layout": "kitti"}, ValueError, "no dataset layout 'kitti'"),
        ("folder", {"names": ["semantic"]}, ValueError, "the folder layout has no task 'semantic'; it has edge"),
        ("nowhere", {}, FileNotFoundError, "nowhere does not exist or is not a folder"),
        ("folder", {"layout": "voc"}, FileNotFoundError, "does not contain VOC2012"),
    ],
)
def test_what_a_folder_cannot_give_is_said(folders, layout, how, error, words):
    with pytest.raises(error, match=words):
        branching.open_folder(folders / layout, **how)


def test_folders_of_several_layouts_and_lists_without_a_split_are_refused(folders, tmp_path):
    for layout in ("nyud_mt", "voc"):
        shutil.copytree(folders / layout, tmp_path / "mixed", dirs_exist_ok=True)
    with pytest.raises(ValueError, match=r"mixed mixes the layouts nyud_mt and voc; choose one with layout"):
        branching.open_folder(tmp_path / "mixed")
    assert branching.open_folder(tmp_path / "mixed", layout="nyud_mt").layout == "nyud_mt"
    export.taskonomy(tmp_path / "one", labeled(4))
    with pytest.raises(ValueError, match=r"train_val_test_rooms.csv names no buildings of split 'val'"):
        branching.open_folder(tmp_path / "one")


def test_every_layout_has_a_writer_and_a_row_of_tasks():
    assert set(datasets.LAYOUTS) == set(export.WRITERS) == set(TASKS)


def test_a_layout_is_all_in_its_record(folders, tmp_path, monkeypatch):
    for part in ("train", "val"):
        shutil.copytree(folders / "folder", tmp_path / part)
    (tmp_path / "mine.txt").touch()
    (tmp_path / "VOC2012").mkdir()

    def read(root, split, targets):
        labels = dict.fromkeys(targets, Label(str, lambda name: Values(np.ones((SIDE, SIDE)), None)))
        return dataclasses.replace(folder(root / split), labels=labels)

    mine = datasets.Layout((("mine.txt",),), {"semantic": "classes"}, read, classes=lambda root: 7, covers=("voc",))
    monkeypatch.setitem(datasets.LAYOUTS, "mine", mine)
    found = branching.open_folder(tmp_path, ["edge", "semantic"])
    assert found.layout == "mine"
    assert [(task.name, task.channels) for task in found.tasks] == [("edge", 1), ("semantic", 7)]
    assert len(found.train) == len(found.val) == 12
    assert found.train[0].targets["semantic"].shape == (SIDE, SIDE)


def test_a_task_is_all_in_its_kind(folders, monkeypatch):
    def leftwards(image):
        return np.stack([-np.ones(image.shape[:2]), np.zeros(image.shape[:2])], -1)

    kind = dataclasses.replace(KINDS["normals"], channels=2, compute=leftwards)
    monkeypatch.setitem(KINDS, "flow", kind)
    found = branching.open_folder(folders / "folder", ["flow"])
    assert found.tasks[0].channels == 2
    example = add_computed(found.train[0])
    np.testing.assert_array_equal(example.targets["flow"], leftwards(example.image))
    np.testing.assert_array_equal(warp(example, flip=True).targets["flow"], -example.targets["flow"])
    with pytest.raises(ValueError, match="the folder layout has no task 'depth'; it has edge, flow"):
        branching.open_folder(folders / "folder", ["depth"])


def test_edges_are_cannys_and_none_are_counted_beside_what_is_unknown():
    image = np.zeros((20, 20, 3), np.uint8)
    image[:, 10:] = 255
    mask = np.ones((20, 20), bool)
    mask[:5] = False
    found = add_computed(Example("a", image, {"edge": np.zeros((20, 20))}, {"edge": mask}))
    np.testing.assert_array_equal(found.targets["edge"], canny(image))
    assert found.targets["edge"].sum() > 15
    np.testing.assert_array_equal(found.masks["edge"], np.arange(20)[:, None].repeat(20, 1) >= 7)
    plain = Example("a", image, {}, {})
    assert add_computed(plain) is plain


# Tasks


def batch_of(task, mask=None):
    """A prediction that is right, and its batch."""
    rng = np.random.default_rng(3)
    known = rng.random((3, 4, 4)) < 0.8 if mask is None else mask
    if task.name in ("object", "scene"):
        classes = np.arange(3)
        scores = 20.0 * np.eye(task.channels, dtype=np.float32)[classes]
        target = np.eye(task.channels, dtype=np.float32)[classes]
        return np.broadcast_to(scores[:, None, None], (3, 4, 4, task.channels)), target, np.ones(3, bool)
    if task.name == "semantic":
        target = rng.integers(0, task.channels, (3, 4, 4))
        return 20.0 * np.eye(task.channels, dtype=np.float32)[target], np.where(known, target, 255), known
    if task.name == "edge":
        target = (rng.random((3, 4, 4)) < 0.3).astype(np.float32)
        return (20 * (2 * target - 1))[..., None], target, known
    if task.name == "depth":
        target = rng.uniform(1, 4, (3, 4, 4)).astype(np.float32)
        return target[..., None], target, np.ones((3, 4, 4), bool)
    target = rng.normal(size=(3, 4, 4, 3))
    target = (target / np.linalg.norm(target, axis=-1, keepdims=True)).astype(np.float32)
    return 7 * target, target, known


PERFECT = {"miou": 1.0, "accuracy": 1.0, "mae": 0.0, "mean": 0.0, "log_rmse": 0.0}


@pytest.mark.parametrize("name", KINDS)
def test_right_predictions_have_no_loss_and_the_best_metric(name):
    task = Task(name, {"normals": 3, "depth": 1, "edge": 1}.get(name, 3))
    prediction, target, mask = batch_of(task)
    loss = task(jnp.asarray(prediction, jnp.float32), {"target": jnp.asarray(target), "mask": jnp.asarray(mask)})
    assert float(loss) == pytest.approx(0, abs=1e-4)
    metric = task.kind.metric(task)
    actual = np.argmax(target, -1) if target.ndim == 2 else target
    answer = task.kind.postprocess(jnp.asarray(prediction, jnp.float32))
    best = metric.result(metric.update(metric.start(), answer, actual, mask))[task.kind.measured]
    assert best == pytest.approx(PERFECT[task.kind.measured], abs=0.05)
    other = np.roll(prediction, 1, -1) if task.channels > 1 else 3 - prediction
    answer = task.kind.postprocess(jnp.asarray(other, jnp.float32))
    worse = metric.result(metric.update(metric.start(), answer, actual, mask))[task.kind.measured]
    assert worse < best if task.kind.higher else worse > best


def test_losses_have_the_published_scales_and_a_class_that_is_unknown_everywhere_is_left_out():
    assert {name: kind.scale for name, kind in KINDS.items() if kind.scale != 1} == {"edge": 50, "normals": 10}
    ones = jnp.ones((1, 2, 2), bool)
    edge = {"target": jnp.zeros((1, 2, 2)), "mask": ones}
    assert float(Task("edge", 1, 0.8)(jnp.zeros((1, 2, 2, 1)), edge)) == pytest.approx(50 * 0.2 * np.log(2), rel=1e-6)
    actual = np.array([[[0, 1, 2, 2]]])
    for task, expected in ((Task("semantic", 3, unlabeled=(0,)), 1.0), (Task("semantic", 3), 2 / 3)):
        metric = task.kind.metric(task)
        found = metric.result(metric.update(metric.start(), actual, actual, actual > 0))
        assert found["miou"] == pytest.approx(expected)


@pytest.mark.parametrize("layout", [layout for layout, tasks in TASKS.items() if "semantic" in tasks])
def test_right_classes_are_a_perfect_result_in_every_layout(folders, layout):
    folder = branching.open_folder(folders / layout, ["semantic"])
    task = folder.tasks[0]
    assert task.unlabeled == ((0,) if layout in ("nyu", "taskonomy") else ())
    for example in (*folder.train, *folder.val):
        known = example.targets["semantic"][example.masks["semantic"]]
        assert not np.isin(known, task.unlabeled).any()
    metric = task.kind.metric(task)
    every = np.setdiff1d(np.arange(task.channels), task.unlabeled)
    assert metric.result(metric.update(metric.start(), every, every))["miou"] == 1


def test_pictures_without_any_object_add_nothing():
    task = Task("object", 3)
    scores = jnp.asarray(RNG.normal(size=(2, 2, 2, 3)), jnp.float32)
    target = jnp.array([[0.0, 0, 0], [1, 0, 0]])
    both = task(scores, {"target": target, "mask": jnp.array([False, True])})
    one = task(scores[1:], {"target": target[1:], "mask": jnp.array([True])})
    assert float(both) == pytest.approx(float(one) / 2, rel=1e-6)


# Branches


def resnet(variant="torchvision"):
    """Shapes alone."""
    return nnx.eval_shape(lambda: models.ResNet((1, 1), 4, variant=variant, rngs=nnx.Rngs(0)))


def small(seed=0):
    return models.SmallEncoder((4, 8), (2, 2), rngs=nnx.Rngs(seed))


def test_layers_are_the_blocks_in_their_order():
    assert networks.layers(resnet()) == {"block1": 16, "block2": 32}
    assert networks.layers(resnet("taskonomy"), blocks=False) == {"stem": 4, "block1": 16, "block2": 32, "code": 8}
    assert networks.layers(small()) == {"conv1": 4, "conv2": 8}
    assert networks.layers(small(), ["conv2"]) == {"conv2": 8}
    assert networks.layers(resnet("taskonomy"), ["block*", "code"]) == {"block1": 16, "block2": 32, "code": 8}
    with pytest.raises(ValueError, match="no feature map 'code'; it has stem, block1, block2"):
        networks.layers(resnet(), ["code"])


@pytest.mark.slow
def test_decoders_after_a_resnet_are_of_one_size_and_see_tiled_channels():
    task = Task("semantic", 5)
    made = {layer: networks.branch(resnet(), layer, task).network.decoder for layer in ("block1", "block2")}
    assert {decoder.channels_in for decoder in made.values()} == {32}
    sizes = [sum(v.size for v in jax.tree.leaves(nnx.state(decoder, nnx.Param))) for decoder in made.values()]
    assert sizes[0] == sizes[1]


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["torchvision", "taskonomy"])
def test_decoders_after_resnet50_have_the_published_width_and_maps_the_published_stride(variant):
    encoder = nnx.eval_shape(lambda: models.ResNet(variant=variant, rngs=nnx.Rngs(0)))
    picture = jax.ShapeDtypeStruct((1, 256, 256, 3), jnp.float32)
    seen = {}
    for layer in ("block1", "block4", *(["code"] if variant == "taskonomy" else [])):
        among = [layer] if layer == "code" else ()

        def built(network, x, layer=layer, among=among):
            made = networks.branch(network, layer, Task("semantic", 21), name="rgb2depth", among=among).network
            return made, made.encoder.layers(x, layer)[layer]

        made, values = nnx.eval_shape(built, encoder, picture)
        kernels = [made.decoder.project.linear.kernel.shape, made.decoder.out.kernel.shape]
        assert kernels == [(5 * 256, 256), (1, 1, 256, 21)]
        seen[layer] = values.shape[1]
    assert seen["block4"] == 256 // 16
    assert seen == (
        {"block1": 64, "block4": 16} if variant == "torchvision" else {"block1": 32, "block4": 16, "code": 16}
    )


@pytest.mark.slow
def test_dilated_or_not_the_weights_are_the_encoders():
    from test_models import quick

    encoder = quick(lambda: models.ResNet((1, 1, 1, 1), 2, rngs=nnx.Rngs(0)))
    branch = nnx.jit(lambda network: networks.branch(network, "block4", Task("semantic", 3)).network)(encoder)
    assert (encoder.output_stride, branch.encoder.output_stride) == (32, 16)
    for (path, mine), (other, theirs) in zip(
        nnx.to_flat_state(nnx.state(branch.encoder)), nnx.to_flat_state(nnx.state(encoder)), strict=True
    ):
        assert path == other
        np.testing.assert_array_equal(mine[...], theirs[...])


@pytest.mark.slow
def test_training_leaves_a_frozen_encoder_as_it_is():
    from jaxsim.vision.training import steps

    task = Task("edge", 1)
    graph, state = steps.initial(networks.branch(small(), "conv2", task, frozen=True), 0.1, 2)
    batch = {"images": jnp.ones((1, 8, 8, 3)), "target": jnp.zeros((1, 8, 8, 1))}
    _, slopes, rest = steps.gradient(graph, lambda out, batch: jnp.mean((out - batch["target"]) ** 2), "images")(
        state, batch
    )
    assert set(slopes["network"]) == {"decoder"}
    kept, own = rest["network"]["encoder"], nnx.to_pure_dict(nnx.state(small()))
    jax.tree.map(np.testing.assert_array_equal, kept, own)
    normed = nnx.eval_shape(lambda: models.freeze(models.ResNet((1,), 4, rngs=nnx.Rngs(0))))
    assert not nnx.state(normed, nnx.Param)
    assert not any("norm" in path for path, _ in nnx.to_flat_state(nnx.state(normed)))


def test_a_branch_is_shown_what_its_encoder_was_trained_on():
    seen = []

    class Eye(nnx.Module):
        def __call__(self, x):
            seen.append(np.asarray(x))
            return x

    x = jnp.full((1, 2, 2, 3), 0.5)
    for preprocessing in (networks.preprocessing_for("", small()), networks.preprocessing_for("", resnet())):
        networks.Prepared(Eye(), preprocessing)(x)
    np.testing.assert_allclose(seen[0], 0.5, rtol=1e-6)
    expected = (0.5 - np.array([0.485, 0.456, 0.406])) / np.array([0.229, 0.224, 0.225])
    np.testing.assert_allclose(seen[1][0, 0, 0], expected, rtol=1e-5)
    with pytest.raises(ValueError, match="network of Taskonomy"):
        networks.preprocessing_for("mine", resnet("taskonomy"))


def table(values, scores, tasks=("edge", "semantic")):
    return Branches(("a", "b", "c"), tuple(Task(name, 1) for name in tasks), np.array(values), np.array(scores))


def test_the_best_layer_is_lowest_for_errors_and_highest_for_scores():
    values = [[[0.3, 0.1], [0.2, 0.5], [0.4, 0.2]], [[0.5, 0.2], [0.3, 0.6], [0.2, 0.95]]]
    scores = [[[0.9, 0.1], [0.4, np.nan], [0.1, 0.8]]] * 2
    found = table(values, scores)
    assert found.best == {"edge": "b", "semantic": "c"}
    assert found.recommended == {"edge": "a"}
    assert found.agreeing == ()
    assert found.regret("edge") == pytest.approx(0.15)
    assert found.regret("edge", "c") == pytest.approx(0.05)
    np.testing.assert_allclose(found.deviation[:, 0], np.std([[0.3, 0.2, 0.4], [0.5, 0.3, 0.2]], axis=0, ddof=1))
    agreeing = table(values, [[[0.1, 0], [0.9, 0], [0.1, 1]]])
    assert agreeing.agreeing == ("edge", "semantic")
    assert np.isnan(table(values[:1], scores[:1]).deviation).all()


def test_a_task_is_like_its_own_name_first_then_taskonomys():
    tasks = [Task("depth", 1), Task("normals", 3), Task("edge", 1)]
    bank = dict.fromkeys(("rgb2depth", "depth", "rgb2sfnorm"), small())
    assert likenesses(tasks, bank) == {"depth": "depth", "normals": "rgb2sfnorm"}


def test_correlation_of_transfer_turns_errors_round():
    scores = {"rsa": np.array([0.9, 0.5, 0.7, 0.1])}
    errors = Transfer(Task("depth", 1), tuple("abcd"), scores, np.array([[0.1, 0.3, 0.2, 0.9]]), 0.5)
    spearman, pearson, p = errors.correlation("rsa")
    assert spearman == pytest.approx(1)
    assert pearson == pytest.approx(-np.corrcoef(scores["rsa"], errors.mean)[0, 1])
    assert 0.01 < p < 0.1  # one of 24 orders
    assert errors.ranks.tolist() == errors.predicted_ranks("rsa").tolist() == [1, 3, 2, 4]
    classes = Transfer(Task("semantic", 2), tuple("abcd"), scores, np.array([[0.1, 0.3, 0.2, 0.9]]), 0.5)
    assert classes.correlation("rsa")[0] == pytest.approx(-1)
    assert classes.correlation("rsa")[2] == 1


def test_a_source_that_was_trained_on_the_task_itself_is_no_prediction():
    names, scores = ("segmentsemantic", "b", "c", "d"), {"rsa": np.array([0.9, 0.1, 0.2, 0.3])}
    found = Transfer(Task("semantic", 2), names, scores, np.array([[0.9, 0.3, 0.2, 0.1]]), 0.5)
    assert found.own.tolist() == [True, False, False, False]
    assert found.correlation("rsa")[:2] == pytest.approx((-1, -1))
    assert found.correlation("rsa", own=True)[0] == pytest.approx(0.2)
    assert Transfer(Task("depth", 1), names, scores, found.values, 0.5).own.tolist() == [False] * 4
    three = {"rsa": scores["rsa"][:3]}
    bank_of_taskonomy = Transfer(Task("semantic", 2), ("segmentsemantic_rb", "b", "c"), three, found.values[:, :3], 0.5)
    assert bank_of_taskonomy.own.tolist() == [True, False, False]
    assert np.isnan(bank_of_taskonomy.correlation("rsa")).all()


# Work


def test_the_recipe_says_what_results_depend_on(folders, tmp_path):
    folder, plan = branching.open_folder(folders / "folder", ["edge"]), branching.Plan(size=SIDE)
    probe, encoders = branching.Probe(measures.RSA), {"net": small()}
    given = {"folder": folder, "probe": probe, "encoders": encoders, "plan": plan}
    found = branching.recipe("mine", **given, layers=["conv1"])
    Blocks(tmp_path, found)
    for same in ({"probe": branching.Probe(measures.DDS_COSINE, resamples=4)}, {"encoders": {"net": small()}}):
        assert branching.recipe("mine", **given | same, layers=["conv1"]) == found
    held = dataclasses.replace(folder, val=folder.val.part(1))
    others = {
        "images": {"probe": branching.Probe(measures.RSA, 9)},
        "seed": {"probe": branching.Probe(measures.RSA, seed=1)},
        "size": {"probe": branching.Probe(measures.RSA, side=8)},
        "layout": {"folder": dataclasses.replace(folder, layout="voc")},
        "pictures": {"folder": held},
        "encoders": {"encoders": {"net": small(1)}},
        "plan": {"plan": branching.Plan(size=SIDE, epochs=2)},
        "layers": {"layers": ["conv2"]},
        "command": {"comparison": "other"},
    }
    for what, other in others.items():
        changed = branching.recipe(**{"comparison": "mine", "layers": ["conv1"]} | given | other)
        match = f"with other settings: {what}[. ].*; give another --work folder"
        with pytest.raises(ValueError, match=match), working(tmp_path, changed):
            pass


def test_what_is_kept_for_the_time_of_a_command_is_not_promised():
    with (
        pytest.raises(ValueError, match=r"^a\.png is damaged\.$"),
        working(None, {}) as work,
    ):
        raise Unfinished("a.png is damaged.", 2, 4, work.folder / "bank.part")
    with pytest.raises(OSError, match=r"^other\.$"), working(None, {}):
        raise OSError("other.")


# Training


def colored(count=6):
    """A dataset whose depth is its picture's red."""

    def image(name):
        ramp = np.linspace(0, 1, SIDE)[:, None, None] * np.linspace(0.2, 1, SIDE)[:, None]
        return (np.random.default_rng(int(name)).uniform(100, 255, 3) * ramp).astype(np.uint8)

    def depth(name):
        return Values(1 + image(name)[..., 0].astype(np.float32) / 255, np.ones((SIDE, SIDE), bool))

    ids = tuple(map(str, range(count)))
    return Pictures(Dataset("made up", ids, image, {"meters": Label(str, depth)}), (("depth", "meters"),))


@pytest.mark.slow
def test_training_goes_through_the_loader_and_judging_counts_every_picture():
    class Red(nnx.Module):
        def __init__(self):
            self.slope = nnx.Param(jnp.zeros(()))
            self.bias = nnx.Param(jnp.ones(()))

        def __call__(self, x):
            return self.bias[...] + self.slope[...] * x[..., :1]

    pictures, task = colored(), Task("depth", 1)
    plan = branching.Plan(size=SIDE, epochs=40, batch=4, learning_rate=0.02)
    assert plan.steps(6) == 40
    done = branching.train(Red(), task, pictures, plan)
    assert float(done.network.slope[...]) > 0.3
    before, after = (branching.evaluate(net, task, pictures, plan) for net in (Red(), done.network))
    assert after["log_rmse"] < before["log_rmse"] / 1.5
    red = np.stack([pictures[i].image[..., 0] / 255 for i in range(6)])
    expected = np.median(np.sqrt(np.mean(np.log(1 + red) ** 2, (1, 2))))
    assert before["log_rmse"] == pytest.approx(expected, rel=1e-5)


def test_an_unknown_optimizer_is_named():
    plan = branching.Plan(size=SIDE, optimizer="lion")
    with pytest.raises(ValueError, match="no optimizer 'lion'; choose from sgd, adam"):
        branching.train(small(), Task("depth", 1), colored(), plan)
