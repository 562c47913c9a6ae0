"""The built-in world: geometry of the pictures, sets of them, transfer between known codes, a small build."""

import dataclasses
import itertools
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from machine import full_disk
from marks import slow_but

pytest.importorskip("flax", reason="the built-in world needs the nn extra")

from flax import nnx

from jaxsim import io
from jaxsim.cli import main
from jaxsim.studies.rooms import encoders, furniture, pictures, render, scenes, tasks, transfer, world
from jaxsim.vision import models, training
from jaxsim.vision.training import steps

COUNT, SIDE = 24, 32
KEYS = jax.random.split(jax.random.key(3), COUNT)


@pytest.fixture(scope="module")
def views():
    return jax.tree.map(np.asarray, render.views(KEYS, scenes.ROOMS, SIDE))


@pytest.fixture(scope="module")
def rooms():
    found = jax.jit(jax.vmap(lambda k: scenes.sample(jax.random.fold_in(k, 0))))(KEYS)
    return jax.tree.map(np.asarray, found)


def in_world(views, rooms):
    """Points of all pixels in world coordinates, from the camera's pose."""
    rotation, position = rooms.camera.rotation, rooms.camera.position
    return np.einsum("nij,nhwi->nhwj", rotation, views.points) + position[:, None, None]


# Pictures


def test_the_same_key_gives_the_same_pixels(views):
    again = render.views(KEYS, scenes.ROOMS, SIDE)
    assert np.array_equal(again.rgb, views.rgb)
    other = render.views(jax.random.split(jax.random.key(4), COUNT), scenes.ROOMS, SIDE)
    assert not np.array_equal(other.rgb, views.rgb)


def test_pictures_are_finite_and_varied(views):
    assert all(np.isfinite(a).all() for a in views if np.issubdtype(a.dtype, np.floating))
    assert views.rgb.min() >= 0
    assert views.rgb.max() <= 1
    assert (views.rgb.std((1, 2, 3)) > 0.05).all()
    shares = (views.semantic >= len(furniture.SURFACES)).mean((1, 2))
    assert np.median(shares) > 0.1
    assert (shares > 0.02).mean() > 0.9
    assert len(np.unique(views.scene)) > 4


def test_floor_ceiling_and_room_are_where_they_are(views, rooms):
    points = in_world(views, rooms)
    height = np.broadcast_to(rooms.size[:, 1, None, None], views.depth.shape)
    surface = views.instance < 6
    assert np.abs(points[..., 1][surface & (views.semantic == 1)]).max() < 1e-3
    ceiling = surface & (views.semantic == 2)
    assert np.abs(points[..., 1] - height)[ceiling].max() < 1e-3
    reach = np.abs(points[..., ::2]) - rooms.size[:, None, None, ::2] / 2
    assert reach.max() < 1e-3


def test_normals_are_those_of_the_surfaces(views, rooms):
    assert np.abs(np.linalg.norm(views.normals, axis=-1) - 1).max() < 1e-4
    assert ((views.normals * views.points).sum(-1) < 1e-4).all()
    up = np.einsum("nij,nhwi->nhwj", rooms.camera.rotation, views.normals)
    assert np.abs(up[(views.instance < 6) & (views.semantic == 1)] - [0, 1, 0]).max() < 1e-4


def test_normals_agree_with_depth(views):
    """Of two neighboring pixels with one normal on one object, the step between their points lies in the surface."""
    step = views.points[:, :, 1:] - views.points[:, :, :-1]
    normal = views.normals[:, :, 1:]
    same = (views.instance[:, :, 1:] == views.instance[:, :, :-1]) & (views.instance[:, :, 1:] < 6)
    same &= np.abs(normal - views.normals[:, :, :-1]).max(-1) < 1e-5
    assert same.mean() > 0.3
    assert np.abs((step * normal).sum(-1))[same].max() < 1e-3


