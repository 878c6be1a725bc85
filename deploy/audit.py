"""Known vulnerabilities of what requirements.lock pins; ``make audit``.

pip-audit asks a vulnerability service. Where none answers, nothing was audited: that is said, so that nobody
reads silence as health, and is no failure, so that a machine without internet may run the same target.
Exit code 1: something was found.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

LOCK = Path(__file__).resolve().parents[1] / "requirements.lock"


def main() -> int:
    """Audit the lock file and say what came out."""
    command = [sys.executable, "-m", "pip_audit", "--no-deps", "--disable-pip", "--format", "json"]
    command += ["--progress-spinner", "off", "--requirement", *(sys.argv[1:] or [str(LOCK)])]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        audited: list[dict[str, Any]] = json.loads(done.stdout)["dependencies"]
    except (json.JSONDecodeError, KeyError):
        print(f"SKIPPED: pip-audit could not ask any vulnerability service\n{done.stderr[-500:]}")
        return 0
    asked = [package for package in audited if "skip_reason" not in package]
    if not asked:
        print(f"SKIPPED: no vulnerability service answers here; {len(audited)} packages were not audited")
        return 0
    found = [(package, hole) for package in asked for hole in package["vulns"]]
    for package, hole in found:
        fixed = ", ".join(hole["fix_versions"]) or "none yet"
        print(f"{package['name']} {package['version']}: {hole['id']}, fixed in: {fixed}")
    left = len(audited) - len(asked)
    print(f"{len(found)} known vulnerabilities in {len(asked)} packages; {left} not audited")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
