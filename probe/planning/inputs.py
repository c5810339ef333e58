"""What several recipes read of the disk, each thing once: data sets, and the features that are joined to them.

shelf = Shelf(workspace)
shelf.features(shelf.data("pocket"), row.selection, asked)      # the second time, the same object
"""

from feature_cache import Spec, fingerprint
from probe.data.manifest import Manifest
from probe.data.resolve import resolve_data
from probe.data.selection import with_training
from probe.extract.features import CachedFeatures
from probe.extract.selection import Selection
from probe.workspace import Workspace


class Shelf:
    """Raises what reading raises, each time; what cannot be read is not kept."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._data: dict[tuple[str, str | None], Manifest] = {}
        self._features: dict[tuple[int, str, str], CachedFeatures] = {}

    def data(self, name: str, train: str | None = None) -> Manifest:
        """What `name` means; with the training images of another, where that is named."""
        key = name, train
        if key not in self._data:
            if train is None:
                self._data[key] = resolve_data(name, self._workspace.data_root, datasets=self._workspace.datasets)
            else:
                self._data[key] = with_training(self.data(name), self.data(train))
        return self._data[key]

    def features(self, manifest: Manifest, selection: Selection, asked: dict[str, Spec]) -> CachedFeatures:
        """As CachedFeatures, of a manifest of this shelf."""
        key = id(manifest), selection.features_name, fingerprint(asked)
        if key not in self._features:
            self._features[key] = CachedFeatures(manifest, selection, asked, self._workspace)
        return self._features[key]