def test_normals_of_objects_agree_with_depth(views):
    """The same on furniture, where two parallel faces of one object may stand apart: nearly all steps lie within."""
    step = views.points[:, :, 1:] - views.points[:, :, :-1]
    normal, first = views.normals[:, :, 1:], 6 + scenes.STRUCTURES
    same = (views.instance[:, :, 1:] == views.instance[:, :, :-1]) & (views.instance[:, :, 1:] >= first)
    same &= np.abs(normal - views.normals[:, :, :-1]).max(-1) < 1e-5
    away = np.abs((step * normal).sum(-1))[same]
    assert same.sum() > 500
    assert np.mean(away < 1e-3) > 0.8
    wrong = np.roll(normal, 1, -1)
    assert np.mean(np.abs((step * wrong).sum(-1))[same] < 1e-3) < 0.5


@jax.jit
def cast(scene, origin, direction):
    return render.cast(scene, render._parts(scene), origin, direction)


@pytest.mark.slow
@pytest.mark.parametrize("tiny", [0.0, -0.0, 1e-12, -1e-12, -1e-10])
def test_a_ray_along_two_walls_meets_the_third(tiny):
    scene = jax.jit(scenes.sample)(jax.random.key(0))._replace(
        present=jnp.zeros(scenes.OBJECTS, bool),
        structures=jnp.tile(jnp.array([[0.0, -20, 0], [0.1, 0.1, 0.1]]), (3, 1, 1)),
    )
    origin = jnp.array([[0.2], [1.0], [0.3]])
    for axis, wall in ((0, scene.size[0] / 2 - 0.2), (1, scene.size[1] - 1.0), (2, scene.size[2] / 2 - 0.3)):
        direction = jnp.full((3, 1), tiny, jnp.float32).at[axis].set(1.0)
        met, index = cast(scene, origin, direction)
        assert float(met[0]) == pytest.approx(float(wall), rel=1e-5)
        assert int(index[0]) == render.ROOM


def test_distance_is_that_of_the_point(views):
    assert np.allclose(np.linalg.norm(views.points, axis=-1), views.distance, rtol=1e-4)
    assert np.allclose(views.points[..., 2], views.depth)


def test_the_camera_stands_clear_of_the_furniture(rooms):
    half = np.asarray(scenes.footprint(rooms.extents, rooms.yaw))
    gap = np.abs(rooms.camera.position[:, None, ::2] - rooms.position[:, :, ::2]) - half
    inside = (gap < 0).all(-1) & rooms.present
    standing = np.isin(rooms.kind, [furniture.OBJECTS.index(n) for n in furniture.STANDING])
    assert not (inside & standing).any()


def test_standing_objects_do_not_overlap(rooms):
    half = np.asarray(scenes.footprint(rooms.extents, rooms.yaw))
    n = scenes.STANDING_OBJECTS
    for a in range(n):
        for b in range(a):
            shared = half[:, a] + half[:, b] - np.abs(rooms.position[:, a, ::2] - rooms.position[:, b, ::2])
            both = rooms.present[:, a] & rooms.present[:, b]
            assert not ((shared > 0.01).all(-1) & both).any()


def test_a_ball_is_met_where_it_should_be():
    """Rays against one ellipsoid, from the closed form."""
    origin, direction = np.zeros((3, 1), np.float32), np.array([[0.0, 0.1], [0.0, 0.0], [1.0, 1.0]], np.float32)
    center, half = np.array([0.0, 0.0, 5.0], np.float32), np.full(3, 2.0, np.float32)
    enter, leave = render._ellipsoid(center, half, origin, direction)
    aside = 0.1
    a, b, c = 1 + aside**2, -5.0, 21.0
    expected = (-b - np.sqrt(b * b - a * c)) / a
    assert np.allclose(enter, [3.0, expected], rtol=1e-5)
    assert np.isclose(leave[0], 7.0)


# Sets of pictures


@pytest.mark.slow
def test_a_picture_does_not_depend_on_the_count():
    few, more = (pictures.make(n, seed=5, resolution=16) for n in (3, 40))
    assert np.array_equal(few.rgb, more.rgb[:3])


