"""This checkout against another one, in turn: `python -m benchmarks.versions OTHER [--only NAME] [--out FILE.json]`."""

import argparse
import json
import sys
from pathlib import Path

from benchmarks import timing, turns
from benchmarks.cases_rsa import CASES
from benchmarks.run import write

HERE = Path(__file__).parent.parent
SERVE = """
import sys
sys.path.insert(0, sys.argv[1])
from benchmarks import turns
from benchmarks.cases import Sizes
from benchmarks.cases_rsa import CASES

def prepare(name):
    run = CASES[name](Sizes()).sides["ours"].run
    run()
    return run

turns.serve(prepare)
"""
ROWS = [name for name in CASES if name != "torch_cka"]


def measure(other: Path, names: list[str], rounds: int) -> dict:
    """Best and median seconds of every case in both checkouts, and this one's best as a share of the other's."""
    trees = {"this": HERE, "other": other}
    commands = {side: [sys.executable, "-P", "-c", SERVE, str(tree)] for side, tree in trees.items()}
    rows = {}
    for name in names:
        with turns.started(commands) as contenders:
            taken = turns.in_turn(contenders, [name], rounds)
        seconds = {side: sorted(turn.wall for turn in by_word[name]) for side, by_word in taken.items()}
        best = {side: walls[0] for side, walls in seconds.items()}
        middle = {side: walls[len(walls) // 2] for side, walls in seconds.items()}
        rows[name] = {"best": best, "median": middle, "ratio": best["this"] / best["other"]}
        print(f"{name}: {best['this']:.3f} s, the other {best['other']:.3f} s, {rows[name]['ratio']:.2f}x", flush=True)
    return rows


def main() -> int:
    """Measure, print and store."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("other", type=Path, help="another checkout of this repository, with cases of the same names")
    parser.add_argument("--only", action="append", choices=ROWS, help="may be repeated")
    parser.add_argument("--rounds", type=int, default=7, help="turns of each checkout at each case")
    parser.add_argument("--out", type=Path, help="JSON file, replaced if it exists")
    options = parser.parse_args()
    if not (options.other / "benchmarks" / "cases_rsa.py").is_file():
        parser.error(f"{options.other} is not a checkout of this repository with benchmarks/cases_rsa.py")
    rows = measure(options.other.resolve(), options.only or ROWS, options.rounds)
    if options.out:
        write({"machine": timing.machine(), "rounds": options.rounds, "cases": rows}, options.out)
        print(json.dumps({name: round(row["ratio"], 3) for name, row in rows.items()}))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
