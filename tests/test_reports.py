"""Reports: what the page holds, that names are inert in it, and the command."""

import base64
import dataclasses
import functools
import hashlib
import html.parser
import json
import re
import subprocess
import sys
import tomllib
from importlib import resources
from pathlib import Path

import numpy as np
import pytest

import jaxsim as js
from jaxsim import cli, reports
from jaxsim.reports import methods, remake
from jaxsim.reports.record_sections import BINS
from jaxsim.results import Affinity, Provenance, Resamples, record
from jaxsim.results.model_comparisons import AVERAGED
from jaxsim.results.tables import Table

ROOT = Path(__file__).parent.parent
NAMES = ("edges", "depth", "normals", "faces")
CKA = "linear CKA, unbiased"
HOSTILE = (
    "</script><img src=x onerror=\"document.title='hit'\">",
    "<!--<script>",
    "{{ 7 * 7 }}",
    "a & b\u2028\x1b[31m",
)


def made(measure="rsa", **rest):
    versions = (("jaxsim-similarity", "0.1.0"), ("jax", "0.10.2"), ("numpy", "2.4.6"), ("python", "3.11.7"))
    return Provenance(measure, "float32", "cpu: cpu", versions=versions, **rest)


def scores(count=4, seed=0):
    values = np.random.default_rng(seed).uniform(0.1, 0.9, (count, count)).astype(np.float32)
    values = (values + values.T) / 2
    np.fill_diagonal(values, 1)
    return values


def affinity(names=NAMES, **rest):
    values = scores(len(names))
    return Affinity(values, np.full(values.shape, 50), names, names, made(), **rest)


def resamples(names=NAMES, kind="half-samples", count=40, **rest):
    estimate = scores(len(names))
    noise = np.random.default_rng(1).normal(0, 0.02, (count, *estimate.shape)).astype(np.float32)
    values = np.tanh(np.arctanh(np.minimum(estimate, 0.99)) + noise + noise.swapaxes(1, 2))
    values[:, range(len(names)), range(len(names))] = 1
    given = {"kind": kind, "images": 50, "size": 25 if kind == "half-samples" else None} | rest
    return Resamples(values, estimate, names, names, made(scheme=f"{kind}()", key="threefry2x32:[0, 7]"), **given)


