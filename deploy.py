"""Deploys the SIP service: pyinfra inventories/<environment>.py deploy.py"""

from pyinfra import host, inventory

from sipstack import services, site
from sipstack.deploys.exclusive import exclusive
from sipstack.deploys.firewall import firewall, firewall_gone
from sipstack.deploys.preflight import preflight
from sipstack.deploys.prepare import engine, files, images
from sipstack.deploys.switch import database, put_in_force, role_up

# Everything that can be refused is refused here, for all hosts, before anything changes on one.
node = site.load(host, inventory)
exclusive()
machine = preflight(node)
release = services.release(node, machine)

# Prepare: touches nothing that serves calls.
engine(node)
images(node, release)
files(release)
firewall(node)

# Switch: those that are asked before those that ask.
put_in_force(release)
role_up("databases", release)
if node.provisions_database:
    database(node)
role_up("media", release)
role_up("pbx", release)
role_up("proxies", release)
firewall_gone(node)
