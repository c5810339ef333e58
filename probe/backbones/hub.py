"""Files of the Hugging Face hub: from the local cache if they are there, else from the network, else one sentence.

What is cached is taken as it is, without asking the network whether there is a newer one. Nothing is tried twice: a
machine without a network says so within seconds.

    fetch("timm/resnet50.a1_in1k", ("model.safetensors",), "the weights of timm:resnet50.a1_in1k", "name it with ...")
    fetch_all("me/groceries", ("config.json", "model.safetensors"), "the files of me/groceries", "name the folder")
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from probe.errors import ProbeError, UsageError, first_line

TIMEOUT = 5.0  # seconds until the hub counts as out of reach


def cached(repository: str, files: Sequence[str], revision: str | None = None) -> Path | None:
    """The first of the files that is in the local cache. `revision`: a commit, by default the latest that is there."""
    from huggingface_hub import try_to_load_from_cache

    found = (try_to_load_from_cache(repository, file, revision=revision) for file in files)
    return next((Path(path) for path in found if isinstance(path, str)), None)


def fetch(repository: str, files: Sequence[str], what: str, instead: str, revision: str | None = None) -> Path:
    """The first of the files that there is, from the cache or the network.

    `what` the file is and what to do `instead` go into the error: UsageError where the hub cannot be reached or lacks
    the file, ProbeError where it refuses or the disk does.
    """
    path = cached(repository, files, revision)
    if path is None:
        file = _available(repository, files, what, _remedy(f"{repository} {files[0]}", instead, revision), revision)
        if file is None:
            raise UsageError(f"{what}: {repository} has none of {', '.join(files)}; {instead.rstrip(',')}.")
        path = _download(repository, file, what, revision)
    return path


def fetch_all(repository: str, files: Sequence[str], what: str, instead: str, revision: str | None = None) -> Path:
    """The folder with all of these files of one revision, from the cache or the network. Raises as `fetch` does."""
    found = [cached(repository, (file,), revision) for file in files]
    first = found[0]
    if first is None or {path and path.parent for path in found} != {first.parent}:
        remedy = _remedy(repository, instead, revision)
        for file in files:
            if _available(repository, (file,), what, remedy, revision) is None:
                raise UsageError(f"{what}: {repository} has no {file}; name another repository, or another revision.")
        return _download_all(repository, files, what, revision)
    return first.parent


def _available(repository: str, files: Sequence[str], what: str, remedy: str, revision: str | None) -> str | None:
    """The first of the files that the repository has, if any; asks once, without the retries of a download."""
    from huggingface_hub import constants, get_hf_file_metadata, hf_hub_url
    from huggingface_hub.errors import EntryNotFoundError, GatedRepoError, HfHubHTTPError, RepositoryNotFoundError

    lacking = f"{what} are not in the local Hugging Face cache and the hub is out of reach"
    if constants.HF_HUB_OFFLINE:
        raise UsageError(f"{lacking} (HF_HUB_OFFLINE is set); {remedy}")
    for file in files:
        try:
            get_hf_file_metadata(hf_hub_url(repository, file, revision=revision), timeout=TIMEOUT)
            return file
        except EntryNotFoundError:
            continue
        except GatedRepoError as error:
            raise ProbeError(
                f"{what} are in {repository}, which asks for consent: give it on the repository's page, then "
                "`hf auth login`."
            ) from error
        except RepositoryNotFoundError as error:
            raise UsageError(f"{what}: the hub has no repository {repository}, or it is private.") from error
        except HfHubHTTPError as error:
            raise ProbeError(f"{what}: the hub refuses {file} of {repository}: {first_line(error)}") from error
        except Exception as error:  # whatever the HTTP library raises: no name, no route, no answer, no certificate
            raise UsageError(f"{lacking} ({first_line(error)}); {remedy}") from error
    return None


def _remedy(downloaded: str, instead: str, revision: str | None) -> str:
    from huggingface_hub import constants

    at = f" --revision {revision}" if revision else ""
    return (
        f"run `hf download {downloaded}{at}` where there is a network, and {instead} "
        f"or copy it with its repository's folder into the cache, {constants.HF_HUB_CACHE}."
    )


def _download(repository: str, file: str, what: str, revision: str | None) -> Path:
    from huggingface_hub import hf_hub_download

    with _stored(f"{what}: {file} of {repository}"):
        return Path(hf_hub_download(repository, file, revision=revision, etag_timeout=TIMEOUT))


def _download_all(repository: str, files: Sequence[str], what: str, revision: str | None) -> Path:
    from huggingface_hub import snapshot_download

    with _stored(f"{what}: {', '.join(files)} of {repository}"):
        return Path(snapshot_download(repository, revision=revision, allow_patterns=list(files), etag_timeout=TIMEOUT))


@contextmanager
def _stored(what: str) -> Iterator[None]:
    from huggingface_hub.errors import HfHubHTTPError

    try:
        yield
    except (HfHubHTTPError, OSError) as error:
        where = f" in {os.environ['HF_HOME']}" if os.environ.get("HF_HOME") else ""
        raise ProbeError(f"{what} could not be fetched and stored{where}: {first_line(error)}") from error
