"""Goes back to a release that is still on the hosts; `sipstack rollback` runs it as a deploy of its own.

SIPSTACK_GO_BACK_TO names the release; without it, each host takes the one before what it runs.
"""

import os

from pyinfra.context import host, inventory

from sipstack import site
from sipstack.deploys.exclusive import exclusive
from sipstack.operations.go_back import gone_back, way_back

node = site.load(host, inventory)
exclusive()
target = way_back(os.environ.get("SIPSTACK_GO_BACK_TO", ""))
gone_back(name="The release of before is in force and serves", node=node, target=target, _serial=True)
