import pytest

from leyden_operator.settings import BadSetting, Settings, from_environment


def test_nothing_set_gives_the_defaults() -> None:
    assert from_environment({"LEYDEN_WATCH_NAMESPACES": ""}) == Settings()


def test_namespaces_are_separated_by_commas() -> None:
    assert from_environment({"LEYDEN_WATCH_NAMESPACES": "a, b"}).watch_namespaces == ("a", "b")


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        pytest.param("LEYDEN_LOG_LEVEL", "loud", "debug, info", id="level"),
        pytest.param("LEYDEN_IMAGE_PULL_POLICY", "Sometimes", "IfNotPresent", id="pull-policy"),
        pytest.param("LEYDEN_HEALTH_PORT", "99999", "1 to 65535", id="port"),
    ],
)
def test_bad_setting_is_named_with_what_is_allowed(name: str, value: str, allowed: str) -> None:
    with pytest.raises(BadSetting) as refusal:
        from_environment({name: value})
    assert all(part in str(refusal.value) for part in (name, value, allowed))
