"""Batches: order, shuffling, sizes, masks, resumption and errors; the shaping and the edges they use."""

import dataclasses
import tracemalloc

import jax
import numpy as np
import pytest

pytest.importorskip("grain", reason="datasets need the nn extra")
pytest.importorskip("PIL", reason="datasets need the nn extra")

from PIL import Image

from jaxsim.studies.branching.tasks import canny
from jaxsim.vision.datasets import Dataset, Example, batches, folder
from jaxsim.vision.datasets.loader import fit, stretch
from jaxsim.vision.datasets.records import Label, Values

NAMES = tuple("abcdefg")


def of_size(name, height=6, width=8):
    rng = np.random.default_rng(ord(name))
    return rng.integers(0, 256, (height, width, 3)).astype(np.uint8)


def made_up(image=of_size, names=NAMES, log=None):
    """Pictures with a class map, a depth and a row of numbers; `log` takes the names of those read."""

    def read(name):
        if log is not None:
            log.append(name)
        return image(name)

    def plane(name):
        values = of_size(name)[..., 0]
        return Values(values, values > 20)

    def depth(name):
        return Values(of_size(name)[..., 1].astype(np.float32), np.ones((6, 8), bool))

    def row(name):
        return Values(np.full(3, ord(name), np.float32), None)

    labels = {"semantic": Label(str, plane), "depth": Label(str, depth), "scene": Label(str, row)}
    return Dataset("made up", names, read, labels)


def ids(found):
    return [batch.ids for batch in found]