class Page(html.parser.HTMLParser):
    """Elements of a page with their attributes, and its text without that of scripts and styles."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.open, self.text, self.raw = [], [], "", {}
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        self.last = (tag, dict(attributes))

    def handle_data(self, data):
        if self.cdata_elem:
            key = "data" if self.last[1].get("type") == "application/json" else self.last[0]
            self.raw[key] = self.raw.get(key, "") + data
        else:
            self.text += data

    def of(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]

    @property
    def data(self):
        return json.loads(self.raw["data"])


def page(*records, **options):
    return Page(reports.page(*records, **options))


def numbers(section, name):
    (column,) = (c for c in section["columns"] if c["name"] == name)
    values, count = np.array(column["values"], float), len(section["names"])
    if not column["symmetric"]:
        return values.reshape(count, -1)
    full = np.zeros((count, count))
    full[np.triu_indices(count)] = values
    return np.maximum(full, full.T)


def test_the_report_of_the_manual_has_todays_style_and_script():
    page = (ROOT / "docs/_static/report.html").read_text(encoding="utf-8")
    for name in ("page.css", "page.js"):  # `python docs/figures.py --report WORK` makes it again
        assert (resources.files(reports) / "templates" / name).read_text(encoding="utf-8").strip() in page, name


def test_a_page_needs_no_network_and_runs_no_script_but_its_own():
    text = reports.page(resamples(), js.taxonomy.tree(affinity()))
    found = Page(text)
    assert len(found.of("h1")) == 1
    ids = [given["id"] for _, given in found.elements if "id" in given]
    assert len(ids) == len(set(ids))
    links = [value for _, given in found.elements for key, value in given.items() if key in ("src", "href", "action")]
    assert links
    assert {link[1:] for link in links} <= set(ids)
    assert not re.search(r"url\(|@import|fetch\(|XMLHttpRequest", text)
    (policy,) = (m["content"] for m in found.of("meta") if m.get("http-equiv") == "Content-Security-Policy")
    digest = base64.b64encode(hashlib.sha256(found.raw["script"].encode()).digest()).decode()
    assert policy.startswith("default-src 'none';")
    assert f"script-src 'sha256-{digest}';" in policy


def test_names_are_inert():
    found = page(resamples(HOSTILE), js.taxonomy.tree(affinity(HOSTILE)), title=HOSTILE[0], command=HOSTILE[0])
    assert not found.of("img")
    assert len(found.of("script")) == 2
    assert HOSTILE[0] in found.text
    assert "{{ 7 * 7 }}" in found.text
    assert found.data["s0"]["names"] == [*HOSTILE[:3], "a & b\\u2028\\x1b[31m"]
    assert "\x1b" not in found.text


def test_a_fallback_table_is_inert_too():
    maps = js.Maps.from_dict({HOSTILE[0]: [0.1, 0.5, 0.3]}, measure=HOSTILE[1])
    found = page(maps)
    assert not found.of("img")
    assert HOSTILE[0] in found.text


def test_numbers_are_those_of_the_record():
    found = resamples()
    section = page(found, level=0.9).data["s0"]
    low, high = np.asarray(found.interval(0.9))
    off = ~np.eye(4, dtype=bool)
    np.testing.assert_allclose(numbers(section, "score"), found.estimate, rtol=1e-4)
    np.testing.assert_allclose(numbers(section, "90 % low")[off], low[off], rtol=1e-4)
    np.testing.assert_allclose(numbers(section, "90 % high")[off], high[off], rtol=1e-4)
    np.testing.assert_allclose(numbers(section, "error")[off], np.asarray(found.standard_error())[off], rtol=1e-4)
    first = numbers(section, "share ranked first")
    np.testing.assert_allclose(first[off], np.asarray(found.first_share())[off], rtol=1e-4)
    assert section["interval"] == [2, 3]
    assert section["p"] is None


def test_histograms_count_every_resample():
    found = resamples()
    drawn = page(found).data["s0"]["histogram"]
    counts = np.frombuffer(base64.b64decode(drawn["counts"]), "<u2").reshape(-1, BINS)
    for place, (i, j) in enumerate(zip(*np.triu_indices(4), strict=True)):
        values = found.values[:, i, j]
        assert counts[place].sum() == 40
        if i < j:
            np.testing.assert_array_equal(counts[place], np.histogram(values.astype(float), BINS)[0])
            assert drawn["low"][place] == pytest.approx(values.min(), rel=1e-4)


def test_p_values_of_permutations_decide_what_is_a_finding():
    found = resamples(kind="permutation", count=39)
    with pytest.warns(js.FewResamples):  # none of the family alone
        section = page(found).data["s0"]
    off = ~np.eye(4, dtype=bool)
    np.testing.assert_allclose(numbers(section, "p")[off], np.asarray(found.p_value())[off], rtol=1e-4)
    assert section["columns"][section["p"]]["name"] == "p"
    assert section["interval"] is None
    assert section["alpha"] == 0.05


def test_p_values_stand_beside_intervals_of_the_same_scores():
    boot, null = resamples(), resamples(kind="permutation", count=119)
    shown = page(boot, null)
    off = ~np.eye(4, dtype=bool)
    np.testing.assert_allclose(
        numbers(shown.data["s0"], "p, permutation")[off], np.asarray(null.p_value())[off], rtol=1e-4
    )
    assert "for each pair separately: 119 permutations." in shown.text
    other = dataclasses.replace(null, provenance=made("cka-linear"))
    assert "p, permutation" not in [c["name"] for c in page(boot, other).data["s0"]["columns"]]


def test_scores_that_are_missing_have_a_reason():
    values, boot = scores(), resamples()
    values[1] = values[:, 1] = np.nan
    found = dataclasses.replace(affinity(), values=values, undefined=(("depth", 50),))
    shown = page(found)
    assert "4 of 10 entries have no score. depth: its map has no value for 50 images." in shown.text
    assert shown.data["s0"]["reasons"] == {"depth": "its map has no value for 50 images"}
    assert shown.data["s0"]["columns"][0]["values"].count(None) == 4
    given = js.Affinity.from_array(values, NAMES, measure="win rate")
    assert "NaN in the record, which does not say which networks" in page(given).text
    lost = np.array(boot.values)
    lost[0, 0, 2] = lost[0, 2, 0] = np.nan
    shown = page(dataclasses.replace(boot, values=lost))
    assert "2 entries without a score in some resample: no interval." in shown.text
    (column,) = (c for c in shown.data["s0"]["columns"] if c["name"] == "resamples without a score")
    assert column["whole"]
    assert sum(column["values"]) == 1


def test_everything_missing_is_still_a_page():
    values = np.full((4, 4), np.nan, np.float32)
    shown = page(dataclasses.replace(affinity(), values=values, undefined=tuple((n, 50) for n in NAMES)))
    assert "10 of 10 entries have no score." in shown.text


def test_scores_are_shown_once_and_a_tree_gives_its_order():
    plain, boot = affinity(), resamples()
    tree = js.taxonomy.tree(plain)
    shown = page(plain, boot, tree)
    assert sorted(shown.data) == ["s0"]
    assert shown.data["s0"]["orders"] == {"tree": list(tree.order)}
    other = dataclasses.replace(plain, values=plain.values * 0.5)
    assert sorted(page(other, boot).data) == ["s0", "s1"]
    fewer = js.taxonomy.tree(affinity(NAMES[:3]))
    assert page(boot, fewer).data["s0"]["orders"] == {}


def test_a_tree_is_drawn_whole():
    tree = js.taxonomy.branch_support(js.taxonomy.tree(affinity()), resamples())
    drawn = reports.sections(tree)[0].content["drawing"]
    assert drawn["names"] == [NAMES[i] for i in tree.order]
    merges = np.asarray(tree.merges)
    assert [joint["at"][2] for joint in drawn["joints"]] == pytest.approx(merges[:, 2] / merges[-1, 2], abs=1e-3)
    assert [joint["support"] for joint in drawn["joints"]] == [f"{100 * s:.0f}" for s in tree.support[:-1]] + [None]
    shown = page(tree)
    assert len(shown.of("path")) == len(merges) + 1
    assert tree.to_newick() in shown.text


@pytest.mark.slow
def test_calibrated_scores_have_their_p_values():
    layers = {f"{net}/{k}": x for net in "abc" for k, x in enumerate(np.random.default_rng(3).normal(size=(2, 20, 4)))}
    found = js.calibrate(layers, "cka", layers_of=lambda name: name[0], n_permutations=19)
    shown = page(found)
    networks, single = shown.data["s0"], shown.data["s1"]
    off, calibrated = ~np.eye(3, dtype=bool), np.asarray(found.best_calibrated())
    np.testing.assert_allclose(numbers(networks, "adjusted p")[off], np.asarray(found.step_down)[off], rtol=1e-4)
    np.testing.assert_allclose(numbers(networks, "calibrated")[off], calibrated[off], atol=1e-4)
    assert networks["columns"][networks["p"]]["name"] == "adjusted p"
    assert networks["words"]["best layers"][0][1] == " – ".join(found.best_layers(0, 1))
    assert single["names"] == list(layers)
    assert "19 permutations of 20 images" in shown.text


def models_and_brains():
    rng = np.random.default_rng(5)
    image, *others = rng.normal(size=(3, 20, 4))
    brains = {f"subject {k}": 1 - np.corrcoef(image + rng.normal(size=(20, 4))) for k in range(4)}
    models = dict(zip(("image", "place", "noise"), (image, *others), strict=True))
    return models, brains


@functools.cache
def models_compared():
    return js.compare_models(*models_and_brains(), "pearson", measure="rsa", n_resamples=100, key=3)


@pytest.mark.slow
def test_models_have_a_figure_their_pairs_and_a_methods_paragraph():
    found = models_compared()
    models, pairs = reports.sections(found)
    best = found.ranking()[0][0]
    assert [row[0] for row in models.content["rows"]] == [name for name, _ in found.ranking()]
    drawn = models.content["drawing"]["rows"]
    assert drawn[0]["interval"][0] < drawn[0]["at"] < drawn[0]["interval"][1]
    below = [bool(found.p_ceiling[found.names.index(row["name"])] < 0.05) for row in drawn]
    assert [row["below"] for row in drawn] == below
    assert (len(drawn[0]["subjects"]), drawn[0]["name"], drawn[0]["above"]) == (4, best, True)
    small = dataclasses.replace(found, p_zero=np.full(3, 1e-5))
    assert {row[-2] for row in reports.sections(small)[0].content["rows"]} == {"<.001"}
    assert {row[-2] for row in small.table().rows} == {"<.001"}
    adjusted = np.asarray(found.p_adjusted)[np.triu_indices(3, 1)]
    assert f"{(adjusted < 0.05).sum()} of 3 pairs differ" in pairs.text[0]
    assert len(pairs.content["rows"]) == 3
    shown = page(found)
    assert len(shown.of("circle")) == 3
    assert "Noise ceiling: lower" in shown.text
    text, references = methods.paragraph([found])
    assert (
        "The maps (RDMs) of 3 models were compared with those of 4 subjects for 20 images by Pearson's correlation"
        in text
    )
    assert "Maps of models that are features were made by rsa." in text
    assert "100 bootstraps of subjects and images" in text
    assert "Precomputed" not in text
    assert [one.split(" ")[0] for one in references] == ["Kriegeskorte", "Schütt", "Nili"]


@pytest.mark.slow
def test_models_without_intervals_pairs_or_a_sign_are_still_a_page():
    found, lost = models_compared(), np.full(3, np.nan)
    other = dataclasses.replace(found, over="subjects", test="rank", squared=True, p_zero=lost)
    shown = page(other)
    assert "Holm's rule" in shown.text
    ranks = page(dataclasses.replace(found, test="rank")).text
    assert "Errors and intervals are for new subjects and images, and p values for new subjects, these images" in ranks
    assert "one-sided" not in shown.text
    assert {row[-2] for row in reports.sections(other)[0].content["rows"]} == {"–"}
    empty = dataclasses.replace(found, low=lost, high=lost, ceiling=np.full(2, np.nan))
    drawn = reports.sections(empty)[0].content["drawing"]
    assert drawn["ceiling"] is drawn["rows"][0]["interval"] is None
    assert len(page(empty).of("circle")) == 3
    own = ("estimate", "error", "low", "high", "p_zero", "p_ceiling", "degrees", "scores")
    both = ("difference", "difference_error", "p_pair", "p_adjusted")
    one = {name: getattr(found, name)[:1] for name in own} | {name: getattr(found, name)[:1, :1] for name in both}
    single = dataclasses.replace(found, names=("image",), draws=found.draws[:, :1], **one)
    assert len(reports.sections(single)) == 1
    assert not page(dataclasses.replace(found, names=HOSTILE[:3])).of("img")


@pytest.mark.slow
@pytest.mark.parametrize("over", ["both", "images", "subjects"])
@pytest.mark.parametrize("test", ["t", "bootstrap", "rank"])
def test_every_test_of_models_has_words(over, test):
    text, references = methods.paragraph([dataclasses.replace(models_compared(), over=over, test=test)])
    assert reports.model_sections.WORDS[over] in text
    assert ("Wilcoxon's signed ranks, for new subjects, these images" in text) == (test == "rank")
    assert ("Efron" in text) == (over == "images") == any(one.startswith("Efron") for one in references)


@pytest.mark.slow
def test_the_commands_compare_the_models_again(tmp_path, monkeypatch):
    models, brains = models_and_brains()
    np.savez(tmp_path / "MODELS.npz", **models)
    np.savez(tmp_path / "SUBJECTS.npz", **brains)
    monkeypatch.chdir(tmp_path)
    found = models_compared()
    (command,) = remake.commands([found])
    argv = command.replace("MODELS", "MODELS.npz").replace("SUBJECTS", "SUBJECTS.npz").split()[1:]
    assert cli.main([*argv, "--quiet", "--report"]) == 0
    assert "pairs differ" in Page(Path("results/report.html").read_text()).text
    np.testing.assert_array_equal(js.load("results/comparison.npz").p_pair, found.p_pair)
    names = {}
    exec(remake.python([found]).replace("MODELS", "MODELS.npz").replace("SUBJECTS", "SUBJECTS.npz"), names)
    np.testing.assert_array_equal(names["comparison"].p_pair, found.p_pair)
    averaged = dataclasses.replace(found.provenance, notes=(f"{AVERAGED}a (2)",))
    several = dataclasses.replace(found, provenance=averaged, squared=True)
    assert "--subject-of TEXT" in remake.commands([several])[0]
    assert "squared=True, subject_of=subject_of" in remake.python([several])


def test_two_sets_and_distances():
    values = np.random.default_rng(0).uniform(1, 3, (2, 3))
    given = js.Affinity.from_array(values, "ab", "xyz", measure="loss", distance=True)
    section = page(given).data["s0"]
    np.testing.assert_allclose(numbers(section, "score"), values, rtol=1e-4)
    assert section["distance"]
    assert section["columns"][0]["reverse"]
    assert "lower is more similar" in page(given).text


def test_warnings_are_in_the_page_and_warned_of():
    found = dataclasses.replace(resamples(kind="bootstrap", count=30), flags=("few images.",))
    with pytest.warns(js.FewResamples, match="too narrow"):
        shown = page(found)
    assert "few images." in shown.text
    assert "a 95 % percentile interval from 30 resamples is too narrow: it needs 39" in shown.text
    assert "Warnings (2)" in shown.text


@pytest.mark.slow
def test_a_hundred_networks_take_less_than_a_megabyte():
    names = tuple(f"network {k} of a hundred networks" for k in range(100))
    text = reports.page(resamples(names, count=200), js.taxonomy.tree(affinity(names)))
    assert len(text.encode()) < 1e6


def test_methods_cite_what_is_in_the_bibliography():
    known = (ROOT / "docs/references.bib").read_text()
    assert set(js.measures.NAMED) <= set(methods._CITED)
    assert set(js.schemes.NAMED) - {"permutation"} <= set(methods._OF_SCHEMES)
    for key, text in methods.REFERENCES.items():
        (entry,) = re.findall(rf"@\w+\{{{key},.*", known)
        assert re.search(r"year=\{(\d+)\}", entry)[1] == re.search(r"\((\d{4})\)", text)[1]
        title = re.sub(r"[{}]", "", re.search(r"title=\{(.*?)\}, (?:booktitle|journal)", entry)[1])
        assert title in text, key


def test_the_methods_paragraph_states_what_the_record_holds():
    text, references = methods.paragraph([affinity(), resamples(), js.taxonomy.tree(affinity())], 0.9)
    assert text == (
        "For each network, a map of all pairs of the 50 images was made with correlation distances of features minus "
        "their mean over images. Maps were compared by Spearman's rank correlation (Dwivedi & Roig, 2019). "
        "Images were resampled: 40 half-samples (20 random halves, each with its complement) (McCarthy, 1969). "
        "Intervals have a nominal level of 90 % for each pair separately, from Student's t on Fisher's scale. "
        "Networks were clustered by average linkage on 1 - S. Computed in float32 with jaxsim 0.1.0 "
        "(JAX 0.10.2, NumPy 2.4.6, Python 3.11.7) on CPU, random key threefry2x32:[0, 7]."
    )
    assert [one.split(" ")[0] for one in references] == ["Dwivedi", "McCarthy"]


@pytest.mark.parametrize("kind", js.schemes.NAMED)
def test_every_scheme_has_words(kind):
    size = {"half-samples": 25, "subsample": 20}.get(kind)
    found = resamples(kind=kind, size=size, groups=12 if kind == "jackknife" else None)
    text, _ = methods.paragraph([found])
    assert "those of the scheme" not in text
    assert ("group left out once" if kind == "jackknife" else "40") in text
    parsed = cli.build_parser().parse_args(remake.commands([found])[0].split()[1:])
    assert parsed.scheme == kind


def test_numbers_from_elsewhere_are_not_said_to_be_ours():
    given = js.Affinity.from_array(scores(), NAMES, measure="win rate")
    text, references = methods.paragraph([given])
    assert text == "The scores are win rate."
    assert references == []
    assert remake.commands([given]) == []
    assert remake.python([given]).splitlines()[-2] == 'affinity = js.load("affinity.npz")'


@pytest.mark.slow
def test_commands_and_lines_make_the_same_numbers(tmp_path, monkeypatch):
    x = np.random.default_rng(0).normal(size=(3, 20, 5)).astype(np.float32)
    features = dict(zip("abc", x, strict=True))
    found = js.resample(features, "cka", js.Bootstrap(), n_resamples=40, key=3)
    plain = js.affinity(features, "cka")
    tree = js.taxonomy.branch_support(js.taxonomy.tree(plain), found)
    np.savez(tmp_path / "FEATURES.npz", **features)
    monkeypatch.chdir(tmp_path)
    for command in remake.commands([plain, found, tree]):
        argv = command.replace("FEATURES", "FEATURES.npz").split()[1:]
        assert cli.main([*argv, "--quiet"]) == 0
    np.testing.assert_array_equal(js.load("results/resamples.npz").values, found.values)
    np.testing.assert_array_equal(js.load("tree/taxonomy.npz").support, tree.support)
    names = {}
    exec(remake.python([plain, found, tree]).replace("FEATURES", "FEATURES.npz"), names)
    np.testing.assert_array_equal(names["resamples"].values, found.values)
    np.testing.assert_array_equal(names["tree"].support, tree.support)
    assert Path("report.html").exists()


def test_a_record_of_another_kind_shows_its_table_or_has_its_own_sections():
    @record(arrays={"values": ("names",)})
    class Tally(js.results.Saved):
        values: object
        names: tuple[str, ...]

        def table(self):
            return Table("a tally", ["", "count"], [[n, str(v)] for n, v in zip(self.names, self.values, strict=True)])

    found = Tally(np.arange(2), ("one", "two"))
    shown = page(found)
    assert "a tally" in shown.text
    assert [cell for cell in ("one", "two") if cell in shown.text] == ["one", "two"]
    reports.sections.register(Tally)(lambda record, **_: [reports.Section("mine", "table", content=EMPTY)])
    assert "mine" in page(found).text


EMPTY = {"header": ["name"], "rows": []}


def test_what_cannot_be_reported_is_said(tmp_path):
    with pytest.raises(ValueError, match="needs at least one record"):
        js.report(path=tmp_path / "report.html")
    with pytest.raises(TypeError, match="not from ndarray"):
        js.report(np.eye(3), path=tmp_path / "report.html")
    with pytest.raises(ValueError, match="between 0 and 1"):
        js.report(affinity(), path=tmp_path / "report.html", level=95)
    with pytest.raises(ValueError, match=r"report.pdf' must end in .html"):
        js.report(affinity(), path=tmp_path / "report.pdf")
    with pytest.raises(TypeError, match="as separate arguments"):
        js.report([affinity()], path=tmp_path / "report.html")
    js.report(affinity(), path=tmp_path / "report.html")
    with pytest.raises(FileExistsError, match="already exists"):
        js.report(affinity(), path=tmp_path / "report.html")
    assert js.report(affinity(), path=tmp_path / "report.html", overwrite=True).exists()


@pytest.mark.slow
def test_without_jinja_the_extra_is_named():
    code = "import sys; sys.modules['jinja2'] = None; import jaxsim as js; js.report(js.Affinity.from_array"
    code += "([[1.0]], 'a', measure='m'), path='report.html')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert 'reports need jinja2: pip install "jaxsim-similarity[report]".' in done.stderr


def test_the_wheel_has_the_templates():
    build = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]
    assert build["targets"]["wheel"] == {"packages": ["jaxsim"]}  # all files of the package, whatever they end in
    folder = resources.files("jaxsim.reports") / "templates"
    assert sorted(one.name for one in folder.iterdir()) == ["page.css", "page.html", "page.js"]


@pytest.fixture
def results(tmp_path):
    folder = tmp_path / "results"
    folder.mkdir()
    affinity().save(folder / "affinity.npz")
    resamples().save(folder / "resamples.npz")
    np.savez(folder / "features.npz", a=np.eye(3))
    return folder


def test_the_command_reports_a_folder_or_files(results, tmp_path, capsys):
    out = tmp_path / "page.html"
    assert cli.main(["report", str(results), "--title", "Twenty <b>encoders", "--out", str(out)]) == 0
    said = capsys.readouterr()
    assert "left out features.npz, not results of jaxsim" in said.err
    assert "resamples.npz: Resamples" in said.out
    shown = Page(out.read_text())
    assert "Twenty <b>encoders" in shown.text
    assert f"jaxsim report {results}" in shown.text
    assert sorted(shown.data) == ["s0"]
    assert cli.main(["report", str(results / "affinity.npz"), "--out", str(out)]) == 2
    assert "already exists" in capsys.readouterr().err
    assert cli.main(["report", str(results / "affinity.npz"), "--out", str(out), "--overwrite", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["file"] == str(out)


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["nothing.npz"], "does not exist"),
        (["results/affinity.npz", "results/affinity.npz"], "given twice"),
        (["results/features.npz"], "holds no jaxsim record"),
        (["results/damaged.npz"], "is damaged"),
        (["results/newer.npz"], "a kind that this version does not know"),
        (["empty"], "has no results"),
    ],
)
def test_the_command_says_what_is_wrong(results, tmp_path, monkeypatch, capsys, argv, words):
    monkeypatch.chdir(tmp_path)
    Path("empty").mkdir()
    saved = dict(np.load("results/affinity.npz"))
    text = str(saved["record_json"])
    np.savez("results/damaged.npz", **saved | {"values": np.eye(7)})
    np.savez("results/newer.npz", **saved | {"record_json": np.array(text.replace('"Affinity"', '"Newer"'))})
    assert cli.main(["report", *argv, "--out", "report.html"]) == 2
    assert words in capsys.readouterr().err
    assert not Path("report.html").exists()


def test_a_report_is_an_html_file(results, tmp_path, capsys):
    assert cli.main(["report", str(results), "--out", str(tmp_path / "report.pdf")]) == 2
    assert "must be a file that ends in .html" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("argv", "sections"),
    [
        (["affinity", "--measure", "rsa", "--measure", "cka"], ["RSA", "Tree: RSA"]),
        pytest.param(
            ["bootstrap", "--measure", "cka", "--resamples", "40"], [CKA, f"Tree: {CKA}"], marks=pytest.mark.slow
        ),
        pytest.param(
            ["calibrate", "--measure", "rsa", "--permutations", "19"],
            ["RSA, calibrated", "Tree: RSA, calibrated"],
            marks=pytest.mark.slow,
        ),
        (["taxonomy", "--measure", "cka"], [CKA, f"Tree: {CKA}"]),
    ],
)
def test_commands_write_their_report(tmp_path, capsys, argv, sections):
    x = np.random.default_rng(0).normal(size=(3, 20, 5)).astype(np.float32)
    np.savez(tmp_path / "features.npz", **dict(zip("abc", x, strict=True)))
    out = tmp_path / "out"
    given = [argv[0], str(tmp_path / "features.npz"), *argv[1:], "--out", str(out), "--report"]
    assert cli.main(given) == 0
    assert "report.html" in capsys.readouterr().err
    path = next(out.glob("**/report.html"))
    shown = Page(path.read_text())
    for one in sections:
        assert one in shown.text
    assert f"jaxsim {argv[0]} {tmp_path}/features.npz" in shown.text
    assert len([*out.glob("**/report.html")]) == argv.count("--measure")
