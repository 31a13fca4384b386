"""How a running proxy changes: tried beside the running one, drained, switched, proved, and taken back if it fails."""