def test_a_set_is_written_once_and_another_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(pictures, "make", made_at_once)
    path = tmp_path / "set.npz"
    how = {"seed": 5, "resolution": 16, "names": ["rgb2depth"]}
    made = pictures.cached(path, 3, **how)
    again = pictures.cached(path, 3, **how)
    assert np.array_equal(made.rgb, again.rgb)
    assert np.array_equal(made.targets["rgb2depth"], again.targets["rgb2depth"])
    with pytest.raises(ValueError, match=r"set\.npz was made with other settings: seed is 5 \(here 6\)"):
        pictures.cached(path, 3, **how | {"seed": 6})
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(ValueError, match=r"set\.npz is damaged"):
        pictures.cached(path, 3, **how)


SET = {"seed": 5, "resolution": 8, "names": ["rgb2depth"]}


def made_at_once(count, *, seed=0, world="rooms", resolution=64, names=(), progress=None):
    """A set of pictures without rendering."""
    rgb = np.random.default_rng(seed).integers(0, 256, (count, resolution, resolution, 3)).astype(np.uint8)
    return pictures.Pictures(world, seed, rgb, {name: rgb[..., :1].astype(np.float16) for name in names})


def changed(path, **arrays):
    found = io.read_npz(path)
    io.write_npz(path, {k: v for k, v in (found | arrays).items() if v is not None}, overwrite=True)


DAMAGE = {
    "flipped byte": lambda p: p.write_bytes(bytes(b ^ (i == 400) for i, b in enumerate(p.read_bytes()))),
    "empty": lambda p: p.write_bytes(b""),
    "text": lambda p: p.write_text("hello"),
    "no record": lambda p: changed(p, record=None),
    "a list for a record": lambda p: changed(p, record=np.array("[1]")),
    "no JSON": lambda p: changed(p, record=np.array("{")),
    "no pictures": lambda p: changed(p, rgb=None),
    "no targets": lambda p: changed(p, **{"target/rgb2depth": None}),
    "fewer pictures": lambda p: changed(p, rgb=np.zeros((2, 8, 8, 3), np.uint8)),
}


@pytest.mark.parametrize("how", DAMAGE)
def test_a_damaged_set_is_named_and_left(tmp_path, monkeypatch, how):
    monkeypatch.setattr(pictures, "make", made_at_once)
    path = tmp_path / "set.npz"
    pictures.cached(path, 3, **SET)
    DAMAGE[how](path)
    before = path.read_bytes()
    with pytest.raises(ValueError, match=r"set\.npz is damaged.+[^.]\.$") as caught:
        pictures.cached(path, 3, **SET)
    assert "\n" not in str(caught.value)
    assert path.read_bytes() == before


def test_a_set_on_a_full_disk_leaves_nothing_and_is_made_later(tmp_path, monkeypatch):
    monkeypatch.setattr(pictures, "make", made_at_once)
    with full_disk(300), pytest.raises(OSError, match=r"set\.npz could not be written: file too large\.$"):
        pictures.cached(tmp_path / "set.npz", 3, **SET)
    assert list(tmp_path.iterdir()) == []
    assert len(pictures.cached(tmp_path / "set.npz", 3, **SET)) == 3


# What is shipped


def test_a_flipped_byte_in_the_shipped_encoders_is_caught_and_the_array_named(tmp_path, monkeypatch):
    whole = (Path(encoders.__file__).parent / encoders.SHIPPED).read_bytes()
    length = int.from_bytes(whole[:8], "little")
    arrays = {name: one["data_offsets"] for name, one in json.loads(whole[8 : 8 + length]).items() if name[0] != "_"}
    monkeypatch.setattr(encoders, "SHIPPED", str(tmp_path / "encoders.safetensors"))
    name, data = max(arrays), bytearray(whole)
    data[8 + length + arrays[name][1] - 3] ^= 4
    (tmp_path / "encoders.safetensors").write_bytes(data)
    with pytest.raises(ValueError, match=f"encoders.safetensors is damaged: array '{name}' differs from its checksum"):
        encoders.shipped()
    data = bytearray(whole)
    data[whole.index(b'\\"strides\\": [2') + len(b'\\"strides\\": [')] ^= 3  # a stride of 1
    (tmp_path / "encoders.safetensors").write_bytes(data)
    with pytest.raises(ValueError, match=r"encoders.safetensors is damaged: its header"):
        encoders.shipped()


def test_shipped_encoders_of_another_version_of_the_world_are_refused(monkeypatch):
    monkeypatch.setattr(pictures, "VERSION", 3)
    with pytest.raises(ValueError, match=r"was made for version 2 of the world, but this is version 3\.$"):
        encoders.shipped()


