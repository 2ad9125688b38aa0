"""The self-contained page: templates, data of the explorer, thumbnails."""
