"""Label Studio: whether it answers, its release and clock, our token, and private addresses."""

import pytest
from pydantic import SecretStr

from prelabel.doctor import label_studio
from prelabel.doctor.case import Case
from prelabel.labelstudio_api.refusals import HOW_TO_SIGN_IN

PERSONAL = "eyJhbGciOiJIUzI1NiJ9.eyJ0b2tlbl90eXBlIjoicmVmcmVzaCJ9.c2ln"
ACCESS = "eyJhbGciOiJIUzI1NiJ9.eyJ0b2tlbl90eXBlIjoiYWNjZXNzIn0.c2ln"


@pytest.fixture
def look(machine):
    """Makes a check with settings, and closes what it opened."""
    cases = []

    def made(check, settings, **given):
        cases.append(Case(machine(), settings, **given))
        return check(cases[-1])

    yield made
    for case in cases:
        case.close()


def test_without_address_or_token_it_is_said_what_will_not_work(look, settings):
    for chosen in (settings(), settings(label_studio_url="http://127.0.0.1:9")):
        diagnosis = look(label_studio.sign_in, chosen)
        assert diagnosis.status == "warning"
        assert "LABEL_STUDIO_API_KEY" in diagnosis.mend
        assert look(label_studio.token, chosen).status == "skipped"
    assert look(label_studio.answers, settings()).status == "skipped"


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ({"label_studio_api_key": SecretStr("a" * 40)}, "legacy token"),
        ({"label_studio_api_key": SecretStr(PERSONAL)}, "personal access token"),
        ({"label_studio_api_key": SecretStr(ACCESS)}, "access token"),
        (
            {"label_studio_username": "ann", "label_studio_password": SecretStr("hidden")},
            "user name and password",
        ),
    ],
)
def test_the_kind_of_token_is_told(look, settings, values, kind):
    chosen = settings(label_studio_url="http://127.0.0.1:9", **values)
    diagnosis = look(label_studio.sign_in, chosen)
    assert (diagnosis.status, diagnosis.finding) == ("ok", f"{kind} for http://127.0.0.1:9")


@pytest.mark.parametrize(
    ("release", "status"),
    [
        ("1.7.3", "warning"),
        ("1.8.2.post1", "ok"),
        ("1.10.1dev", "ok"),
        ("1.23.2", "ok"),
        ("1.24.0", "ok"),
        ("2.0", "ok"),
    ],
)
def test_a_release_older_than_those_prelabel_was_checked_with_is_a_warning(
    look, signed_in, studio, release, status
):
    studio.version = {"release": release}
    diagnosis = look(label_studio.answers, signed_in())
    assert diagnosis.status == status
    assert release in diagnosis.finding
    assert ("newer" in diagnosis.finding) is (release in ("1.24.0", "2.0"))


def test_label_studio_answers_whoever_cannot_sign_in(look, signed_in):
    chosen = signed_in(label_studio_api_key=SecretStr("b" * 40))
    assert look(label_studio.answers, chosen).status == "ok"
    assert look(label_studio.token, chosen).status == "failure"


def test_where_nothing_or_another_program_answers_is_a_failure(look, signed_in, studio):
    unreachable = look(label_studio.answers, signed_in(label_studio_url="http://127.0.0.1:9"))
    assert unreachable.status == "failure"
    assert "no connection" in unreachable.finding
    studio.version = b"<html>"
    page = look(label_studio.answers, signed_in())
    assert page.status == "failure"
    assert "address at which Label Studio itself answers" in page.mend


@pytest.mark.parametrize(("ahead_s", "status"), [(0, "ok"), (-50, "ok"), (600, "warning")])
def test_a_clock_that_is_minutes_off_is_a_warning(look, signed_in, studio, ahead_s, status):
    studio.clock_s = ahead_s
    diagnosis = look(label_studio.clock, signed_in())
    assert diagnosis.status == status
    assert ("behind" if ahead_s < 0 else "ahead") in diagnosis.finding or ahead_s == 0


def test_a_refused_token_is_a_failure_that_does_not_show_it(look, signed_in):
    diagnosis = look(label_studio.token, signed_in(label_studio_api_key=SecretStr("c" * 40)))
    assert (diagnosis.status, diagnosis.mend) == ("failure", HOW_TO_SIGN_IN)
    assert "c" * 40 not in str(diagnosis)


def test_rights_that_the_user_lacks_are_named_by_what_they_are_for(look, signed_in, studio):
    assert "write predictions" in look(label_studio.token, signed_in()).finding
    studio.permissions = ["projects.view", "tasks.view"]
    diagnosis = look(label_studio.token, signed_in())
    assert diagnosis.status == "failure"
    assert "may not write predictions" in diagnosis.finding
    assert "read tasks" not in diagnosis.finding
    studio.permissions = None  # as a Label Studio that does not list them
    assert look(label_studio.token, signed_in()).status == "ok"


def test_a_block_of_private_addresses_is_told_with_the_variables_that_lift_it(
    look, signed_in, studio
):
    where = {"given_backend_url": "http://127.0.0.1:9090"}
    assert look(label_studio.private_addresses, signed_in(), **where).status == "ok"
    studio.block("/api/ml/")
    diagnosis = look(label_studio.private_addresses, signed_in(), **where)
    assert diagnosis.status == "warning"
    assert "ML_BLOCK_LOCAL_IP=false and SSRF_PROTECTION_ENABLED=false" in diagnosis.mend


@pytest.mark.parametrize(
    ("answer", "finding", "mend"),
    [
        ((500, {"detail": "Can't resolve hostname ml"}), "Can't resolve hostname", "look up"),
        ((403, {"detail": "You may not do this."}), "You may not do this", "token of a user"),
    ],
)
def test_any_other_refusal_of_an_address_is_passed_on(
    look, signed_in, studio, answer, finding, mend
):
    studio.refusals = {"/api/ml/": answer}
    diagnosis = look(label_studio.private_addresses, signed_in())
    assert diagnosis.status == "warning"
    assert finding in diagnosis.finding
    assert mend in diagnosis.mend


def test_asking_about_addresses_can_attach_nothing(look, signed_in, studio):
    look(label_studio.private_addresses, signed_in())
    ((path, body),) = studio.written
    assert path == "/api/ml/"
    assert "project" not in body
