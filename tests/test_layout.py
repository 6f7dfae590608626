"""The packaging promises: what is on disk is declared, `checks/` is `diag.checks` and nothing else, built wheels are whole."""

from __future__ import annotations

import configparser
import os
import subprocess
import sys
import venv
from importlib.metadata import entry_points
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def setup() -> configparser.ConfigParser:
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg", encoding="utf-8")
    return config


def packages_on_disk() -> set[str]:
    found = set()
    for top, name in (("diag", "diag"), ("checks", "diag.checks")):
        for init in (ROOT / top).rglob("__init__.py"):
            parts = init.parent.relative_to(ROOT / top).parts
            if not (top == "diag" and parts[:1] == ("checks",)):
                found.add(".".join((name, *parts)))
    return found


def test_every_package_is_declared() -> None:
    assert set(setup()["options"]["packages"].split()) == packages_on_disk()


def test_every_declared_entry_point_is_registered() -> None:
    # entry points are frozen at install time: a new one needs `pip install -e .`
    config = setup()["options.entry_points"]
    for group in ("diag.adapters", "diag.checks", "diag.dialects", "diag.reports"):
        declared = {line.split("=")[0].strip(): line.split("=")[1].strip() for line in config[group].strip().splitlines()}
        registered = {point.name: point.value for point in entry_points(group=group)}
        assert declared.items() <= registered.items(), group


def test_every_entry_point_loads() -> None:
    points = [point for group in ("diag.adapters", "diag.checks", "diag.dialects", "diag.reports") for point in entry_points(group=group)]
    assert len(points) >= 20
    assert all(point.load() is not None for point in points)


def test_link_points_at_checks() -> None:
    assert (ROOT / "diag" / "checks").resolve() == ROOT / "checks"


def test_checks_have_one_identity() -> None:
    code = "import sys; from diag.battery import checks; checks(); print(sorted(m for m in sys.modules if m.split('.')[0] == 'checks'))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.strip() == "[]"


def test_a_users_own_checks_folder_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "checks").mkdir()
    (tmp_path / "checks" / "__init__.py").write_text("raise SystemExit('the user code ran')")
    done = subprocess.run([sys.executable, "-m", "diag", "checks"], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stderr
    assert "OVF001" in done.stdout


@pytest.mark.slow
def test_wheel_built_from_the_sdist_is_whole(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", str(tmp_path / "wheel")]
    sdist = "import setuptools.build_meta as b, sys; print(b.build_sdist(sys.argv[1]))"
    source = tmp_path / "source"
    tracked = ("diag", "checks", "setup.cfg", "pyproject.toml", "README.md", "LICENSE")
    source.mkdir()
    subprocess.run(["tar", "-C", ROOT, "--exclude=__pycache__", "-cf", source / "all.tar", *tracked], check=True)
    subprocess.run(["tar", "-C", source, "-xf", source / "all.tar"], check=True)
    made = subprocess.run([sys.executable, "-c", sdist, str(tmp_path)], cwd=source, capture_output=True, text=True, check=True)
    archive = tmp_path / made.stdout.splitlines()[-1]
    subprocess.run([*build, str(archive)], check=True, capture_output=True)
    (wheel,) = (tmp_path / "wheel").glob("diag-*.whl")
    venv.create(tmp_path / "env", with_pip=False, symlinks=True)
    python = tmp_path / "env" / ("Scripts" if os.name == "nt" else "bin") / "python"
    site = subprocess.run(
        [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"], capture_output=True, text=True, check=True
    ).stdout.strip()
    subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", site, str(wheel)], check=True)
    top_level = {path.name for path in Path(site).iterdir() if path.suffix != ".dist-info"}
    # the dependencies come from this environment, the package from the wheel alone
    (Path(site) / "dependencies.pth").write_text("\n".join(path for path in sys.path if path.endswith("site-packages")), encoding="utf-8")
    code = "import diag; from diag.battery import checks; print(diag.__file__); print(*[c.code for c in checks()])"
    inside = subprocess.run([python, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True).stdout.splitlines()
    data = ("report/schema.json", "report/html/static/charts.js", "guides/rules.tsv", "adapters/metrics.tsv", "dialects/hf.tsv", "py.typed")
    assert [name for name in data if not (Path(site) / "diag" / name).is_file()] == []
    from diag.battery import checks

    assert top_level <= {"diag", "bin"}
    assert inside[0].startswith(site)
    assert inside[1].split() == [check.code for check in checks()]
