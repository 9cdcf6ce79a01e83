"""Any value of any setting: taken, or refused by the name of the setting."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prelabel.assembly.parts import limits
from prelabel.errors import SettingsError
from prelabel.media.addresses import AddressPolicy
from prelabel.media.references import Origin
from prelabel.settings import Settings, load

from .conftest import tried

NAMES = sorted(name.upper() for name in Settings.model_fields)
VALUES = st.one_of(
    st.sampled_from(
        ["0", "1", "-1", "1e400", "nan", "inf", "true", "no", "9" * 30, "a,b", ",", "http://",
         "https://a:b@c/", "http://[", "10.0.0.0/8", "1/second", "9/0 day", "0/minute", "..",
         "redis://", "sqlite://", "postgresql://", "{", "[]", "\u202e", "10/minute;5/second"]
    ),
    st.text(st.characters(exclude_characters="\x00", exclude_categories=("Cs",)), max_size=12),
)  # fmt: skip


@pytest.fixture(autouse=True)
def no_other_sources(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)


@tried(150)
@given(st.dictionaries(st.sampled_from(NAMES), VALUES, max_size=3))
def test_every_value_is_taken_or_refused(values):
    with pytest.MonkeyPatch.context() as patch:
        for name, value in values.items():
            patch.setenv(name, value)
        try:
            settings = load()
        except SettingsError:
            return
    assert limits(settings).max_bytes > 0
    assert settings.fetch_timeout_seconds > 0
    with contextlib.suppress(SettingsError):
        AddressPolicy(settings.fetch_allowed_hosts)
    with contextlib.suppress(SettingsError):
        Origin(settings.label_studio_url or "http://a", None, settings.label_studio_aliases)
