"""An exported folder on the Hugging Face hub, where somebody has asked for that.

push(Path("embedder"), "me/groceries")      # https://huggingface.co/me/groceries
"""

from pathlib import Path

from probe.errors import ProbeError, UsageError, first_line


def push(folder: Path, repository: str) -> str:
    """Uploads the folder to a repository, made private where there is none yet; its address.

    Raises UsageError offline and for what is no name of a repository, ProbeError where the hub refuses.
    """
    from huggingface_hub import HfApi, constants
    from huggingface_hub.errors import HFValidationError

    later = f"{folder} is written; upload it later: hf upload {repository} {folder}"
    if constants.HF_HUB_OFFLINE:
        raise UsageError(f"nothing was pushed to {repository}: HF_HUB_OFFLINE is set. {later}")
    try:
        HfApi().create_repo(repository, private=True, exist_ok=True)
        return str(HfApi().upload_folder(repo_id=repository, folder_path=folder).repo_url)
    except HFValidationError as error:
        raise UsageError(f"--push {repository}: {first_line(error)}. {later}") from error
    except Exception as error:  # whatever the HTTP library raises: no network, no login, no right
        raise ProbeError(
            f"nothing was pushed to {repository} ({first_line(error)}); log in with `hf auth login`. {later}"
        ) from error