def test_a_world_of_another_version_or_damaged_is_refused(tmp_path, capsys):
    path, argv = tmp_path / "encoders.safetensors", ["reproduce", "trees", "--world", str(tmp_path), "--out"]
    encoder = models.SmallEncoder((4,), (2,), rngs=nnx.Rngs(0))
    for version in (1, None):
        models.to_safetensors(
            {"a": encoder}, path, {} if version is None else {"world_version": version}, overwrite=True
        )
        assert main([*argv, str(tmp_path / "out"), "--quiet"]) == 2
        assert f"{path} was made for version {version} of the world" in capsys.readouterr().err
    path.write_bytes(path.read_bytes()[:100])
    assert main([*argv, str(tmp_path / "out"), "--quiet"]) == 2
    assert "encoders.safetensors is damaged" in capsys.readouterr().err
    assert sorted(p.name for p in tmp_path.iterdir()) == ["encoders.safetensors"]


@pytest.mark.parametrize("content", ["", "{", "[1]"])
def test_a_damaged_recipe_is_named_and_nothing_rendered(tmp_path, content, monkeypatch):
    monkeypatch.setattr(pictures, "make", None)
    (tmp_path / "recipe.json").write_text(content)
    with pytest.raises(ValueError, match=r"recipe\.json is damaged: "):
        world.build(tmp_path)
    with pytest.raises(ValueError, match="no encoder size 'huge'"):
        world.build(tmp_path / "other", world.Recipe(size="huge"))
    assert not (tmp_path / "other").exists()


def test_damaged_transfer_is_named(tmp_path):
    path = tmp_path / "transfer.npz"
    data = bytearray((Path(encoders.__file__).parent / world.TRUTH).read_bytes())
    data[len(data) // 2] ^= 1
    for content in (data, b"", b"text"):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"transfer\.npz is (not a file of measured transfer|damaged)"):
            world.load_truth(path)
    with pytest.raises(FileNotFoundError, match=r"nowhere\.npz"):
        world.load_truth(tmp_path / "nowhere.npz")


@pytest.mark.parametrize(
    ("count", "how", "message"),
    [
        (0, {}, "at least one"),
        (1, {"resolution": 20}, "multiple of 8"),
        (1, {"world": "caves"}, "there is no world 'caves'"),
        (1, {"names": ["depth"]}, "there is no task 'depth'"),
    ],
)
def test_bad_sets(count, how, message):
    with pytest.raises(ValueError, match=message):
        pictures.make(count, **how)


@pytest.mark.parametrize(
    "rgb", [np.zeros((0, 8, 8, 3), np.uint8), np.zeros((2, 8, 8), np.uint8), np.zeros((2, 8, 8, 3))]
)
def test_features_of_bad_pictures(rgb):
    with pytest.raises(ValueError, match="pictures must be"):
        encoders.features({}, rgb)


HEADS = ("autoencoder", "segmentsemantic", "class_object")
"""A task of every head."""


@pytest.mark.parametrize("size", slow_but(models.SIZES, [*models.SIZES, encoders.RESNET]))
@pytest.mark.parametrize("name", HEADS)
def test_every_size_predicts_the_shape_of_the_targets(size, name):
    task = tasks.TASKS[name]
    net = nnx.eval_shape(lambda: encoders.network(task, 0, size, 48))
    out = nnx.eval_shape(lambda n, x: n(x), net, jax.ShapeDtypeStruct((2, 48, 48, 3), jnp.float32))
    assert out.shape == ((2, task.channels) if name == "class_object" else (2, 48, 48, task.channels))


def test_size_paper_is_table_s1():
    net = nnx.eval_shape(lambda: encoders.network(tasks.TASKS["rgb2depth"], 0, "paper", 256))
    rows = [net.encoder.convolutions[name] for name in net.encoder.names]
    assert [(row.kernel_size, row.out_features, row.strides) for row in rows] == [
        ((3, 3), channels, stride) for channels, stride in zip((16, 32, 64, 64, 8), (2, 2, 2, 2, 1), strict=True)
    ]
    rows = [*net.decoder.hidden, net.decoder.out]
    assert [(row.kernel_size, row.out_features, row.strides) for row in rows] == [
        ((3, 3), channels, 1) for channels in (32, 16, 4, 4, 1)
    ]