def test_batches_come_in_order_with_all_that_the_dataset_has():
    data = made_up()
    found = list(batches(data, 3))
    assert ids(found) == [("a", "b", "c"), ("d", "e", "f"), ("g",)]
    assert [len(batch) for batch in found] == [3, 3, 1]
    for k, example in enumerate(data):
        batch = found[k // 3]
        np.testing.assert_array_equal(batch.images[k % 3], example.image)
        for part in ("targets", "masks"):
            ours, theirs = getattr(batch, part), getattr(example, part)
            assert list(ours) == list(theirs)
            for name, values in theirs.items():
                np.testing.assert_array_equal(ours[name][k % 3], values)
                assert ours[name].dtype == values.dtype
    assert "scene" not in found[0].masks
    assert ids(batches(data, 3, drop_remainder=True)) == ids(found[:2])


def test_a_key_shuffles_each_epoch_anew_and_always_in_the_same_way():
    data, key = made_up(), jax.random.key(1)
    first = ids(batches(data, 3, key=key, epochs=2))
    assert first == ids(batches(data, 3, key=key, epochs=2, threads=4))
    assert [len(names) for names in first] == [3, 3, 1, 3, 3, 1]
    epochs = [sum(part, ()) for part in (first[:3], first[3:])]
    assert set(epochs[0]) == set(epochs[1]) == set(NAMES)
    assert epochs[0] != epochs[1] != NAMES
    assert first != ids(batches(data, 3, key=jax.random.key(2), epochs=2))


def test_batches_without_end_go_on_where_they_were():
    data, key = made_up(), jax.random.key(1)
    going = iter(batches(data, 2, key=key, epochs=None, augment=brightened))
    for _ in range(9):
        next(going)
    state = going.get_state()
    expected = [next(going) for _ in range(3)]
    again = iter(batches(data, 2, key=key, epochs=None, augment=brightened))
    again.set_state(state)
    for batch in expected:
        other = next(again)
        assert other.ids == batch.ids
        np.testing.assert_array_equal(other.images, batch.images)


def brightened(example, rng):
    return dataclasses.replace(example, image=np.full_like(example.image, rng.integers(256)))


def test_augmentation_draws_anew_for_every_picture_and_epoch():
    found = list(batches(made_up(), 7, key=jax.random.key(0), epochs=3, augment=brightened))
    values = [int(image[0, 0, 0]) for batch in found for image in batch.images]
    assert len(set(values)) > 15
    with pytest.raises(ValueError, match="`augment` is random and needs a `key`"):
        batches(made_up(), 2, augment=brightened)


def test_nothing_is_read_before_it_is_asked_for():
    log = []
    data = made_up(log=log, names=tuple(map(chr, range(200, 300))))
    going = batches(data, 2, threads=1)
    assert len(data) == 100
    assert log == []
    next(iter(going))
    assert 2 <= len(log) <= 10


def test_pictures_of_many_sizes_need_a_size():
    data = Dataset("made up", NAMES, lambda name: of_size(name, ord(name) - 90, 9), {})
    with pytest.raises(
        ValueError, match=r"'a' and 'b' of one batch have different shapes, .*; give a `size`"
    ) as caught:
        list(batches(data, 2))
    assert not any("sparse" in note for note in getattr(caught.value, "__notes__", []))
    assert [batch.images.shape for batch in batches(data, 4, size=(5, 7))] == [(4, 5, 7, 3), (3, 5, 7, 3)]
    assert next(iter(batches(data, 4, size=8))).images.shape == (4, 8, 8, 3)


def test_bad_batches_are_refused():
    with pytest.raises(ValueError, match="a batch of 8 cannot be drawn from the 7 pictures"):
        batches(made_up(), 8, drop_remainder=True)
    for name, how in (("batch", {"batch": 0}), ("threads", {"threads": 1.5}), ("epochs", {"epochs": 0})):
        with pytest.raises(ValueError, match=f"{name} must be a whole number from 1"):
            batches(made_up(), **{"batch": 2, **how})
    with pytest.raises(ValueError, match="from the 0 pictures"):
        batches(made_up(names=()), 1)


def test_a_corrupt_picture_stops_the_batches_with_its_name(tmp_path):
    for name in "abc":
        Image.fromarray(of_size(name)).save(tmp_path / f"{name}.png")
    (tmp_path / "b.png").write_bytes((tmp_path / "b.png").read_bytes()[:60])
    going = iter(batches(folder(tmp_path), 1))
    assert next(going).ids == ("a.png",)
    with pytest.raises(ValueError, match=r"b.png is damaged, truncated or of another format"):
        next(going)


def test_reading_ahead_is_bounded():
    data = Dataset("big", tuple(map(str, range(200))), lambda name: np.zeros((200, 200, 3), np.uint8), {})
    tracemalloc.start()
    for count, _ in enumerate(batches(data, 2, threads=2)):
        if count == 50:
            break
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 30 * 2 * 200 * 200 * 3


# Shaping


def example(height, width):
    values = np.arange(height * width).reshape(height, width)
    image = np.random.default_rng(0).integers(0, 256, (height, width, 3)).astype(np.uint8)
    targets = {"depth": values.astype(np.float32), "scene": np.ones(4), "classes": (values % 250).astype(np.uint8)}
    return Example("x", image, targets, {"depth": values % 3 > 0, "classes": values % 5 > 0})


@pytest.mark.parametrize(
    ("height", "width", "size"), [(12, 20, (6, 6)), (20, 12, (10, 15)), (9, 9, (18, 18)), (7, 3, (2, 4))]
)
def test_fit_takes_the_center_and_the_nearest_pixels(height, width, size):
    given = example(height, width)
    found = fit(given, size)
    tall, broad = min(height, width * size[0] // size[1]), min(width, height * size[1] // size[0])
    top, left = (height - tall) // 2, (width - broad) // 2
    rows = [top + int((r + 0.5) * tall / size[0]) for r in range(size[0])]
    columns = [left + int((c + 0.5) * broad / size[1]) for c in range(size[1])]
    for name in ("depth", "classes"):
        expected = [[given.targets[name][r, c] for c in columns] for r in rows]
        np.testing.assert_array_equal(found.targets[name], expected)
        assert found.targets[name].dtype == given.targets[name].dtype
        np.testing.assert_array_equal(found.masks[name], [[given.masks[name][r, c] for c in columns] for r in rows])
    part = Image.fromarray(given.image[top : top + tall, left : left + broad])
    expected = np.asarray(part.resize(size[::-1], Image.Resampling.BILINEAR)).astype(int)
    assert found.image.shape == (*size, 3)
    assert np.abs(found.image - expected).max() <= 1
    np.testing.assert_array_equal(found.targets["scene"], 1)


def test_fit_to_the_same_size_changes_nothing():
    given = example(11, 7)
    found = fit(given, (11, 7))
    np.testing.assert_array_equal(found.image, given.image)
    np.testing.assert_array_equal(found.targets["depth"], given.targets["depth"])


def test_stretch_keeps_the_whole_picture():
    given = example(6, 12)
    found = stretch(given, (3, 3))
    assert found.image.shape == (3, 3, 3)
    rows, columns = [1, 3, 5], [2, 6, 10]
    for name in ("classes", "depth"):
        np.testing.assert_array_equal(found.targets[name], given.targets[name][np.ix_(rows, columns)])
        np.testing.assert_array_equal(found.masks[name], given.masks[name][np.ix_(rows, columns)])
    np.testing.assert_array_equal(stretch(given, (6, 12)).image, given.image)


def test_batches_are_resized_as_asked():
    wide = Dataset("made up", ("a",), lambda name: np.tile(np.arange(12, dtype=np.uint8)[:, None], (6, 1, 3)), {})
    whole, center = (next(iter(batches(wide, 1, size=6, resize=how))).images[0, 0, :, 0] for how in (stretch, fit))
    assert center.tolist() == [3, 4, 5, 6, 7, 8]
    assert np.ptp(whole) >= 9


# Edges


def test_canny_finds_the_outline_of_a_square_and_no_other():
    image = np.full((32, 32, 3), 40, np.uint8)
    image[8:24, 10:22] = 200
    edge = canny(image)
    assert edge.dtype == np.float32
    near = np.zeros((32, 32), bool)
    near[7:25, 9:23] = True
    near[9:23, 11:21] = False
    assert (edge[~near] == 0).all()
    assert edge[8:24, 8:12].max(1).all()
    assert canny(np.full((16, 16, 3), 99, np.uint8)).sum() == 0
    faint = np.full((16, 16, 3), 100, np.uint8)
    faint[:, 8:] = 110
    assert canny(faint).sum() == 0
