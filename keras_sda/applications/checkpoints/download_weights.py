"""Checkpoints from the Hugging Face hub."""

import pathlib
from collections.abc import Mapping

from keras_sda.utils import InvalidInputError
from keras_sda.utils.optional_import import optional_import

_TIMEOUT = 10  # seconds until a silent connection counts as none


def download_weights(source: Mapping, name: str = "imagenet") -> pathlib.Path:
    """Returns the path of a checkpoint, from the cache or downloaded once.

    The cache is that of `huggingface_hub` (the folder in `HF_HOME`). What lies there
    is used without any connection. Interrupted downloads go on where they stopped.

    Args:
        source: A row of weights from `presets.py`: `repository`, `file`, `revision`.
        name: What the user asked for, for the error. Defaults to `"imagenet"`.

    Returns:
        Path of the file in the cache.

    Raises:
        InvalidInputError: The file is not in the cache and cannot be downloaded, or
            the hub client is not installed; the message says which file it is and how
            to place it.

    Example:

    ```python
    from keras_sda.applications.presets.presets import PRESETS
    download_weights(PRESETS["SDAResNet50"]["weights"]["imagenet"])
    ```
    """
    purpose = f"`weights={name!r}`"
    huggingface_hub = optional_import("huggingface_hub", purpose, _by_hand(source))
    wanted = {
        "repo_id": source["repository"],
        "filename": source["file"],
        "revision": source["revision"],
    }
    try:
        return pathlib.Path(
            huggingface_hub.hf_hub_download(**wanted, local_files_only=True)
        )
    except (OSError, ValueError):
        pass  # not in the cache
    try:
        # One request without retries: the download itself would try for half a minute
        # before it gives up.
        huggingface_hub.get_hf_file_metadata(
            huggingface_hub.hf_hub_url(**wanted), timeout=_TIMEOUT
        )
        return pathlib.Path(
            huggingface_hub.hf_hub_download(**wanted, etag_timeout=_TIMEOUT)
        )
    except Exception as error:
        # The classes of connection errors change with the version of the hub client.
        revision = source["revision"]
        at = f" (revision {revision})" if revision else ""
        raise InvalidInputError(
            f"{purpose} needs the file {source['file']!r} of repository "
            f"{source['repository']!r}{at} on the Hugging Face hub. It is not in the "
            f"cache and could not be downloaded ({_reason(error)}). Connect this "
            f"machine and try again, or {_by_hand(source)}."
        ) from error


def _by_hand(source):
    return (
        f"download {source['file']!r} of repository {source['repository']!r} on "
        f"another machine, copy it here and pass weights='path/{source['file']}' "
        "(another machine's cache folder works too: copy it and let HF_HOME name it)"
    )


def _reason(error):
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return "HF_HUB_OFFLINE is set"
    text = (str(error).strip().splitlines() or [""])[0]
    kind = type(error).__name__
    return kind if not text or "://" in text else f"{kind}: {text[:150]}"
