"""Storage of results: Arrow schemas, atomic commits, DuckDB views and queries, encoded images.

The only package that uses DuckDB and pyarrow. Its names are listed in `__init__.pyi` and loaded on
first use (PEP 562), so that `import storage` costs nothing.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
