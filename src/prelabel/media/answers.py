"""What it means when an image is asked for and something other than an image comes back."""

from http import HTTPStatus

LOGIN_MISSING = (
    "Set LABEL_STUDIO_API_KEY to a personal access token from Label Studio's Account & Settings."
)
LOGIN_INVALID = (
    "Set LABEL_STUDIO_API_KEY to a valid personal access token from Account & Settings; a legacy "
    "token works only while the organization allows legacy tokens."
)

_PERMISSION = (
    "Give the user whose token is LABEL_STUDIO_API_KEY access to the project in Label Studio."
)
_LOCAL_FILES: dict[int, str] = {
    HTTPStatus.FORBIDDEN: (
        "Start Label Studio with LOCAL_FILES_SERVING_ENABLED=true, or mount the folder here and "
        "set LOCAL_FILES_DOCUMENT_ROOT to it. Before 1.12 it takes no token for such files: mount "
        "them, or set LABEL_STUDIO_USERNAME and LABEL_STUDIO_PASSWORD in its place."
    ),
    HTTPStatus.NOT_FOUND: (
        "Add a Local Files source storage that covers the file's folder to the project, or mount "
        "the folder here and set LOCAL_FILES_DOCUMENT_ROOT to it."
    ),
}
_RESOLVE: dict[int, str] = {
    HTTPStatus.FORBIDDEN: _PERMISSION,
    HTTPStatus.NOT_FOUND: (
        "Add the bucket or container to the project as a source storage in Label Studio."
    ),
    HTTPStatus.FAILED_DEPENDENCY: (
        "Check the storage's credentials and whether the object exists, in Label Studio under "
        "Settings, Cloud Storage."
    ),
}
_UPLOAD_GONE = "Upload the file to Label Studio again, or delete the task: its upload is gone."
_UPLOAD: dict[int, str] = {
    HTTPStatus.FORBIDDEN: _PERMISSION,
    HTTPStatus.NOT_FOUND: _UPLOAD_GONE,
    # Label Studio fails with 500 on an upload whose database row is missing
    # (label_studio/data_import/api.py of 1.23.2, read, not run).
    HTTPStatus.INTERNAL_SERVER_ERROR: _UPLOAD_GONE,
}
_SEE_TASK = "Open the task in Label Studio to see whether the image shows there."
_OTHER_PATH = (
    "Correct the address: an upload's begins with /data/upload/. Or upload the image to Label "
    "Studio."
)


def label_studio_said(status: int, path: str, *, with_token: bool) -> tuple[str, str]:
    """Cause and next step for Label Studio's refusal.

    Args:
        status: Its HTTP status.
        path: What it was asked for, below its address.
        with_token: Whether a token was sent.
    """
    cause = f"Label Studio answered {status}"
    if status == HTTPStatus.UNAUTHORIZED:
        return cause, LOGIN_INVALID if with_token else LOGIN_MISSING
    if path.startswith("/data/local-files"):
        table = _LOCAL_FILES
    elif "/resolve/" in path or "/presign/" in path:
        table = _RESOLVE
    elif path.startswith(("/data/upload/", "/storage-data/")):
        table = _UPLOAD
    else:
        table = {HTTPStatus.FORBIDDEN: _PERMISSION}
    return cause, table.get(status, _SEE_TASK)


def label_studio_said_to_nobody(status: int) -> tuple[str, str]:
    """Cause and next step for Label Studio's refusal where it was sent no token on purpose."""
    cause = f"Label Studio answered {status}"
    if status not in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        return cause, _SEE_TASK
    only = "its token is sent only to where it serves files, and to no redirect from elsewhere"
    return f"{cause}: {only}", _OTHER_PATH


def server_said(status: int, host: str, *, with_login: bool) -> tuple[str, str]:
    """Cause and next step for the refusal of a server that is not Label Studio.

    Args:
        status: Its HTTP status.
        host: Which server it is.
        with_login: Whether the project's task data credentials were sent.
    """
    cause = f"{host} answered {status}"
    if status == HTTPStatus.UNAUTHORIZED:
        wrong = "Correct" if with_login else "Enter"
        return cause, f"{wrong} the task data credentials in the project's settings."
    if status == HTTPStatus.FORBIDDEN:
        return cause, "Make the image readable; a signed address may have expired."
    if status in (HTTPStatus.NOT_FOUND, HTTPStatus.GONE):
        return cause, "Correct the address in the task's data: nothing is there."
    return cause, "Open the address in a browser to see what it answers."