def learned(name, size, side=32):
    """A network after one step on random pictures and targets of the task."""
    task, rng = tasks.TASKS[name], np.random.default_rng(0)
    rgb = rng.integers(0, 256, (8, side, side, 3), np.uint8)
    target = {
        "image": (rgb / 255).astype(np.float16),
        "segmentation": rng.integers(0, 3, (8, side, side)).astype(np.uint8),
        "distribution": rng.dirichlet(np.ones(task.channels), 8).astype(np.float16),
    }[task.kind]
    made = pictures.Pictures("rooms", 0, rgb, {name: target})
    return encoders.train([name], made.part(0, 4), made.part(4, 8), steps=1, size=size)[name]


@pytest.mark.slow
@pytest.mark.parametrize(("size", "name"), [*zip(models.SIZES, itertools.cycle(HEADS), strict=False)])
def test_every_size_and_every_head_learn_a_step(size, name):
    assert np.isfinite(learned(name, size).curve).all()


def test_shapes_are_checked_before_rendering(tmp_path, monkeypatch):
    monkeypatch.setattr(pictures, "cached", None)
    with pytest.raises(ValueError, match="size 'paper' need pictures whose side is a multiple of 16.* not 72 pixels"):
        world.build(tmp_path / "world", world.Recipe(size="paper", resolution=72))
    with pytest.raises(ValueError, match="there is no encoder size 'resnet50'"):
        world.build(tmp_path / "world", world.Recipe(size="resnet50"))
    assert not (tmp_path / "world").exists()


@pytest.mark.slow
def test_tasks_trained_together_end_as_each_alone(monkeypatch, tmp_path):
    rgb = np.random.default_rng(0).integers(0, 256, (20, 16, 16, 3), np.uint8)
    own = (rgb / 255).astype(np.float16)
    targets = {"autoencoder": own, "inpainting": own, "rgb2sfnorm": own[..., ::-1].copy(), "rgb2depth": own[..., :1]}
    targets["class_scene"] = (np.arange(20) % 8).astype(np.uint8)
    made = pictures.Pictures("rooms", 0, rgb, targets)
    run = {"names": list(targets), "learn": made.part(0, 12), "judge": made.part(12, 20), "steps": 6, "size": "tiny"}
    alone = encoders.train(**run)
    monkeypatch.setattr(steps, "stacks_tasks", lambda: True)
    together = encoders.train(**run, checkpoints=tmp_path)
    assert [folder.name for folder in tmp_path.iterdir()] == ["together-tiny-0"]
    assert list(together) == list(alone) == list(targets)
    for name in targets:
        np.testing.assert_allclose(together[name].curve, alone[name].curve, rtol=1e-4)
        assert together[name].skill == pytest.approx(alone[name].skill, abs=1e-3)


# What networks are shown

SEEN = {"autoencoder": "clean", "denoise": "noisy", "inpainting": "masked", "colorization": "gray"}


def sees(kind, seen, rgb):
    """By hand, that these are what networks of the kind see of the pictures."""
    seen, rgb, middle = seen.astype(float), rgb.astype(float), slice(4, 12)
    if kind == "noisy":
        away = (seen - rgb)[(rgb > 100) & (rgb < 155)]
        assert away.std() == pytest.approx(25.5, rel=0.1)
    if kind == "gray":
        expected = np.broadcast_to((rgb @ [0.299, 0.587, 0.114])[..., None], rgb.shape)
        assert np.abs(seen - expected).max() < 0.51
    if kind == "masked":
        assert (seen[:, middle, middle] == 128).all()
        rgb[:, middle, middle] = 128
    if kind in ("clean", "masked"):
        np.testing.assert_array_equal(seen, rgb)


def shown_of(names, seed):
    """The same pictures whatever the seed, 16 x 16."""
    rgb = np.random.default_rng(0).integers(0, 256, (12, 16, 16, 3), np.uint8)
    return pictures.Pictures(
        "rooms", seed, rgb, {name: (rgb[..., : tasks.TASKS[name].channels] / 255).astype("f2") for name in names}
    )


