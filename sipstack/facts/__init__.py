"""What is true on a host. Each fact is one read-only command."""
