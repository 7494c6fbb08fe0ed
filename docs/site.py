"""What `make docs` adds to the pages in docs/ (an mkdocs hook; see mkdocs.yml).

Pages that have their source elsewhere are written at build time, so that they cannot differ from it: the HTTP API from
the server's own OpenAPI description, the flags from the parsers, the examples from their files, and the
documents in the repository's root.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parent.parent
# document in the root: its page
ROOT_PAGES = {"CHANGELOG.md": "changes.md", "CONTRIBUTING.md": "contributing.md", "SECURITY.md": "security.md"}
LANGUAGES = {".py": "python", ".sh": "bash", ".ipynb": "python"}
DEFAULT = re.compile(r" \(default:? (.*)\)$")  # at the end of a flag's help
LINK = re.compile(r"\]\(([^)\s]+)\)")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Put the pages that `nav` does not name where they belong: decisions under Decisions, others under Guides."""
    assert config.nav is not None
    named = set(re.findall(r"[\w/-]+\.md", json.dumps(config.nav)))
    docs = Path(config.docs_dir)
    guides = next(entry["Guides"] for entry in config.nav if "Guides" in entry)
    guides += sorted(page.name for page in docs.glob("*.md") if page.name not in named)
    why = next(entry["Why and how"] for entry in config.nav if "Why and how" in entry)
    decisions = next(entry["Decisions"] for entry in why if "Decisions" in entry)
    decisions += sorted(f"decisions/{page.name}" for page in (docs / "decisions").glob("*.md"))
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are written here."""
    pages = {page: (ROOT / name).read_text(encoding="utf-8") for name, page in ROOT_PAGES.items()}
    pages |= {"reference/http.md": http_api(openapi()), "reference/flags.md": flags(), "examples.md": examples()}
    for path, text in pages.items():
        files.append(File.generated(config, path, content=text))
    return files


def on_page_markdown(markdown: str, page: Page, **_: object) -> str:
    """Turn links that leave docs/ into links to the pages written here."""
    path = page.file.src_uri
    if path in ROOT_PAGES.values():
        # "docs/sandbox.md" or "SECURITY.md", as seen from the root
        return LINK.sub(lambda link: f"]({_page(link[1])})", markdown)
    up = "../" * path.count("/")
    return LINK.sub(
        lambda link: f"]({up}{_page(link[1].removeprefix(up + '../'))})" if link[1].startswith(up + "../") else link[0],
        markdown,
    )


def _page(link: str) -> str:
    """The page for a path as seen from the repository's root; what has none stays, and the strict build names it."""
    if link.startswith("examples/"):
        return f"examples.md#{'notebook' if link.endswith('.ipynb') else Path(link).stem}"
    return ROOT_PAGES.get(link, link.removeprefix("docs/"))


def openapi() -> dict[str, Any]:
    """The server's own description of its routes, as at its /openapi.json. No engine is started."""
    sys.path.insert(0, str(ROOT))
    from sandbox.client.embedded import Embedded
    from sandbox.engine import Engine
    from sandbox.server.app import build_app

    return build_app(Embedded(Engine())).openapi()


def flags() -> str:
    """A page with every command's flags, from the parsers themselves."""
    sys.path.insert(0, str(ROOT))
    from sandbox.command import COMMANDS
    from sandbox.completion import whole_parser

    lines = [
        "# Flags of the commands",
        "",
        "As `--help` shows them. What holds for all commands, exit codes and files of flags among it: "
        "[The commands](../commands.md).",
        "",
    ]
    for package, parser in _subcommands(whole_parser(COMMANDS)).items():
        purpose = COMMANDS[package]
        lines += [f"## {package} {{ #{package} }}", "", f"{purpose[0].upper()}{purpose[1:]}.", ""]
        below = _subcommands(parser)
        for name, command in below.items():
            lines += [f"### {package} {name} {{ #{package}-{name} }}", "", *_flags(command)]
        if not below:
            lines += _flags(parser)
    return "\n".join(lines)


def _subcommands(parser: argparse.ArgumentParser) -> dict[str, Any]:
    found = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    return dict(found[0].choices) if found else {}


def _flags(parser: Any) -> Iterator[str]:
    yield from ("```text", parser.usage_line(), "```", "")
    for group in parser._action_groups:
        actions = [action for action in group._group_actions if action.dest not in ("help", "version")]
        if not actions:
            continue
        if group.title not in ("options", "positional arguments"):
            yield from (f"**{group.title}**", "")
        yield from ("| | default | |", "|---|---|---|")
        for action in actions:
            names = (
                ", ".join(f'<code class="flag">{name}</code>' for name in action.option_strings)
                or f"`{action.metavar or action.dest}`"
            )
            text = (action.help or "").replace("%%", "%")
            said = DEFAULT.search(text)
            choices = f"; one of {', '.join(f'`{choice}`' for choice in action.choices)}" if action.choices else ""
            default = said[1] if said else _default(action)
            yield f"| {_cell(names)} | {default} | {_cell(DEFAULT.sub('', text) + choices)} |"
        yield ""
    _, found, lines = (parser.epilog or "").partition("examples:\n")
    if found:
        yield from ("```sh", *(line.strip() for line in lines.splitlines()), "```", "")