@pytest.fixture
def features_are_pictures(monkeypatch):
    monkeypatch.setattr(encoders, "_extract", lambda encoder, rgb, layer, name: rgb)


@pytest.mark.usefixtures("features_are_pictures")
def test_features_of_colorization_are_of_gray_pictures():
    rgb = shown_of((), 0).rgb
    found = encoders.features(dict.fromkeys(("colorization", "denoise", "mine")), rgb)
    sees("gray", found["colorization"], rgb)
    sees("clean", found["denoise"], rgb)
    sees("clean", found["mine"], rgb)


@pytest.mark.usefixtures("features_are_pictures")
def test_transfer_to_a_task_shows_encoders_what_its_networks_see(monkeypatch):
    monkeypatch.setattr(transfer, "measure", lambda *given: given)
    fit, test = (shown_of(SEEN, seed) for seed in (1, 2))
    codes, scratch, targets, _ = world.measure_transfer({"mine": None}, None, fit, test)
    assert {name: kind for name, (kind, *_) in targets.items()} == SEEN
    for shown in (codes["mine"], scratch):
        assert set(shown) == set(SEEN.values())
        for kind, (first, second) in shown.items():
            sees(kind, first, fit.rgb)
            sees(kind, second, test.rgb)
            assert np.array_equal(first, second) == (kind != "noisy")


@pytest.mark.parametrize("name", SEEN)
def test_networks_learn_and_are_validated_on_what_their_task_shows(monkeypatch, name):
    seen = {}

    def fit(net, loss, data, **how):
        seen["learn"] = data["images"]
        return training.Fitted(net, np.zeros(1))

    def predict(net, x):
        seen["judge"] = np.round(np.asarray(x) * 255)
        return x[..., : tasks.TASKS[name].channels]

    monkeypatch.setattr(encoders, "network", lambda *how: None)
    monkeypatch.setattr(training, "fit", fit)
    monkeypatch.setattr(encoders, "_predict", predict)
    learn, judge = (shown_of([name], seed) for seed in (1, 2))
    encoders.train([name], learn, judge, seed=1)
    sees(SEEN[name], seen["learn"], learn.rgb)
    sees(SEEN[name], seen["judge"], judge.rgb)
    assert np.array_equal(seen["learn"], seen["judge"]) == (name != "denoise")


# Transfer


def test_boundaries_of_segments_are_found_in_both_directions():
    halves = np.array([[0, 0, 1, 1]] * 4, np.uint8)
    found = world.readable(tasks.TASKS["segment2d"], np.stack([halves, halves.T]))
    np.testing.assert_array_equal(found[..., 0], [[[0.5, 0], [0.5, 0]], [[0.5, 0.5], [0, 0]]])


@pytest.mark.slow
def test_a_code_that_holds_the_target_wins():
    rng = np.random.default_rng(0)
    hidden = rng.normal(size=(120, 4, 4, 2)).astype(np.float32)
    target = np.repeat(np.repeat(hidden[..., :1], 2, 1), 2, 2)
    amounts = {"full": 0.0, "half": 1.0, "none": 1e3}
    codes = {k: hidden + a * rng.normal(size=hidden.shape).astype(np.float32) for k, a in amounts.items()}
    split = {k: {"clean": (v[:80], v[80:])} for k, v in codes.items()}
    noise = rng.normal(size=hidden.shape).astype(np.float32)
    truth = transfer.measure(split, {"clean": (noise[:80], noise[80:])}, {"task": ("clean", target[:80], target[80:])})
    assert list(np.argsort(-truth.affinity[:, 0])) == [0, 1, 2]
    assert truth.skill[0, 0] > 0.95
    assert truth.skill[2, 0] < 0.1
    assert truth.wins_scratch[0, 0] == 1
    assert truth.reliability[0] > 0.9


