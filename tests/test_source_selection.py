"""The selector of sources: its scores, its place in scikit-learn, and what it refuses."""

import numpy as np
import pytest
from marks import slow_but
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import check_estimator

import jaxsim as js
from jaxsim.source_selection import SourceSelector

RANDOM = np.random.default_rng(0)
Y = RANDOM.normal(size=(30, 3)).astype(np.float32)
FEATURES = {
    "noise": RANDOM.normal(size=(30, 4)),
    "near": np.hstack([Y + 0.1 * RANDOM.normal(size=(30, 3)), RANDOM.normal(size=(30, 1))]),
    "far": np.hstack([Y + 2 * RANDOM.normal(size=(30, 3)), RANDOM.normal(size=(30, 1))]),
}
FEATURES = {name: x.astype(np.float32) for name, x in FEATURES.items()}
X = np.concatenate([*FEATURES.values()], 1)
SOURCES = np.repeat([*FEATURES], 4)


@pytest.mark.parametrize("measure", slow_but(["cka"], ["cka", js.RSA]))
def test_scores_are_those_of_affinity(measure):
    found = SourceSelector(SOURCES, measure, k=2).fit(X, Y)
    wanted = js.affinity(FEATURES, measure, against={"target": Y}).values[:, 0]
    np.testing.assert_array_equal(found.scores_, wanted)
    assert found.names_ == tuple(FEATURES)
    assert found.ranking_[0] == "near"
    np.testing.assert_array_equal(found.transform(X), X[:, np.isin(SOURCES, found.ranking_[:2])])


def test_columns_of_a_source_need_not_stand_together():
    order = RANDOM.permutation(12)
    found = SourceSelector(SOURCES[order]).fit(X[:, order], Y)
    assert found.ranking_[0] == "near"
    np.testing.assert_array_equal(found.get_support(), SOURCES[order] == "near")


@pytest.mark.parametrize("measure", slow_but(["cka"], ["cka", "rsa"]))
@pytest.mark.parametrize("classes", [np.array([0, 1]), np.array(["cat", "dog", "bird"])])
def test_classes_get_a_column_each(classes, measure):
    label = np.argmax(Y[:, : len(classes)], 1)
    found = SourceSelector(SOURCES, measure).fit(X, classes[label])
    columns = {"target": np.eye(len(classes), dtype=np.float32)[label]}
    wanted = js.affinity(FEATURES, measure, against=columns).values[:, 0]
    np.testing.assert_allclose(found.scores_, wanted, atol=1e-6)


@pytest.mark.slow
def test_it_is_a_step_of_a_search():
    steps = make_pipeline(SourceSelector(SOURCES), LogisticRegression())
    found = GridSearchCV(steps, {"sourceselector__k": [1, 3]}, cv=3).fit(X, Y[:, 0] > 0)
    assert found.best_estimator_[0].get_support().sum() in (4, 12)


def test_sources_without_a_score_come_last():
    constant = np.where(SOURCES == "near", 1, X)
    with pytest.warns(js.UndefinedScores, match="'near' has no"):
        found = SourceSelector(SOURCES).fit(constant, Y)
    assert found.ranking_[-1] == "near"
    assert np.isnan(found.scores_[1])


@pytest.mark.parametrize(
    ("selector", "words"),
    [
        (SourceSelector(SOURCES[1:]), "sources names 11 columns, but X has 12"),
        (SourceSelector(SOURCES, k=4), "a number of networks from 1 to 3, not 4"),
        (SourceSelector(SOURCES, k=0), "a number of networks from 1 to 3, not 0"),
        (SourceSelector(SOURCES, k=1.0), "a number of networks from 1 to 3, not 1.0"),
        (SourceSelector(SOURCES, "no-such"), "no-such"),
    ],
)
def test_bad_choices_are_refused(selector, words):
    with pytest.raises(ValueError, match=words):
        selector.fit(X, Y)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::jaxsim.results.UndefinedScores")
def test_a_target_without_scores_is_refused():
    with pytest.raises(ValueError, match="no rsa score with the target is defined"):
        SourceSelector(SOURCES, "rsa").fit(X, Y[:, 0])


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_scikit_learn_takes_it_for_an_estimator():
    done = check_estimator(SourceSelector())
    assert {one["status"] for one in done} <= {"passed", "skipped"}
    assert sum(one["status"] == "passed" for one in done) > 40
