"""Images that stand for those that the Dockerfile and the compose files name.

Also where the real ones could be fetched: what is tested is what this repository ships, and it is
to be the same on each machine. They are Debian 12 with Debian's own Python 3.11, nginx 1.22, Redis
7.0 and PostgreSQL 15, and the Label Studio of the other tests, each under the real one's name and
users. One root holds all of the services, so that it is made and stored once.
"""

import re
import shutil
import subprocess
from pathlib import Path

import yaml

from . import bare_root, engine, image

REPOSITORY = image.REPOSITORY
BASE = "python:3.12-slim-bookworm"
PACKAGES = "curl nginx-light openssl postgresql postgresql-client redis-server redis-tools"
# As whom docker-compose.prod.yml runs the images. Only PostgreSQL asks for a name of its user.
PREPARE = f"""
groupadd --gid 999 postgres
useradd --uid 999 --gid 999 --home-dir /var/lib/postgresql postgres
apt-get -q update
apt-get -q install -y --no-install-recommends {PACKAGES}
rm -rf /var/lib/apt/lists /var/cache/apt/archives /var/lib/postgresql
install -d -o 999 -g 999 -m 1777 /var/lib/postgresql/data
install -d -o 999 -g 1000 /data
install -d -o 1001 -g 0 -m 775 /label-studio/data /label-studio/files
install -d /docker-entrypoint-initdb.d
"""
LABEL_STUDIO = """#!/label-studio/.venv/bin/python3
from label_studio.server import main
main()
"""
STEPS = {
    "heartexlabs/label-studio": """
        ENV LABEL_STUDIO_BASE_DATA_DIR=/label-studio/data HOME=/label-studio/data
        USER 1001
        CMD ["label-studio"]""",
    "nginx": """
        CMD ["nginx", "-g", "daemon off;"]""",
    "postgres": """
        ENV PGDATA=/var/lib/postgresql/data PATH=/usr/lib/postgresql/15/bin:$PATH LANG=C.UTF-8
        ENTRYPOINT ["postgres_entrypoint.sh"]
        CMD ["postgres"]""",
    "redis": """
        WORKDIR /data
        CMD ["redis-server"]""",
}
"""How an image begins from the root of services, by the real one's name."""


def base(machine, debian: Path, folder: Path):
    """What the Dockerfile is built on: a bare Debian with this machine's way to Python packages."""
    added = folder / "base"
    (added / "etc/ssl/certs").mkdir(parents=True)
    settings = image.pip_settings()
    if authorities := settings.pop("cert", ""):
        there = "/etc/ssl/certs/of-the-host.crt"
        shutil.copy(authorities, added / there.lstrip("/"))
        settings["cert"] = there
    settings["proxy"] = f"http://{engine.GATEWAY}:{engine.PROXY_PORT}"
    # Folders of this machine are not seen from inside.
    seen = {name: text for name, text in settings.items() if "file:" not in text}
    seen.pop("find-links", None)
    lines = [f"{name} = {text}" for name, text in seen.items() if "\n" not in text]
    (added / "etc/pip.conf").write_text("\n".join(["[global]", *lines, ""]))
    path = f"ENV PATH={image.BUILDS_WITH['PATH']}"
    files = [str(file.relative_to(added)) for file in added.rglob("*") if file.is_file()]
    machine.import_image(["tar", "-c", "-C", debian, ".", "-C", added, *files], BASE, path)


def services(machine, debian: Path, folder: Path, label_studio: Path):
    """The images that the compose files name beside prelabel's own.

    Args:
        machine: The engine that is to have them.
        debian: A bare Debian.
        folder: Where things may be put.
        label_studio: The program in an environment that Label Studio is installed in.
    """
    root = folder / "services"
    subprocess.run(["cp", "-al", "--no-target-directory", debian, root], check=True)
    entrypoint = Path(__file__).parent / "postgres_entrypoint.sh"
    shutil.copy(entrypoint, root / "usr/local/bin")
    program = root / "usr/local/bin/label-studio"
    program.write_text(LABEL_STUDIO)
    program.chmod(0o755)
    bare_root.Program(
        root, ["/bin/sh", "-euc", PREPARE], mounts=bare_root.names(),
        environment={**image.BUILDS_WITH, "DEBIAN_FRONTEND": "noninteractive"},
    ).run()  # fmt: skip
    _install(root, folder, label_studio)
    path = f"ENV PATH={image.BUILDS_WITH['PATH']}"
    machine.import_image(["tar", "-c", "-C", root, "."], "services", path)
    shutil.rmtree(root)
    for name in _named():
        text = f"FROM services\n{STEPS[name.rpartition(':')[0]]}\n"
        (folder / "Dockerfile").write_text(text)
        machine.run(
            "docker", "build", "-q", "-t", name, "-f", folder / "Dockerfile", folder / "base"
        )


def _install(root, folder, label_studio):
    """Install Label Studio, with the packages that are here where they are for the same Python."""
    asked = (
        "import importlib.metadata as m, sys, sysconfig as s;"
        "print(*sys.version_info[:2], m.version('label-studio'), s.get_path('purelib'))"
    )
    said = subprocess.run(
        [label_studio.with_name("python"), "-c", asked], capture_output=True, text=True, check=True
    )
    major, minor, version, place = said.stdout.strip().split(" ", 3)
    alike = (root / f"usr/bin/python{major}.{minor}").exists()
    mounts = bare_root.names() | image.of_pip(folder / "pip.conf", "/etc/pip.conf")

    def in_the_root(script):
        words = ["/bin/sh", "-euc", script]
        bare_root.Program(root, words, mounts=mounts, environment=image.BUILDS_WITH).run()

    in_the_root(f"python3 -m venv {'--without-pip' if alike else ''} /label-studio/.venv")
    if alike:
        (packages,) = root.glob("label-studio/.venv/lib/python*/site-packages")
        # As links where both are on one disk: a gigabyte, and nothing writes into it.
        copy = 'cp -al "$0/." "$1" 2>/dev/null || cp -a "$0/." "$1"'
        subprocess.run(["/bin/sh", "-c", copy, place, packages], check=True)
    in_the_root(f"/label-studio/.venv/bin/python3 -m pip install -q label-studio=={version}")


def _named():
    """The images that the compose files name, with their default tags, but for prelabel's own."""
    named = set()
    for file in ("docker-compose.yml", "docker-compose.prod.yml"):
        written = yaml.safe_load((REPOSITORY / file).read_text("utf-8"))["services"]
        named |= {service["image"] for service in written.values()}
    tagged = {re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", name) for name in named}
    return sorted(name for name in tagged if not name.startswith("prelabel:"))
