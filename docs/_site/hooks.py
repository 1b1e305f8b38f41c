"""What MkDocs does beyond docs/*.md: generated pages, links that leave docs/, scripts from npm."""

from __future__ import annotations

import logging
import os
import re
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

sys.path.insert(0, str(Path(__file__).parent))
import generated

_ROOT = Path(__file__).parents[2]
_DOCS = _ROOT / "docs"
# Where the site has the files of the repository that lie beside docs/.
_BESIDE = "repository"
_SCRIPTS = "_site/npm"
_CACHE = _ROOT / ".cache/npm"
# Packages of npm and their files, that the site has beside its pages to work without a network:
# formulas, and the search of pages that are opened from the disk.
_MATHJAX = ("mathjax@3.2.2", "es5/tex-svg-full.js")
_WORKER = ("iframe-worker@1.0.4", "shim/index.js")
_LINK = re.compile(r"\]\(([^)#\s:]+)(?=[)#])")
_MARKER = re.compile(r"^<!-- generated: (\w+) -->$", re.MULTILINE)
_log = logging.getLogger("mkdocs.hooks")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Pages that mkdocs.yml does not name, and those of the API, find their place in its menu."""
    assert config.nav is not None
    menu = {title: pages for section in config.nav for title, pages in section.items()}
    named = set(re.findall(r"[\w/-]+\.md", str(config.nav)))
    menu["How to"] += sorted(page.name for page in _DOCS.glob("*.md") if page.name not in named)
    rest = [{name: uri} for name in generated.api_pages() if (uri := f"api/{name}.md") not in named]
    menu["API"].append({"Inside": rest})
    config.extra_javascript += ["_site/mathjax.js", _script(*_MATHJAX)]
    config.extra["polyfills"] = [_script(*_WORKER)]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages of the API, scripts, and what beside docs/ its pages link to."""
    pages = [Path(file.abs_src_path) for file in files.documentation_pages() if file.abs_src_path]
    for name, text in generated.api_pages().items():
        files.append(File.generated(config, f"api/{name}.md", content=text))
    for package, file in (_MATHJAX, _WORKER):
        if (script := _CACHE / package / file).exists():
            uri = f"{_SCRIPTS}/{package}/{file}"
            files.append(File.generated(config, uri, abs_src_path=str(script)))
    for path in _linked(pages):
        if path.is_dir():
            files.append(File.generated(config, _uri(path), content=_listing(path)))
        else:
            files.append(File.generated(config, _uri(path), abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Fill in what is generated, and point links to where the site has their files."""
    del config, files
    uri, source = page.file.src_uri, page.file.abs_src_path
    markdown = _MARKER.sub(lambda marker: generated.PARTS[marker[1]](), markdown)
    if uri.startswith(_BESIDE):
        # Tables of benchmarks are made to stand below a page's title.
        markdown = re.sub(r"\A### ", "# ", markdown)
    for link, target in _links(markdown, Path(source)) if source else ():
        moved = os.path.relpath(_uri(target), Path(uri).parent)
        markdown = markdown.replace(f"]({link}", f"]({moved}")
    return markdown


def _script(package: str, file: str) -> str:
    """Address of a script: in the site, where npm brings it, else its usual one."""
    script = _CACHE / package / file
    if not script.exists():
        command = ["npm", "pack", "--silent", "--fetch-retries=0", package]
        try:
            with TemporaryDirectory() as folder:
                subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)
                with tarfile.open(next(Path(folder).glob("*.tgz"))) as contents:
                    content = contents.extractfile(f"package/{file}")
                    assert content is not None
                    script.parent.mkdir(parents=True, exist_ok=True)
                    script.write_bytes(content.read())
        except (OSError, subprocess.CalledProcessError):
            _log.info("npm does not bring %s: pages will load it from the network.", package)
            return f"https://cdn.jsdelivr.net/npm/{package}/{file}"
    return f"{_SCRIPTS}/{package}/{file}"


def _linked(pages: list[Path]) -> list[Path]:
    """Files and folders beside docs/ that pages link to, that those link to, and so on."""
    found: list[Path] = []
    while pages:
        page = pages.pop()
        for _, target in _links(page.read_text(encoding="utf-8"), page):
            inside = sorted(target.rglob("*")) if target.is_dir() else []
            new = [path for path in (target, *inside) if path not in found]
            found += new
            pages += [path for path in new if path.suffix == ".md"]
    return found


def _links(markdown: str, page: Path) -> Iterator[tuple[str, Path]]:
    """Links of a page to what the repository has beside docs/."""
    for link in set(_LINK.findall(markdown)):
        target = Path(os.path.normpath(page.parent / link))
        beside = target.is_relative_to(_ROOT) and not target.is_relative_to(_DOCS)
        if target.exists() and (beside or not page.is_relative_to(_DOCS)):
            yield link, target


def _uri(path: Path) -> str:
    if path.is_relative_to(_DOCS):
        return path.relative_to(_DOCS).as_posix()
    uri = f"{_BESIDE}/{path.relative_to(_ROOT).as_posix()}"
    return f"{uri}/index.md" if path.is_dir() else uri


def _listing(folder: Path) -> str:
    entries = "".join(
        f"- [{path.name}]({path.name}{'/index.md' if path.is_dir() else ''})\n"
        for path in sorted(folder.iterdir())
    )
    return f"# {folder.relative_to(_ROOT)}\n\n{entries}"