def test_wins_are_against_scratch_and_against_the_targets_own_encoder(monkeypatch):
    """Losses of sources 'a' and 'b' and of scratch, by hand, told by their codes and by the width of the target."""
    losses = {
        (1, 1): [4, 4, 4, 4, 4, 4, 4, 4],  # a for its own target
        (2, 1): [3, 3, 3, 3, 4, 4, 5, 5],
        (0, 1): [5, 5, 5, 5, 5, 5, 2, 2],
        (1, 2): [9, 9, 9, 9, 9, 1, 2, 2],
        (2, 2): [2, 2, 2, 2, 2, 2, 2, 2],  # b for its own
        (0, 2): [3, 3, 3, 3, 1, 1, 1, 1],
    }

    class Known:
        def __init__(self, train, test):
            self.who = int(train[0, 0, 0, 0])

        def losses(self, train, test):
            return np.array(losses[self.who, train.shape[1]], float)

    monkeypatch.setattr(transfer, "Readout", Known)
    codes = [{"clean": (code, code)} for code in (np.full((8, 1, 1, 1), who) for who in range(3))]
    targets = {name: ("clean", *np.random.default_rng(k).normal(size=(2, 8, k))) for k, name in ((1, "a"), (2, "b"))}
    truth = transfer.measure({"a": codes[1], "b": codes[2]}, codes[0], targets)
    np.testing.assert_allclose(truth.wins_full, [[1 / 2, 4 / 16], [10 / 16, 1 / 2]])
    np.testing.assert_allclose(truth.wins_scratch, [[6 / 8, 0], [6 / 8, 4 / 8]])


def test_reliability_is_corrected_to_the_full_number_of_images():
    """Halves that exchange the two best of four sources correlate 1 - 6 x 2 / (4 x 15) = 0.8: 2 x 0.8 / 1.8."""
    even, odd = [1.0, 2, 3, 4], [2.0, 1, 3, 4]
    losses = np.array([even, odd] * 4).T[:, None]
    np.testing.assert_allclose(transfer.reliability(losses), [1.6 / 1.8])


@pytest.mark.slow
def test_the_penalty_is_chosen_on_images_that_were_not_fitted(monkeypatch):
    """Of a target that the code says nothing of, the largest penalty predicts held-out images best."""
    code, target = (np.random.default_rng(k).normal(size=(48, k, k, 1)).astype(np.float32) for k in (2, 32))
    readout = transfer.Readout(code[:40], code[40:])
    found = readout.losses(target[:40], target[40:])
    monkeypatch.setattr(transfer, "PENALTIES", transfer.PENALTIES[-1:])
    np.testing.assert_array_equal(found, readout.losses(target[:40], target[40:]))


def test_transfer_refuses_unequal_numbers_of_images():
    code = np.zeros((10, 2, 2, 1), np.float32)
    pair = {"clean": (code, code)}
    with pytest.raises(ValueError, match="task has 9 and 10 images"):
        transfer.measure({"a": pair}, pair, {"task": ("clean", np.zeros((9, 3)), np.zeros((10, 3)))})


# The whole world, small


@pytest.mark.slow
def test_build_goes_on_and_refuses_another_recipe(tmp_path):
    names = ("class_scene", "denoise")
    recipe = world.Recipe(learn=40, judge=8, steps=4, fit=12, test=8, names=names, resolution=16)
    world.build(tmp_path, recipe)
    first = {p.name: p.read_bytes() for p in tmp_path.glob("*.*") if p.is_file()}
    (tmp_path / "encoders.safetensors").unlink()
    world.build(tmp_path, recipe)
    assert (tmp_path / "encoders.safetensors").read_bytes() == first["encoders.safetensors"]
    truth = world.load_truth(tmp_path / "transfer.npz")
    assert truth.targets == names
    assert truth.losses.shape == (2, 2, 8)
    found = models.from_safetensors(tmp_path / "encoders.safetensors")
    features = encoders.features(found, pictures.make(2, resolution=16).rgb)
    assert features["denoise"].shape == (2, 2, 2, 8)
    with pytest.raises(ValueError, match=r"other settings: steps is 4 \(here 5\)"):
        world.build(tmp_path, dataclasses.replace(recipe, steps=5))


def test_every_task_has_a_group_and_a_network():
    assert len(tasks.TASKS) == 20
    assert {t.group for t in tasks.TASKS.values()} == {"2d", "3d", "geometric", "semantic"}
