"""Size and structure of a tree: lines of code, and imports between packages.

    python -m benchmarks.structure           # the working tree
    python -m benchmarks.structure REVISION  # a revision, and the working tree

Lines of code exclude blank lines, comments and docstrings. An import between packages is one `import` or `from` line
that names another package of jaxsim, one folder deep in the core and two in the other wings. `up` counts imports that
point from a wing to one above it.
"""

import ast
import io
import subprocess
import sys
import tarfile
import tempfile
import tokenize
from pathlib import Path

WINGS = ("core", "vision", "studies", "cli")
SKIPPED = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}


def code_lines(text: str) -> int:
    """Lines that hold code."""
    lines = {
        line
        for token in tokenize.generate_tokens(io.StringIO(text).readline)
        if token.type not in SKIPPED
        for line in range(token.start[0], token.end[0] + 1)
    }
    for node in ast.walk(ast.parse(text)):
        body = getattr(node, "body", None)
        for statement in body if isinstance(body, list) else ():
            value = getattr(statement, "value", None) if isinstance(statement, ast.Expr) else None
            if isinstance(value, ast.Constant) and isinstance(value.value, str):
                lines -= set(range(statement.lineno, (statement.end_lineno or statement.lineno) + 1))
    return len(lines)


def package_of(name: str) -> str:
    """Package of a dotted name: `vision.models` of `jaxsim.vision.models.resnet`."""
    _, *rest = name.split(".")
    return ".".join(rest[:2] if rest and rest[0] in WINGS and rest[0] != "cli" else rest[:1])


def imports(root: Path) -> list[tuple[str, str]]:
    """Package that imports and package imported, of every import between two packages."""
    found = []
    for path in sorted((root / "jaxsim").rglob("*.py")):
        own = package_of(".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__"))
        for node in ast.walk(ast.parse(path.read_text())):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.module:
                names = {package_of(f"{node.module}.{a.name}"): f"{node.module}.{a.name}" for a in node.names}.values()
            others = {package_of(name) for name in names if name.startswith("jaxsim.")}
            found += [(own, other) for other in others if other != own]
    return found


def wing(package: str) -> int:
    first = package.split(".")[0]
    return WINGS.index(first) if first in WINGS else 0


def row(name: str, root: Path) -> str:
    """Counts of one tree as a line."""
    files = sorted((root / "jaxsim").rglob("*.py"))
    pairs = imports(root)
    up = sum(wing(a) < wing(b) for a, b in pairs)
    lines = sum(code_lines(path.read_text()) for path in files)
    return f"{name:<16} {len(files):>6} {lines:>14,} {len(set(pairs)):>16} {len(pairs):>10} {up:>4}"


def main() -> None:
    here = Path(__file__).parent.parent
    print(f"{'tree':<16} {'files':>6} {'lines of code':>14} {'package pairs':>16} {'imports':>10} {'up':>4}")
    for revision in sys.argv[1:]:
        packed = subprocess.run(["git", "archive", revision, "jaxsim"], cwd=here, capture_output=True, check=True)
        with tempfile.TemporaryDirectory() as folder, tarfile.open(fileobj=io.BytesIO(packed.stdout)) as archive:
            archive.extractall(folder, filter="data")
            print(row(revision[:12], Path(folder)))
    print(row("working tree", here))


if __name__ == "__main__":
    main()
