"""Reports of a run: a self-contained HTML page, Markdown, figures as SVG, and terminal tables.

`read` queries the results, `figures` draws charts with Altair, `html.explorer` packs the all-exit
passes for the page's script, `html.thumbnails` finds pictures, `html.page` fills the templates.
"""
