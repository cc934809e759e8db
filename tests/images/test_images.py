"""The built images: who runs what in them, what is left out, and that they start on a read-only file system."""

from itertools import chain

import pytest

from images.conftest import Image
from leyden_contract import exit_codes
from leyden_images.build import exists
from leyden_images.parts import LABEL, PARTS

pytestmark = [pytest.mark.images, pytest.mark.timeout(1800)]

EVERY_PART = [pytest.param(name, id=name) for name in PARTS]
OPERATOR_MEGABYTES = 200
TOOLS = (
    "usr/bin/pip*",
    "usr/bin/gcc*",
    "usr/bin/uv",
    "tmp/tools",
    "uv-cache/*",
    "var/lib/apt/lists/*",
    "var/cache/apt/*",
)


@pytest.mark.usefixtures("images")
def test_what_is_built_is_found_and_not_built_again() -> None:
    image = PARTS["trainer"].image
    assert exists("buildah", image)
    assert not exists("buildah", f"{image}-not")


@pytest.mark.parametrize("part", EVERY_PART)
def test_runs_as_nobody_under_tini(images: dict[str, Image], part: str) -> None:
    config = images[part].config
    assert config["User"] == "65532:65532"
    assert config["Entrypoint"] == ["/usr/bin/tini", "--"]


@pytest.mark.parametrize("part", EVERY_PART)
def test_says_what_it_is(images: dict[str, Image], part: str) -> None:
    labels = images[part].config["Labels"]
    standard = {name: labels.get(f"org.opencontainers.image.{name}") for name in ("title", "licenses", "version")}
    assert standard == {"title": f"Leyden {part}", "licenses": "Apache-2.0", "version": PARTS[part].key()}
    assert labels["org.opencontainers.image.description"]
    assert labels["org.opencontainers.image.revision"]
    assert labels[LABEL] == part


@pytest.mark.parametrize("part", EVERY_PART)
def test_has_no_tools_that_built_it(images: dict[str, Image], part: str) -> None:
    root = images[part].root
    assert (root / "usr/bin/tini").is_file()
    assert list(chain.from_iterable(root.glob(pattern) for pattern in TOOLS)) == []


@pytest.mark.parametrize("part", EVERY_PART)
def test_carries_its_own_code_alone(images: dict[str, Image], part: str) -> None:
    expected = {
        "operator": {"leyden_contract", "leyden_operator", "leyden_coordinator"},
        "trainer": {"leyden_contract", "leyden"},
        "server": {"leyden_contract", "leyden", "leyden_server"},
    }
    assert {path.name for path in (images[part].root / "opt/leyden/src").iterdir()} == expected[part]


def test_the_operator_is_small_and_knows_no_torch(images: dict[str, Image]) -> None:
    assert images["operator"].size < OPERATOR_MEGABYTES * 10**6
    assert not (images["operator"].root / "opt/leyden/site/torch").exists()
    assert (images["trainer"].root / "opt/leyden/site/torch").is_dir()


@pytest.mark.parametrize(
    ("part", "module", "environ", "sentence"),
    [
        pytest.param(
            "operator", "leyden_operator", {"LEYDEN_LOG_LEVEL": "loud"}, "LEYDEN_LOG_LEVEL='loud'", id="operator"
        ),
        pytest.param("operator", "leyden_coordinator", {}, "LEYDEN_RUN_ID is not set", id="coordinator"),
        pytest.param("trainer", "leyden.agent", {}, "LEYDEN_NODE_INDEX", id="agent"),
        pytest.param("server", "leyden_server", {}, "no checkpoint is named", id="server"),
    ],
)
def test_says_what_is_missing_on_a_read_only_file_system(
    images: dict[str, Image], part: str, module: str, environ: dict[str, str], sentence: str
) -> None:
    ended = images[part].start(module, **environ)
    assert sentence in ended.stderr
    assert "Traceback" not in ended.stderr
    assert ended.returncode == exit_codes.MISCONFIGURED
