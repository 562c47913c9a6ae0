"""The command line, run in this process: what it writes, what it says, how it fails."""

import argparse
import csv
import errno
import importlib
import json
import os
import re
import runpy
import shlex
import shutil
import subprocess
import sys
import textwrap
import time
import types
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import oracles as o
import pytest
from machine import full_disk
from marks import slow_but
from scipy import stats

import jaxsim as js
import jaxsim.cli.affinity
import jaxsim.cli.bootstrap
from jaxsim import demo, io, plotting, results
from jaxsim.cli import COMMANDS, build_parser, cache, evaluate, main, output, told_of_waiting
from jaxsim.engine import plans
from jaxsim.io.files import unwritable

pytest.importorskip("matplotlib")


@pytest.fixture(scope="session")
def features():
    """Six networks of one shape, so that commands compile one small program."""
    made = demo.features()
    return {name: np.ascontiguousarray(made[name][:40, :2, :2, :4]) for name in list(made)[:6]}


@pytest.fixture
def path(tmp_path, features):
    return str(io.write_npz(tmp_path / "features.npz", features))


def files(folder):
    return sorted(str(p.relative_to(folder)) for p in Path(folder).rglob("*") if p.is_file())


def is_png(path):
    return path.read_bytes().startswith(b"\x89PNG")


def matrix(path, values, names, targets=None):
    return str(io.write_csv_matrix(path, values, names, targets or names))


# What the commands write


def test_affinity_writes_record_table_and_picture(path, out, features, capsys):
    assert main(["affinity", path, "--measure", "rsa", "--out", str(out)]) == 0
    assert files(out) == ["affinity.csv", "affinity.npz", "affinity.png"]
    record = results.load(out / "affinity.npz")
    assert record.names == tuple(features)
    rows = list(csv.reader((out / "affinity.csv").read_text().splitlines()))
    assert rows[0] == ["", *features]
    assert [row[0] for row in rows[1:]] == list(features)
    np.testing.assert_array_equal(np.array([r[1:] for r in rows[1:]], float), record.values)
    assert is_png(out / "affinity.png")
    printed = capsys.readouterr()
    assert "amber_1" in printed.out
    assert str(out) in printed.err


def test_several_measures_go_to_a_folder_each(path, out):
    argv = ["affinity", path, "--measure", "cka-linear", "--measure", "dds:zscore,laplacian", "--out", str(out)]
    assert main(argv) == 0
    assert sorted({f.split("/")[0] for f in files(out)}) == ["cka-linear", "dds-zscore-laplacian"]
    assert len(files(out)) == 6


@pytest.mark.slow
def test_against_gives_a_rectangle_and_its_heat_map_names_the_files(path, out, tmp_path, features, monkeypatch):
    kept = captured(monkeypatch)
    few = io.write_npz(tmp_path / "few.npz", {"other": features["amber_2"], "more": features["coral_1"]})
    assert main(["affinity", path, "--against", str(few), "--measure", "cka-linear", "--out", str(out)]) == 0
    assert results.load(out / "affinity.npz").values.shape == (6, 2)
    axes = kept["affinity.png"].axes[0]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("few", Path(path).stem)


def test_several_files_of_several_kinds_are_joined_and_said(out, tmp_path, features, capsys):
    made = dict(zip("abc", features.values(), strict=False))
    np.save(tmp_path / "conv.npy", made["a"])
    rows = [";".join(map(repr, row)) for row in made["b"].reshape(40, -1).tolist()]
    (tmp_path / "table.csv").write_text("\n".join(rows))
    io.write_npz(tmp_path / "other.npz", {"x": made["c"], "y": made["a"]})
    paths = [str(tmp_path / name) for name in ("conv.npy", "table.csv", "other.npz")]
    assert main(["affinity", *paths, "--measure", "cka-linear", "--out", str(out)]) == 0
    found = results.load(out / "affinity.npz")
    assert found.names == ("conv", "table", "other/x", "other/y")
    assert float(found.values[0, 3]) == pytest.approx(1)
    said = capsys.readouterr().err
    assert "4 networks x 40 images x " in said
    assert f"  table: 1 network x 40 images x {made['b'][0].size} features" in said


@pytest.mark.slow
def test_explain_prints_the_plan_and_writes_nothing(path, out, capsys):
    argv = ["affinity", path, "--measure", "rsa", "--devices", "1", "--explain", "--out", str(out)]
    assert main(argv) == 0
    assert "rsa: by full maps" in capsys.readouterr().out
    assert main([*argv, "--json"]) == 0
    plan = json.loads(capsys.readouterr().out)["plan"]
    assert plan["calls"] == 1
    assert plan["seconds"] > 0
    assert not out.exists()
    assert main(argv[:-2]) == 0  # no folder is needed
    assert main([*argv, "--report"]) == 2
    assert "--report has no effect with --explain" in capsys.readouterr().err
    assert main(["affinity", path]) == 2
    assert "give --out DIR, the folder for the results" in capsys.readouterr().err


def test_bootstrap_explains_too(path, out, capsys, monkeypatch):
    monkeypatch.setattr("jaxsim.engine.plans.rates", lambda: dict.fromkeys(plans.KINDS, 1e9))
    argv = ["bootstrap", path, "--measure", "cka-linear", "--resamples", "20", "--quiet"]
    assert main([*argv, "--explain"]) == 0
    assert "20 resamples by half-samples, 1 at a time" in capsys.readouterr().out
    assert main([*argv, "--scheme", "bootstrap", "--explain", "--json", "--out", str(out)]) == 0
    plan = json.loads(capsys.readouterr().out)["plan"]
    assert (plan["scheme"], plan["resamples"], plan["at_once"]) == ("bootstrap", 20, 8)
    assert plan["seconds"] > 0
    assert not out.exists()
    assert main([*argv, "--explain", "--report"]) == 2
    assert "--report has no effect with --explain" in capsys.readouterr().err
    assert main(argv) == 2
    assert "give --out DIR, the folder for the results" in capsys.readouterr().err


def test_explain_is_of_features(path, tmp_path, out, capsys):
    maps = tmp_path / "maps.npz"
    io.write_npz(maps, {k: np.ones((6, 6)) - np.eye(6) for k in "ab"})
    assert main(["affinity", str(maps), "--measure", "spearman", "--explain", "--out", str(out)]) == 2
    assert "--explain has no effect on precomputed maps" in capsys.readouterr().err


def test_more_devices_than_there_are(path, out, capsys):
    assert main(["affinity", path, "--devices", "99", "--out", str(out)]) == 2
    assert "devices must be between 1 and" in capsys.readouterr().err


@pytest.mark.slow
def test_one_array_is_said_to_be_a_stack_and_may_be_one_network(out, tmp_path, capsys):
    conv = np.random.default_rng(0).normal(size=(9, 5, 5, 3)).astype(np.float32)
    np.save(tmp_path / "conv.npy", conv)
    argv = ["affinity", str(tmp_path / "conv.npy"), "--measure", "cka-linear", "--out", str(out)]
    assert main(argv) == 0
    said = capsys.readouterr().err
    assert "9 networks x 5 images x 5 x 3 features" in said
    assert "if it is one network of 9 images, give --no-stack, otherwise give --stack" in said
    assert main([*argv, "--overwrite", "--stack"]) == 0
    assert "warning" not in capsys.readouterr().err
    assert main([*argv, "--overwrite", "--no-stack"]) == 2
    assert "only 'conv'" in capsys.readouterr().err
    assert main([*argv, "--overwrite", "--no-stack", "--against", str(tmp_path / "conv.npy")]) == 0
    np.testing.assert_allclose(results.load(out / "affinity.npz").values, [[1]], atol=1e-6)


@pytest.mark.slow
def test_a_comparator_as_the_measure_takes_maps(out, tmp_path, features, capsys):
    from scipy.spatial import distance

    rdms = {k: distance.squareform(distance.pdist(x[:10].reshape(10, -1))) for k, x in features.items()}
    path = str(io.write_npz(tmp_path / "rdms.npz", rdms))
    assert main(["affinity", path, "--out", str(out)]) == 2
    assert "is a map (symmetric, with zeros or ones on its diagonal): give a comparator" in capsys.readouterr().err
    assert main(["affinity", path, "--measure", "pearson", "--out", str(out)]) == 0
    a, b = (distance.squareform(m) for m in list(rdms.values())[:2])
    assert float(results.load(out / "affinity.npz").values[0, 1]) == pytest.approx(stats.pearsonr(a, b)[0], abs=2e-6)
    argv = ["bootstrap", path, "--measure", "pearson", "--scheme", "bootstrap", *FEW]
    assert main([*argv, "--out", str(out)]) == 0
    assert main(["taxonomy", path, "--measure", "pearson", "--out", str(out / "tree")]) == 0
    rdms[next(iter(rdms))][3, 5] = rdms[next(iter(rdms))][5, 3] = np.nan
    path = str(io.write_npz(tmp_path / "gaps.npz", rdms))
    argv = ["affinity", path, "--measure", "pearson", "--missing", "pairwise", "--out", str(out / "gaps")]
    assert main(argv) == 0
    assert "on 44 to 45 pairs of images" in capsys.readouterr().out
    assert np.isfinite(results.load(out / "gaps" / "affinity.npz").values).all()


