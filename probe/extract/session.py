"""One extraction from plan to report, over all sources of a manifest. Without work to do, no model is loaded.

extract_sources(manifest, backbone, workspace, Settings(batch=64), device_choice="auto")
"""

from feature_cache import FeatureStore
from probe.backbones.catalogue import Backbone
from probe.data.manifest import Manifest
from probe.device import choose_device
from probe.extract.plan import Settings, plan
from probe.progress import say
from probe.workspace import Workspace


def extract_sources(
    manifest: Manifest, backbone: Backbone, workspace: Workspace, settings: Settings, device_choice: str
) -> None:
    """Brings the store of each source up to date and says what it did."""
    spec = backbone.spec(settings.dtype)
    tasks = plan(manifest, backbone.name, spec, workspace, settings.retry_failed)
    pending = [task for task in tasks if task.todo]
    for task in tasks:
        if not task.todo:
            say(f"{task.source}: all {task.stored:,} images are in {task.store}")
    if not pending:
        return
    from probe.backbones.encoder import load_encoder
    from probe.extract.local import extract

    device, reason = choose_device(device_choice)
    say(f"extract {backbone.name} on {device.type} ({reason})")
    encoder = load_encoder(backbone, device)
    for task in pending:
        failures = extract(task, encoder, spec, settings)
        failed = f", {len(failures):,} could not be decoded:" if failures else ""
        say(f"{task.source}: {len(FeatureStore(task.store)):,} images in {task.store}{failed}")
        for failure in failures[:5]:
            say(f"  could not decode {failure.id}: {failure.reason}")
