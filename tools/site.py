"""Makes the pages of the site that stand elsewhere already: a hook of MkDocs (`make docs`).

Nothing is written twice. The first page is the README, a method's page its card and README, a data set's page what its
source says of it; `<!-- include FILE # HEADING -->` in a page takes over a section of another file. The code is read
and not imported, so that the site needs none of its dependencies.
"""

from __future__ import annotations

import ast
import posixpath
import re
import shutil
from html import unescape
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import yaml

ROOT = Path(__file__).resolve().parents[1]
PAGES = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "SECURITY.md": "security.md",
    "results/README.md": "results.md",
    "results/efficiency/README.md": "efficiency.md",
    "configs/sweeps/README.md": "sweeps.md",
    "benchmarks/README.md": "speed.md",
    "rrsis_bench/s4eca/README.md": "methods/s4eca.md",
    **{f"baselines/{path.parent.name}/README.md": f"methods/{path.parent.name}.md"
       for path in sorted((ROOT / "baselines").glob("*/README.md"))},
}  # fmt: skip
"""File of the repository -> its page."""
HEAD = (
    "title", "authors", "venue", "year", "paper", "code", "licence", "encoders", "policy", "fidelity", "fidelity_note",
)  # fmt: skip
ADDRESS = re.compile(r"https?://([a-z0-9-]+\.)+[a-z]{2,}(:\d+)?([/?#][^\s<>\"`|]*[^\s<>\"`|.,;)])?/?", re.IGNORECASE)
"""An address of the web, without a sign that belongs to the sentence around it."""
BOARDS = "results/leaderboard/index.html"
READY = ("lite", "rrsisd", "refsegrs", "risbench", "released", "zero-shot")