@pytest.mark.slow
def test_channels_first_and_files_per_image(out, tmp_path, capsys):
    conv = np.random.default_rng(0).normal(size=(2, 9, 3, 2, 2)).astype(np.float32)
    for network, pictures in zip("ab", conv, strict=True):
        (tmp_path / "f" / network).mkdir(parents=True)
        for k, x in enumerate(pictures):
            np.save(tmp_path / "f" / network / f"picture{k}.npy", x[None])
    argv = ["affinity", str(tmp_path / "f"), "--measure", "mean-pool:linear:u-centered-cosine", "--out", str(out)]
    assert main(argv) == 2
    assert "give --per-image" in capsys.readouterr().err
    assert main([*argv, "--per-image"]) == 0
    assert "looks as if its channels come first" in capsys.readouterr().err
    assert main([*argv, "--per-image", "--channels", "first", "--overwrite"]) == 0
    said = capsys.readouterr().err
    assert "2 networks x 9 images x 3 x 2 x 2 features" in said
    assert "warning" not in said
    maps = [o.linear(x.mean((2, 3)).astype(float)) for x in conv]
    want = o.u_centered_cosine(*maps)
    np.testing.assert_allclose(results.load(out / "affinity.npz").values, [[1, want], [want, 1]], atol=2e-6)


def test_bootstrap_writes_resamples_intervals_and_ranking(path, out, capsys):
    argv = ["bootstrap", path, "--measure", "cka", "--resamples", "20", "--seed", "1", "--target", "coral_1"]
    assert main([*argv, "--out", str(out)]) == 0
    assert files(out) == ["intervals.csv", "matrix.png", "ranking.png", "resamples.npz"]
    assert results.load(out / "resamples.npz").values.shape == (20, 6, 6)
    rows = list(csv.DictReader((out / "intervals.csv").read_text().splitlines()))
    assert len(rows) == 15
    assert all(float(r["low"]) <= float(r["high"]) for r in rows)
    assert is_png(out / "ranking.png")
    assert "standard error" in capsys.readouterr().out


FEW = ["--resamples", "20"]
ONE = ["--target", "coral_1"]
"""One panel of the figure, not one of each target."""
WEIGHTED = ["--measure", "cka-linear", "--scheme", "bootstrap", *FEW, "--quiet"]


@pytest.mark.parametrize(
    ("scheme", "more", "table"),
    [
        pytest.param("bayesian-bootstrap", FEW, "intervals.csv", marks=pytest.mark.slow),
        pytest.param("subsample", ["--size", "25", *FEW], "intervals.csv", marks=pytest.mark.slow),
        pytest.param("jackknife", [], "intervals.csv", marks=pytest.mark.slow),
        ("permutation", FEW, "p_values.csv"),
    ],
)
def test_every_scheme_runs(path, out, scheme, more, table):
    assert main(["bootstrap", path, "--measure", "cka-linear", "--scheme", scheme, *more, "--out", str(out)]) == 0
    assert table in files(out)
    assert ("ranking.png" in files(out)) == (scheme != "permutation")
    assert "matrix.png" in files(out)


@pytest.mark.slow
def test_figures_are_written_in_every_format_asked_for(path, out, tmp_path, capsys):
    argv = ["affinity", path, "--format", "pdf,SVG", "--out", str(out)]
    assert main(argv) == 0
    assert files(out) == ["affinity.csv", "affinity.npz", "affinity.pdf", "affinity.svg"]
    assert "affinity.pdf, affinity.svg to" in capsys.readouterr().err
    assert main(argv) == 2
    argv = ["taxonomy", str(out / "affinity.npz"), "--format", "png,pdf", "--out", str(tmp_path / "t")]
    assert main(argv) == 0
    assert {"heatmap.pdf", "heatmap.png", "taxonomy.pdf", "taxonomy.png"} <= set(files(tmp_path / "t"))
    assert main(["affinity", path, "--format", "gif", "--out", str(tmp_path / "g")]) == 2
    assert "'gif' is not one of the formats png, svg, pdf" in capsys.readouterr().err


def captured(monkeypatch):
    """Figures by the names of the files that commands write."""
    kept, save = {}, plotting.save_figure

    def keep(figure, path, **options):
        kept[Path(path).name] = figure
        return save(figure, path, **options)

    monkeypatch.setattr(plotting, "save_figure", keep)
    return kept


@pytest.mark.slow
def test_bootstrap_draws_whole_groups(path, out, tmp_path):
    labels = [f"class {k % 20}" for k in range(40)]
    (tmp_path / "classes.txt").write_text("\n".join(labels) + "\n")
    argv = ["bootstrap", path, "--measure", "cka-linear", *FEW, "--quiet", "--groups"]
    argv += [str(tmp_path / "classes.txt")]
    assert main([*argv, "--out", str(out)]) == 0
    assert results.load(out / "resamples.npz").groups == 20
    (tmp_path / "classes.txt").write_text("\n".join(labels[:-1]) + "\n")
    assert main([*argv, "--out", str(out), "--overwrite"]) == 2


@pytest.mark.slow
def test_bootstrap_ranks_the_sources_of_every_target_or_says_which(path, out, capsys, monkeypatch):
    kept = captured(monkeypatch)
    argv = ["bootstrap", path, "--resamples", "20", "--seed", "1", "--out", str(out), "--overwrite"]
    assert main(argv) == 0
    assert len(kept["ranking.png"].axes) == 6
    assert any("[" in t.get_text() for t in kept["matrix.png"].axes[0].texts)
    monkeypatch.setattr(plotting, "MOST_PANELS", 5)
    assert main(argv) == 0
    assert len(kept["ranking.png"].axes) == 1
    assert "1 of 6 targets; choose another with --target" in capsys.readouterr().err


@pytest.mark.slow
def test_the_figure_of_agreement_names_measure_truth_and_what_is_left_out(path, out, tmp_path, monkeypatch):
    kept = captured(monkeypatch)
    assert main(["affinity", path, "--measure", "cka-linear", "--out", str(out)]) == 0
    table = str(out / "affinity.npz")
    assert main(["evaluate", table, str(out / "affinity.csv"), "--out", str(tmp_path / "e")]) == 0
    axes = kept["agreement.png"].axes[0]
    labels = [t.get_text() for t in axes.get_legend().get_texts()]
    assert labels == ["all sources", "without the target itself"]
    assert axes.get_legend().get_title().get_text().startswith("linear CKA, unbiased")
    assert axes.get_xlabel().replace("\n", " ") == "Spearman correlation with affinity.csv, per target"


@pytest.mark.slow
def test_two_sets_of_the_same_networks_have_their_images_in_their_own_order(tmp_path, out, features):
    names, order = list(features)[:2], np.random.default_rng(0).permutation(40)
    for folder, rows in (("first", np.arange(40)), ("second", order)):
        held = {f"{n}/{part}": v for n in names for part, v in (("x", features[n][rows]), ("ids", rows.astype(str)))}
        io.write_npz(tmp_path / f"{folder}.npz", held)
    sets = [str(tmp_path / f"{n}.npz") for n in ("first", "second")]
    argv = ["bootstrap", sets[0], "--against", sets[1], "--align", "--scheme", "jackknife", "--measure", "cka-linear"]
    assert main([*argv, "--out", str(out)]) == 0
    found = results.load(out / "resamples.npz")
    np.testing.assert_allclose(np.diag(found.estimate), 1, atol=1e-6)


@pytest.mark.slow
def test_same_seed_same_numbers(path, out):
    found = []
    for folder, seed in (("a", "3"), ("b", "3"), ("c", "4")):
        argv = ["bootstrap", path, *FEW, *ONE, "--seed", seed, "--out", str(out / folder)]
        assert main(argv) == 0
        found.append(np.asarray(results.load(out / folder / "resamples.npz").values))
    np.testing.assert_array_equal(found[0], found[1])
    assert np.abs(found[0] - found[2]).max() > 1e-4


