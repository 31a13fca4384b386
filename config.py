"""How pyinfra runs here. It executes this file by itself, before it reads the inventory."""

from sipstack.guard import guard

guard()
