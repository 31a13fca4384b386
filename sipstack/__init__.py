"""Deploys a SIP service to Debian hosts with pyinfra, and proves it with real calls."""
