"""What the stack is made with: the system's packages, the Python tools, the jars of Kafka and our own binaries."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from kafka import LIBS
from paths import HERE, LOCAL, ROOT
from steps import Failure, locked, say, step

VENV = LOCAL / "venv"
PYTHON = VENV / "bin" / "python"
TOOLS_MISSING = 4

# A program, and the Debian package that brings it.
PACKAGES = {
    "cc": "build-essential",
    "c++": "build-essential",
    "make": "build-essential",
    "pkg-config": "pkg-config",
    "openssl": "openssl",
    "java": "default-jre-headless",
    "mvn": "maven",
    "setpriv": "util-linux",
}
RUSTUP = "curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh -s -- -y"


def require() -> None:
    """Installs what is missing where root asks; tells everybody else the command that does."""
    missing = missing_packages()
    if missing and os.geteuid() == 0:
        with step("packages", f"installed: {' '.join(missing)}"):
            environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
            for command in (
                ["apt-get", "update", "-qq"],
                ["apt-get", "install", "-qq", "-y", "--no-install-recommends", *missing],
            ):
                if subprocess.run(command, env=environment).returncode != 0:
                    raise Failure(f"`{' '.join(command)}` failed, see above", TOOLS_MISSING)
        missing = []
    commands = [f"sudo apt-get update && sudo apt-get install -y {' '.join(missing)}"] if missing else []
    if shutil.which("cargo") is None:
        missing.append("cargo")
        commands.append(RUSTUP)
    if missing:
        raise Failure(f"missing: {', '.join(missing)}. This brings it:\n  {' && '.join(commands)}", TOOLS_MISSING)


def missing_packages() -> list[str]:
    missing = {package for program, package in PACKAGES.items() if shutil.which(program) is None}
    if not succeeds("pkg-config", "--exists", "openssl"):
        missing.add("libssl-dev")
    if not succeeds(sys.executable, "-c", "import ensurepip, venv"):
        missing.add("python3-venv")
    return sorted(missing)


def succeeds(*command: str) -> bool:
    return shutil.which(command[0]) is not None and subprocess.run(command, capture_output=True).returncode == 0


def fetch() -> None:
    """The Python tools and the jars of Kafka, again only when their list has changed."""
    with locked(LOCAL / "fetch.lock", "another command is fetching the tools: wait for it, then try again"):
        fetch_once("python tools", VENV, HERE / "requirements.txt", fetch_python_tools)
        fetch_once("kafka jars", LIBS, HERE / "pom.xml", fetch_kafka)


def fetch_once(name: str, folder: Path, listed: Path, fetch: Callable[[], None]) -> None:
    digest = hashlib.sha256(listed.read_bytes()).hexdigest()
    stamp = folder / "listed.sha256"
    if stamp.exists() and stamp.read_text() == digest:
        return
    # What an older list brought must not stay among the new.
    shutil.rmtree(folder, ignore_errors=True)
    with step(name, "fetched"):
        fetch()
    stamp.write_text(digest)


def fetch_python_tools() -> None:
    check(sys.executable, "-m", "venv", str(VENV))
    check(
        str(PYTHON), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "--require-hashes",
        "--requirement", str(HERE / "requirements.txt"),
    )  # fmt: skip


def fetch_kafka() -> None:
    # Without this, Maven ends by resetting the colours of a terminal, even where its output is none and colours are off.
    options = f"{os.environ.get('MAVEN_OPTS', '')} -Djansi.noreset=true"
    check(
        "mvn", "--batch-mode", "--quiet", "-Dstyle.color=never", "--file", str(HERE / "pom.xml"), "dependency:copy-dependencies",
        f"-DoutputDirectory={LIBS}", env=os.environ | {"MAVEN_OPTS": options},
    )  # fmt: skip


def downloaded(package: str, folder: Path) -> list[Path]:
    """The files of one of Debian's packages, if apt brings it."""
    if shutil.which("apt-get"):
        subprocess.run(["apt-get", "download", "-qq", package], cwd=folder, capture_output=True)
    return sorted(folder.glob(f"{package}_*.deb"))


def prometheus() -> str | None:
    """The program of a Prometheus for stack and tests: the system's, or that of Debian's package, which is unpacked and not
    installed, because an installed one serves every network."""
    if found := shutil.which("prometheus"):
        return found
    folder = LOCAL / "prometheus"
    program = folder / "usr" / "bin" / "prometheus"
    with locked(LOCAL / "prometheus.lock", "another command is fetching Prometheus: wait for it, then try again"):
        if not program.exists():
            folder.mkdir(exist_ok=True)
            packages = downloaded("prometheus", folder)
            if not packages and os.geteuid() == 0 and shutil.which("apt-get"):
                # The lists of packages are missing on a new machine, and old on an old one.
                subprocess.run(["apt-get", "update", "-qq"], capture_output=True)
                packages = downloaded("prometheus", folder)
            if not packages:
                say("prometheus", "not there: `apt-get install prometheus` brings it. The stack goes on without, tests do not")
                return None
            check("dpkg-deb", "--extract", str(packages[-1]), str(folder))
            packages[-1].unlink()
            say("prometheus", "fetched")
    return str(program)


def build() -> Path:
    """Builds our binaries, and says in which folder they are."""
    with step("build", "done"):
        check("cargo", "build", "--release", "--locked", "--workspace", "--bins")
    return binaries()


def binaries() -> Path:
    metadata = subprocess.run(
        ["cargo", "metadata", "--format-version", "1", "--no-deps"], cwd=ROOT, check=True, capture_output=True
    )
    return Path(json.loads(metadata.stdout)["target_directory"]) / "release"


def check(*command: str, env: dict[str, str] | None = None) -> None:
    """Runs a command in the project's folder; its output is for the user."""
    if subprocess.run(command, cwd=ROOT, env=env).returncode != 0:
        say(Path(command[0]).name, "failed")
        raise Failure(f"`{' '.join(command)}` failed, see above")
