"""The inputs that the recipes of one command share, each read once: data sets, and the features joined to them.

inputs = Inputs(workspace)
inputs.features(inputs.data("pocket"), row.selection, specs)      # the second time, the same object
"""

from feature_cache import Spec, fingerprint
from probe.data import Manifest, resolve_data, with_training
from probe.extract import CachedFeatures, Selection
from probe.workspace import Workspace


class Inputs:
    """Keeps what could be read. What could not be read is tried again, and raises the same errors."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._data: dict[tuple[str, str | None], Manifest] = {}
        self._features: dict[tuple[int, str, str], CachedFeatures] = {}

    def data(self, name: str, train: str | None = None) -> Manifest:
        """The manifest of `name`, where `train` is given with the training images of that."""
        key = name, train
        if key not in self._data:
            if train is None:
                self._data[key] = resolve_data(name, self._workspace.data_root, datasets=self._workspace.datasets)
            else:
                self._data[key] = with_training(self.data(name), self.data(train))
        return self._data[key]

    def features(self, manifest: Manifest, selection: Selection, specs: dict[str, Spec]) -> CachedFeatures:
        """As CachedFeatures, for a manifest that came from here. `specs`: by store."""
        key = id(manifest), selection.features_name, fingerprint(specs)
        if key not in self._features:
            self._features[key] = CachedFeatures(manifest, selection, specs, self._workspace)
        return self._features[key]
