"""What MkDocs calls: adds pages made from the code, and pages of linked repository files."""

from __future__ import annotations

from typing import TYPE_CHECKING

import command_reference
import key_reference
import repository_pages
import table_reference
from mkdocs.structure.files import File, InclusionLevel

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

_REFERENCE = {
    "reference/commands.md": command_reference.write_page,
    "reference/keys.md": key_reference.write_page,
    "reference/tables.md": table_reference.write_page,
}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the reference, and each file of the repository that a page links to."""
    for uri, write in _REFERENCE.items():
        files.append(File.generated(config, uri, content=write()))
    pages = {file.src_uri: file.content_string for file in files.documentation_pages()}
    for uri, text in repository_pages.find_linked(pages).items():
        file = File.generated(config, uri, content=text, inclusion=InclusionLevel.NOT_IN_NAV)
        files.append(file)
    return files


def on_page_markdown(markdown: str, page: Page, **_others: object) -> str:
    """Let links that lead to files of the repository lead to their pages."""
    return repository_pages.rewrite_links(markdown, page.file.src_uri)
