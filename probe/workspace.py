"""Where things live: data that came from outside, features (costly, shared between projects), and results.

Features and data default to the user's data folder; results to `out` in the current folder.

    Workspace(data_root, cache, out).store("pocket", "mobilenetv1")   # <cache>/pocket/mobilenetv1.h5
"""

import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path


def user_data_folder() -> Path:
    """`$XDG_DATA_HOME/probe`, by default `~/.local/share/probe`."""
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "probe"


@dataclass(frozen=True)
class Workspace:
    """The folders that a command reads and writes."""

    data_root: Path
    """Image sources and manifests."""
    cache: Path
    """Feature stores."""
    out: Path
    """Runs, evaluations and tables."""
    datasets: Path | None = None
    """A file of data sets of the user's own, which are known by name like the bundled ones."""

    @classmethod
    def of_user(cls) -> "Workspace":
        """The defaults."""
        return cls(user_data_folder() / "data", user_data_folder() / "features", Path("out"))

    @classmethod
    def named(cls, data_root: str | Path | None, cache: str | Path | None, out: str | Path | None) -> "Workspace":
        """The folders that are named, else those of the environment, as on the command line, else the defaults."""
        usual = cls.of_user()
        places = {"DATA_ROOT": (data_root, usual.data_root), "CACHE": (cache, usual.cache), "OUT": (out, usual.out)}
        found = [given or os.environ.get(f"PROBE_{name}") or other for name, (given, other) in places.items()]
        return cls(*(Path(place).expanduser() for place in found))

    def options(self, *names: str) -> list[str]:
        """The command-line options that lead back to the folders of these names, defaults left out.

        With `data_root` goes the file of data sets.
        """
        names += ("datasets",) * ("data_root" in names)
        changed = [name for name in names if getattr(self, name) != getattr(Workspace.of_user(), name)]
        return [word for name in changed for word in (f"--{name.replace('_', '-')}", str(getattr(self, name)))]

    def store(self, source: str, backbone: str) -> Path:
        """Where a backbone's features of a source lie; another source has another folder."""
        folder = file_name(source)
        if folder != source:
            folder += f"-{hashlib.sha256(source.encode()).hexdigest()[:8]}"
        return self.cache / folder / f"{file_name(backbone)}.h5"

    @property
    def runs(self) -> Path:
        return self.out / "runs"

    @property
    def evaluations(self) -> Path:
        return self.out / "evaluations"

    @property
    def tables(self) -> Path:
        return self.out / "tables"

    @property
    def figures(self) -> Path:
        return self.out / "figures"

    @property
    def report(self) -> Path:
        return self.out / "report.html"


def file_name(name: str) -> str:
    """A name as one path component: `open_clip:ViT-B-16/openai` -> `open_clip-ViT-B-16-openai`."""
    return re.sub(r"[^\w.+@-]+", "-", name).strip("-.") or "unnamed"