@pytest.mark.slow
def test_quiet_commands_say_nothing_and_resamples_of_another_measure_are_refused(path, tmp_path, features, capsys):
    assert main(["affinity", path, "--measure", "rsa", "--quiet", "--out", str(tmp_path / "rsa")]) == 0
    assert main(["bootstrap", path, *WEIGHTED, "--out", str(tmp_path / "cka")]) == 0
    assert capsys.readouterr().err == ""
    ours, theirs = str(tmp_path / "rsa" / "affinity.npz"), str(tmp_path / "cka" / "resamples.npz")
    truth = matrix(tmp_path / "truth.csv", np.random.default_rng(0).random((6, 6)), tuple(features))
    for argv in (["taxonomy", ours, "--support", theirs], ["evaluate", ours, truth, "--resamples", theirs]):
        assert main([*argv, "--out", str(tmp_path / "out")]) == 2
        assert (
            "has resamples of cka-linear, but the matrix has scores of rsa; use the same measure for both"
            in capsys.readouterr().err
        )
        assert not (tmp_path / "out").exists()


def test_evaluate_reads_the_transfer_of_the_built_in_world(tmp_path, capsys):
    import jaxsim.studies.rooms

    truth = Path(jaxsim.studies.rooms.__file__).parent / "shipped" / "transfer.npz"
    with np.load(truth) as stored:
        names, values = tuple(stored["sources"].tolist()), stored["affinity"]
    assert main(["evaluate", matrix(tmp_path / "a.csv", values, names), str(truth), "--key", "affinity", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["with_diagonal"]["mean"] == pytest.approx(1)


def test_taxonomy_of_features_of_a_record_and_with_support(path, out, capsys):
    assert main(["taxonomy", path, "--clusters", "2", "--out", str(out / "a")]) == 0
    assert files(out / "a") == ["heatmap.png", "taxonomy.npz", "taxonomy.png", "taxonomy.txt"]
    assert "cluster 2:" in capsys.readouterr().out
    assert main(["affinity", path, "--out", str(out)]) == 0
    assert main(["bootstrap", path, *FEW, *ONE, "--out", str(out)]) == 0
    argv = ["taxonomy", str(out / "affinity.npz"), "--support", str(out / "resamples.npz")]
    assert main([*argv, "--out", str(out / "b")]) == 0
    record, supported = (results.load(out / f / "taxonomy.npz") for f in "ab")
    np.testing.assert_allclose(record.merges, supported.merges, atol=1e-6)
    assert record.support is None
    assert float(supported.support[-1]) == 1.0
    assert (out / "b" / "taxonomy.txt").read_text().rstrip().endswith(";")


def test_taxonomy_of_an_asymmetric_matrix_names_the_flag(tmp_path, out, capsys):
    scores = matrix(tmp_path / "m.csv", [[1, 0.2, 0.1], [0.4, 1, 0.3], [0.2, 0.1, 1]], ("a", "b", "c"))
    assert main(["taxonomy", scores, "--out", str(out)]) == 2
    assert "--symmetrize" in capsys.readouterr().err
    assert main(["taxonomy", scores, "--symmetrize", "--out", str(out)]) == 0
    assert main(["taxonomy", scores, "--linkage", "transfer", "--out", str(out), "--overwrite"]) == 0


def test_evaluate_prints_both_correlations_and_writes_them_where_asked(tmp_path, out, capsys):
    rng = np.random.default_rng(0)
    names = tuple("abcdefg")
    truth = rng.random((7, 7)) + np.eye(7)
    a = matrix(tmp_path / "a.csv", truth + 0.1 * rng.standard_normal((7, 7)), names)
    t = matrix(tmp_path / "t.csv", truth, names)
    assert main(["evaluate", a, t]) == 0
    printed = capsys.readouterr().out
    assert all(word in printed for word in ("with diagonal", "without", "top 1", "mean"))
    assert main(["evaluate", a, t, "--out", str(out), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["with_diagonal"]["diagonal"] is True
    assert found["with_diagonal"]["mean"] > found["without_diagonal"]["mean"] > 0.5
    assert files(out) == ["agreement.csv", "agreement.npz", "agreement.png"]
    assert results.load(out / "agreement.npz").diagonal is False
    assert len((out / "agreement.csv").read_text().splitlines()) == 8


def test_distances_are_said_by_a_flag(tmp_path, out, capsys):
    rng, names = np.random.default_rng(0), tuple("abcdefg")
    s = rng.random((7, 7))
    s = (s + s.T) / 2 + np.eye(7)
    truth, distances = matrix(tmp_path / "t.csv", s, names), matrix(tmp_path / "d.csv", 2 - s, names)
    assert main(["evaluate", distances, truth, "--json"]) == 0
    printed = capsys.readouterr()
    assert (
        "warning: the affinity (d.csv) falls where the truth rises (-1.00); if it contains distances, give --distance."
        in printed.err
    )
    assert main(["evaluate", distances, truth, "--distance", "--json"]) == 0
    printed = capsys.readouterr()
    assert "warning" not in printed.err
    assert "d.csv: 7 sources x 7 targets of distances, lower is more similar" in printed.err
    assert json.loads(printed.out)["with_diagonal"]["mean"] == pytest.approx(1)
    assert main(["evaluate", truth, distances, "--loss", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["with_diagonal"]["mean"] == pytest.approx(1)
    assert main(["taxonomy", distances, "--distance", "--out", str(out)]) == 0
    assert "warning" not in capsys.readouterr().err


def test_networks_in_one_matrix_alone_are_named(tmp_path, capsys):
    values = np.random.default_rng(0).random((5, 5))
    some, all_ = (
        matrix(tmp_path / "s.csv", values[:4, :4], tuple("abcd")),
        matrix(tmp_path / "a.csv", values, tuple("abcde")),
    )
    assert main(["evaluate", some, all_]) == 0
    assert f"left out because they are only in {all_}: e" in capsys.readouterr().err
    assert main(["evaluate", all_, some, "--subset"]) == 0
    assert f"left out because they are only in {all_}: e" in capsys.readouterr().err
    refused(["evaluate", str(tmp_path), some], capsys, "is a folder", "The matrices in it are: a.csv, s.csv")


@pytest.mark.slow
def test_evaluate_with_resamples_gives_three_intervals_each_way(path, out, tmp_path, features, capsys):
    assert main(["bootstrap", path, "--scheme", "bootstrap", "--resamples", "20", "--out", str(out)]) == 0
    assert main(["affinity", path, "--out", str(out)]) == 0
    truth = np.asarray(results.load(out / "affinity.npz").values, float)
    truth = truth + 0.1 * np.random.default_rng(0).standard_normal(truth.shape)
    transfer = matrix(tmp_path / "t.csv", truth, tuple(features))
    argv = ["evaluate", str(out / "affinity.npz"), transfer, "--resamples", str(out / "resamples.npz")]
    capsys.readouterr()
    assert main([*argv, "--out", str(out / "e")]) == 0
    assert "images and targets" in capsys.readouterr().out
    rows = list(csv.DictReader((out / "e" / "agreement_intervals.csv").read_text().splitlines()))
    assert [r["diagonal"] for r in rows] == ["with"] * 3 + ["without"] * 3
    assert all(float(r["low"]) < float(r["high"]) for r in rows)
    assert main([*argv, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["intervals"]
    assert [len(one["interval"]) for one in found] == [3, 3]


def test_evaluate_gives_p_values_and_compares(out, tmp_path, capsys):
    rng, names = np.random.default_rng(0), tuple("abcdefgh")
    truth = rng.standard_normal((8, 8))
    files_of = [matrix(tmp_path / f"{name}.csv", truth + s * rng.standard_normal((8, 8)), names) for name, s in
                (("near", 1), ("far", 2))]  # fmt: skip
    argv = ["evaluate", files_of[0], matrix(tmp_path / "t.csv", truth, names), "--seed", "3"]
    assert main([*argv, "--relabelings", "199", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["without_diagonal"]["p"] == 1 / 200
    assert found["with_diagonal"]["p"] is None
    assert main([*argv, "--relabelings", "199"]) == 0
    assert "p = 0.005 by 199 relabelings of the tasks" in capsys.readouterr().out
    assert main([*argv, "--compare", files_of[1], "--out", str(out)]) == 0
    assert "999 relabelings; best: near" in capsys.readouterr().out
    assert {"agreement_comparison.csv", "agreement_comparison.npz"} <= set(files(out))
    assert results.load(out / "agreement_comparison.npz").names == ("near", "far")
    rows = list(csv.DictReader((out / "agreement_comparison.csv").read_text().splitlines()))
    assert float(rows[0]["minus far"]) == -float(rows[1]["minus near"]) > 0
    refused([*argv, "--compare", files_of[0]], capsys, "--compare names a file twice, or AFFINITY itself")


@pytest.mark.slow
def test_evaluate_reads_each_file_once(path, out, tmp_path, features, capsys, monkeypatch):
    assert main(["bootstrap", path, *WEIGHTED, "--out", str(out)]) == 0
    truth = matrix(tmp_path / "t.csv", np.random.default_rng(0).standard_normal((6, 6)), tuple(features))
    own = matrix(tmp_path / "a.csv", np.random.default_rng(1).standard_normal((6, 6)), tuple(features))
    read = []
    for name in ("read_affinity", "read_resamples"):
        how = getattr(evaluate, name)
        monkeypatch.setattr(evaluate, name, lambda file, *a, how=how, **k: read.append(file) or how(file, *a, **k))
    assert main(["evaluate", own, truth, "--resamples", str(out / "resamples.npz")]) == 0
    assert read == [own, truth, str(out / "resamples.npz")]


def test_rooms_prints_the_skills_of_what_it_built(out, capsys, monkeypatch):
    pytest.importorskip("flax")
    from jaxsim.studies.rooms import world

    monkeypatch.setattr(world, "build", lambda *_, **__: {"edge2d": 0.7412})
    assert main(["rooms", "--out", str(out), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["skill"] == {"edge2d": 0.7412}


def test_measures_lists_every_name_and_its_parts(capsys):
    assert main(["measures"]) == 0
    printed = capsys.readouterr().out
    assert main(["measures", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    listed = found["measures"]
    assert "mean-pool" in found["parts"]["transform"]
    assert "compare: pearson, spearman, rho-a, kendall-a, kendall-b, cosine" in printed
    names = {row["name"] for row in listed}
    assert {"rsa", "rsa-uncentered", "cka-linear", "cka-rbf", "dds-laplacian", "dds-cosine"} <= names
    assert all(row["name"] in printed for row in listed)
    assert all(set(row) == {"name", "transform", "pairwise", "compare", "source"} for row in listed)


@pytest.mark.slow
def test_demo_on_the_built_in_world(out, capsys):
    assert main(["demo", "--images", "24", "--resamples", "20", "--out", str(out), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert len(found["affinity"]["names"]) == 20
    assert {"report.txt", "pictures.png", "affinity.png", "taxonomy.png", "ranking.png"} <= set(files(out))
    assert "24 new pictures" in (out / "report.txt").read_text()
    assert {v.shape for v in io.read_features(out / "features.npz")[0].values()} == {(24, 8, 8, 8)}


@pytest.mark.slow
def test_made_up_demo_finds_its_groups_and_says_what_it_is(out, capsys):
    assert main(["demo", "--made-up", "--resamples", "20", "--out", str(out), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert sorted(map(sorted, found["clusters"])) == sorted(map(sorted, demo.groups().values()))
    assert found["agreement"] == 1.0
    assert {"report.txt", "affinity.png", "taxonomy.png", "ranking.png"} <= set(files(out))
    assert "jaxsim generated" in (out / "report.txt").read_text()
    again = io.read_features(out / "features.npz")[0]
    assert {k: v.shape for k, v in again.items()} == {k: v.shape for k, v in demo.features().items()}


def test_demo_features_are_fixed_by_the_seed():
    first, again, other = demo.features(0), demo.features(0), demo.features(1)
    assert all(np.array_equal(first[n], again[n]) for n in first)
    assert not np.array_equal(first["amber_1"], other["amber_1"])
    assert len({x.shape for x in first.values()}) == 3
    assert {x.dtype for x in first.values()} == {np.dtype(np.float32)}


# Streams


@pytest.mark.parametrize(
    "argv",
    [
        ["affinity"],
        ["affinity", "--measure", "cka-linear", "--measure", "dds:zscore,laplacian"],
        ["bootstrap", *FEW, *ONE],
        ["taxonomy"],
    ],
)
def test_json_is_one_object_and_alone_on_standard_output(path, out, capsys, argv):
    assert main([argv[0], path, *argv[1:], "--out", str(out), "--json"]) == 0
    printed = capsys.readouterr()
    found = json.loads(printed.out)
    assert found["command"] == argv[0]
    assert all(Path(f).is_file() for f in found["files"])
    assert printed.out.count("\n") == 1


def test_progress_says_rate_and_time_left_in_one_line(monkeypatch, capsys):
    clock = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    show = output.progress(argparse.Namespace(quiet=False, progress_shows=lambda: None), "resamples")
    for seconds, done in [(9, 10), (2, 20), (4, 40), (4, 10), (4, 20)]:  # the last two for other measures
        clock[0] += seconds
        show(done, 40)
    assert capsys.readouterr().err.split("\r\x1b[K")[1:] == [
        "resamples: 10 of 40",
        "resamples: 20 of 40, 5 a second, 4 s left",
        "resamples: 40 of 40, 5 a second\n",
        "resamples: 10 of 40",
        "resamples: 20 of 40, 2.5 a second, 8 s left",
    ]


def test_notes_that_all_tables_have_come_once():
    tables, notes = {"a": "1", "b": "2"}, {"a": ["own", "both"], "b": ["both", "other"]}
    assert output.with_notes(tables, notes) == "a\n1\nown\n\nb\n2\nother\n\nboth"
    assert output.with_notes({"a": "1"}, {"a": ["own"]}) == "a\n1\nown"


def test_warnings_come_once_and_not_beside_a_report_that_has_them(capsys):
    arguments = argparse.Namespace(quiet=False, json=False, printed="")
    with jaxsim.cli._warnings_as_lines(arguments):
        for text, kind in [("few", js.FewResamples), ("doubt", js.DoubtfulInference), ("more", js.DoubtfulInference)]:
            for _ in range(2):
                warnings.warn(text, kind, stacklevel=1)
                with warnings.catch_warnings():  # which makes Python forget what it has shown
                    warnings.simplefilter("ignore")
        output.emit(arguments, "scores\nwarning: doubt", {})
    shown = capsys.readouterr()
    assert shown.out == "scores\nwarning: doubt\n"
    assert shown.err == "jaxsim: warning: few\njaxsim: warning: more\n"


def test_progress_is_on_standard_error(path, out, capsys):
    assert main(["bootstrap", path, *FEW, *ONE, "--out", str(out)]) == 0
    printed = capsys.readouterr()
    assert "20 of 20" in printed.err
    assert "20 of 20" not in printed.out


@pytest.mark.slow
def test_x64_computes_in_float64_and_leaves_the_process_as_it_was(path, out):
    import jax

    before = jax.config.jax_enable_x64
    assert main(["affinity", path, "--measure", "cka-linear", "--x64", "--out", str(out)]) == 0
    assert results.load(out / "affinity.npz").provenance.dtype == "float64"
    assert jax.config.jax_enable_x64 == before


# Wrong usage and bad input: code 2, one sentence, nothing written


def refused(argv, capsys, *words):
    assert main(argv) == 2
    printed = capsys.readouterr()
    lines = [line for line in printed.err.splitlines() if line.startswith("jaxsim: error: ")]
    assert len(lines) == 1
    assert "Traceback" not in printed.err
    assert printed.out == ""
    for word in words:
        assert word in lines[0]


JACKKNIFE, NULL, MATRIX = "bootstrap FEATURES --scheme jackknife", "--scheme permutation", "taxonomy m.csv"
IDLE = {
    "affinity FEATURES --stack --out OUT": "--stack has no effect without an npy file or a tensor of PyTorch",
    "affinity FEATURES --no-stack --out OUT": "--no-stack has no effect without an npy file",
    "affinity FEATURES --per-image --stack --out OUT": "--stack has no effect with --per-image",
    "affinity FEATURES --align --out OUT": "--align has no effect without image ids",
    "affinity x.csv --channels first --out OUT": "--channels has no effect on features of two axes",
    "affinity FEATURES --measure pearson --channels last --out OUT": "--channels has no effect on maps",
    "bootstrap FEATURES --align --out OUT": "--align has no effect without image ids",
    f"{JACKKNIFE} --resamples 9 --out OUT": "--resamples has no effect with --scheme jackknife",
    f"{JACKKNIFE} --seed 0 --out OUT": "--seed has no effect with --scheme jackknife",
    f"{JACKKNIFE} --strata s.txt --out OUT": "--strata has no effect with --scheme jackknife",
    f"bootstrap FEATURES {NULL} --level 0.9 --out OUT": "--level has no effect with --scheme permutation",
    f"bootstrap FEATURES {NULL} --target amber_1 --out OUT": "--target has no effect with --scheme permutation",
    f"{MATRIX} --ids i --out OUT": "--ids has no effect on m.csv, a matrix of scores",
    f"{MATRIX} --align --out OUT": "--align has no effect on m.csv",
    f"{MATRIX} --memory 1 --out OUT": "--memory has no effect on m.csv",
    f"{MATRIX} --x64 --out OUT": "--x64 has no effect on m.csv",
    f"{MATRIX} --no-stack --out OUT": "--no-stack has no effect on m.csv",
    f"{MATRIX} --per-image --out OUT": "--per-image has no effect on m.csv",
    f"{MATRIX} --channels first --out OUT": "--channels has no effect on m.csv",
    "taxonomy FEATURES --distance --out OUT": "--distance has no effect on features",
    "evaluate m.csv m.csv --seed 0": "--seed has no effect without --resamples, --relabelings or --compare",
    "evaluate m.csv m.csv --relabelings 9 --level 0.9": "--level has no effect without --resamples",
    "evaluate m.csv m.csv --level 0.9": "--level has no effect without --resamples",
    "evaluate m.csv m.csv --overwrite": "--overwrite has no effect without --out",
    "evaluate m.csv m.csv --spreadsheet": "--spreadsheet has no effect without --out",
    "evaluate m.csv m.csv --format pdf": "--format has no effect without --out",
    "demo --made-up --images 9 --out OUT": "--images has no effect with --made-up",
    "taxonomy m.csv --spreadsheet --out OUT": "--spreadsheet",
    "bootstrap FEATURES --seed 1 --seed 2 --out OUT": "--seed is given twice",
    "affinity FEATURES --ids a --ids b --out OUT": "--ids is given twice",
}


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["affinty"], ("affinty",)),
        (["affinity", "FEATURES"], ("--out",)),
        (["affinity", "nowhere.npz", "--out", "OUT"], ("nowhere.npz", "does not exist")),
        (["affinity", "FEATURES", "--measure", "rsaa", "--out", "OUT"], ("rsaa", "rsa")),
        (["affinity", "FEATURES", "--measure", "rsa", "--measure", "RSA", "--out", "OUT"], ("twice",)),
        (["affinity", "FEATURES", "--ids", "nowhere", "--out", "OUT"], ("--ids nowhere",)),
        (["affinity", "FEATURES", "--memory", "-1", "--out", "OUT"], ("'-1'",)),
        (["bootstrap", "FEATURES", "--target", "depth", "--out", "OUT"], ("depth", "amber_1")),
        (["bootstrap", "FEATURES", "--groups", "nowhere", "--out", "OUT"], ("--groups nowhere does not exist",)),
        (["bootstrap", "FEATURES", "--align", "--groups", "g", "--out", "OUT"], ("--groups labels images", "--align")),
        (["bootstrap", "FEATURES", "--scheme", "subsample", "--out", "OUT"], ("--size",)),
        (["bootstrap", "FEATURES", "--size", "9", "--out", "OUT"], ("--size",)),
        (["bootstrap", "FEATURES", "--resamples", "0", "--out", "OUT"], ("'0'",)),
        (["bootstrap", "FEATURES", "--level", "95", "--out", "OUT"], ("'95'",)),
        (["taxonomy", "FEATURES", "--clusters", "7", "--out", "OUT"], ("7",)),
        (["taxonomy", "FEATURES", "--support", "FEATURES", "--out", "OUT"], ("features.npz",)),
        (["taxonomy", "FEATURES", "--measure", "rsa", "--measure", "cka-linear", "--out", "OUT"], ("one --measure",)),
        (["taxonomy", "nowhere", "--out", "OUT"], ("nowhere",)),
        (["layers", ".", "--encoder", "m.csv", "--out", "OUT"], ("m.csv does not end", "jaxsim convert")),
        (["evaluate", "nowhere.csv", "nowhere.csv"], ("nowhere.csv",)),
        (["evaluate", "FEATURES", "FEATURES"], ("features.npz",)),
        *[(command.split(), (said,)) for command, said in IDLE.items()],
    ],
)
def test_bad_usage(argv, words, path, out, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    matrix(tmp_path / "m.csv", np.eye(2), ("a", "b"))
    np.savetxt(tmp_path / "x.csv", np.eye(3), delimiter=",")
    whole = [{"FEATURES": path, "OUT": str(out)}.get(word, word) for word in argv]
    refused(whole, capsys, *words)
    assert not out.exists()


@pytest.mark.slow
def test_a_command_that_lacks_an_extra_says_which(tmp_path):
    code = "import sys; sys.modules['flax'] = None; from jaxsim.cli import main; sys.exit(main(sys.argv[1:]))"
    argv = [sys.executable, "-c", code, "reproduce", "--out", str(tmp_path / "out")]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2
    assert done.stderr == 'jaxsim: error: the experiments need flax: pip install "jaxsim-similarity[nn]".\n'


def test_an_extra_that_lacks_a_part_is_told_once_it_is_needed(tmp_path, monkeypatch, capsys):
    world = pytest.importorskip("jaxsim.studies.rooms.world", reason="the built-in world needs the nn extra")
    from jaxsim.studies.rooms.targets import segments

    view: Any = types.SimpleNamespace(rgb=np.zeros((8, 8, 3)))
    monkeypatch.setitem(sys.modules, "skimage.segmentation", None)
    monkeypatch.setattr(world, "build", lambda *_, **__: segments.segment2d(view))
    refused(["rooms", "--out", str(tmp_path / "out")], capsys, 'need scikit-image: pip install "jaxsim-similarity[nn]"')


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_features_that_are_not_finite_spoil_their_network_alone(tmp_path, features, out, capsys, bad):
    spoilt = {n: np.array(x) for n, x in features.items()}
    spoilt["amber_2"][3, 0, 0, 0] = bad
    path = str(io.write_npz(tmp_path / "bad.npz", spoilt))
    assert main(["affinity", path, "--out", str(out), "--json"]) == 0
    printed = capsys.readouterr()
    assert [line for line in printed.err.splitlines() if "warning" in line and "amber_2" in line]
    shown = json.loads(printed.out)["affinities"][0]
    values = np.array(shown["values"], dtype=float)
    lost = np.array([name == "amber_2" for name in shown["names"]])
    np.testing.assert_array_equal(np.isnan(values), lost[:, None] | lost[None, :])
    assert is_png(out / "affinity.png")
    refused(["taxonomy", path, "--out", str(out / "tree")], capsys, "amber_2")
    assert not (out / "tree").exists()


def test_unequal_numbers_of_images_name_the_network(tmp_path, features, out, capsys):
    path = io.write_npz(tmp_path / "bad.npz", features | {"amber_2": features["amber_2"][:-1]})
    refused(["affinity", str(path), "--out", str(out)], capsys, "amber_2", "39", "40")


def test_ids_out_of_order_fail_unless_aligned(tmp_path, features, out, capsys):
    folder = tmp_path / "ids"
    ids = np.array([f"image_{i}" for i in range(40)])
    turned = {}
    for (name, x), step in zip(features.items(), (1, -1, 1, -1, 1, -1), strict=True):
        turned |= {f"{name}/x": x[::step], f"{name}/ids": ids[::step]}
    path = str(io.write_npz(folder / "features.npz", turned))
    refused(["affinity", path, "--out", str(out)], capsys, "order")
    assert main(["affinity", path, "--align", "--out", str(out)]) == 0
    straight = str(io.write_npz(tmp_path / "s.npz", features))
    assert main(["affinity", straight, "--out", str(out / "s")]) == 0
    aligned, plain = (results.load(f / "affinity.npz").values for f in (out, out / "s"))
    np.testing.assert_allclose(aligned, plain, atol=1e-6)


@pytest.mark.parametrize("content", slow_but(["txt"], ["npy", "txt"]))
def test_ids_from_a_file(tmp_path, path, out, content, capsys):
    ids = [f"image_{i}" for i in range(40)]
    file = tmp_path / f"labels.{content}"
    np.save(file, np.array(ids)) if content == "npy" else file.write_text("\n".join(ids))
    assert main(["affinity", path, "--ids", str(file), "--out", str(out)]) == 0
    capsys.readouterr()
    short = tmp_path / f"short.{content}"
    np.save(short, np.array(ids[1:])) if content == "npy" else short.write_text("\n".join(ids[1:]))
    refused(["affinity", path, "--ids", str(short), "--out", str(out / "b")], capsys, "39", "40")


def test_matrix_and_measure_do_not_go_together(tmp_path, out, capsys):
    scores = matrix(tmp_path / "m.csv", [[1, 0.2], [0.2, 1]], ("a", "b"))
    refused(["taxonomy", scores, "--measure", "rsa", "--out", str(out)], capsys, "--measure")


# Outputs: whole or not at all, never over what is there


def test_existing_output_is_refused_before_computing(path, out, capsys, monkeypatch):
    assert main(["affinity", path, "--out", str(out)]) == 0
    before = {f: (out / f).read_bytes() for f in files(out)}
    capsys.readouterr()
    with monkeypatch.context() as patch:
        patch.setattr(jaxsim.cli.affinity, "score", lambda *_: pytest.fail("computing has started"))
        refused(["affinity", path, "--out", str(out)], capsys, "affinity.npz", "--overwrite")
    assert {f: (out / f).read_bytes() for f in files(out)} == before
    assert main(["affinity", path, "--measure", "cka-linear", "--out", str(out), "--overwrite"]) == 0
    assert (out / "affinity.npz").read_bytes() != before["affinity.npz"]


def test_out_that_is_a_file_is_refused(path, tmp_path, capsys):
    (tmp_path / "taken").write_text("mine")
    for folder in (tmp_path / "taken", tmp_path / "taken" / "below"):
        refused(["affinity", path, "--out", str(folder)], capsys, "taken is a file")
    assert (tmp_path / "taken").read_text() == "mine"


@pytest.mark.parametrize("limit", [200, 10_000], ids=["at the first file", "at the picture"])
def test_a_full_disk_leaves_everything_as_it_was(path, out, capsys, limit):
    out.mkdir()
    for name in ("affinity.npz", "notes.txt"):
        (out / name).write_text("precious")
    with full_disk(limit):
        assert main(["affinity", path, "--out", str(out), "--overwrite", "--quiet"]) == 2
    assert capsys.readouterr().err == f"jaxsim: error: --out {out} could not be written: file too large.\n"
    assert {p.name: p.read_text() for p in out.iterdir()} == {"affinity.npz": "precious", "notes.txt": "precious"}


def test_a_disk_that_is_full_elsewhere_is_not_told_of_out(monkeypatch, path, out, capsys):
    def full(*_):
        raise unwritable("work/a.json", OSError(errno.ENOSPC, "No space left on device"))

    monkeypatch.setattr(jaxsim.cli.affinity, "save_affinity", full)
    assert main(["affinity", path, "--out", str(out), "--quiet"]) == 2
    assert capsys.readouterr().err == "jaxsim: error: work/a.json could not be written: no space left on device.\n"


def test_a_loss_that_is_not_finite_is_one_sentence(monkeypatch, path, out, capsys):
    def diverge(_):
        raise FloatingPointError("The loss of task 'depth' is not finite at step 3")

    monkeypatch.setattr(jaxsim.cli.affinity, "run", diverge)
    assert main(["affinity", path, "--out", str(out)]) == 2
    assert capsys.readouterr().err == "jaxsim: error: The loss of task 'depth' is not finite at step 3.\n"


def test_unwritable_out_is_refused(path, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("jaxsim.cli.output.os.access", lambda *_: False)
    refused(["affinity", path, "--out", str(tmp_path / "out")], capsys, "cannot be written")


@pytest.mark.parametrize("moment", ["score", "save_affinity"])
def test_ctrl_c_midway_leaves_everything_as_it_was(path, out, capsys, monkeypatch, moment):
    assert main(["affinity", path, "--out", str(out)]) == 0
    before = {f: (out / f).read_bytes() for f in files(out)}
    capsys.readouterr()

    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(jaxsim.cli.affinity, moment, interrupt)
    for folder in (out, out / "new"):
        assert main(["affinity", path, "--overwrite", "--out", str(folder)]) == 130
        assert capsys.readouterr().err.splitlines()[-1].startswith("jaxsim: interrupted")
    assert {f: (out / f).read_bytes() for f in files(out)} == before
    assert sorted(p.name for p in out.parent.iterdir()) == ["features.npz", "out"]


@pytest.mark.parametrize(
    ("moment", "said"), [("score", "no output was written or changed"), ("report", "the output is complete")]
)
def test_ctrl_c_tells_the_truth_about_the_output(path, out, capsys, monkeypatch, moment, said):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(jaxsim.cli.affinity, moment, interrupt)
    assert main(["affinity", path, "--out", str(out)]) == 130
    assert capsys.readouterr().err.splitlines()[-1] == f"jaxsim: interrupted; {said}"
    assert out.exists() == (moment == "report")


@pytest.mark.slow
def test_what_a_killed_run_left_is_undone_by_the_next(path, out, capsys):
    code = """
        import os, signal, sys
        from jaxsim.io import file_sets
        out = sys.argv[-1]
        put, count = file_sets._put, []
        def kill(*given):
            put(*given)
            count.append(given)
            if len(count) == 2:
                os.kill(os.getpid(), signal.SIGKILL)
        file_sets._put = kill
        from jaxsim.cli import main
        main(sys.argv[1:])
    """
    out.mkdir()
    (out / "notes").write_text("mine")
    argv = ["affinity", path, "--out", str(out)]
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code), *argv])
    assert done.returncode == -9
    assert len(list(out.glob("affinity.*"))) == 2
    assert main(argv) == 0
    assert sorted(p.name for p in out.iterdir()) == ["affinity.csv", "affinity.npz", "affinity.png", "notes"]


def test_ctrl_c_during_resampling(path, out, capsys, monkeypatch):
    def interrupt(done, total):
        raise KeyboardInterrupt

    monkeypatch.setattr(jaxsim.cli.bootstrap, "progress", lambda *_: interrupt)
    assert main(["bootstrap", path, "--resamples", "20", "--out", str(out)]) == 130
    assert not out.exists()
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize("broken", [lambda *_: 1 / 0, lambda *_: None + 1, lambda *_: len(1), lambda: None])
def test_unexpected_errors_are_raised(path, out, monkeypatch, broken):
    monkeypatch.setattr(jaxsim.cli.affinity, "score", broken)
    with pytest.raises((ZeroDivisionError, TypeError)):
        main(["affinity", path, "--out", str(out)])
    assert not out.exists()


def test_options_of_the_library_are_said_as_flags():
    from jaxsim.cli import _with_flags

    assert _with_flags('say channels="first", or pass stack=False.') == "say --channels first, or give --no-stack."


@pytest.mark.parametrize(
    ("said", "flags"),
    [
        ('js.compare_maps(..., missing="pairwise") leaves', "`jaxsim affinity --missing pairwise` leaves"),
        ("or js.Bootstrap() (--scheme bootstrap).", "or --scheme bootstrap."),
        ("pass complete_only=True (--complete-only)", "pass --complete-only"),
        ("not Spearman(correct_ties=True).", "not Spearman(correct_ties=True)."),
        ("(Dataset.readable, --skip-damaged, leaves it out)", "(--skip-damaged leaves it out)"),
        ("n_resamples must be even", "--resamples must be even"),
        ("n_permutations must be a whole number", "--permutations must be a whole number"),
    ],
)
def test_words_of_the_library_are_said_once_as_flags(said, flags):
    from jaxsim.cli import _with_flags

    assert _with_flags(said) == flags


@pytest.mark.parametrize(
    ("argv", "near", "command"),
    [
        (["afinity", "x.csv"], "did you mean affinity?", "jaxsim"),
        (["affinity", "x.csv", "--mesure", "rsa", "--out", "o"], "did you mean --measure?", "jaxsim affinity"),
        (["bootstrap", "x.csv", "--scheme", "bootstrp", "--out", "o"], "did you mean bootstrap?", "jaxsim bootstrap"),
        (["bootstrap", "x.csv", "--n", "9", "--out", "o"], "arguments: --n 9", "jaxsim bootstrap"),
        (["affinity", "x.csv", "--channels", "9", "--out", "o"], "choose from first, last", "jaxsim affinity"),
    ],
)
def test_a_typo_names_what_is_near(argv, near, command, capsys):
    assert main(argv) == 2
    told = capsys.readouterr().err
    assert near in told
    assert f"(see {command} --help)" in told


def test_who_waits_is_told_once(capsys):
    text, start = "", time.monotonic()
    with told_of_waiting(0.0):
        while not text and time.monotonic() < start + 30:
            text += capsys.readouterr().err
    for seconds in (60.0, None):
        with told_of_waiting(seconds):
            pass
    with told_of_waiting(0.2) as progress_shows:
        progress_shows()
        time.sleep(0.4)
    assert (text + capsys.readouterr().err).count("still working") == 1


def test_one_network_is_told_of_against(tmp_path, out, capsys):
    np.save(tmp_path / "a.npy", np.random.default_rng(0).random((9, 4)))
    refused(["affinity", str(tmp_path / "a.npy"), "--out", str(out)], capsys, "--against of `jaxsim affinity`")


@pytest.mark.slow
def test_an_array_alone_is_read_as_the_files_that_it_is_compared_with(tmp_path, out, capsys):
    paths = [str(tmp_path / f"{name}.npy") for name in "abc"]
    for path, x in zip(paths, np.random.default_rng(0).random((3, 12, 2, 2, 3)), strict=True):
        np.save(path, x)
    argv = ["affinity", *paths[:2], "--against", paths[2], "--measure", "cka-linear", "--out", str(out)]
    assert main(argv) == 0
    assert "c.npy: 1 network x 12 images" in capsys.readouterr().err
    assert results.load(out / "affinity.npz").targets == ("c",)


def test_support_that_is_no_record_names_the_file_to_give(tmp_path, out, capsys):
    square = matrix(tmp_path / "m.csv", np.eye(3) + 0.1, list("abc"))
    argv = ["taxonomy", square, "--support", square, "--out", str(out)]
    refused(argv, capsys, "give resamples.npz from `jaxsim bootstrap`")


@pytest.mark.slow
def test_a_tree_of_several_files(tmp_path, out, capsys):
    paths = [str(tmp_path / f"{name}.csv") for name in "abc"]
    for path, x in zip(paths, np.random.default_rng(0).random((3, 12, 4)), strict=True):
        np.savetxt(path, x, delimiter=",")
    assert main(["taxonomy", *paths, "--measure", "cka-linear", "--out", str(out)]) == 0
    assert "cka-linear, average linkage on 1 - S: height of each merge" in capsys.readouterr().out
    refused(["taxonomy", *paths, "--key", "x", "--out", str(out / "b")], capsys, "--key has no effect on features")


def test_results_are_not_read_as_features(path, out, capsys):
    assert main(["affinity", path, "--out", str(out)]) == 0
    capsys.readouterr()
    refused(["taxonomy", str(out), "--out", str(out / "b")], capsys, "affinity.npz")
    argv = ["affinity", str(out / "affinity.npz"), "--out", str(out / "b")]
    refused(argv, capsys, "contains results of jaxsim (the record Affinity), not features")


def test_measures_of_maps_and_of_features_are_not_mixed(path, out, capsys):
    argv = ["affinity", path, "--measure", "rsa", "--measure", "spearman", "--out", str(out)]
    refused(argv, capsys, "--measure spearman compares precomputed maps, and rsa compares features")


@pytest.mark.slow
def test_stacks_of_maps_in_every_file(tmp_path, out, capsys):
    x = np.random.default_rng(0).random((3, 8, 2))
    stack = np.linalg.norm(x[:, :, None] - x[:, None], axis=-1)
    js.Maps.from_array(stack, ["v1", "v4", "it"]).save(tmp_path / "record.npz")
    np.savez(tmp_path / "first.npz", r=stack)
    np.savez(tmp_path / "last.npz", r=np.moveaxis(stack, 0, -1))
    np.save(tmp_path / "last.npy", np.moveaxis(stack, 0, -1))
    named = {"first.npz": ("r/0", "r/1", "r/2"), "last.npy": ("network_0", "network_1", "network_2")}
    named |= {"last.npz": named["first.npz"], "record.npz": ("v1", "v4", "it")}
    np.savez(tmp_path / "twice.npz", **{"r": stack, "r/0": stack[0]})
    argv = ["affinity", str(tmp_path / "twice.npz"), "--measure", "pearson", "--out", str(out)]
    refused(argv, capsys, "two maps have the name 'r/0'")
    want = js.compare_maps(stack, "pearson").values
    for name, names in named.items():
        assert main(["affinity", str(tmp_path / name), "--measure", "pearson", "--out", str(out / name)]) == 0
        assert f"{name}: 3 maps of 8 images" in capsys.readouterr().err
        found = results.load(out / name / "affinity.npz")
        assert found.names == names
        np.testing.assert_array_equal(found.values, want)


def test_maps_are_said_to_be_maps(tmp_path, out, capsys, features):
    rows = dict(zip("abc", np.random.default_rng(0).random((3, 45)), strict=True))
    path = str(io.write_npz(tmp_path / "m.npz", rows))
    assert main(["affinity", path, "--measure", "pearson", "--out", str(out)]) == 0
    assert "m.npz: 3 maps of 10 images" in capsys.readouterr().err
    refused(["bootstrap", path, "--measure", "pearson", "--out", str(out / "b")], capsys, "such as --scheme bootstrap.")


def test_a_type_that_the_library_refuses_is_one_sentence(tmp_path, out, capsys):
    np.save(tmp_path / "words.npy", np.array([["a", "b"]] * 3))
    refused(["affinity", str(tmp_path / "words.npy"), "--out", str(out)], capsys, "has elements of type <U1")


def test_warnings_are_lines_on_standard_error(tmp_path, capsys):
    constant = matrix(tmp_path / "c.csv", [[1, 2, 3, 1]] * 4, tuple("abcd"))
    assert main(["evaluate", constant, constant]) == 0
    printed = capsys.readouterr()
    assert "jaxsim: warning: The correlation is undefined" in printed.err
    assert "NaN" not in json.dumps(printed.out)


def test_reasons_for_missing_scores_are_lines_on_standard_error(path, tmp_path, out, features, capsys):
    first, *_ = features
    spoilt = features | {first: np.where(np.arange(40).reshape(-1, *[1] * (features[first].ndim - 1)) == 3, np.nan, 1)}
    spoilt[first] = (spoilt[first] * features[first]).astype(np.float32)
    assert main(["affinity", str(io.write_npz(tmp_path / "spoilt.npz", spoilt)), "--out", str(out)]) == 0
    said = f"jaxsim: warning: network {first!r} has no rsa scores (NaN): its features are NaN in 1 of 40 images."
    assert said in capsys.readouterr().err


def test_a_command_that_draws_refuses_without_matplotlib_before_it_works(path, out, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert main(["affinity", str(path), "--out", str(out)]) == 2
    assert "plots need matplotlib: pip install" in capsys.readouterr().err
    assert not out.exists()


# Help


@pytest.mark.parametrize("command", COMMANDS)
def test_help_teaches_by_examples(command, capsys):
    assert main([command, "--help"]) == 0
    printed = capsys.readouterr().out
    assert f"  jaxsim {command}" in printed
    assert max(map(len, printed.splitlines())) <= 115


def test_help_lists_the_schemes_and_the_experiments(capsys):
    pytest.importorskip("flax")
    from jaxsim.studies import reproduce

    # a docstring example registers one more in this process
    shipped = [kind for kind, scheme in jaxsim.schemes.NAMED.items() if hasattr(jaxsim.schemes, scheme.__name__)]
    for command, names in (("bootstrap", shipped), ("reproduce", reproduce.EXPERIMENTS)):
        main([command, "--help"])
        assert set(names) <= set(capsys.readouterr().out.split())


def test_help_lists_the_commands_and_the_codes(capsys):
    assert main(["--help"]) == 0
    printed = capsys.readouterr().out
    assert set(COMMANDS) <= set(printed.split())
    assert "130" in printed


def test_alone_it_says_how_to_start(capsys):
    assert main([]) == 0
    printed = capsys.readouterr().out
    commands = re.findall(r"^  (jaxsim .*)", printed, re.M)
    assert len(commands) == 3
    for line in commands:
        assert build_parser().parse_args(shlex.split(line)[1:]).run


def cached(tmp_path, **more):
    """A command in a process of its own, whose home is a new folder."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("JAX_", "JAXSIM_C", "XDG_"))}
    given = clean | {"HOME": str(tmp_path / "home"), "MPLCONFIGDIR": str(tmp_path / "mpl")} | more
    code = "import sys; from jaxsim.cli import main; sys.exit(main())"
    argv = [sys.executable, "-c", code, "affinity", "features.npz", "--out", "out", "--overwrite"]
    return subprocess.run(argv, env=given, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=True).stderr


@pytest.mark.slow
def test_compiled_programs_are_kept_and_told_of(tmp_path, features):
    (tmp_path / "home").mkdir()
    np.savez(tmp_path / "features.npz", **features)
    assert "programs are kept in" in cached(tmp_path, XDG_CACHE_HOME=str(tmp_path / "kept"))
    (folder,) = (tmp_path / "kept/jaxsim").iterdir()
    made = {path.name for path in folder.iterdir()}
    assert made
    assert "kept" not in cached(tmp_path, XDG_CACHE_HOME=str(tmp_path / "kept"))
    assert {path.name for path in folder.iterdir()} == made  # found again
    cached(tmp_path, JAXSIM_CACHE="0")
    assert [name for name in files(tmp_path / "home") if "jaxsim" in name] == []


def test_a_cache_that_cannot_be_is_passed_over(tmp_path, monkeypatch):
    told = []
    (tmp_path / "file").write_text("")
    monkeypatch.delenv(cache.OWN, raising=False)
    monkeypatch.setenv(cache.VARIABLE, str(tmp_path / "file"))
    cache.keep(told.append)
    assert told == []
    monkeypatch.setenv(cache.OWN, "elsewhere")
    assert cache.folder() is None


def test_the_oldest_programs_go_first(tmp_path):
    for k in range(4):
        (tmp_path / str(k)).write_bytes(b"x" * 10)
        os.utime(tmp_path / str(k), (k, k))
    cache.prune(tmp_path, 25)
    assert files(tmp_path) == ["2", "3"]


def test_help_and_parsing_load_none_of_the_heavy_packages():
    code = "import sys; from jaxsim.cli import build_parser; build_parser(); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert set(done.stdout.split()).isdisjoint(
        {"flax", "optax", "orbax", "scipy", "matplotlib", "h5py", "pandas", "PIL"}
    )


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_is_a_module_of_its_name_with_examples(name):
    module = importlib.import_module(f"jaxsim.cli.{name}")
    assert module.__doc__ is not None
    examples = module.__doc__.split("Examples:")[1].strip().replace("\n    --", " --").splitlines()
    assert examples
    for line in examples:
        parsed = build_parser().parse_args(shlex.split(line)[1:])
        assert (parsed.command, parsed.run) == (name, module.run)


def test_every_module_is_a_command_or_shared():
    found = {path.stem for path in Path(jaxsim.cli.__file__).parent.glob("*.py")}
    assert found - set(COMMANDS) == {"__init__", "arguments", "banks", "cache", "inputs", "output"}


def test_python_runs_the_package_as_the_command(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["jaxsim", "--version"])
    with pytest.raises(SystemExit, match="0"):
        runpy.run_module("jaxsim", run_name="__main__")
    assert capsys.readouterr().out.startswith("jaxsim ")


def test_a_command_is_added_by_a_module_and_its_name(monkeypatch, capsys):
    module: Any = types.ModuleType("jaxsim.cli.count", "Count to a number.\n\nExamples:\n  jaxsim count 3\n")
    module.add_arguments = lambda command: command.add_argument("number", type=int)
    module.run = lambda arguments: print(*range(1, arguments.number + 1))
    monkeypatch.setitem(sys.modules, "jaxsim.cli.count", module)
    monkeypatch.setattr(jaxsim.cli, "COMMANDS", (*COMMANDS, "count"))
    assert main(["count", "3"]) == 0
    assert capsys.readouterr().out == "1 2 3\n"
    assert main(["--help"]) == 0
    assert "count to a number\n" in capsys.readouterr().out
    assert main(["count", "--help"]) == 0
    assert "  jaxsim count 3" in capsys.readouterr().out


# Names are data


def test_names_with_escapes_are_shown_escaped_everywhere(tmp_path, out, features, capsys):
    hostile = {f"{name}\x1b[2J\u202e\n": x for name, x in features.items()}
    path = str(io.write_npz(tmp_path / "hostile.npz", hostile))
    assert main(["affinity", path, "--out", str(out)]) == 0
    assert main(["evaluate", str(out / "affinity.npz"), str(out / "affinity.csv"), "--subset"]) == 2
    printed = capsys.readouterr()
    for text in (printed.out, printed.err, (out / "affinity.csv").read_text(), str(results.load(out / "affinity.npz"))):
        assert all(line.isprintable() for line in text.split("\n"))
        assert "\\x1b[2J\\u202e\\n" in text or text is printed.err


def test_formulas_are_neutralized_on_request(tmp_path, out, features):
    first, *rest = features
    path = str(io.write_npz(tmp_path / "f.npz", {f"=1+{first}": features[first]} | {n: features[n] for n in rest}))
    assert main(["affinity", path, "--out", str(out), "--spreadsheet"]) == 0
    rows = list(csv.reader((out / "affinity.csv").read_text().splitlines()))
    assert rows[0][1] == rows[1][0] == f"'=1+{first}"
    float(rows[1][1])


def test_the_heat_map_of_maps_counts_maps(tmp_path, out, monkeypatch):
    drawn = []
    monkeypatch.setattr(plotting, "save_figure", lambda figure, path: drawn.append(figure) or Path(path).touch())
    rows = dict(zip("abc", np.random.default_rng(0).random((3, 45)), strict=True))
    path = str(io.write_npz(tmp_path / "m.npz", rows))
    assert main(["affinity", path, "--measure", "pearson", "--out", str(out)]) == 0
    assert "3 maps, 10 images" in [axes.get_title(loc="left") for axes in drawn[0].axes]


def test_an_output_file_is_named_as_it_was_given(tmp_path):
    from jaxsim.cli.output import staged

    given, place = tmp_path / "file" / "x.safetensors", tmp_path / "file"
    place.write_text("")
    arguments = types.SimpleNamespace(out=str(given), overwrite=False, spreadsheet=False)
    with pytest.raises(OSError, match=f"--out {given} could not be written"), staged(arguments, [given.name], place):
        pass


def test_an_interruption_of_the_work_does_not_speak_of_folders_inside(out):
    from jaxsim.cli import _interruption
    from jaxsim.cli.output import staged

    arguments = argparse.Namespace(out=str(out), overwrite=False, spreadsheet=False, format=("png",))
    with pytest.raises(KeyboardInterrupt) as caught, staged(arguments, ["a.csv"]):
        raise KeyboardInterrupt("the output in work/features is complete")
    assert _interruption(caught.value, arguments.written) == "interrupted; no output was written or changed"
    assert not out.exists()


def test_evaluate_gives_curves(out, tmp_path, capsys):
    rng, names = np.random.default_rng(0), tuple("abcdefgh")
    truth = rng.standard_normal((8, 8))
    files_of = [matrix(tmp_path / f"{name}.csv", truth * s, names) for name, s in (("same", 1), ("opposite", -1))]
    argv = ["evaluate", files_of[0], matrix(tmp_path / "t.csv", truth, names), "--curves"]
    assert main([*argv, "--compare", files_of[1], "--out", str(out)]) == 0
    assert {"agreement_curves.csv", "agreement_curves.png"} <= {p.name for p in out.iterdir()}
    rows = list(csv.DictReader((out / "agreement_curves.csv").read_text().splitlines()))
    same = [(float(r["precision"]), float(r["recall"])) for r in rows if r["measure"] == "same"]
    wanted = [(min(k, 5) / k, min(k, 5) / 5) for k in range(1, 8)]  # seven sources, the first five relevant
    np.testing.assert_allclose(same, wanted)
    opposite = [float(r["precision"]) for r in rows if r["measure"] == "opposite"]
    np.testing.assert_allclose(opposite, [max(k - 2, 0) / k for k in range(1, 8)])
    capsys.readouterr()
    assert main([*argv, "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["curves"]) == 7
    few = [matrix(tmp_path / f"{n}.csv", truth[:4, :4], names[:4]) for n in ("small", "t4")]
    refused(["evaluate", *few, "--curves"], capsys, "more than 5 sources besides its own", "small has none")


@pytest.mark.parametrize("shell", ["bash", "zsh", "tcsh"])
def test_completion_knows_every_command(shell, capsys):
    pytest.importorskip("shtab")
    assert main(["completion", shell]) == 0
    script = capsys.readouterr().out
    assert all(re.search(rf"\b{name}\b", script) for name in COMMANDS)
    assert main(["completion", shell, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["script"] + "\n" == script


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        pytest.param(["boot"], {"bootstrap"}, marks=pytest.mark.slow),
        (["rdm", "--over", ""], {"both", "images", "subjects"}),
        pytest.param(["affinity", "feat"], {"features"}, marks=pytest.mark.slow),
    ],
)
def test_bash_completes(typed, expected, tmp_path, capsys):
    pytest.importorskip("shtab")
    (tmp_path / "features").mkdir()
    assert main(["completion", "bash"]) == 0
    (tmp_path / "script").write_text(capsys.readouterr().out)
    words = " ".join(f"'{word}'" for word in ["jaxsim", *typed])
    asked = f"source ./script; COMP_WORDS=({words}); COMP_CWORD={len(typed)}; _shtab_jaxsim; echo ${{COMPREPLY[@]}}"
    made = subprocess.run(["bash", "-c", asked], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert set(made.stdout.split()) == expected, made.stderr


def test_names_of_files_stay_as_they_are_in_messages(tmp_path, capsys):
    missing = tmp_path / "lr=0.1_bn=True" / "channels=x.npz"
    assert main(["affinity", str(missing), "--out", str(tmp_path / "out")]) == 2
    assert str(missing) in capsys.readouterr().err


def test_results_do_not_go_among_the_features(tmp_path, capsys):
    for name in "ab":
        np.save(tmp_path / f"{name}.npy", np.random.default_rng(ord(name)).normal(size=(12, 4)))
    assert main(["affinity", str(tmp_path), "--out", f"{tmp_path}/"]) == 2
    assert "is the folder of the features" in capsys.readouterr().err
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.npy", "b.npy"]
