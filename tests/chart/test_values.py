"""Wrong values are refused by name, and what is generated from the schema is up to date."""

import json
import subprocess
from pathlib import Path

import pytest

from chart.rendering import CHART, Refused, Values, helm, render
from tools import chartgen


@pytest.mark.parametrize(
    ("values", "said"),
    [
        pytest.param({"operators": {}}, "'operators' not allowed", id="unknown group"),
        pytest.param({"operator": {"healthport": 1}}, "'healthport' not allowed", id="misspelt value"),
        pytest.param({"operator": {"replicas": 2}}, "'replicas' not allowed", id="a second operator"),
        pytest.param({"operator": {"healthPort": 80}}, "/operator/healthPort", id="a port that needs root"),
        pytest.param({"operator": {"healthPort": "web"}}, "/operator/healthPort", id="a port by name"),
        pytest.param({"operator": {"logLevel": "verbose"}}, "/operator/logLevel", id="unknown log level"),
        pytest.param({"operator": {"resources": {"limits": {"memory": "lots"}}}}, "'lots'", id="not a quantity"),
        pytest.param({"operator": {"resources": {"claims": []}}}, "'claims' not allowed", id="unknown resources"),
        pytest.param({"watch": {"namespaces": ["Red_1"]}}, "'Red_1'", id="not a namespace"),
        pytest.param({"watch": {"namespaces": ["a", "a"]}}, "/watch/namespaces", id="a namespace twice"),
        pytest.param({"watch": {"namespaces": "a"}}, "/watch/namespaces", id="a string for a list"),
        pytest.param({"watch": {"namespaces": ["*"]}}, "/watch/namespaces", id="a pattern for namespaces"),
        pytest.param({"images": {"server": {"digest": "abc"}}}, "/images/server/digest", id="not a digest"),
        pytest.param({"images": {"server": {"repository": ""}}}, "/images/server/repository", id="no repository"),
        pytest.param({"images": {"server": {"tag": "a b"}}}, "/images/server/tag", id="not a tag"),
        pytest.param({"images": {"server": {"tag": "latest"}}}, 'images.server.tag: "latest"', id="latest"),
        pytest.param({"images": {"pullPolicy": "Sometimes"}}, "/images/pullPolicy", id="unknown pull policy"),
        pytest.param({"crds": {"keep": "yes"}}, "/crds/keep", id="a string for a boolean"),
        pytest.param({"imagePullSecrets": ["registry"]}, "/imagePullSecrets/0", id="a name for an object"),
        pytest.param({"networkPolicy": {"apiServer": {"cidrs": ["10.0.0.1"]}}}, "'10.0.0.1'", id="not a CIDR"),
        pytest.param({"networkPolicy": {"apiServer": {"ports": []}}}, "/networkPolicy/apiServer/ports", id="no port"),
        pytest.param({"networkPolicy": {"metricsFrom": [{}]}}, "/networkPolicy/metricsFrom/0", id="an empty peer"),
        pytest.param(
            {"metrics": {"serviceMonitor": {"interval": "often"}}}, "/metrics/serviceMonitor/interval", id="interval"
        ),
    ],
)
def test_wrong_values_are_refused_by_name(values: Values, said: str) -> None:
    with pytest.raises(Refused) as refused:
        render(values)
    assert said in str(refused.value)


def test_a_digest_makes_any_tag_do() -> None:
    assert render({"images": {"server": {"tag": "latest", "digest": f"sha256:{'0' * 64}"}}})


def test_helm_lint_is_content() -> None:
    said = subprocess.run([helm(), "lint", "--strict", str(CHART)], capture_output=True, text=True, check=False)
    assert said.returncode == 0, said.stdout + said.stderr


@pytest.mark.parametrize(
    ("path", "text"), [pytest.param(*item, id=item[0].name) for item in chartgen.generated().items()]
)
def test_generated_files_are_up_to_date(path: Path, text: str) -> None:
    assert path.read_text() == text, "run `make generate`"


def test_every_object_of_the_schema_refuses_what_it_does_not_know() -> None:
    free = {"global", "affinity", "tolerations", "namespaceSelector", "podSelector", "ipBlock"}
    assert set(_open_objects(json.loads((CHART / chartgen.SCHEMA).read_text()), "")) == free


def _open_objects(node: object, name: str) -> list[str]:
    """Names of the objects in a schema that take any key."""
    if isinstance(node, list):
        return [found for child in node for found in _open_objects(child, name)]
    if not isinstance(node, dict):
        return []
    own = [name] if node.get("type") == "object" and "additionalProperties" not in node else []
    below = [(child, name if key in {"items", "properties"} else key) for key, child in node.items()]
    return own + [found for child, key in below for found in _open_objects(child, key)]


def test_a_value_without_a_description_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"watch\.namespaces has no description"):
        chartgen.values(
            {
                "properties": {
                    "watch": {
                        "description": "Where.",
                        "properties": {"namespaces": {"default": []}, "other": {"description": "Other."}},
                    }
                }
            }
        )
