"""JSON: objects read from files that may be damaged, compared with others, and values made fit for it."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def read_json(path: str | Path) -> dict[str, Any]:
    """The object that a file of JSON holds.

    Raises:
        OSError: the file is not there or cannot be read.
        ValueError: it holds something else, or is damaged.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "seed.json"
    >>> _ = path.write_text('{"seed": 1}')
    >>> read_json(path)
    {'seed': 1}
    """
    try:
        found = json.loads(Path(path).read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError(f"{path} is damaged: {error}.") from None
    if not isinstance(found, dict):
        raise ValueError(f"{path} is damaged: it holds no JSON object.")
    return found


def differing(theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> list[str]:
    """Keys, of either object of JSON, whose values differ; one that is not there counts as null.

    >>> differing({"seed": 1, "size": 8}, {"seed": 1, "size": 9, "steps": 5})
    ['size', 'steps']
    """
    return [key for key in {**theirs, **ours} if theirs.get(key) != ours.get(key)]


def finite(value: Any) -> Any:
    """JSON values with None for numbers that are not finite, which JSON does not have.

    >>> finite({"a": [1.0, float("nan")]})
    {'a': [1.0, None]}
    """
    if isinstance(value, dict):
        return {key: finite(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
