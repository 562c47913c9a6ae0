"""What came out of one experiment."""

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from jaxsim.io.files import finite

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Outcome:
    """A paper's claim beside what the built-in world says of it.

    Attributes:
        name: of the experiment.
        source: paper and table or figure.
        claim: in a sentence.
        criterion: what had to come out for the claim to hold, fixed beforehand.
        paper: the paper's number or numbers.
        here: ours.
        holds: whether the criterion was met.
        header: of the table.
        rows: of the table; a number that is not known is None.
        draw: makes the figure; needs matplotlib.
    """

    name: str
    source: str
    claim: str
    criterion: str
    paper: str
    here: str
    holds: bool
    header: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]
    draw: Callable[[], "Figure"]

    def to_json(self) -> dict[str, Any]:
        """The outcome as JSON types, without its figure."""
        fields = {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name not in ("draw", "rows")}
        return finite(fields | {"rows": [dict(zip(self.header, row, strict=True)) for row in self.rows]})
