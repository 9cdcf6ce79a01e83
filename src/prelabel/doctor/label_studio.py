"""Checks of Label Studio: whether it answers, in which release, and what we may do there."""

import re

from prelabel.doctor.case import Case
from prelabel.doctor.diagnosis import Diagnosis, failure, ok, skipped, warning
from prelabel.doctor.probes import refused_backend
from prelabel.errors import LabelStudioError, RequestRefused
from prelabel.labelstudio_api.login import TokenKind, token_kind
from prelabel.labelstudio_api.refusals import HOW_TO_SIGN_IN
from prelabel.media.references import shown

OLDEST_CHECKED, NEWEST_CHECKED = (1, 8), (1, 23)
"""The releases of Label Studio that prelabel's own tests were run against."""
MOST_SECONDS_APART = 60.0
RIGHTS = {
    "projects.view": "see projects",
    "tasks.view": "read tasks",
    "projects.change": "write predictions and attach a backend",
}
"""What prelabel does there, by the permission that Label Studio asks for."""

_NO_IMAGES = "Images that were uploaded to Label Studio cannot be read."
_CUT_OFF = "prelabel can neither read uploaded images nor attach itself."
_OTHER_PROGRAM = (
    "Another program answers there: give the address at which Label Studio itself answers, with "
    "its sub-path if it has one."
)


def sign_in(case: Case) -> Diagnosis:
    """Whether the settings name Label Studio and something to sign in with."""
    url = shown(case.settings.label_studio_url)
    if not url:
        return warning(
            "LABEL_STUDIO_URL is not set",
            _NO_IMAGES,
            "Set LABEL_STUDIO_URL and LABEL_STUDIO_API_KEY.",
        )
    if not _way_in(case):
        return warning(f"no token for {url}", _NO_IMAGES, HOW_TO_SIGN_IN)
    return ok(f"{_way_in(case)} for {url}")


def answers(case: Case) -> Diagnosis:
    """Whether Label Studio answers, in a release that prelabel was checked with."""
    url = case.settings.label_studio_url
    if not url:
        return skipped("LABEL_STUDIO_URL is not set")
    try:
        greeting = case.greeting
    except LabelStudioError as error:
        return failure(
            f"{shown(url)}: {error.cause}",
            _CUT_OFF,
            _OTHER_PROGRAM if isinstance(error, RequestRefused) else error.next_step,
        )
    found = f"{greeting.release} {greeting.edition}".strip() + f" at {shown(url)}"
    release = tuple(int(number) for number in re.findall(r"\d+", greeting.release)[:2])
    oldest, newest = (".".join(map(str, one)) for one in (OLDEST_CHECKED, NEWEST_CHECKED))
    if release < OLDEST_CHECKED:
        return warning(
            found,
            f"prelabel was checked with {oldest} to {newest}; older releases answer some calls "
            "otherwise.",
            "pip install --upgrade label-studio   # or a newer image of its container",
        )
    newer = f", newer than the {newest} that prelabel was checked with"
    return ok(found + (newer if release > NEWEST_CHECKED else ""))


def clock(case: Case) -> Diagnosis:
    """Whether the clock here and that of Label Studio agree."""
    ahead = case.greeting.ahead_s
    if ahead is None:
        return skipped("Label Studio sends no Date")
    found = f"Label Studio's is {abs(ahead):.0f} s {'ahead' if ahead > 0 else 'behind'}"
    if abs(ahead) <= MOST_SECONDS_APART:
        return ok(found)
    return warning(
        found,
        "Certificates, signed addresses of cloud storage and tokens are judged by the clock, and "
        "the times in two logs do not fit together.",
        "timedatectl set-ntp true   # on the machine whose `date -u` is wrong",
    )


def token(case: Case) -> Diagnosis:
    """Whether Label Studio takes the token, of which kind it is, and what it may do."""
    kind = _way_in(case)
    if not kind:
        return skipped("there is nothing to sign in with")
    try:
        user = case.user
    except LabelStudioError as error:
        return failure(f"{kind}: {error.cause}", _CUT_OFF, error.next_step)
    found = f"{kind} of {user.get('email', 'somebody')}"
    permissions = user.get("permissions")
    if isinstance(permissions, list):
        lacking = [what for right, what in RIGHTS.items() if right not in permissions]
        if lacking:
            return failure(
                f"{found}, who may not {' or '.join(lacking)}",
                "Label Studio will refuse these steps.",
                "Use the token of a user who may, or have an owner of the organization allow it.",
            )
        found += f", who may {', '.join(RIGHTS.values())}"
    if kind == TokenKind.ACCESS.value:
        return warning(found, "Label Studio ends an access token after minutes.", HOW_TO_SIGN_IN)
    return ok(found)


def private_addresses(case: Case) -> Diagnosis:
    """Whether Label Studio may call a backend at our address, which is mostly a private one."""
    url = case.backend_url
    refusal = refused_backend(case, url)
    if refusal is None:
        return ok(f"Label Studio may call {shown(url)}")
    return warning(
        f"{shown(url)}: {refusal.cause}",
        "A backend there cannot be attached, and one that is counts as disconnected.",
        refusal.next_step,
    )


def _way_in(case: Case) -> str:
    """What there is to sign in with, in words; "" for nothing.

    Raises:
        LoginRefused: The token is none.
    """
    written = case.settings.label_studio_api_key.get_secret_value()
    if written:
        return token_kind(written.strip()).value
    has_login = case.settings.label_studio_username and case.settings.label_studio_password
    return "user name and password" if has_login else ""
