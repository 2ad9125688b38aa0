"""Which files are behind the names gfnet, jobs and storage, which other packages may have too."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import find_spec
from pathlib import Path

PACKAGES = ("gfnet", "jobs", "storage")
HOME = Path(__file__).resolve().parents[2]
"""The folder of the three packages: a checkout, or an environment's folder of packages."""

_DISTRIBUTION = "gfjobs"
_MOVE = "submit from another folder, or rename it"


@dataclass(frozen=True)
class PackageOrigin:
    """Where one of the three names is found.

    Attributes:
        name: of the package.
        imported: the file that this process imports, or the folder of a package without
            `__init__.py`; None: nothing has the name.
        in_folder: what a process imports that searches the current folder first, such as a worker
            of Ray; None: the same as this process.
        claimed_by: other installed distributions with a package of this name.
    """

    name: str
    imported: Path | None
    in_folder: Path | None = None
    claimed_by: tuple[str, ...] = ()

    @property
    def is_own(self) -> bool:
        """Whether this gfjobs' own package is imported."""
        return self.imported == _own_file(self.name)

    def describe_foreign(self) -> tuple[str, str]:
        """Describe what is wrong if another package is imported, and what to do."""
        if self.imported is None:
            return f"{self.name} is missing in {HOME}", "install gfjobs again"
        found = f"{self.name} is {self.imported}, not gfjobs' own in {HOME}"
        if self.claimed_by:
            return (
                f"{found}; {self._claim()}",
                f"make an environment for gfjobs alone, or pip uninstall {self._others()}",
            )
        return (
            f"{found}; no installed distribution has a package of this name",
            "rename it, or take the folder that it lies in off PYTHONPATH",
        )

    def describe_risks(self) -> Iterator[tuple[str, str]]:
        """Describe what may go wrong although the own package is imported, and what to do."""
        if self.claimed_by:
            found = f"{self._claim()}: in one environment, each overwrites files of the other"
            others = self._others()
            remedy = f"make an environment for gfjobs alone; or pip uninstall {others}, then"
            yield found, f"{remedy} install gfjobs again"
        if self.in_folder:
            found = f"this folder has another {self.name}, {self.in_folder}: the workers of a run"
            yield f"{found} that is submitted here import it", _MOVE

    def _claim(self) -> str:
        return f"{', '.join(self.claimed_by)} also has a package {self.name}"

    def _others(self) -> str:
        return " ".join(self.claimed_by)


def find_origins(folder: Path) -> list[PackageOrigin]:
    """Find the three packages without importing them; `folder` is the current one."""
    from importlib.metadata import packages_distributions  # every command checks its packages

    distributions = packages_distributions()
    origins = []
    for name in PACKAGES:
        imported = _file(find_spec(name))
        # As Ray has it: its workers put the driver's current folder first.
        from_folder = _file(PathFinder.find_spec(name, [str(folder), *sys.path]))
        is_other = from_folder not in {None, imported}
        claims = {each for each in distributions.get(name, ()) if each} - {_DISTRIBUTION}
        origins.append(
            PackageOrigin(name, imported, from_folder if is_other else None, tuple(sorted(claims)))
        )
    return origins


def find_foreign() -> list[PackageOrigin]:
    """Find those of the three names that import another package; takes no time if none does."""
    if all(_file(find_spec(name)) == _own_file(name) for name in PACKAGES):
        return []
    return [origin for origin in find_origins(Path.cwd()) if not origin.is_own]


def _own_file(name: str) -> Path:
    return HOME / name / "__init__.py"


def _file(spec: ModuleSpec | None) -> Path | None:
    """Return the file of a package, or the folder of one without `__init__.py`."""
    if spec is None:
        return None
    if spec.has_location and spec.origin:
        return Path(spec.origin).resolve()
    return Path(next(iter(spec.submodule_search_locations or ["."]))).resolve()
