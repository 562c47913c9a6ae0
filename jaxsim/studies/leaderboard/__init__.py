"""Leaderboard of predictors of transfer: scores, intervals, paired tests and times."""

from jaxsim.studies.leaderboard.evidence import SHIPPED, evidence_of, given_evidence
from jaxsim.studies.leaderboard.scores import Scores, scored, weighted_tau
from jaxsim.studies.leaderboard.standings import Claim, Overall, Row, Standings, claims, overall, score
from jaxsim.studies.leaderboard.tables import (
    HEADER,
    KEY,
    OVERALL_HEADER,
    as_text,
    draw,
    markdown,
    overall_rows,
    sentences,
    short_rows,
    table_rows,
    to_json,
)
from jaxsim.studies.reproduce.predictors import METHODS, Evidence, Method

__all__ = [
    "Claim",
    "Evidence",
    "HEADER",
    "KEY",
    "METHODS",
    "Method",
    "OVERALL_HEADER",
    "Overall",
    "Row",
    "SHIPPED",
    "Scores",
    "Standings",
    "as_text",
    "claims",
    "draw",
    "evidence_of",
    "given_evidence",
    "markdown",
    "overall",
    "overall_rows",
    "score",
    "scored",
    "sentences",
    "short_rows",
    "table_rows",
    "to_json",
    "weighted_tau",
]
