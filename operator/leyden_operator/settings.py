"""Settings of the operator, from environment variables that the chart sets."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

PULL_POLICIES: Final = ("Always", "IfNotPresent", "Never")
LOG_LEVELS: Final = ("debug", "info", "warning", "error")


class BadSetting(ValueError):
    """An environment variable is wrong; the message names it, its value and what is allowed."""


@dataclass(frozen=True)
class Settings:
    """Every field has a default that works for the images built from this repository."""

    trainer_image: str = "localhost/leyden/trainer:dev"
    """Image of worker pods whose job names none."""

    server_image: str = "localhost/leyden/server:dev"
    """Image of server pods whose service names none."""

    coordinator_image: str = "localhost/leyden/operator:dev"
    """Image of coordinator pods: the operator's own."""

    image_pull_policy: str = "IfNotPresent"
    """Pull policy of all pods that the operator makes."""

    watch_namespaces: tuple[str, ...] = ()
    """Namespaces that are watched; empty: all."""

    log_level: str = "info"
    """Least level that is logged."""

    health_port: int = 8080
    """TCP port of /healthz, /readyz and /metrics."""

    namespace: str = "leyden-system"
    """The operator's own namespace: its pods may reach coordinators."""


def from_environment(env: Mapping[str, str]) -> Settings:
    """Settings from ``LEYDEN_*`` variables; what is unset or empty takes its default.

    Raises :class:`BadSetting` for a value that is not allowed.
    """
    default = Settings()

    def text(name: str, fallback: str) -> str:
        return env.get(f"LEYDEN_{name}", "") or fallback

    return Settings(
        trainer_image=text("TRAINER_IMAGE", default.trainer_image),
        server_image=text("SERVER_IMAGE", default.server_image),
        coordinator_image=text("COORDINATOR_IMAGE", default.coordinator_image),
        image_pull_policy=_one_of(
            "IMAGE_PULL_POLICY", text("IMAGE_PULL_POLICY", default.image_pull_policy), PULL_POLICIES
        ),
        watch_namespaces=tuple(part.strip() for part in text("WATCH_NAMESPACES", "").split(",") if part.strip()),
        log_level=_one_of("LOG_LEVEL", text("LOG_LEVEL", default.log_level), LOG_LEVELS),
        health_port=_port("HEALTH_PORT", text("HEALTH_PORT", str(default.health_port))),
        namespace=text("NAMESPACE", default.namespace),
    )


def _one_of(name: str, value: str, allowed: tuple[str, ...]) -> str:
    if value not in allowed:
        raise BadSetting(f"LEYDEN_{name}={value!r} is not allowed: it must be one of {', '.join(allowed)}")
    return value


def _port(name: str, value: str) -> int:
    if not value.isdecimal() or not 1 <= int(value) <= 65535:
        raise BadSetting(f"LEYDEN_{name}={value!r} is not allowed: it must be a port from 1 to 65535")
    return int(value)
