"""Where things are, on the operator's side and on a host."""

from pathlib import Path

# The repository: deploy.py, templates, files, sql lie here.
ROOT = Path(__file__).resolve().parent.parent
# What was generated for each inventory (keys, passwords); git-ignored, readable by its owner only.
STATE = ROOT / ".state"

# On a host.
HOME = "/opt/vss"
COMPOSE_FILE = "docker-compose.vss-demiurge.yml"
