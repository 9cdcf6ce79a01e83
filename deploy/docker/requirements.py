"""Write down what the image installs: torch, and the rest of what pyproject.toml asks for.

Runs while the image is built, beside pyproject.toml, on a bare Python 3.11 or newer. It writes
torch.txt and others.txt; torch.txt names an index of its own, because the torch of PyPI brings
gigabytes of CUDA libraries that a CPU has no use for.
"""  # noqa: INP001 - a script, in no package

import argparse
import re
import sys
import tomllib
from pathlib import Path

TORCH_INDEX = {
    "cpu": "https://download.pytorch.org/whl/cpu",
    "cuda": "https://download.pytorch.org/whl/cu130",
}

ONNXRUNTIME_GPU = "onnxruntime-gpu[cuda,cudnn]>=1.31,<2"
"""From 1.31 on its wheels at PyPI are for CUDA 13, as torch's are; both share the libraries."""


def main() -> None:
    """Read the command line, write the two files."""
    arguments = _parser().parse_args()
    project = tomllib.loads(Path("pyproject.toml").read_text("utf-8"))["project"]
    extras = [word.strip() for word in arguments.extras.split(",") if word.strip()]
    offered = project["optional-dependencies"]
    if unknown := sorted(set(extras) - set(offered)):
        sys.exit(f"EXTRAS: there is no {', '.join(unknown)}; choose among {', '.join(offered)}")
    wanted = list(project["dependencies"])
    for extra in extras:
        wanted += offered[extra]
    others = sorted({_for_variant(one, arguments.variant) for one in wanted} - {""})
    torch = []
    if any(_name(one) == "torch" for one in wanted):
        index = arguments.torch_index or TORCH_INDEX[arguments.variant]
        torch = [f"--index-url {index}", f"torch=={arguments.torch_version}"]
    Path("torch.txt").write_text("".join(f"{line}\n" for line in torch), "utf-8")
    Path("others.txt").write_text("".join(f"{line}\n" for line in others), "utf-8")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--variant", choices=sorted(TORCH_INDEX), required=True)
    parser.add_argument("--extras", default="", help="extras of pyproject.toml, with commas")
    parser.add_argument("--torch-version", required=True)
    parser.add_argument("--torch-index", default="", help="default: pytorch.org's of the variant")
    return parser


def _for_variant(requirement: str, variant: str) -> str:
    """What is installed for a requirement; "" for torch, which comes by itself."""
    name = _name(requirement)
    if name == "torch":
        return ""
    return ONNXRUNTIME_GPU if (name, variant) == ("onnxruntime", "cuda") else requirement


def _name(requirement: str) -> str:
    match = re.match(r"[A-Za-z0-9._-]+", requirement)
    assert match, requirement
    return match.group().lower()


if __name__ == "__main__":
    main()
