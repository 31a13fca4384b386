"""Deploys the SIP service: pyinfra inventories/<environment>.py deploy.py"""

from pyinfra import host, inventory

from sipstack import services, site
from sipstack.deploys.exclusive import exclusive
from sipstack.deploys.firewall import firewall, firewall_settled
from sipstack.deploys.preflight import preflight
from sipstack.deploys.prepare import engine, files, fleet, images, left_over
from sipstack.deploys.switch import database, gateways, proxy, put_in_force, service, subscribers, tidy, trial
from sipstack.deploys.watch import watch

# Everything that can be refused is refused here, for all hosts, before anything changes on one.
node = site.load(host, inventory)
exclusive()
machine = preflight(node)
release = services.release(node, machine, site.all_nodes(inventory).values())

# Prepare: touches nothing that serves calls.
fleet(node)
left_over()
engine(node)
images(node, release)
files(release)
firewall(node)
watch(node)

# Switch: those that are asked before those that ask.
service("postgres", node, release)
database(node)
trial(node, release)
service("rtpengine", node, release)
service("asterisk", node, release)
gateways(node)
proxy(node, release)
subscribers(node)
put_in_force(release)
firewall_settled(node)
tidy(node, release)
