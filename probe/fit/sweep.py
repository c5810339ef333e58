"""Many runs one after the other: what is done is skipped, what is not is fitted and written.

sweep(runs, features, device_choice="auto")
"""

import time
from collections.abc import Sequence

from probe.device import choose_device
from probe.extract.features import CachedFeatures
from probe.fit.run import Run
from probe.progress import say, track


def sweep(runs: Sequence[tuple[Run, CachedFeatures]], device_choice: str) -> int:
    """Fits every run that is not done, in order; returns how many. PyTorch is loaded only if there are any."""
    pending = [(run, features) for run, features in runs if not run.done]
    if not pending:
        return 0
    from probe.fit.train import fit

    device, reason = choose_device(device_choice)
    say(f"fit {len(pending)} run(s) on {device.type} ({reason}); {len(runs) - len(pending)} already done")
    epochs = sum(run.config.training.epochs if run.config.training else 1 for run, _ in pending)
    with track("fit", epochs, "epochs") as advance:
        for run, features in pending:
            start = time.monotonic()
            name = run.path.name.rsplit("_", 1)[0]
            fitted = fit(run.config, features, device, lambda note, name=name: advance(1, f"{name} {note}".rstrip()))
            run.write(fitted, time.monotonic() - start, device.type)
    return len(pending)
