"""Files of a source from the Hugging Face Hub, at a pinned revision."""

from __future__ import annotations

from pathlib import Path

from sandbox.errors import InputError


def fetch(repository: str, revision: str, names: tuple[str, ...]) -> list[Path]:
    """The local paths of the files `names` of a data set repository, downloaded once and kept in the Hub's cache.

    Raises:
        InputError: the Hub cannot be reached, or has no such file; says what to do instead.
    """
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        return [Path(hf_hub_download(repository, name, repo_type="dataset", revision=revision)) for name in names]
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise InputError(
            f"cannot get {', '.join(names)} of {repository} at {revision} from the Hub ({first}). Without a "
            "connection, fetch the files elsewhere and give them with --file"
        ) from None