def _default(action: argparse.Action) -> str:
    if action.required and action.nargs != "*":
        return "required"
    nothing = action.default is None or action.default is False or action.default in (argparse.SUPPRESS, [])
    if nothing or not action.option_strings:
        return ""
    if action.dest == "workers":
        return "one a core"
    return f"`{str(action.default).replace(str(Path.home()), '~').replace(str(ROOT) + '/', '')}`"


def examples() -> str:
    """A page with every file in examples/, a notebook as its cells."""
    lines = [
        "# Examples",
        "",
        "Each runs where the project is installed (`./setup.sh` in a clone), and is run by the tests.",
        "",
    ]
    for path in sorted(path for path in (ROOT / "examples").iterdir() if path.suffix in LANGUAGES):
        text = path.read_text(encoding="utf-8")
        if path.suffix == ".ipynb":
            lines += [f"## {path.name} {{ #notebook }}", "", *_cells(json.loads(text))]
            continue
        heading = f"## {path.name} {{ #{path.stem} }}"
        lines += [heading, "", f'```{LANGUAGES[path.suffix]} title="examples/{path.name}"', text + "```", ""]
    return "\n".join(lines)


def _cells(notebook: Mapping[str, Any]) -> Iterator[str]:
    for cell in notebook["cells"]:
        text = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            yield from (text.removeprefix("# "), "")  # the page has a heading
        else:
            yield from ("```python", text, "```", "")
        for output in cell.get("outputs", ()):
            yield from ("```text", "".join(output["text"]).rstrip(), "```", "")


def http_api(description: Mapping[str, Any]) -> str:
    """A page with the routes, then the objects that they take and give."""
    lines = [
        "# The HTTP API",
        "",
        description["info"]["description"],
        "",
        "A running server has the same at `/openapi.json`. With a token: `Authorization: Bearer TOKEN`. The routes of "
        "SandboxFusion's and NeMo-Skills' clients are in [Plugging into what you run](../integrations.md).",
        "",
    ]
    for path, methods in description["paths"].items():
        for method, route in methods.items():
            lines += _route(method.upper(), path, route)
    lines += ["## Objects", ""]
    for name, schema in description["components"]["schemas"].items():
        lines += _object(name, schema)
    return "\n".join(lines)


def _route(method: str, path: str, route: Mapping[str, Any]) -> Iterator[str]:
    yield from (f"## {method} {path}", "", route.get("description", ""), "")
    if body := route.get("requestBody"):
        (media,) = body["content"].values()
        yield from (f"Body: {_type(media['schema'])}.", "")
    yield from ("| status | answer | |", "|---|---|---|")
    for status, answer in sorted(route["responses"].items()):
        kinds = [_type(media["schema"]) for media in answer.get("content", {}).values() if media.get("schema")]
        yield f"| {status} | {_cell(', '.join(kinds))} | {_cell(answer['description'])} |"
    yield ""


def _object(name: str, schema: Mapping[str, Any]) -> Iterator[str]:
    yield from (f"### {name}", "", schema.get("description", ""), "")
    required = schema.get("required", [])
    yield from ("| field | type | default | |", "|---|---|---|---|")
    for field, about in schema.get("properties", {}).items():
        default = "required" if field in required else f"`{json.dumps(about['default'])}`" if "default" in about else ""
        yield f"| `{field}` | {_cell(_type(about))} | {default} | {_cell(about.get('description', ''))} |"
    yield ""
    for example in schema.get("examples", []):
        yield from ("```json", json.dumps(example, ensure_ascii=False, indent=2), "```", "")


def _type(schema: Mapping[str, Any]) -> str:
    """What a schema takes, in a few words, with the bounds."""
    if "$ref" in schema:
        name = schema["$ref"].rsplit("/", 1)[1]
        return f"[{name}](#{name.lower()})"
    if "enum" in schema:
        return " or ".join(f"`{json.dumps(value)}`" for value in schema["enum"])
    if "anyOf" in schema:
        return " or ".join(_type(one) for one in schema["anyOf"])
    kind = str(schema.get("type", "anything"))
    if kind == "array":
        return f"array of {_type(schema['items'])}"
    if kind == "object" and isinstance(schema.get("additionalProperties"), dict):
        return f"object of {_type(schema['additionalProperties'])}"
    bounds = {
        "minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<",
        "minLength": "characters ≥", "maxLength": "characters ≤",
    }  # fmt: skip
    return " ".join([kind, *(f"{sign} {schema[name]:,g}" for name, sign in bounds.items() if name in schema)])


def _cell(text: str) -> str:
    """`text` in one cell of a table."""
    return " ".join(text.split()).replace("|", "\\|")
