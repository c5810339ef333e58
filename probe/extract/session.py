"""One extraction from plan to report, over all sources of some manifests. Without work to do, no model is loaded.

extract_sources([manifest], backbone, workspace, Settings(batch=64), device_choice="auto")
"""

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from feature_cache import (
    Failure,
    FeatureStore,
    Remarks,
    Spec,
    StoreWriter,
    differences,
    set_parts_aside,
    written_files,
)
from probe.backbones import Backbone
from probe.data import Manifest, Unread, only
from probe.device import choose_device, gpu_name
from probe.errors import ProbeError, UsageError
from probe.extract.constants import Constants
from probe.extract.match import other_transforms
from probe.extract.plan import FLOAT16, Settings, Task, plan_extraction
from probe.extract.speed import Speed, record
from probe.precision import Precision, PrecisionChoice, choose_precision
from probe.progress import say
from probe.workspace import Workspace


def extract_sources(
    manifests: Sequence[Manifest],
    backbone: Backbone,
    workspace: Workspace,
    settings: Settings,
    device_choice: str,
    precision_choice: str | None = None,
) -> None:
    """Brings the store of each source up to date and says what it did.

    Raises UsageError for a split that one of the manifests lacks.
    """
    _require_one_root(manifests)
    manifests = [only(manifest, splits=settings.splits) for manifest in manifests]
    stores = [workspace.store(source, backbone.name) for manifest in manifests for source in manifest.sources]
    precision, why = _precision(precision_choice, backbone, stores, device_choice)
    settings = replace(settings, dtype=settings.dtype or _stored_as(stores))
    spec = backbone.spec(settings.stored_as, precision)
    tasks = [
        task
        for manifest in manifests
        for task in plan_extraction(manifest, backbone.name, spec, workspace, settings.retry_failed, settings.limit)
    ]
    for line in dict.fromkeys(line for task in tasks for line in other_transforms(task.store, backbone.name, spec)):
        say(line)
    for task in tasks:
        if not task.todo:
            _merge_left_parts(task.store)
            say(f"{task.source}: {_asked(settings)}{task.stored:,} images are in {task.store}")
    pending = [task for task in tasks if task.todo]
    if not pending:
        return
    from probe.backbones import load_encoder
    from probe.data import choose_workers
    from probe.extract.local import extract

    device, reason = choose_device(device_choice)
    say(f"extract {backbone.name} on {device.type} ({reason}) in {precision} ({why})")
    if settings.workers is None:
        workers, reason = choose_workers(shared=backbone.needs_weights and device.type == "cpu")
        say(f"{workers} decoding process(es) ({reason}); --workers changes that")
        settings = replace(settings, workers=workers)
    settings = replace(settings, pinned=device.type == "cuda")
    encoder = load_encoder(backbone, device, precision)
    remarks = _remarks(backbone)
    unread: list[Unread] = []
    for task in pending:
        _set_aside_float16(task, spec)
        undisturbed, start = written_files(task.store) in ([], [task.store]), time.monotonic()
        extracted = extract(task, encoder, spec, settings, remarks)
        if undisturbed:
            seconds = time.monotonic() - start
            speed = Speed(backbone.name, device.type, len(task.todo), seconds, precision, gpu_name(device.type))
            record(workspace.cache, speed)
        _report(task, extracted.failures, extracted.constants)
        unread += extracted.unread
    if unread:
        raise ProbeError(
            f"{len(unread):,} image(s) could not be read, and are not in the store; the first is {unread[0].id} "
            f"({unread[0].reason}). Mend that and give the same command again."
        )


def _remarks(backbone: Backbone) -> Remarks:
    location, compared = backbone.weights_location, backbone.compared
    return Remarks(
        weights=location.model_dump(exclude_none=True) if location else None,
        evidence={"pixels": compared.model_dump(mode="json")} if compared else None,
    )


def _asked(settings: Settings) -> str:
    """`all `, or the part that was asked for, beside which a store may hold more."""
    parts = [] if settings.limit is None else [f"the first {settings.limit:,}"]
    parts += ["of " * bool(parts) + " and ".join(settings.splits)] if settings.splits else []
    return f"{' '.join(parts)} and what else there is, " if parts else "all "


def _stored_as(stores: list[Path]) -> str:
    written = (file for store in stores for file in written_files(store)[:1])
    return next((FeatureStore(file).dtype.name for file in written), FLOAT16)


def _set_aside_float16(task: Task, spec: Spec) -> None:
    """What an extraction has left that ended at a feature beyond float16, once float32 is asked for."""
    files = written_files(task.store)
    if not files or task.store.exists() or spec["dtype"] == FLOAT16:
        return
    found = FeatureStore(files[0])
    if found.dtype == FLOAT16 and not differences(found.spec | {"dtype": spec["dtype"]}, spec):
        aside = set_parts_aside(task.store, FLOAT16)
        say(f"{task.source}: the work so far is in float16 and set aside in {aside}; all images are extracted anew")


def _merge_left_parts(store: Path) -> None:
    """Parts lie beside a store that lacks nothing when an extraction was killed right after its merge."""
    if written_files(store) not in ([], [store]):
        with StoreWriter.resume(store) as writer:
            writer.finish()


def _report(task: Task, failures: list[Failure], constants: Constants) -> None:
    failed = f", {len(failures):,} could not be decoded:" if failures else ""
    say(f"{task.source}: {len(FeatureStore(task.store)):,} images in {task.store}{failed}")
    for failure in failures[:5]:
        say(f"  could not decode {failure.id}: {failure.reason}")
    if constants.remark:
        say(f"{task.source}: {constants.remark}")


def _precision(choice: str | None, backbone: Backbone, stores: list[Path], device_choice: str) -> tuple[Precision, str]:
    """What the forward pass runs in, and why; looks for a device only where no store has decided it already."""
    if not backbone.needs_weights:
        if choice not in (None, PrecisionChoice.auto, PrecisionChoice.fp32):
            raise UsageError(f"--precision {choice}: the backbone '{backbone.name}' runs in fp32 only; leave it out.")
        return Precision.fp32, "the only one it has"
    if choice in (None, PrecisionChoice.auto):
        for path in (file for store in stores for file in written_files(store)[:1]):
            if precision := Precision.of_dtype(FeatureStore(path).spec.get("precision")):
                return precision, "what is stored was made with it"
    if choice is None:
        return Precision.fp32, "the default"
    return choose_precision(choice, choose_device(device_choice)[0])


def _require_one_root(manifests: Sequence[Manifest]) -> None:
    roots: dict[str, Path] = {}
    for manifest in manifests:
        for source, root in manifest.roots.items():
            if roots.setdefault(source, root).resolve() != root.resolve():
                raise UsageError(
                    f"two of the DATA have a source '{source}', one in {roots[source]} and one in {root}; "
                    "sources of the same name are the same images: rename one, or use another --cache."
                )
