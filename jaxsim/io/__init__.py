"""File input and output: features, matrices and arrays as plain dicts and NumPy arrays, never as records.

Reading never runs code from a file, and a file is written completely or not at all.
"""

from jaxsim.io.arrays import read_npz, write_npz
from jaxsim.io.features import Source, describe_shapes, find_features, read_features
from jaxsim.io.files import atomic, write_text
from jaxsim.io.limits import unlimited
from jaxsim.io.matrices import TASKONOMY_17, read_matrix, read_transfers, write_csv_matrix
from jaxsim.io.pickles import load_pickle

__all__ = [
    "TASKONOMY_17",
    "Source",
    "atomic",
    "describe_shapes",
    "find_features",
    "load_pickle",
    "read_features",
    "read_matrix",
    "read_npz",
    "read_transfers",
    "unlimited",
    "write_csv_matrix",
    "write_npz",
    "write_text",
]