def on_files(files: Any, config: Any) -> Any:
    """Add the pages and the boards to the site; called by MkDocs."""
    from mkdocs.structure.files import File

    for source, page in PAGES.items():
        text = (ROOT / source).read_text(encoding="utf-8")
        if page.startswith("methods/"):
            text = with_card(text, ROOT / source)
        if page == "sweeps.md":
            text += ready_sweeps()
        files.append(File.generated(config, page, content=relinked(text, source, page)))
    for name, info in data_sets().items():
        files.append(File.generated(config, f"data/{name}.md", content=data_page(name, info)))
    results = [ROOT / BOARDS, *sorted((ROOT / "results" / "runs").rglob("result.json"))]
    results += [path for path in sorted((ROOT / BOARDS).parent.iterdir()) if path.suffix in {".csv", ".json", ".tex"}]
    # Markdown of the boards is no page of the site: the boards' page holds it, and links to it as a file.
    for path in results:
        files.append(File.generated(config, path.relative_to(ROOT).as_posix(), abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Fill in the sections that a page takes over; called by MkDocs."""

    def section(found: re.Match[str]) -> str:
        source, _, heading = found[1].partition(" # ")
        text = (ROOT / source).read_text(encoding="utf-8")
        body = section_of(text, heading.strip(), source)
        return relinked(body, source, page.file.src_uri)

    if (ROOT / "docs" / page.file.src_uri).is_file():
        markdown = relinked(markdown, f"docs/{page.file.src_uri}", page.file.src_uri)
    return re.sub(r"<!-- include (.+?) -->", section, markdown)


def on_post_build(config: Any) -> None:
    """Copy the boards in Markdown, and follow every local link; called by MkDocs, which checks its own pages alone.

    Raises:
        PluginError: a link leads nowhere; the build fails.
    """
    from mkdocs.exceptions import PluginError

    site = Path(config["site_dir"]).resolve()
    for path in (ROOT / BOARDS).parent.glob("*.md"):
        shutil.copyfile(path, site / path.relative_to(ROOT))
    broken = [f"{page.relative_to(site)}: {link}" for page in sorted(site.rglob("*.html")) for link in dead(page)]
    if broken:
        raise PluginError("links that lead nowhere: " + ", ".join(broken))


def dead(page: Path) -> list[str]:
    """The links of a page of the site that lead nowhere: local ones are followed, others only read.

    Returns:
        local links whose file or anchor does not exist, and addresses of the web that are not well formed.
    """
    if page.name == "404.html":
        return []  # its links begin at the site's address
    found = []
    for link in sorted(set(re.findall(r'(?:href|src)="([^"]*)"', page.read_text(encoding="utf-8")))):
        path, _, anchor = unquote(unescape(link)).partition("#")
        if re.match(r"[a-z]+:", link):
            if re.match(r"https?:", link) and not ADDRESS.fullmatch(unescape(link)):
                found.append(link)
            continue
        target = (page.parent / path).resolve() if path else page
        target = target / "index.html" if target.is_dir() else target
        known = target.is_file() and (
            not anchor or target.suffix != ".html" or f'id="{anchor}"' in unescape(target.read_text(encoding="utf-8"))
        )
        if not known and anchor != "__skip":
            found.append(link)
    return found


def section_of(text: str, heading: str, source: str) -> str:
    """The body of a section, without its heading.

    Raises:
        ValueError: the file has no such section; the build fails.
    """
    found = re.search(rf"^(#+) {re.escape(heading)}\n(.*?)(?=^#{{1,6}} |\Z)", text, flags=re.DOTALL | re.MULTILINE)
    if found is None:
        raise ValueError(f"{source} has no section '{heading}'")
    return found[2].strip() + "\n"


def relinked(text: str, source: str, page: str) -> str:
    """Make links between files of the repository links between pages; what has no page keeps its text alone."""
    here = posixpath.dirname(page)

    def link(found: re.Match[str]) -> str:
        label, target = found[1], found[2]
        if re.match(r"[a-z]+:", target) or target.startswith("#"):
            return found[0]
        path, hash_sign, anchor = target.partition("#")
        full = posixpath.normpath(posixpath.join(posixpath.dirname(source), path))
        if full.startswith("docs/"):
            aim = full.removeprefix("docs/")
        elif full.startswith("results/leaderboard"):
            aim = "boards.md"
        elif (ROOT / full / "result.json").is_file():
            aim = f"{full}/result.json"
        else:
            aim = PAGES.get(full, "")
        if not aim:
            return label
        return f"[{label}]({posixpath.relpath(aim, here or '.')}{hash_sign}{anchor})"

    parts = re.split(r"(^```.*?^```|^   ```.*?^   ```)", text, flags=re.DOTALL | re.MULTILINE)
    return "".join(
        part if part.lstrip().startswith("```") else re.sub(r"\[([^\]\[]+)\]\(([^)\s]+)\)", link, part)
        for part in parts
    )


def with_card(text: str, readme: Path) -> str:
    """A method's README with its card behind the title."""
    title, _, rest = text.partition("\n")
    lines = []
    for path in sorted(readme.parent.glob("card*.yaml")):
        card = yaml.safe_load(path.read_text(encoding="utf-8"))
        lines += ["", "| | |", "|---|---|", *(f"| {key} | {cell(card[key])} |" for key in HEAD if card.get(key))]
    return "\n".join([title, *lines, "", rest])


def cell(value: Any) -> str:
    """A card's value in a cell of a table."""
    if isinstance(value, dict):
        return "; ".join(f"{key}: {cell(entry)}" for key, entry in value.items())
    text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    return re.sub(r"(https?://[^\s,;]+)", r"<\1>", " ".join(text.split()).replace("|", "\\|"))


def data_sets() -> dict[str, dict[str, Any]]:
    """What the sources of the benchmarks say of themselves: name -> fields of `SourceInfo`."""
    found = {}
    for path in sorted((ROOT / "rrsis_bench" / "data" / "sources").glob("*.py")):
        module = ast.parse(path.read_text(encoding="utf-8"))
        constants = constants_of(module)
        for call in ast.walk(module):
            if not (isinstance(call, ast.Call) and getattr(call.func, "id", "") == "SourceInfo"):
                continue
            info: dict[str, Any] = {}
            for keyword in call.keywords:
                try:
                    info[str(keyword.arg)] = literal(keyword.value, constants)
                except ValueError:
                    continue  # known only when the code runs
            if info.get("kind") == "benchmark":
                found[path.stem] = info
    return found


def constants_of(module: ast.Module) -> dict[str, ast.expr]:
    """The values that a module and its classes give to names."""
    found = {}
    bodies = [module.body, *(node.body for node in module.body if isinstance(node, ast.ClassDef))]
    for node in (node for body in bodies for node in body if isinstance(node, ast.Assign)):
        target, value = node.targets[0], node.value
        several = isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple)
        pairs = zip(target.elts, value.elts, strict=True) if several else ((target, value),)  # type: ignore[attr-defined]
        found.update({name.id: one for name, one in pairs if isinstance(name, ast.Name)})
    return found


def literal(node: ast.expr, constants: dict[str, ast.expr]) -> Any:
    """The value of a literal, of a constant of the module or a class, or of a text that is put together from them.

    Raises:
        ValueError: the value is known only when the code runs.
    """
    if isinstance(node, ast.Name) and node.id in constants:
        return literal(constants[node.id], constants)
    if isinstance(node, ast.JoinedStr):
        parts = [part.value if isinstance(part, ast.FormattedValue) else part for part in node.values]
        return "".join(str(literal(part, constants)) for part in parts)
    if isinstance(node, ast.Tuple):
        return tuple(literal(part, constants) for part in node.elts)
    return ast.literal_eval(node)


def data_page(name: str, info: dict[str, Any]) -> str:
    """The page of a data set; a fact that its source does not state is called so, or its row is left out."""
    counts = info.get("counts")
    shown = " / ".join(f"{counts[split]:,}" for split in ("train", "val", "test")) if counts else "not published"
    rows = [
        ("paper", cell(info["paper"])), ("pairs (train / val / test)", shown), ("licence", cell(info["licence"])),
        ("where to get it", cell(info["where"])), ("its folder holds", f"`{info['layout']}`"),
    ]  # fmt: skip
    if classes := info.get("classes"):
        rows.append(("classes", f"{len(classes)}: {', '.join(classes)}"))
    verbs = [f"data fetch {name}", f"data verify {name}", f"data stats {name}"]
    verbs += [f"sweep {name} --dry-run"] if (ROOT / "configs" / "sweeps" / f"{name}.yaml").is_file() else []
    lines = [f"# {info['title']}", "", "| | |", "|---|---|", *(f"| {key} | {value} |" for key, value in rows), ""]
    lines += ["```bash", *(f"rrsis-bench {verb}" for verb in verbs), "```", ""]
    if notes := info.get("notes"):
        lines += ["## What to know", "", *(f"- {note}" for note in notes), ""]
    return "\n".join(lines)


def ready_sweeps() -> str:
    """The ready sweeps, each with the comment that its file begins with."""
    lines = ["", "## Ready sweeps", ""]
    for name in READY:
        text = (ROOT / "configs" / "sweeps" / f"{name}.yaml").read_text(encoding="utf-8")
        lines += [f"### {name}", "", "```yaml", text.strip(), "```", ""]
    return "\n".join(lines)
