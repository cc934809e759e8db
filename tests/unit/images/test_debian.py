"""What is left out of the operating system's image."""

from pathlib import Path

from leyden_images.debian import slim


def test_documentation_goes_and_licences_stay(tmp_path: Path) -> None:
    kept = ("usr/share/doc/tini/copyright", "usr/share/zoneinfo/UTC", "usr/bin/bash")
    gone = ("usr/share/doc/tini/changelog.gz", "usr/share/man/de/man1/ls.1", "usr/share/locale/de/x.mo")
    gone += ("var/lib/apt/lists/Packages", "var/cache/apt/pkgcache.bin", "var/log/bootstrap.log")
    for name in kept + gone:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    slim(tmp_path)
    assert [name for name in kept + gone if (tmp_path / name).exists()] == list(kept)
    assert (tmp_path / "var/lib/apt/lists").is_dir()
    rules = (tmp_path / "etc/dpkg/dpkg.cfg.d/slim").read_text().splitlines()
    assert rules[-1] == "path-include /usr/share/doc/*/copyright"
