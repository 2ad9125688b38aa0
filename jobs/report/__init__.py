"""One self-contained page that says what a run found; the same as Markdown, and its figures as SVG.

`reading` asks SQL, `figures` draws by Altair what it gave, `explorer` packs the all-exit passes for
the page's own script, `thumbnails` finds pictures, `page` fills the templates.
"""
