"""`probe serve`: an index in the browser, on this machine.

probe serve photos.index --port 8000
"""

from typing import Annotated

import typer

from probe.commands.index import IndexPath, Precision, Run
from probe.commands.options import Device, MovedWeights
from probe.device import DeviceChoice
from probe.errors import UsageError


def serve(
    index: IndexPath,
    host: Annotated[
        str, typer.Option(help="The address to listen on; beyond this machine everybody needs the token.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 8000,
    token: Annotated[
        str | None,
        typer.Option(envvar="PROBE_SERVE_TOKEN", help="What everybody has to show.", show_default="none, or drawn"),
    ] = None,
    false_match_rate: Annotated[
        float | None, typer.Option(help="Mark hits as no match, by the threshold for this rate.", show_default=False)
    ] = None,
    upload_megabytes: Annotated[int, typer.Option("--upload-mb", min=1, help="The largest file that is taken.")] = 25,
    seconds: Annotated[int, typer.Option(min=1, help="For an upload to arrive, and for its answer.")] = 30,
    threads: Annotated[
        int | None, typer.Option(min=1, help="That decode and embed.", show_default="processors, at most 8")
    ] = None,
    run: Run = None,
    weights: MovedWeights = None,
    precision: Precision = None,
    device: Device = DeviceChoice.auto,
) -> None:
    """Search an index in the browser, or by a JSON API: drop an image, click a hit, see where it fails."""
    import secrets
    from dataclasses import replace

    from probe.index import Index
    from probe.progress import say

    try:
        from probe.serve import Limits, is_loopback, listen
        from probe.serve import serve as answer
    except ModuleNotFoundError as error:
        raise UsageError(f"`probe serve` needs {error.name}; install it with `pip install 'probe[serve]'`.") from error

    opened = Index.open(index, run=run, weights=weights, device=device, precision=precision)
    limits = Limits(upload_bytes=upload_megabytes * 1_000_000, seconds=seconds)
    limits = replace(limits, threads=threads or limits.threads)
    token = token or None  # an empty one would be everybody's
    if token is None and not is_loopback(host):
        token = secrets.token_urlsafe(24)
    listening = listen(host, port)
    place = f"[{host}]" if ":" in host else host
    address = f"http://{place}:{listening.getsockname()[1]}/{f'?token={token}' if token else ''}"
    say(f"{index}: {len(opened):,} rows at {address} (Ctrl-C ends it)")
    try:
        answer(opened, listening, host, token, limits, false_match_rate)
    except KeyboardInterrupt:
        say("stopped")
