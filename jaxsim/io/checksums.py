"""SHA-256 of arrays and of JSON values, in hexadecimal: what tells that a file is as it was written."""

import hashlib
import json
from typing import Any

import numpy as np


def sha256(values: np.ndarray) -> str:
    """SHA-256 of an array's bytes in C order; its shape and type do not count.

    >>> sha256(np.zeros(2, np.int8))[:8]
    '96a296d2'
    """
    return hashlib.sha256(np.asarray(values).tobytes()).hexdigest()


def sha256_of_json(content: Any) -> str:
    """SHA-256 of JSON values, whatever the order of their keys.

    >>> sha256_of_json({"a": 1, "b": [2]}) == sha256_of_json({"b": [2], "a": 1})
    True
    """
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
