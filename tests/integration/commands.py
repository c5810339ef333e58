"""Running command lines as a user would, in folders of their own, and the README's own lines to run."""

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SHARED = ROOT.parent / "shared"
WEIGHTS = SHARED / "weights" / "mobilenetv1_100.tf_qat_in1k_nohead.safetensors"


@dataclass(frozen=True)
class Shell:
    """Runs command lines from the project's root; data, features and results go below `home`."""

    home: Path
    variables: dict[str, str]

    def __call__(self, line: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        places = {name: str(self.home / folder) for name, folder in PLACES.items()}
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        environment = os.environ | places | {"PATH": path, "HF_HUB_OFFLINE": "1"} | self.variables
        done = subprocess.run(line, shell=True, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == code, f"{line}\n{done.stdout}\n{done.stderr}"
        return done


PLACES = {"PROBE_DATA_ROOT": "data", "PROBE_CACHE": "features", "PROBE_OUT": "out"}


def readme_commands(heading: str) -> list[str]:
    """The `probe` lines of the code blocks below a heading of the README, continued lines joined."""
    section = (ROOT / "README.md").read_text().split(f"## {heading}\n")[1].split("\n## ")[0]
    blocks = re.findall(r"```sh\n(.*?)```", section, flags=re.DOTALL)
    lines = "".join(blocks).replace("\\\n", " ").splitlines()
    return [line for line in lines if line.startswith("probe ")]
