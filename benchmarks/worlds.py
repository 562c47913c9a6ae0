"""The experiments that need no training, on several worlds: `python -m benchmarks.worlds [DIR ...] --out FILE.json`.

Every DIR was made by `jaxsim rooms --out DIR --seed N`, with other pictures, initial weights and batches. Each world is
judged on its own pictures, which were not used for training or measurement. The output shows, for every measure, the
mean correlation with measured transfer without self in each world, with the interval over pictures and targets. It also
shows what each experiment found, and the measures over the held-out worlds. All of it is saved. Worlds already in FILE
are kept along with the given ones. Without a DIR, only the saved worlds are printed.
"""

import argparse
import dataclasses
import json
import os
import sys
import types
from pathlib import Path

import numpy as np

from jaxsim.studies import leaderboard, reproduce
from jaxsim.studies.rooms import encoders, world

WANTED = (
    *("rsa-matrix", "depth", "labels", "trees", "display", "selection", "images"),
    *("grid", "methods", "layers", "subsets"),
)
"""Experiments that train no network."""
DEVELOPMENT = 0
"""Seed of the world on which worlds, measures and criteria were settled."""


def judged(folder: Path, quick: bool) -> dict:
    """Outcomes of one world as JSON types."""
    path, parts = folder / "encoders.safetensors", {p for n in WANTED for p in reproduce.EXPERIMENTS[n].parts}
    recipe, truth = reproduce.recipe_of(path), world.load_truth(folder / "transfer.npz")
    setting = reproduce.setting(quick, encoders=encoders.load(path), truth=truth, parts=parts, seed=recipe.seed)

    def tell(name: str) -> None:
        print(f"{folder}: {name}", file=sys.stderr, flush=True)

    found = reproduce.run(setting, list(WANTED), tell)
    return {"recipe": dataclasses.asdict(recipe), "outcomes": {name: one.to_json() for name, one in found.items()}}


def render(results: dict[str, dict]) -> str:
    """Two Markdown tables: measures by world, and experiments by world."""
    seeds = [f"seed {one['recipe']['seed']}" for one in results.values()]
    rule = "|" + " --- |" * (len(seeds) + 2)
    lines = [f"| agreement with transfer, without self | {' | '.join(seeds)} | mean |", rule]
    tables = [{row["method"]: row for row in one["outcomes"]["methods"]["rows"]} for one in results.values()]
    for name in tables[0]:
        cells = [f"{t[name]['without_self']:.3f}{_span(t[name])}" for t in tables]
        lines.append(f"| {name} | {' | '.join(cells)} | {np.mean([t[name]['without_self'] for t in tables]):.3f} |")
    lines += ["", f"| experiment | {' | '.join(seeds)} | holds on held-out seeds |", rule]
    for name in WANTED:
        found = [one["outcomes"].get(name) for one in results.values()]
        holds = [
            one["holds"]
            for world_name, one in zip(results, found, strict=True)
            if one and held_out(results[world_name])
        ]
        cells = " | ".join(one["here"] if one else "" for one in found)
        lines.append(f"| {name} | {cells} | {sum(holds)} of {len(holds)} |")
    return "\n".join([*lines, *over_worlds({name: one for name, one in results.items() if held_out(one)})])


def over_worlds(results: dict[str, dict]) -> list[str]:
    """A Markdown table of the measures over worlds: means, Student's intervals, and differences from the best."""
    if len(results) < 2:
        return []
    several = []
    for name, one in results.items():
        rows = [types.SimpleNamespace(**row, oracle=False, regret=np.nan) for row in one["outcomes"]["methods"]["rows"]]
        several.append(types.SimpleNamespace(world=name, rows=[r for r in rows if r.method != "random"], level=0.95))
    header, rows = leaderboard.OVERALL_HEADER, leaderboard.overall_rows(leaderboard.overall(several))
    cells = [header, ["---"] * len(header), *rows]
    return ["", f"over {len(results)} held-out worlds", "", *(f"| {' | '.join(row)} |" for row in cells)]


def held_out(result: dict) -> bool:
    """Whether the protocol was settled without this world."""
    return result["recipe"]["seed"] != DEVELOPMENT


def _span(row) -> str:
    return "" if row["low"] is None else f" ({row['low']:.2f} to {row['high']:.2f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", nargs="*", type=Path, help="folders of `jaxsim rooms`")
    parser.add_argument("--quick", action="store_true", help="fewer pictures and resamples")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "worlds.json")
    given = parser.parse_args()
    kept = json.loads(given.out.read_text()) if given.out.exists() else {}
    results = kept | {folder.name: judged(folder, given.quick) for folder in given.folders}
    part = given.out.with_suffix(".part")
    part.write_text(json.dumps(results, indent=1))
    os.replace(part, given.out)
    print(render(results))


if __name__ == "__main__":
    main()
