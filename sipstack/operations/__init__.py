"""Changes to a host: each operation compares what is with what should be, and yields only the difference."""
